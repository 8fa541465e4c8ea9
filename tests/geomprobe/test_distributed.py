"""Several processes measure what one measures: the command under torchrun, merged states, exchanged row blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import geomprobe as gp
import geomprobe.metrics.embeddings as embeddings
from geomprobe.cli.main import app
from geomprobe.common import GeomprobeError, UsageError
from geomprobe.distributed import Processes, helped, join, limited_threads, uniformity
from geomprobe.metrics import REGISTRY, embeddings_of
from geomprobe.results import read_results
from geomprobe.vectors.moments import Moments

BIN = Path(sys.executable).parent


def torchrun(folder, *command, processes=2, check=True):
    """Run a command in several processes on the CPU, with a store of their own."""
    options = ["--no-python", "--standalone", f"--nproc-per-node={processes}"]
    cache = {"GEOMPROBE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        list(map(str, [BIN / "torchrun", *options, *command])),
        cwd=folder,
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def same_numbers(one, many, keys):
    both = one.merge(many, on=keys, how="outer", suffixes=("_1", "_n"), indicator=True, validate="one_to_one")
    assert (both["_merge"] == "both").all()
    assert (both["status_1"] == both["status_n"]).all()
    for column in ("value", "se"):
        a, b = (both[f"{column}_{side}"].to_numpy(float, na_value=np.nan) for side in "1n")
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)


KEYS = ["model", "task", "layer", "pooling", "view", "metric", "definition", "control"]


def test_the_command_gives_the_same_numbers_on_two_ranks_as_on_one(model_folder, tmp_path, monkeypatch):
    command = f"analyze {model_folder('bert')} --task controlled --limit 80 --pool mean,max,attention --device cpu"
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache-alone"))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, [*command.split(), "--out", "one"]).exit_code == 0
    done = torchrun(tmp_path, BIN / "geomprobe", *command.split(), "--out", "two")
    one, two = (read_results(tmp_path / name) for name in ("one", "two"))
    assert (one.run["processes"], two.run["processes"]) == (1, 2)
    assert done.stdout.count("results:") == 1  # the first rank reports
    assert len(two.results) > 200
    same_numbers(one.results, two.results, KEYS)
    for kind, columns in (("curves", ["x", "y"]), ("examples", ["prediction", "log_loss"])):
        a, b = (getattr(side, kind)[columns].to_numpy(float, na_value=np.nan) for side in (one, two))
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)


@pytest.mark.thorough
def test_two_torchruns_meet_as_two_hosts_do(model_folder, tmp_path):
    """The lines of docs/how-to/several-devices.md for two hosts, on the loopback with a process each."""
    import re
    import shlex
    import socket

    page = (Path(__file__).parents[2] / "docs/how-to/several-devices.md").read_text(encoding="utf-8")
    lines = re.findall(r"^torchrun .*--nnodes 2.*\\\n.*", page, re.MULTILINE)
    assert len(lines) == 2
    words = ["the", "cat", "saw", "a", "bird", "and", "dog", "sat", "on", "big", "mat"]
    drawn = np.random.default_rng(0).choice(words, size=(600, 20))
    (tmp_path / "text.txt").write_text("".join(" ".join(line) + "\n" for line in drawn))
    tiny = "--corpus text.txt --tokenizer train:80 --objective mlm --device cpu --budget 4-steps " + " ".join(
        f"--set {change}"
        for change in (
            "layers=1", "hidden=16", "heads=2", "intermediate=16", "row_length=16", "batch_rows=4", "max_length=16",
            "warmup_steps=1",
        )
    )  # fmt: skip
    alone = {"GEOMPROBE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for line in lines:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        line = (
            line.replace("\\\n", " ")
            .replace("--nproc-per-node 8", "--nproc-per-node 1")
            .replace("HOST:29400", f"127.0.0.1:{port}")
        )
        line = line.replace(
            "MODEL --layer all --pool all", f"{model_folder('bert')} --task controlled:small --limit 30"
        )
        line = line.replace("--preset base --out /shared/run", f"--preset demo {tiny} --out run")
        line = line.replace("geomprobe", str(BIN / "geomprobe")).replace("torchrun", str(BIN / "torchrun"), 1)
        hosts = [
            subprocess.Popen(
                [*shlex.split(line), *(["--out", "analyzed", "--device", "cpu"] if "analyze" in line else [])],
                cwd=tmp_path, env=os.environ | alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        said = [host.communicate() for host in hosts]
        assert [host.returncode for host in hosts] == [0, 0], said
    assert read_results(tmp_path / "analyzed").run["processes"] == 2
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["ranks"], run["finished"]) == (2, True)


def test_jobs_give_the_same_bits_as_one_process(model_folder, tmp_path, monkeypatch):
    """Passes, trained poolings and cells are shared; each process computes with as many threads as the one did."""
    monkeypatch.setattr("loky.cpu_count", lambda: 2)
    found = {}
    with limited_threads(1):
        for jobs in (1, 2):
            monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / f"cache-{jobs}"))
            how = {"limit": 60, "device": "cpu", "jobs": jobs, "similarity": True}
            poolings = ["mean", "max", "attention"]
            found[jobs] = gp.analyze([model_folder("bert")], ["controlled-sentiment"], poolings, **how)
    assert [found[jobs].run["processes"] for jobs in (1, 2)] == [1, 2]
    for kind in ("results", "curves", "examples", "influences", "maps"):
        a, b = (getattr(found[jobs], kind) for jobs in (1, 2))
        assert len(a) > 0
        pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("end", ["killed", "raises"])
def test_a_process_of_jobs_that_ends_is_an_error_and_no_wait(end):
    def work(processes):
        if not processes.first and end == "killed":
            os._exit(9)
        if not processes.first:
            raise ValueError("no such thing")
        processes.exchange(None)

    said = {"killed": "terminated", "raises": "no such thing"}[end]
    with pytest.raises(GeomprobeError, match=f"A process of --jobs ended.*{said}"), helped(2, work) as processes:
        work(processes)


def test_jobs_work_where_the_first_process_works(tmp_path, monkeypatch):
    """Processes that stay from an earlier call have its working directory and environment."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("GEOMPROBE_CACHE", name)
        here = lambda processes: processes.exchange((os.getcwd(), os.environ["GEOMPROBE_CACHE"]))  # noqa: E731
        with helped(2, here) as processes:
            assert here(processes) == [(str(tmp_path / name), name)] * 2


