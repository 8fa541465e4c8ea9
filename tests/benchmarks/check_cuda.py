"""Do pretrainer and toolkit do on a GPU what they do on a CPU?

Compared are metrics of vectors, losses and gradients, short runs, and embeddings and trained poolings of such a run.

python tests/benchmarks/check_cuda.py CORPUS [DEVICE]
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from geomprobe.api import measure
from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.trained_pooling import TRAINABLE, train_poolers
from geomprobe.encoders import load_encoder
from geomprobe.inference.similarity import similarity
from geomprobe.pretrain.budget import read_run
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import open_corpus
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.objectives import build_objective
from geomprobe.tasks import load_task


def main() -> None:
    corpus, device = open_corpus(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cuda"
    bad = [] if agrees(vectors_agree, device) else ["vectors"]
    bad += [objective for objective in ("mlm", "jepa", "hybrid") if not agrees(losses_agree, corpus, device, objective)]
    with tempfile.TemporaryDirectory() as folder:
        eager, compiled, stopped = (
            short_run(corpus, device, f"{folder}/{name}", name) for name in ("eager", "compiled", "stopped")
        )
        if not agrees(encoders_agree, f"{folder}/eager", device):
            bad.append("encoder")
    # On a GPU sums come in any order, and bf16 has three digits: near, not equal.
    bad += [name for name, loss in (("compiled", compiled), ("stopped", stopped)) if not abs(loss / eager - 1) <= 0.02]
    print("differ: " + ", ".join(bad) if bad else "all agree")
    sys.exit(bool(bad))


def agrees(check: Callable[..., bool], *given) -> bool:
    """Return what a check returns; False, with the traceback on stderr, where it fails, so that the others run."""
    try:
        return check(*given)
    except (RuntimeError, TypeError, ValueError):  # what torch and numpy raise where a device or a dtype will not do
        traceback.print_exc()
        return False


def vectors_agree(device: str) -> bool:
    """Return whether metrics, intervals and similarities of vectors on the device are those of the same on the CPU."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3000, 64)) * np.linspace(2, 0.2, 64) + 0.5).astype(np.float32)
    y = (x @ rng.standard_normal((64, 48)) + rng.standard_normal((3000, 48))).astype(np.float32)
    labels, positives = rng.integers(0, 3, len(x)), rng.permutation(len(x)).reshape(-1, 2)[:500]
    columns, good = ["value", "ci_low", "ci_high"], True
    for what, compute in (
        ("metrics", lambda a, _: measure(a, labels=labels, positives=positives)),
        ("similarities", lambda a, b: similarity(a, b, permutations=2)),
    ):
        frames = [compute(*(torch.from_numpy(part).to(name) for part in (x, y))) for name in ("cpu", device)]
        cpu, other = (frame[columns].to_numpy(np.float64) for frame in frames)
        far = np.abs(cpu - other) / np.maximum(np.abs(cpu), 1e-3)
        far = np.where(np.isnan(cpu) & np.isnan(other), 0, np.where(np.isnan(far), np.inf, far)).max(1)
        worst = frames[0].iloc[int(far.argmax())]
        print(f"{len(far)} {what}: largest relative difference {far.max():.1e} ({worst['metric']})")
        good &= bool(far.max() < 1e-3)
    return good


def encoders_agree(folder: str, device: str) -> bool:
    """Return whether embeddings, and losses of trained poolings, are the same on the CPU and the device."""
    task = load_task("controlled")
    texts = task.geometry_rows.texts[:500]
    encoders = [load_encoder(folder, device=name) for name in ("cpu", device)]
    grids = [embed_grid(encoder, texts, ("mean", "max", "attention"), [0, -1]).vectors for encoder in encoders]
    far = max(float(np.abs(a - grids[1][cell]).max() / np.abs(a).max()) for cell, a in grids[0].items())
    trained = [train_poolers(encoder, task) for encoder in encoders]
    losses = np.array([[each.loss for cell in sorted(found) for each in found[cell]] for found in trained])
    apart = float(np.abs(losses[0] / losses[1] - 1).max())
    print(f"embeddings of {len(texts)} texts: largest relative difference {far:.1e}")
    print(f"losses of trained poolings {', '.join(TRAINABLE)}: {losses.round(4).tolist()}")
    return far < 1e-4 and apart < 0.02


def losses_agree(corpus, device: str, objective: str) -> bool:
    """Return whether losses and gradient norm of one float32 batch are the same on the CPU and the device."""
    config = load_config("demo", {"objective": objective, "corpus": str(corpus.path), "precision": "fp32"})
    results = []
    for name in ("cpu", device):
        made = build_objective(replace(config, device=name), corpus).to(name)
        losses = made(BatchSource(config, corpus).batch(0, 0, device=name))
        losses["loss"].backward()
        norm = torch.stack([p.grad.norm().cpu() for p in made.parameters() if p.grad is not None]).norm()
        results.append([losses[key].item() for key in sorted(losses)] + [norm.item()])
    cpu, other = np.array(results)
    worst = float(np.max(np.abs(cpu - other) / np.maximum(np.abs(cpu), 1e-9)))  # NaN where one is
    print(f"{objective}: largest relative difference of losses and gradient norm, CPU and {device}: {worst:.1e}")
    return worst < 1e-3


def short_run(corpus, device: str, out: str, how: str) -> float:
    """Return the held-out MLM loss of 60 hybrid steps: uncompiled, compiled, or uncompiled with a stop after 20."""
    flags = {"objective": "hybrid", "corpus": str(corpus.path), "device": device, "out": out, "budget": "60-steps"}
    flags |= {"compile": "yes" if how == "compiled" else "no", "precision": "bf16"}
    config = load_config("demo", flags)

    def stop(record: dict) -> None:
        if record.get("step") == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    warnings: list[str] = []

    def listen(record: dict) -> None:
        if "warning" in record:
            warnings.append(record["warning"])

    if how == "stopped":
        try:
            train(config, progress=stop)
        except KeyboardInterrupt as error:
            print(error)
    final = read_run(train(config, resume=how == "stopped", progress=listen))["final"]
    print(f"hybrid, 60 steps, {how}: held-out MLM loss {final['held_out_mlm']:.4f}", *warnings)
    if any("uncompiled" in text for text in warnings):
        sys.exit("The compiler did not work.")
    return final["held_out_mlm"]


if __name__ == "__main__":
    main()
