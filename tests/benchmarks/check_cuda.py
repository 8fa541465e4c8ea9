"""Do pretrainer and toolkit do on a GPU what they do on a CPU?

Compared are batches, metrics of vectors, losses and gradients, short runs, and embeddings and trained poolings of such
a run.

python tests/benchmarks/check_cuda.py [--corpus CORPUS] [--device DEVICE] [--out check.json]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bench_pretrain import synthetic_corpus
from check_batches import batches_agree
from figures import machine

from geomprobe.api import measure
from geomprobe.common import read_json, write_json
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

Found = dict[str, bool | float]
"""Figures of a check, and under "agrees" whether it is passed."""
NEAR = 0.02
"""How far the loss of a run may be from another's: on a GPU sums come in any order, and bf16 has three digits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", help="a corpus folder; without one random ids are trained on")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--steps", type=int, default=60, help="steps of the short runs")
    parser.add_argument("--checks", nargs="+", help="only these")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device, preset = args.device, args.preset
    with tempfile.TemporaryDirectory() as folder:
        if not args.corpus:
            Path(folder, "corpus").mkdir()
        corpus = open_corpus(args.corpus or synthetic_corpus(Path(folder, "corpus")))
        eager: list[float] = []

        def eager_loss() -> float:
            if not eager:
                eager.append(short_run(corpus, preset, device, f"{folder}/eager", "eager", args.steps))
            return eager[0]

        def like_eager(how: str) -> Found:
            loss, plain = short_run(corpus, preset, device, f"{folder}/{how}", how, args.steps), eager_loss()
            return {"agrees": abs(loss / plain - 1) <= NEAR, "held_out_mlm": loss, "held_out_mlm_eager": plain}

        def encoder() -> Found:
            eager_loss()  # trains it
            return encoders_agree(f"{folder}/eager", device)

        wanted = args.checks or ["vectors", "mlm", "jepa", "hybrid", "encoder", "stopped", "compiled", "batches"]
        # Compiling takes as long as all else: a process of its own does it meanwhile.
        alone = beside(f"{folder}/compiled.json") if "compiled" in wanted and len(wanted) > 1 else None
        checks: dict[str, Callable[[], Found]] = {
            "batches": lambda: batches_agree(device),
            "vectors": lambda: vectors_agree(device),
            **{
                name: lambda name=name: losses_agree(corpus, preset, device, name) for name in ("mlm", "jepa", "hybrid")
            },
            "encoder": encoder,
            "stopped": lambda: like_eager("stopped"),
            "compiled": alone or (lambda: like_eager("compiled")),
        }
        found: dict[str, Found] = {}
        for name in wanted:
            begun = time.perf_counter()
            found[name] = made(checks[name]) | {"seconds": round(time.perf_counter() - begun, 1)}
            if args.out:  # after each check, so that one cut short leaves what it found
                write_json(args.out, {"machine": machine(device), "checks": found})
    bad = [name for name, each in found.items() if not each["agrees"]]
    print("differ: " + ", ".join(bad) if bad else "all agree")
    sys.exit(bool(bad))


def beside(out: str) -> Callable[[], Found]:
    """Start the check of the compiled run in another process; return what waits for its figures."""
    running = subprocess.Popen([sys.executable, *sys.argv, "--checks", "compiled", "--out", out])

    def waited() -> Found:
        running.wait()
        return read_json(Path(out))["checks"]["compiled"] if Path(out).is_file() else {"agrees": False}

    return waited


def made(check: Callable[[], Found]) -> Found:
    """What a check finds; where it fails the traceback goes to stderr, and the others run."""
    try:
        return check()
    except (RuntimeError, TypeError, ValueError):  # what torch and numpy raise where a device or a dtype will not do
        traceback.print_exc()
        return {"agrees": False}


def vectors_agree(device: str) -> Found:
    """Whether metrics, intervals and similarities of vectors on the device are those of the same on the CPU."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3000, 64)) * np.linspace(2, 0.2, 64) + 0.5).astype(np.float32)
    y = (x @ rng.standard_normal((64, 48)) + rng.standard_normal((3000, 48))).astype(np.float32)
    labels, positives = rng.integers(0, 3, len(x)), rng.permutation(len(x)).reshape(-1, 2)[:500]
    columns: list[str] = ["value", "ci_low", "ci_high"]
    found: Found = {}
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
        found[f"largest_difference_of_{what}"] = float(far.max())
    return {"agrees": all(far < 1e-3 for far in found.values()), **found}


def encoders_agree(folder: str, device: str) -> Found:
    """Whether embeddings, and losses of trained poolings, are the same on the CPU and the device."""
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
    agrees = far < 1e-4 and apart < NEAR
    return {"agrees": agrees, "largest_difference_of_embeddings": far, "largest_difference_of_pooling_losses": apart}


def losses_agree(corpus, preset: str, device: str, objective: str) -> Found:
    """Whether losses and gradient norm of one float32 batch are the same on the CPU and the device."""
    config = load_config(preset, {"objective": objective, "corpus": str(corpus.path), "precision": "fp32"})
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
    return {"agrees": worst < 1e-3, "largest_difference": worst}


def short_run(corpus, preset: str, device: str, out: str, how: str, steps: int) -> float:
    """Held-out MLM loss of some hybrid steps: uncompiled, compiled, or uncompiled with a stop after a third of them."""
    flags = {
        "objective": "hybrid",
        "corpus": str(corpus.path),
        "device": device,
        "out": out,
        "budget": f"{steps}-steps",
    }
    flags |= {"compile": "yes" if how == "compiled" else "no", "precision": "bf16"}
    config = load_config(preset, flags | {"log_every": max(1, steps // 3)})

    def stop(record: dict) -> None:
        if record.get("step") == steps // 3:
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
    print(f"hybrid, {steps} steps, {how}: held-out MLM loss {final['held_out_mlm']:.4f}", *warnings)
    if wrong := next((text for text in warnings if "uncompiled" in text or "CUDA graphs" in text), None):
        raise RuntimeError(wrong)
    return final["held_out_mlm"]


if __name__ == "__main__":
    main()