def test_jobs_refuse_what_only_this_process_has(monkeypatch):
    monkeypatch.setattr(type(REGISTRY), "registered", ["my_metric"])
    with pytest.raises(UsageError, match="my_metric is not registered"):
        gp.analyze(["model"], ["controlled"], jobs=2)


def test_jobs_under_torchrun_are_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun started this one"), helped(2, print):
        pass


BROKEN = """
import os, sys
from geomprobe.__main__ import main
import geomprobe.analysis.analyze as analysis
import geomprobe.embedding.embed as embedding
import geomprobe.embedding.tokens as tokens
tokens.BATCH_TOKENS["cpu"] = 256
def broken(*_):
    raise {error}
if os.environ["RANK"] == "1":
    {what} = broken
sys.argv[1:] = ["analyze", {model!r}, "--task=controlled", "--limit=30", "--pool=mean,max", "--out=broken"]
main()
"""


def broken(model, tmp_path, what, error):
    """Run a job whose second rank fails at something."""
    (tmp_path / "job.py").write_text(BROKEN.format(model=str(model), what=what, error=error))
    return torchrun(tmp_path, sys.executable, tmp_path / "job.py", check=False)


@pytest.mark.slow
def test_a_rank_that_ends_ends_the_job(model_folder, tmp_path):
    done = broken(model_folder("bert"), tmp_path, "analysis.measure_cell", "OSError(28, 'No space left on device')")
    assert done.returncode != 0
    assert "error: The disk is full" in done.stderr
    assert "Internal error" not in done.stderr


@pytest.mark.thorough
def test_a_broken_forward_pass_on_one_rank_is_a_failed_cell_for_all(model_folder, tmp_path):
    done = broken(model_folder("bert"), tmp_path, "embedding.pool", "RuntimeError('out of memory')")
    row = read_results(tmp_path / "broken").results.iloc[0]
    assert (row["status"], row["metric"]) == ("failed", "embedding")
    assert "rank 1 of 2: RuntimeError: out of memory" in row["note"]
    assert "exitcode  : 4" in done.stderr


def shares(name, processes):
    """Rows of a cloud, dealt to the processes in unequal parts."""
    Z = clouds()[name]
    ends = np.linspace(0, 1, processes.world + 1) ** 1.5 * len(Z)
    return Z[int(ends[processes.rank]) : int(ends[processes.rank + 1])]


def clouds():
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((700, 24)) * np.arange(1, 25) ** -0.5 + 0.4
    close = 1 + 1e-5 * rng.standard_normal((300, 24))
    zeros = np.vstack([spread[:50], np.zeros((3, 24))])
    return {"spread": spread, "float32": spread.astype(np.float32), "close": close, "zeros": zeros, "few": spread[:2]}


PART = """
import sys
import numpy as np
from geomprobe.vectors.moments import Moments
from geomprobe.distributed import join, uniformity
sys.path.insert(0, {here!r})
from test_distributed import clouds, shares
with join() as processes:
    for name in clouds():
        part = shares(name, processes)
        value = uniformity(part, processes)
        state = processes.reduce(Moments().update(part) if len(part) else Moments(), Moments.merge)
        if processes.first:
            np.save(f"{{name}}.npy", value)
            state.save(f"{{name}}.safetensors")
"""


