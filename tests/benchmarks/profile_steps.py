"""Where the time of a training step goes: kernels by time, of `mlm` and `hybrid`; on a CPU operators.

python tests/benchmarks/profile_steps.py --preset paper --rows 512 --device cuda --out profile.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench_pretrain import case_config, own_steps, synchronize, synthetic_corpus
from figures import machine
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from geomprobe.common import write_json
from geomprobe.pretrain.corpus import open_corpus

SHOWN = 25


def profiled(args: argparse.Namespace) -> dict[str, Any]:
    """Time by kernel of some steps of a case, microseconds a step, the longest first."""
    corpus, config = open_corpus(args.corpus), case_config(args)
    device = torch.device(config.device)
    step = own_steps(config, corpus, device)
    for _ in range(args.warmup):
        next(step)
    synchronize(device)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        begun = time.perf_counter()
        for _ in range(args.steps):
            next(step)
        synchronize(device)
        seconds = (time.perf_counter() - begun) / args.steps
    kind, clock = (DeviceType.CUDA, "self_device_time_total") if on_gpu else (DeviceType.CPU, "self_cpu_time_total")
    rows = [
        {"name": event.key, "calls": event.count / args.steps, "us": getattr(event, clock) / args.steps}
        for event in found.key_averages()
        if event.device_type == kind and getattr(event, clock)
    ]
    total = sum(row["us"] for row in rows)
    rows = [row | {"share": row["us"] / total} for row in sorted(rows, key=lambda row: -row["us"])]
    return {"step_s": seconds, "kernels_s": total / 1e6, "calls": sum(row["calls"] for row in rows), "kernels": rows}


def lines_of(case: str, found: dict[str, Any]) -> list[str]:
    """A table of the kernels that take longest."""
    lines = [
        f"{case}: a step takes {found['step_s'] * 1e3:.1f} ms under the profiler, its {found['calls']:,.0f} kernels "
        f"{found['kernels_s'] * 1e3:.1f} ms",
        "  share     ms a step   calls  kernel",
    ]
    rows = found["kernels"]
    for row in rows[:SHOWN]:
        lines.append(f"{row['share']:7.1%}  {row['us'] / 1e3:12.3f}  {row['calls']:6.0f}  {row['name'][:100]}")
    if rest := rows[SHOWN:]:
        us, calls = (sum(row[key] for row in rest) for key in ("us", "calls"))
        share = sum(row["share"] for row in rest)
        lines.append(f"{share:7.1%}  {us / 1e3:12.3f}  {calls:6.0f}  {len(rest)} others")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--cases", nargs="+", default=["mlm-compiled", "hybrid-compiled"])
    parser.add_argument("--rows", type=int, default=0, help="rows in a batch; 0 takes the preset's")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=12, help="steps before the profile")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(args.device), "rows": args.rows, "preset": args.preset, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        args.corpus = synthetic_corpus(Path(folder))
        for case in args.cases:
            args.case = case
            figures["cases"][case] = found = profiled(args)
            print("\n".join(lines_of(case, found)), flush=True)
            if args.out:  # after each case, so that a run cut short leaves what it measured
                write_json(args.out, figures)


if __name__ == "__main__":
    main()
