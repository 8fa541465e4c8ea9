"""Processes that are killed, asked to end, run beside each other or find no room: the same command then ends well.

Every run has a folder of its own with its output, its cache and its temporary files, and what lies there at the end is
compared with what an undisturbed run left: the same files, and nothing else, with the same numbers.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"]
TINY = (
    "--preset demo --tokenizer train:512 --set hidden=32 --set heads=2 --set intermediate=32 "
    "--set row_length=32 --set batch_rows=8 --set compile=no"
)
SAME = "--task controlled --pool mean --limit 12"
COMMANDS = {
    "analyze": f"analyze ../mlm {SAME} --out out",
    "compare": f"compare ../mlm ../hybrid {SAME} --out out",
    "audit": "audit ../mlm ../hybrid --task controlled --limit 12 --out out",
    "corpus": "corpus build ../text --tokenizer train:512",
    "report": "report out",
    "measure": "measure ../vectors.csv --out out/table.csv --save-moments out/state.safetensors",
}
# Figures take most of the time of a report and are none of what is tested; several chunks are.
FIRST = """
import geomprobe.pretrain.corpus.shards as shards, geomprobe.reports.write as write
from geomprobe.reports.document.walk import walk
shards.CHUNK_TOKENS = 8000
blank = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
write.render_figures = lambda view: {each["id"]: blank for each in walk(view) if each["type"] == "figure"}
"""
KILLS = int(os.environ.get("GEOMPROBE_KILLS", "20"))
CHANGING = ("created", "wall_seconds", "command", "seconds")
"""What differs between two undisturbed runs."""


class Forks:
    """Starts console commands, each in a folder of its own; see forks.py."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, HERE / "forks.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        self.process.stdout.readline()

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, command, place, log, cache=None, first=FIRST, **more):
        """Return the id of a process that runs a command in a folder; `log` is where its streams go."""
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        env = {"GEOMPROBE_CACHE": str(cache or place / "cache"), "TMPDIR": str(place / "tmp")}
        streams = {"stdout": f"{log}.out", "stderr": f"{log}.err"}
        return self.ask(command=command.split(), cwd=str(place), env=env, first=first, **streams, **more)

    def wait(self, pid):
        return self.ask(wait=pid)

    def run(self, command, place, log, **more):
        return self.wait(self.start(command, place, log, **more))


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """Two tiny checkpoints, a text and some vectors, and what runs commands on them."""
    folder = tmp_path_factory.mktemp("kills")
    drawn = random.Random(0)
    (folder / "text").mkdir()
    documents = [
        " ".join(
            f"The {drawn.choice(WORDS)} of the {drawn.choice(WORDS)} saw a {drawn.choice(WORDS)}." for _ in range(9)
        )
        for _ in range(1200)
    ]
    (folder / "text" / "a.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    rows = [",".join(str(drawn.gauss(0, 1)) for _ in range(8)) for _ in range(300)]
    (folder / "vectors.csv").write_text("\n".join([",".join("abcdefgh"), *rows]) + "\n")
    made = Forks(folder)
    for kind in ("mlm", "hybrid"):
        train = f"pretrain --objective {kind} --corpus text --out {kind} --budget 3-steps {TINY}"
        assert made.run(train, folder, folder / kind) == 0, Path(f"{folder / kind}.err").read_text()
    yield made
    made.process.stdin.close()
    made.process.wait()


def settled(value):
    """Return a JSON value without what differs between two runs."""
    if isinstance(value, dict):
        return {key: settled(each) for key, each in value.items() if key not in CHANGING}
    return [settled(each) for each in value] if isinstance(value, list) else value


def content(place):
    """Return what lies in a folder: for each path None for a folder, else the bytes or the settled JSON."""
    found = {}
    for path in sorted(place.rglob("*")):
        data = None if path.is_dir() else path.read_bytes()
        if path.suffix == ".json" and data is not None:
            data = settled(json.loads(data))
        if path.name in ("report.html", "report.pdf", "report.json"):  # which say when the results were made
            data = bool(data)
        found[str(path.relative_to(place))] = data
    return found


def differences(place, wanted):
    """Return the paths where a folder is not what is wanted: one missing, one too many, another content."""
    found = content(place)
    both = found.keys() & wanted.keys()
    return sorted(
        [f"missing: {path}" for path in wanted.keys() - found.keys()]
        + [f"left: {path}" for path in found.keys() - wanted.keys()]
        + [f"differs: {path}" for path in both if not same(path, found[path], wanted[path])]
    )


def same(path, found, wanted):
    if found != wanted and path.endswith(".parquet"):
        return pd.read_parquet(io.BytesIO(found)).equals(pd.read_parquet(io.BytesIO(wanted)))  # NaN equals NaN
    return found == wanted


@dataclass
class Reference:
    """An undisturbed run: what it left, how long it took, and its calls that change the disk."""

    left: dict
    seconds: float
    changes: list[str]


@pytest.fixture(scope="module")
def reference(forks):
    """Return a function that gives the reference of a command, made once."""
    made = {}

    def get(name):
        if name not in made:
            place = new_place(forks, name, "reference")
            log = forks.folder / f"{place.name}.changes"
            started = time.monotonic()
            code = forks.run(COMMANDS[name], place, place, changes=str(log))
            assert code == 0, Path(f"{place}.err").read_text()
            seconds = time.monotonic() - started
            left = content(place)
            assert not [path for path in left if path.startswith("tmp/") or ".geomprobe-" in path]
            made[name] = Reference(left, seconds, log.read_text().splitlines())
        return made[name]

    return get


def new_place(forks, name, number):
    """Return a new folder to run a command in; a report has the results of a comparison to start from."""
    place = forks.folder / f"{name}-{number}"
    if name == "report":
        shutil.copytree(forks.folder / "compare-reference" / "out", place / "out")
        for report in (place / "out").glob("report.*"):
            report.unlink()
    (place / "out").mkdir(parents=True, exist_ok=True) if name == "measure" else place.mkdir(exist_ok=True)
    return place


def ended_well(forks, name, place, reference):
    """Assert that the command, run again, ends well and leaves what an undisturbed run leaves."""
    code = forks.run(COMMANDS[name], place, f"{place}-again")
    assert code == 0, Path(f"{place}-again.err").read_text()
    assert differences(place, reference.left) == []


def last_line(path):
    return next(iter(Path(path).read_text().splitlines()[-1:]), "")


@pytest.mark.parametrize("name", ["corpus", "analyze", "compare", "report", "audit"])
def test_a_killed_run_is_made_whole_by_the_same_command(forks, reference, name):
    """Half of the kills come at a random time, half at a random call that changes the disk."""
    if name == "report":
        reference("compare")
    wanted, drawn = reference(name), random.Random(name)
    print(f"{name}: {wanted.seconds:.1f} s, {len(wanted.changes)} changes of the disk")
    for number in range(KILLS):
        place = new_place(forks, name, number)
        if number % 2:
            last = drawn.randint(1, len(wanted.changes))
            log = f"{place}.changes"
            code = forks.run(COMMANDS[name], place, place, changes=log, last=last)
            moment = f"before change {last}, {last_line(log)}"
        else:
            after = drawn.uniform(0, wanted.seconds)
            pid = forks.start(COMMANDS[name], place, place)
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)  # it waits for its parent, so that its number is no other's
            code = forks.wait(pid)
            moment = f"after {after:.1f} s, said {last_line(f'{place}.err')!r}"
        assert code in ((-signal.SIGKILL,) if number % 2 else (-signal.SIGKILL, 0))
        left = sum(".geomprobe-" in path for path in content_names(place))
        print(f"{name} {number}: {'killed' if code else 'had ended'} {moment}; {left} temporary paths")
        ended_well(forks, name, place, wanted)
        shutil.rmtree(place)


