"""What a grid of probes and geometry costs, as a multiple of the bare forward passes over the same texts, in one run.

    python tests/benchmarks/grid.py MODEL MODEL --data DIR [--task sst2 --task mnli] [--out FOLDER]

Tasks × four poolings × models with all probes, controls and trained poolings at the default caps, no vector cached
before. The passes come first, then the grid, with what probes and the training of poolings take of it. On a CPU the
seconds are those that the process computed on all threads, so that other work on the machine does not count; on a GPU
they are wall time. ``--out`` keeps the results folder.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
from embedding import bare, clock

from geomprobe.analysis import embed, measure
from geomprobe.analysis.analyze import analyze
from geomprobe.analysis.plan import GLUE, prepare
from geomprobe.analysis.protocols import STRICT
from geomprobe.analysis.texts import TaskTexts
from geomprobe.embedding.pooling import POOLINGS
from geomprobe.encoders import Encoder, load_encoder
from geomprobe.tasks import load_task

FOUR = ("mean", "max", "weighted", "attention")
assert set(FOUR) <= set(POOLINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--task", action="append")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    tasks = args.task or list(GLUE)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GEOMPROBE_CACHE"] = cache
        passes: dict[str, float] = {}
        for number, model in enumerate(args.models, 1):
            encoder = load_encoder(model)
            for name in tasks:
                texts = TaskTexts.of(prepare(load_task(name, data_dir=args.data), STRICT, args.limit, 0)).texts
                passes[f"{number} {Path(model).name} {name}"] = round(bare(encoder, texts), 2)
        stages = {
            name: timed(module, name, encoder)
            for module, name in ((measure, "probe_tables"), (embed, "train_poolings"))
        }
        begun = clock(encoder)
        analyze(args.models, tasks, FOUR, [-1], data_dir=args.data, limit=args.limit, out=args.out)
        grid = clock(encoder) - begun
    total = sum(passes.values())
    cells = len(args.models) * len(tasks) * len(FOUR)
    found = {"passes_s": passes, "all_passes_s": round(total, 1), "grid_s": round(grid, 1), "cells": cells}
    print(json.dumps(found | {f"{name}_s": round(sum(spent), 1) for name, spent in stages.items()}, indent=1))
    for model, spent in zip(args.models, np.array_split(stages["probe_tables"], len(args.models)), strict=True):
        for task, some in zip(tasks, np.array_split(spent, len(tasks)), strict=True):
            ratio = np.mean(some) / next(s for name, s in passes.items() if name.endswith(f"{Path(model).name} {task}"))
            print(f"probes of a cell / forward passes, {Path(model).name}, {task}: {ratio:.2f}")
    print(f"grid / forward passes: {grid / total:.2f}")


def timed(module: ModuleType, name: str, encoder: Encoder) -> list[float]:
    """The seconds of each call of a module's function from now on."""
    function, spent = getattr(module, name), []

    def call(*given: object, **named: object) -> object:
        begun = clock(encoder)
        try:
            return function(*given, **named)
        finally:
            spent.append(clock(encoder) - begun)

    setattr(module, name, call)
    return spent


if __name__ == "__main__":
    main()
