"""Moments as the reducer of Dask: the program of docs/how-to/clusters.md on local clusters of processes."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import geomprobe as gp

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "clusters.md"
KILL = """
import os, signal, threading, time
def kill():
    begun = time.time()
    while not any(Path(BUSY).iterdir()):
        assert time.time() - begun < 60
        time.sleep(0.02)
    victim = int(next(Path(BUSY).iterdir()).name)
    os.kill(victim, signal.SIGKILL)
    print("killed", flush=True)
threading.Thread(target=kill).start()
"""


def program(files, workers: int, out: Path, busy: Path | None = None) -> str:
    """The page's program on a cluster of so many workers; with `busy` one of them is killed while it works."""
    (code,) = re.findall("```python\n(import dask.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace(
        "Client(SCHEDULER)", f"Client(n_workers={workers}, threads_per_worker=1, dashboard_address=None)"
    )
    code = code.replace("FILES", repr(list(map(str, files))))
    code += f"    state.save({str(out)!r})\n    client.close()\n"
    if busy is not None:
        wait = (
            f"    import os, time\n    open({str(busy)!r} + '/' + str(os.getpid()), 'w').close()\n    time.sleep(0.3)\n"
        )
        code = code.replace("def moments(file):\n", "def moments(file):\n" + wait)
        killer = "".join(f"    {line}\n" for line in KILL.replace("BUSY", repr(str(busy))).strip().splitlines())
        code = code.replace("    parts =", f"    from pathlib import Path\n{killer}    parts =")
    return code


def run(code: str, tmp_path: Path) -> str:
    script = tmp_path / "program.py"
    script.write_text(code, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def differences(a: gp.Moments, b: gp.Moments) -> dict[str, float]:
    """The largest difference of each part, relative to its largest entry."""
    parts = ("mean", "scatter", "cubic", "quartic", "sphere_mean", "sphere_scatter", "norm_sum", "norm_scatter")
    found = {}
    for name in parts:
        left, right = (np.asarray(getattr(state, name)) for state in (a, b))
        found[name] = float(np.abs(left - right).max() / np.abs(right).max())
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    for i in range(12):
        np.save(folder / f"part-{i:02}.npy", rng.normal(3, 2, size=(500 + 37 * i, 24)).astype(np.float32))
    return sorted(folder.glob("*.npy"))


@pytest.mark.slow
def test_one_worker_four_workers_and_a_killed_one_give_the_same(files, tmp_path):
    pytest.importorskip("distributed", reason="Dask is not installed")
    whole = gp.Moments("float64").update(np.concatenate([np.load(file) for file in files]))
    states = {}
    for name, workers in (("one", 1), ("four", 4), ("killed", 4)):
        busy = None
        if name == "killed":
            (busy := tmp_path / "busy").mkdir()
        printed = run(program(files, workers, tmp_path / f"{name}.safetensors", busy), tmp_path)
        assert ("killed" in printed) == (name == "killed")
        states[name] = gp.Moments.load(tmp_path / f"{name}.safetensors")
        assert (states[name].n, states[name].d) == (whole.n, whole.d)
        found = differences(states[name], whole)
        print(name, f"{states[name].n} rows, largest difference {max(found.values()):.1e}")
        assert max(found.values()) < 1e-10
    assert max(differences(states["one"], states["four"]).values()) < 1e-10


def test_a_state_travels_between_processes(files):
    """What every engine needs of the reducer: it is pickled, and merged in any grouping."""
    parts = [pickle.loads(pickle.dumps(gp.Moments("float64").update(np.load(file)))) for file in files]
    left, right = parts[0], parts[-1]
    for i in range(1, len(parts)):
        left, right = gp.Moments.merge(left, parts[i]), gp.Moments.merge(parts[-1 - i], right)
    assert max(differences(left, right).values()) < 1e-10
    assert gp.measure(left)["status"].isin(["ok", "needs rows", "not applicable"]).all()