def test_merged_states_and_exchanged_blocks_give_the_numbers_of_one(tmp_path):
    (tmp_path / "part.py").write_text(PART.format(here=str(Path(__file__).parent)))
    torchrun(tmp_path, sys.executable, tmp_path / "part.py", processes=3)
    for name, Z in clouds().items():
        expected = gp.measure(Z.astype(np.float64), metrics=["uniformity"], intervals=False)["value"][0]
        assert float(np.load(tmp_path / f"{name}.npy")) == pytest.approx(expected, rel=1e-6)
        same_state(Moments.load(tmp_path / f"{name}.safetensors"), Moments().update(Z), name)


def same_state(found, expected, what):
    """Assert that two states say the same, by the numbers made of them."""
    assert (found.n, found.n_directions) == (expected.n, expected.n_directions), what
    keys = ["metric", "definition", "view"]
    a, b = (gp.measure(state, views=["raw", "centred"], intervals=False) for state in (expected, found))
    same_numbers(a, b, keys)


def test_alone_nothing_is_exchanged():
    alone = Processes()
    assert (alone.exchange(1), alone.gather(1), alone.broadcast(1), alone.scatter([1])) == ([1], [1], 1, 1)
    assert alone.reduce(1, max) == 1
    with join() as processes:
        assert processes == alone
    taken = []

    def parts():
        yield from "abc"
        taken.append("end")

    alone.collect(parts(), 3, taken.append)
    assert taken == ["a", "b", "c", "end"]
    assert list(alone.in_turns([1, 2], lambda item: 10 * item, str)) == [(1, "10"), (2, "20")]
    Z = clouds()["spread"]
    assert uniformity(Z, alone) == pytest.approx(gp.measure(Z, metrics=["uniformity"])["value"][0], rel=1e-9)
    with pytest.raises(ValueError, match="NaN"):
        uniformity(np.full((3, 2), np.nan), alone)
    with pytest.raises(ValueError, match="pairs need two"):
        uniformity(np.zeros((3, 2)), alone)


# With `sampled`, pairs and neighbours are sampled past 100 rows rather than 20,000.
MEASURE = """
import sys
import geomprobe.metrics.embeddings as cloud
from geomprobe.__main__ import main
if {sampled}:
    cloud.EXACT_ROWS, cloud.SAMPLED_PAIRS = 100, 5000
main()
"""
EXACT = ["--view", "raw,centred,standardised,all-but-top-k,whitened"]
SAMPLED = ["--no-intervals"]


@pytest.mark.thorough
@pytest.mark.parametrize("options", [EXACT, SAMPLED])
def test_measure_gives_the_same_numbers_on_two_ranks_as_on_one(tmp_path, options, monkeypatch):
    Z = np.vstack([clouds()["spread"], np.zeros((1, 24))])
    np.save(tmp_path / "a.npy", Z[:150])
    np.save(tmp_path / "b.npy", Z[150:])
    (tmp_path / "job.py").write_text(MEASURE.format(sampled=options == SAMPLED))
    command = ["measure", "a.npy", "b.npy", *options, "--save-moments", "two.safetensors", "--out", "two.csv"]
    done = torchrun(tmp_path, sys.executable, tmp_path / "job.py", *command)
    if options == SAMPLED:
        monkeypatch.setattr(embeddings, "EXACT_ROWS", 100)
        monkeypatch.setattr(embeddings, "SAMPLED_PAIRS", 5000)
    views = options[1].split(",") if options == EXACT else None
    one, two = gp.measure(Z, views=views, intervals=options == EXACT), pd.read_csv(tmp_path / "two.csv")
    assert len(two) > 20
    assert done.stdout.count("effective_rank") == one["metric"].eq("effective_rank").sum()  # the first rank reports
    same_numbers(one, two, ["metric", "definition", "view"])
    assert list(two["n"]) == list(one["n"])
    assert two["note"].str.contains("sampled pairs", na=False).any() == (options == SAMPLED)
    same_state(Moments.load(tmp_path / "two.safetensors"), Moments().update(Z), options)


@pytest.mark.thorough
def test_a_row_that_is_not_finite_is_named_by_all_ranks(tmp_path):
    Z = clouds()["spread"].copy()
    Z[650, 3] = np.inf  # in the share of the second rank
    np.save(tmp_path / "bad.npy", Z)
    done = torchrun(tmp_path, BIN / "geomprobe", "measure", "bad.npy", check=False)
    assert "bad.npy: 1 row holds NaN or infinity: 650" in done.stderr
    assert "rank 1 of 2: NonFiniteError: 1 row holds NaN or infinity: 650" in done.stderr
    assert "Internal error" not in done.stderr


def test_rows_fewer_than_processes_are_refused():
    with pytest.raises(ValueError, match="2 rows cannot be shared by 3 processes"):
        embeddings_of(np.eye(2), processes=Processes(0, 3))
