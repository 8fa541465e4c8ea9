"""Killed at any moment, a run ends as if it had never stopped; on two ranks it sees the same data as on one."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geomprobe.common import InputError
from pretrain import budget
from pretrain.config import as_dict
from pretrain.trainer import train

RUN = """
import json, sys
from pretrain.config import make_config
from pretrain.trainer import train
train(make_config(json.loads(sys.argv[1])), resume=True)
"""


def start(config, **options):
    command = [sys.executable, "-c", RUN, json.dumps(as_dict(config))]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, **options)


def states(out):
    return sorted(path.name for path in (Path(out) / "trainer").glob("step-*"))


def kill_and_resume(config, kills, seed):
    """Run in processes of their own, kill each of the first ``kills`` at a random moment after its first step."""
    random_ = random.Random(seed)
    log = Path(config.out) / "metrics.jsonl"
    for _ in range(kills):
        before = log.stat().st_mtime_ns if log.exists() else 0
        process = start(config)
        while process.poll() is None and (not log.exists() or log.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(random_.uniform(0, 0.6))
        process.kill()
        process.wait()
    assert start(config).wait() == 0


def same_weights(a, b):
    names = ["model.safetensors", "ema/model.safetensors"]
    names += [f"trainer/{states(a)[-1]}/{name}.safetensors" for name in ("model", "optimizer")]
    for name in names:
        x, y = load_file(Path(a) / name), load_file(Path(b) / name)
        assert x.keys() == y.keys()
        assert all(torch.equal(x[key], y[key]) for key in x), name


def test_three_kills(tiny, tmp_path):
    settings = {"objective": "hybrid", "budget": "60-steps", "save_every": "3", "log_every": 1, "eval_every": 60}
    whole = tiny(**settings, out=str(tmp_path / "whole"))
    assert start(whole).wait() == 0
    killed = tiny(**settings, out=str(tmp_path / "killed"))
    kill_and_resume(killed, 3, seed=1)
    same_weights(whole.out, killed.out)
    assert not list(Path(killed.out).rglob("*.tmp"))
    assert len(states(killed.out)) == 2


@pytest.mark.slow
def test_twenty_kills(tmp_path, corpus):
    from pretrain.config import load_config

    settings = {"objective": "hybrid", "corpus": str(corpus.path), "budget": "300-steps", "save_every": "3"}
    settings |= {"row_length": 64, "log_every": 1, "eval_every": 300}
    whole = load_config("demo", settings | {"out": str(tmp_path / "whole")})
    assert start(whole).wait() == 0
    killed = load_config("demo", settings | {"out": str(tmp_path / "killed")})
    kill_and_resume(killed, 20, seed=2)
    same_weights(whole.out, killed.out)


KILLED = """
import json, os, signal, sys
from pretrain import checkpoint, trainer
from pretrain.config import make_config

# Each moment is a function and the call of it, from 0, at which the process dies. Four states are saved.
MOMENTS = {
    "weights-half-written": ("save_file", 4),
    "optimizer-half-written": ("save_file", 5),
    "not-renamed": ("hash_file", 5),
    "before-pruning": ("_states", 2),
    "export": ("export", 1),
    "last-state": ("save_file", 7),
    "last-export": ("export", 3),
    "end-of-the-run": ("finish_run", 0),
}

def die_at(name, calls):
    module = trainer if name == "finish_run" else checkpoint
    function = getattr(module, name)

    def counted(*args, **kwargs):
        nonlocal calls
        if calls == 0:
            if name == "save_file":
                with open(args[1], "wb") as file:
                    file.write(bytes(1000))
            os.kill(os.getpid(), signal.SIGKILL)
        calls -= 1
        return function(*args, **kwargs)

    setattr(module, name, counted)

def run(settings, moment=None):
    child = os.fork()
    if child == 0:
        if moment:
            die_at(*moment)
        trainer.train(make_config(settings), resume=True)
        os._exit(0)
    return os.waitpid(child, 0)[1]

settings = json.loads(sys.argv[1])
assert run(settings | {"out": sys.argv[2] + "/whole"}) == 0
for name, moment in MOMENTS.items():
    mine = settings | {"out": sys.argv[2] + "/" + name}
    assert run(mine, moment) == signal.SIGKILL, name
    assert run(mine) == 0, name
    print(mine["out"])
