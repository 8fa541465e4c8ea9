"""How long people wait for what should be quick: `python tests/benchmarks/bench_commands.py`.

Prints a table in Markdown: the help of the command line, the answer where no hub can be reached, and the largest report
that is foreseen (two models, five tasks, four poolings, seven layers; HTML, PDF and JSON). Wall clock and CPU seconds,
imports included, are those of a process of its own; the smallest of three.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
GEOMPROBE = str(Path(sys.executable).with_name("geomprobe"))
REPORT = (
    "import sys; from reports import write_report;"
    "write_report(sys.argv[1], *(sys.argv[1] + '/report.' + s for s in ('html', 'pdf', 'json')))"
)


def timed(command: list[str], repeat: int = 3, **environment: str) -> tuple[float, float]:
    """Return the least wall clock and CPU seconds of a command."""
    found = []
    for _ in range(repeat):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - started, cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def largest_results(folder: Path) -> Path:
    """Write the made-up results of the tests of reports in their largest form."""
    from geomprobe.results import write_results

    spec = importlib.util.spec_from_file_location("synthetic", ROOT / "tests" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    return write_results(folder, synthetic.make_results(intervals=True, failed=True, layers=tuple(range(7))))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = largest_results(Path(folder) / "results")
        no_hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "GEOMPROBE_CACHE": folder}
        model = [GEOMPROBE, "analyze", "nobody/no-such-model", "--task", "controlled", "--out", f"{folder}/out"]
        cases = {
            "geomprobe --help": (timed([GEOMPROBE, "--help"]), 0.5, "wall"),
            "geomprobe analyze of a hub id, no hub": (timed(model, **no_hub), 15, "wall"),
            "largest report: HTML, PDF, JSON": (timed([sys.executable, "-c", REPORT, str(results)]), 20, "CPU"),
        }
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| what | wall, s | CPU, s | target | met |\n|---|---|---|---|---|")
    for name, ((wall, cpu), most, of) in cases.items():
        met = "yes" if {"wall": wall, "CPU": cpu}[of] <= most else "no"
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {of} <= {most:g} s | {met} |")


if __name__ == "__main__":
    main()