def content_names(place):
    return [str(path.relative_to(place)) for path in place.rglob("*")]


ASKED = {signal.SIGINT: (130, "Interrupted."), signal.SIGTERM: (143, "Terminated.")}


@pytest.mark.parametrize("number", ASKED)
@pytest.mark.parametrize("name", ["measure", "analyze", "compare"])
def test_a_run_that_is_asked_to_end_says_so_and_can_be_repeated(forks, reference, name, number):
    wanted, drawn = reference(name), random.Random(f"{name} {number}")
    code_of_it, said = ASKED[number]
    for turn in range(KILLS):
        place = new_place(forks, name, f"{number.name}-{turn}")
        after = drawn.uniform(0, wanted.seconds)
        pid = forks.start(COMMANDS[name], place, place)
        time.sleep(after)
        os.kill(pid, number)
        code, err = forks.wait(pid), Path(f"{place}.err").read_text()
        print(f"{name} {number.name} after {after:.2f} s: {code}, {last_line(f'{place}.err')!r}")
        assert code in (code_of_it, 0), err
        assert "Traceback" not in err
        assert "error" not in err
        assert not code or said in err
        assert [path for path in content_names(place) if ".geomprobe-" in path or path.startswith("tmp/")] == []
        if turn % 4 == 0:
            ended_well(forks, name, place, wanted)
        shutil.rmtree(place)