"""


def test_killed_while_a_state_is_written(tiny, tmp_path):
    """Killed in the middle of every file, before each rename and each export, the run still ends with the same bits."""
    config = tiny(objective="hybrid", log_every=4, save_every="3")
    command = [sys.executable, "-c", KILLED, json.dumps(as_dict(config)), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folders = done.stdout.split()
    assert len(folders) == 8
    whole = tmp_path / "whole"
    for out in folders:
        same_weights(whole, out)
        assert not list(Path(out).rglob("*.tmp"))
        assert states(out) == states(whole)
        a, b = (budget.read_run(folder) for folder in (whole, out))
        assert b["finished"]
        assert b["final"]["held_out_mlm"] == a["final"]["held_out_mlm"]


def test_all_states_damaged(tiny):
    config = tiny(objective="mlm")
    out = train(config)
    for folder in (out / "trainer").glob("step-*"):
        (folder / "state.json").write_text("{")
    with pytest.raises(InputError, match="No state"):
        train(config, resume=True)


@pytest.mark.parametrize("parts", [1, 2])
def test_two_ranks_equal_one(tiny, tmp_path, parts):
    """Two processes with half of each batch give the losses of one with all of it, up to the order of sums."""
    settings = {"objective": "hybrid", "log_every": 1, "budget": "8-steps", "save_every": "8", "eval_every": 8}
    one = train(tiny(**settings, out=str(tmp_path / "one")))
    two = tiny(**settings, out=str(tmp_path / "two"), accumulation=parts)
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(29600 + parts),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, str(script), json.dumps(as_dict(two))], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]

    def losses(out):
        lines = [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]
        return [line[key] for line in lines for key in ("mlm", "jepa", "grad_norm", "lambda")]

    assert losses(two.out) == pytest.approx(losses(one), rel=2e-4)
    assert json.loads((Path(two.out) / "run.json").read_text())["ranks"] == 2


DYING = """
import json, os, sys
from geomprobe.common import GeomprobeError
from pretrain import trainer
from pretrain.config import make_config

config = make_config(json.loads(sys.argv[1]))
if os.environ["RANK"] == "1" and sys.argv[2] == "die":
    learning_rate = trainer.learning_rate
    trainer.learning_rate = lambda config, step, steps: os._exit(9) if step == 6 else learning_rate(config, step, steps)
try:
    trainer.train(config, resume=True)
except GeomprobeError as error:
    print(error, error.hint, file=sys.stderr, flush=True)
    sys.exit(1)
"""


def test_a_rank_that_dies_ends_the_job_and_leaves_a_state_to_go_on_from(tiny, tmp_path):
    settings = {"objective": "mlm", "log_every": 1, "budget": "8-steps", "save_every": "2", "eval_every": 8}
    one = train(tiny(**settings, out=str(tmp_path / "one")))
    two = tiny(**settings, out=str(tmp_path / "two"))
    script = tmp_path / "run.py"
    script.write_text(DYING)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29610"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(how):
        arguments = [*command, str(script), json.dumps(as_dict(two)), how]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)

    died = run("die")
    assert died.returncode != 0
    assert "lost the others" in died.stderr
    assert "--resume" in died.stderr
    assert states(two.out)[-1] == "step-6"
    again = run("go on")
    assert again.returncode == 0, again.stderr[-2000:]
    final = [json.loads((Path(out) / "run.json").read_text())["final"]["held_out_mlm"] for out in (one, two.out)]
    assert final[0] == pytest.approx(final[1], rel=2e-4)


def test_accumulation_changes_nothing(tiny, tmp_path):
    one = train(tiny(objective="mlm", out=str(tmp_path / "one")))
    four = train(tiny(objective="mlm", out=str(tmp_path / "four"), accumulation=4))
    last = [json.loads((out / "run.json").read_text())["final"]["held_out_mlm"] for out in (one, four)]
    assert last[0] == pytest.approx(last[1], rel=1e-4)


@pytest.mark.parametrize("by", ["flops", "tokens", "steps"])
def test_matched_runs(tiny, tmp_path, by):
    first = train(tiny(objective="hybrid", out=str(tmp_path / "hybrid")))
    second = train(tiny(objective="mlm", out=str(tmp_path / "mlm"), match=str(first), match_by=by))
    a, b = budget.read_run(first), budget.read_run(second)
    assert b["match"]["run"] == str(first)
    assert b["match"]["corpus"]
    assert b["match"]["seed"]
    if by == "flops":
        assert b["flops"] == pytest.approx(a["flops"], rel=0.5 / b["steps"])
        assert b["steps"] > a["steps"]
    else:
        assert b[by] == a[by]
        assert b["match"][by] is True
        assert b["match"]["flops"] is False


def test_a_budget_in_minutes_becomes_steps(tiny):
    out = train(tiny(objective="mlm", budget="0.01-minutes"))
    run = budget.read_run(out)
    assert run["final"]["step"] == run["steps"] >= 1
