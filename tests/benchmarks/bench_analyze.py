"""Benchmarks of the geometry engine, each as a ratio within one run: `python tests/benchmarks/bench_analyze.py`.

Every case runs in a process of its own, so that its peak memory is its own. Times are wall clock, with CPU seconds of
the process beside them, which say more on a machine that does other work. Nothing is written but to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

SIZES = {"rows": 20_000, "d": 768, "stream": 1_000_000, "large": 0}


def vectors(n: int, d: int) -> np.ndarray:
    """Return float32 vectors with a falling spectrum and a common mean, shape (n, d)."""
    rng = np.random.default_rng(0)
    out = rng.standard_normal((n, d), np.float32)
    out *= (np.arange(1, d + 1) ** -0.4).astype(np.float32)
    out += 0.3 * rng.standard_normal(d).astype(np.float32)
    return out


def timed(function, repeat: int = 1) -> dict:
    """Return the result, wall and CPU seconds (best of `repeat`), and how far memory rose above the start, in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu, value = np.inf, np.inf, None
    for _ in range(repeat):
        start, spent = time.perf_counter(), time.process_time()
        value = function()
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - spent)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"value": value, "wall": wall, "cpu": cpu, "mb": (after - before) / 1024, "peak_mb": after / 1024}


def unit(x: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(x), dim=1)


def case_uniformity_pdist(a) -> dict:
    x = vectors(a.rows, a.d)
    torch.pdist(unit(x[:100]))
    return timed(lambda: torch.pdist(unit(x)).pow(2).mul(-2).exp().mean().log().item())


def case_uniformity_kernel(a) -> dict:
    from geomprobe.metrics.pairs import kernel_means

    x = vectors(a.rows, a.d)
    kernel_means(unit(x[:100]), 2.0, 2.0)
    return timed(lambda: kernel_means(unit(x), 2.0, 2.0)[0])


def case_uniformity_measure(a) -> dict:
    from geomprobe.metrics import measure

    x = vectors(a.rows, a.d)
    wanted = {"metrics": ["uniformity"], "views": ["raw"], "intervals": False, "exact": True}
    measure(x[:100], **wanted)
    return timed(lambda: float(measure(x, **wanted)["value"].iloc[0]))


def case_rank_svd(a) -> dict:
    x = vectors(a.rows, a.d)

    def rank() -> float:
        p = torch.linalg.svdvals(torch.from_numpy(x - x.mean(0))).double().numpy()
        p /= p.sum()
        return float(np.exp(-(p * np.log(p)).sum()))

    return timed(rank)


def case_rank_numpy(a) -> dict:
    """As embedding-quality computes it: numpy's SVD, with its vectors."""
    x = vectors(a.rows, a.d)

    def rank() -> float:
        p = np.linalg.svd(x - x.mean(0), full_matrices=False)[1].astype(np.float64)
        p /= p.sum()
        return float(np.exp(-(p * np.log(p)).sum()))

    return timed(rank)


def case_rank_measure(a) -> dict:
    from geomprobe.metrics import measure

    x = vectors(a.rows, a.d)
    wanted = {"metrics": ["effective_rank"], "views": ["raw"], "intervals": False}
    measure(x[:1000], **wanted)
    return timed(lambda: float(measure(x, **wanted)["value"].iloc[0]), repeat=3)


def case_moments_and_eigh(a) -> dict:
    from geomprobe.moments import Moments

    x = vectors(a.rows, a.d)
    Moments().update(x[:1000])

    def work() -> None:
        state = Moments().update(x)
        np.linalg.eigh(state.covariance)
        np.linalg.eigh(state.second_moment)

    return timed(work, repeat=3)


def case_state_measure(a) -> dict:
    from geomprobe.metrics import VIEWS, measure
    from geomprobe.moments import Moments

    x = vectors(a.rows, a.d)
    measure(Moments().update(x[:1000]), views=list(VIEWS))
    return timed(lambda: len(measure(Moments().update(x), views=list(VIEWS))), repeat=3)


def case_state_errors(a) -> dict:
    """All metrics of the state with their standard errors, which read the rows again."""
    from geomprobe.metrics import REGISTRY, measure

    x = vectors(a.rows, a.d)
    names = [name for name, metric in REGISTRY.items() if metric.needs == "moments"]
    measure(x[:1000], metrics=names)
    return timed(lambda: int(measure(x, metrics=names)["se"].notna().sum()), repeat=3)


def case_all_values(a) -> dict:
    from geomprobe.metrics import measure

    x = vectors(a.rows, a.d)
    measure(x[:1000], intervals=False)
    return timed(lambda: len(measure(x, intervals=False)))


def case_all_errors(a) -> dict:
    from geomprobe.metrics import measure

    x = vectors(a.rows, a.d)
    measure(x[:1000])
    return timed(lambda: int(measure(x)["se"].notna().sum()))


def case_matmul(a) -> dict:
    """The matrix product that sets the peak: float32, 4,096 × d times d × d, the shape of a block."""
    x, y = torch.randn(4096, a.d), torch.randn(a.d, 4096)
    out = torch.empty(a.d, a.d)
    torch.mm(y, x, out=out)
    found = timed(lambda: [torch.mm(y, x, out=out) for _ in range(20)] and None, repeat=5)
    flops = 20 * 2 * 4096 * a.d**2
    return {**found, "gflops_wall": flops / found["wall"] / 1e9, "gflops_cpu": flops / found["cpu"] / 1e9}


