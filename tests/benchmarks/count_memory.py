"""Bytes of all tensors that a training step holds at once, counted without computing anything.

    python tests/benchmarks/count_memory.py --preset paper --rows 512 --accumulation 2

runs forward, backward, clipping and the update of the target encoder on tensors without memory (FakeTensorMode of
torch), uncompiled, in bfloat16 by autocast. A compiled step holds less: it keeps fewer intermediate results.
"""

import argparse
import copy
import weakref
from typing import Any

import torch
from random_corpus import random_corpus
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.device import autocast
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.optimizer import make_optimizer

CPU = torch.device("cpu")


class Held(TorchDispatchMode):
    """Counts the bytes of storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out


def peak(preset: str, objective_name: str, rows: int, parts: int) -> int:
    """Return the most bytes of a second step: weights, gradients, optimizer and all that autograd keeps."""
    flags = {"objective": objective_name, "device": "cpu", "precision": "bf16", "compile": "no"}
    flags |= {"batch_rows": rows, "accumulation": parts}
    config = load_config(preset, flags)
    corpus = random_corpus(2_000_000)
    fake, held = FakeTensorMode(), Held()
    built = build_objective(config, corpus)
    with FakeCopyMode(fake):
        objective = copy.deepcopy(built)
    batch = BatchSource(config, corpus).batch(0, 0).map(fake.from_tensor)
    for tensor in (*objective.parameters(), *objective.buffers()):
        held.add(tensor)
    with fake, held:
        optimizer = make_optimizer(config, objective, CPU)
        for step in range(2):
            held.peak = held.now
            optimizer.zero_grad(set_to_none=True)
            for _ in range(parts):
                with autocast(config, CPU):
                    loss = objective(batch)["loss"]
                loss.backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
            if step == 0:  # its moments are held from then on
                optimizer.step()
            objective.update_target(0.99)
    return held.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--accumulation", type=int, default=1)
    args = parser.parse_args()
    for objective in ("mlm", "hybrid"):
        print(f"{objective}: {peak(args.preset, objective, args.rows, args.accumulation) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
