"""Does the pretrainer do on a GPU what it does on a CPU? Losses, gradients and short runs, compared.

python tests/benchmarks/check_cuda.py CORPUS [DEVICE]
"""

import os
import signal
import sys
import tempfile
from dataclasses import replace

import numpy as np
import torch

from pretrain import trainer
from pretrain.budget import read_run
from pretrain.config import load_config
from pretrain.corpus import open_corpus


def main() -> None:
    corpus, device = open_corpus(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cuda"
    bad = [objective for objective in ("mlm", "jepa", "hybrid") if not losses_agree(corpus, device, objective)]
    with tempfile.TemporaryDirectory() as folder:
        eager, compiled, stopped = (
            short_run(corpus, device, f"{folder}/{name}", name) for name in ("eager", "compiled", "stopped")
        )
    # On a GPU sums come in any order, and bf16 has three digits: near, not equal.
    bad += [name for name, loss in (("compiled", compiled), ("stopped", stopped)) if not abs(loss / eager - 1) <= 0.02]
    print("differ: " + ", ".join(bad) if bad else "all agree")
    sys.exit(bool(bad))


def losses_agree(corpus, device: str, objective: str) -> bool:
    """Return whether losses and gradient norm of one float32 batch are the same on the CPU and the device."""
    config = load_config("demo", {"objective": objective, "corpus": str(corpus.path), "precision": "fp32"})
    results = []
    for name in ("cpu", device):
        made = trainer.build_objective(replace(config, device=name), corpus).to(name)
        losses = made(trainer.Rows(config, corpus).batch(0, 0, device=name))
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
            trainer.train(config, progress=stop)
        except KeyboardInterrupt as error:
            print(error)
    final = read_run(trainer.train(config, resume=how == "stopped", progress=listen))["final"]
    print(f"hybrid, 60 steps, {how}: held-out MLM loss {final['held_out_mlm']:.4f}", *warnings)
    if any("uncompiled" in text for text in warnings):
        sys.exit("The compiler did not work.")
    return final["held_out_mlm"]


if __name__ == "__main__":
    main()