def case_stream(a) -> dict:
    from geomprobe.moments import Moments
    from geomprobe.vectors import open_vectors

    rows = open_vectors([a.file])
    found = timed(lambda: Moments().update(rows).n)
    # two symmetric products, of rows and of directions: N·D(D + 1)/2 multiply-adds each
    flops = 2 * rows.shape[0] * a.d * (a.d + 1)
    return {**found, "gflops_wall": flops / found["wall"] / 1e9, "gflops_cpu": flops / found["cpu"] / 1e9}


def case_large(a) -> dict:
    """float16 rows from disk through the command line, with its progress."""
    start = time.perf_counter()
    with tempfile.NamedTemporaryFile(suffix=".csv") as table:
        command = [sys.executable, "-m", "geomprobe", "measure", a.file, "--out", table.name]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)  # progress goes to stderr
        if done.returncode:
            raise SystemExit(done.returncode)
        found = len(Path(table.name).read_text().splitlines()) - 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, cpu = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return {"value": found, "wall": wall, "cpu": cpu, "peak_mb": used.ru_maxrss / 1024}


def run(case: str, a, file: Path | None = None) -> dict:
    """Run one case in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--rows", str(a.rows), "--d", str(a.d)]
    command += ["--file", str(file)] if file else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{case} failed")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"  {case}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items() if v is not None), file=sys.stderr)
    return found


def write_vectors(path: Path, n: int, d: int, dtype: type) -> None:
    """Write n rows to a .npy file, block by block."""
    out = np.lib.format.open_memmap(path, "w+", dtype, (n, d))
    block = vectors(min(n, 65_536), d)
    rng = np.random.default_rng(1)
    for start in range(0, n, len(block)):
        part = block[: min(len(block), n - start)]
        out[start : start + len(part)] = part * rng.uniform(0.5, 2, (len(part), 1)).astype(np.float32)
    out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--case")
    parser.add_argument("--file")
    a = parser.parse_args()
    if a.case:
        print(json.dumps(globals()[f"case_{a.case}"](a)))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"numpy {np.__version__}, load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
    )
    table = []

    def ratio(what: str, value: float, target: str) -> None:
        table.append(f"| {what} | {value:.3g} | {target} |")

    pdist, kernel, whole = (run(f"uniformity_{name}", a) for name in ("pdist", "kernel", "measure"))
    assert abs(pdist["value"] - whole["value"]) < 1e-5
    ratio("uniformity: torch.pdist / pair sums, wall", pdist["wall"] / kernel["wall"], ">= 3")
    ratio("uniformity: torch.pdist / pair sums, CPU seconds", pdist["cpu"] / kernel["cpu"], ">= 3")
    ratio("uniformity: torch.pdist / measure end to end, CPU seconds", pdist["cpu"] / whole["cpu"], ">= 3")
    ratio("uniformity: memory beyond the input, pair sums / torch.pdist", kernel["mb"] / pdist["mb"], "<= 0.05")
    ratio("uniformity: memory beyond the input, measure / torch.pdist", whole["mb"] / pdist["mb"], "<= 0.05")
    svd, numpy_svd, rank = run("rank_svd", a), run("rank_numpy", a), run("rank_measure", a)
    assert abs(svd["value"] / rank["value"] - 1) < 1e-3
    for name, peer in (("numpy's SVD", numpy_svd), ("torch's singular values alone", svd)):
        ratio(f"effective rank: {name} / measure, wall", peer["wall"] / rank["wall"], ">= 5")
        ratio(f"effective rank: {name} / measure, CPU seconds", peer["cpu"] / rank["cpu"], ">= 5")
    base, state = run("moments_and_eigh", a), run("state_measure", a)
    ratio("measure, state metrics in all views / (moments + 2 eigh), CPU seconds", state["cpu"] / base["cpu"], "<= 3")
    errors = run("state_errors", a)
    ratio("state metrics with standard errors / (moments + 2 eigh), CPU", errors["cpu"] / base["cpu"], "<= 5")
    values, everything = run("all_values", a), run("all_errors", a)
    ratio("measure, all metrics, with / without standard errors, CPU", everything["cpu"] / values["cpu"], "<= 3")
    ratio("measure, all metrics and standard errors / (moments + 2 eigh), CPU", everything["cpu"] / base["cpu"], "<= 5")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npy"
        write_vectors(path, a.stream, a.d, np.float32)
        peak, stream = run("matmul", a), run("stream", a, path)
        ratio(
            f"moments of {a.stream:,} rows from disk / matmul peak, wall",
            stream["gflops_wall"] / peak["gflops_wall"],
            ">= 0.5",
        )
        ratio("the same, CPU seconds", stream["gflops_cpu"] / peak["gflops_cpu"], ">= 0.5")
        ratio("the same: resident MB", stream["peak_mb"], "<= 2000")
        path.unlink()
        if a.large:
            write_vectors(path, a.large, 384, np.float16)
            large = run("large", a, path)
            ratio(f"geomprobe measure, {a.large:,} × 384 float16: resident MB", large["peak_mb"], "<= 3000")
            ratio("the same, seconds", large["wall"], "")
    print("\n".join(["| what | measured | target |", "|---|---|---|", *table]))


if __name__ == "__main__":
    main()