def handles_signals(pid):
    """Return whether a process has a handler of its own for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> signal.SIGTERM - 1 & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", ASKED)
def test_the_first_half_second_ends_in_a_line_too(forks, number):
    """The console command itself, from the first line of its own code on."""
    drawn, (code_of_it, said) = random.Random(number), ASKED[number]
    for turn in range(KILLS):
        place = new_place(forks, "measure", f"early-{number.name}-{turn}")
        process = subprocess.Popen(
            [Path(sys.executable).parent / "geomprobe", *COMMANDS["measure"].split()],
            cwd=place,
            env={**os.environ, "GEOMPROBE_CACHE": str(place / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not handles_signals(process.pid):
            time.sleep(0.001)
        after = drawn.uniform(0, 0.5)
        time.sleep(after)
        process.send_signal(number)
        _, err = process.communicate()
        print(f"{number.name} {after:.3f} s after its first line: {process.returncode}, {err!r}")
        assert process.returncode == code_of_it, err
        assert err.startswith(said)
        assert len(err.splitlines()) <= 2
        shutil.rmtree(place)


def test_two_runs_with_one_output_and_cache(forks, reference):
    """One ends well; the other does, too, or says that the folder is in use."""
    for name in ("analyze", "compare", "audit", "corpus"):
        wanted = reference(name)
        place = new_place(forks, name, "twice")
        pids = [forks.start(COMMANDS[name], place, f"{place}-{i}") for i in range(2)]
        codes = [forks.wait(pid) for pid in pids]
        print(name, "twice:", codes)
        assert 0 in codes
        for i, code in enumerate(codes):
            assert code in (0, 1)
            assert not code or "is in use" in Path(f"{place}-{i}.err").read_text()
        assert differences(place, wanted.left) == []


def test_runs_that_share_a_cache_and_one_that_is_killed(forks, reference):
    """Five at once with one cache: three analyses, one of them killed, a comparison and another's folder."""
    cache = forks.folder / "shared"
    wanted = {name: reference(name) for name in ("analyze", "compare")}
    places = [new_place(forks, "analyze", f"beside-{i}") for i in range(3)] + [new_place(forks, "compare", "beside")]
    names = ["analyze"] * 3 + ["compare"]
    pids = [forks.start(COMMANDS[name], place, place, cache=cache) for name, place in zip(names, places, strict=True)]
    time.sleep(random.Random(0).uniform(0.5, 1) * wanted["analyze"].seconds)
    os.kill(pids[0], signal.SIGKILL)
    codes = [forks.wait(pid) for pid in pids]
    print("beside each other:", codes)
    assert codes[1:] == [0, 0, 0]
    assert forks.run(COMMANDS["analyze"], places[0], places[0], cache=cache) == 0
    for name, place in zip(names, places, strict=True):
        shutil.copytree(cache, place / "cache")
        assert [d for d in differences(place, wanted[name].left) if not d.startswith("left: cache/")] == []
    assert [path for path in content_names(cache) if ".geomprobe-" in path] == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("full", ["out", "cache"])
@pytest.mark.parametrize("name", ["analyze", "compare", "corpus"])
def test_a_full_disk(forks, reference, name, full):
    """At several sizes; with more room the same command ends well."""
    wanted = reference(name)
    sizes = [len(data) for path, data in wanted.left.items() if path.startswith(f"{full}/") and isinstance(data, bytes)]
    if not sizes:
        pytest.skip(f"{name} writes no {full}")
    pages = sum(-(-size // 4096) for size in sizes)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
        place = new_place(forks, name, f"full-{full}-{share}")
        disk = place / full
        disk.mkdir()
        size = f"size={max(2, int(share * pages)) * 4096}"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here")
        try:
            code, err = forks.run(COMMANDS[name], place, place), Path(f"{place}.err").read_text()
            print(f"{name}, {full} of {size}: {code}, {err.splitlines()[-2:]}")
            assert code in (0, 1)
            assert "Traceback" not in err
            assert "Internal" not in err
            assert not code or "The disk is full" in err or "No space left" in err
            assert not code or not (place / "out" / "run.json").exists()
            assert [path for path in content_names(place) if ".geomprobe-" in path] == []
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            ended_well(forks, name, place, wanted)
        finally:
            subprocess.run(["umount", disk], check=False)
