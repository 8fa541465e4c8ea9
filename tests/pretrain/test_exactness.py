"""Killed at any moment, a run ends as if it had never stopped; on two ranks it sees the same data as on one."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geomprobe.common import InputError, UsageError
from geomprobe.pretrain import budget, prepare
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.runlog import EARLIER

RUN = """
import json, sys
from geomprobe.pretrain.config import make_config
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.runlog import EARLIER
train(make_config(json.loads(sys.argv[1])), resume=True)
"""

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")


def states(out):
    return sorted(path.name for path in (Path(out) / "trainer").glob("step-*"))


def kill(config, folder, kills):
    """Return the folder of a run that is never stopped and those of runs that are killed; see kill.py."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("kill.py")),
        json.dumps(asdict(config)),
        str(folder),
        kills,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "whole", [folder / name for name in done.stdout.split()]


def same_weights(a, b):
    names = [file.relative_to(a) for folder in (a, a / "ema") for file in folder.glob("*.safetensors")]
    assert len(names) == 3  # encoder, its MLM head, target encoder
    names += [f"trainer/{states(a)[-1]}/{name}.safetensors" for name in ("model", "optimizer")]
    for name in names:
        x, y = load_file(Path(a) / name), load_file(Path(b) / name)
        assert x.keys() == y.keys()
        assert all(torch.equal(x[key], y[key]) for key in x), name


@pytest.mark.thorough
def test_three_kills(tiny, tmp_path):
    config = tiny(objective="hybrid", budget="60-steps", save_every="3", log_every=1, eval_every=60)
    whole, (killed,) = kill(config, tmp_path, "3")
    same_weights(whole, killed)
    assert not list(killed.rglob("*.tmp"))
    assert len(states(killed)) == 2


@pytest.mark.slow
def test_twenty_kills(tmp_path, corpus):
    settings = {"objective": "hybrid", "corpus": str(corpus.path), "budget": "300-steps", "save_every": "3"}
    settings |= {"row_length": 64, "log_every": 1, "eval_every": 300}
    whole, (killed,) = kill(load_config("demo", settings), tmp_path, "20")
    same_weights(whole, killed)


def test_killed_while_a_state_is_written(tiny, tmp_path):
    """Killed in the middle of every file, before a rename and in an export, a run still ends with the same bits."""
    whole, killed = kill(tiny(objective="hybrid", log_every=4, save_every="3"), tmp_path, "writing")
    assert len(killed) == 9
    for out in killed:
        same_weights(whole, out)
        assert not list(out.rglob("*.tmp"))
        assert states(out) == states(whole)
        a, b = (budget.read_run(folder) for folder in (whole, out))
        assert b["finished"]
        assert b["final"]["held_out_mlm"] == a["final"]["held_out_mlm"]


@pytest.mark.parametrize("keep", [1, 2])
def test_going_back_from_a_damaged_state_keeps_the_new_ones(tiny, keep):
    """The first state that is saved after going back is kept, and the damaged later one is removed."""
    config = tiny(objective="mlm", keep=keep, save_every="4", log_every=1)
    train(tiny(objective="mlm", keep=3, save_every="4"))
    for step in (8, 12):
        (Path(config.out) / f"trainer/step-{step}/model.safetensors").write_bytes(b"")

    def stop(record):
        if record.get("step") == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(config, resume=True, progress=stop)
    assert states(config.out) == ["step-4", "step-7"][-keep:]  # a stop is seen at the end of the next step


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=needs_muon)])
def test_a_student_resumes_bit_for_bit(tiny, tmp_path, optimizer):
    settings = {"objective": "hybrid", "structure": "student", "target_norm": "instance", "ema_half_life": 0.05}
    settings["optimizer"] = optimizer
    whole = train(tiny(**settings, out=str(tmp_path / "whole")))
    config = tiny(**settings, out=str(tmp_path / "stopped"))

    def stop(record):
        if record.get("done") == 6 and "training" in str(record.get("stage")):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(config, progress=stop)
    same_weights(whole, train(config, resume=True))


def test_a_run_of_an_earlier_version_keeps_its_objective(tiny):
    """What a run.json does not name had one value then, and a run that names another is another run."""
    config = tiny(objective="hybrid", **EARLIER)
    run = train(config) / "run.json"
    known = json.loads(run.read_text())
    for key in EARLIER:
        del known["config"][key]
    run.write_text(json.dumps(known))
    assert train(config, resume=True) == run.parent
    with pytest.raises(UsageError, match=r"structure=context, ema_half_life=0\.0"):
        train(tiny(objective="hybrid", **EARLIER | {"structure": "student", "ema_half_life": 0.05}), resume=True)
    with pytest.raises(UsageError, match=r"balance=learned, structure=context, target_layers=1"):
        train(tiny(objective="hybrid"), resume=True)


def test_an_mlm_run_of_an_earlier_version_goes_on(tiny):
    """It never read the settings whose defaults have changed."""
    run = train(tiny(objective="mlm", **EARLIER)) / "run.json"
    known = json.loads(run.read_text())
    for key in EARLIER:
        del known["config"][key]
    run.write_text(json.dumps(known))
    assert train(tiny(objective="mlm"), resume=True) == run.parent


def test_what_an_objective_does_not_read_makes_no_other_run(tiny):
    out = train(tiny(objective="jepa", **EARLIER))
    assert train(tiny(objective="jepa", **EARLIER | {"balance": "fixed"}), resume=True) == out
    with pytest.raises(UsageError, match=r"ema_half_life=0\.0"):
        train(tiny(objective="jepa", **EARLIER | {"ema_half_life": 0.1}), resume=True)


def test_all_states_damaged(tiny):
    config = tiny(objective="mlm")
    out = train(config)
    for folder in (out / "trainer").glob("step-*"):
        (folder / "state.json").write_text("{")
    with pytest.raises(InputError, match="No state"):
        train(config, resume=True)


@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_two_ranks_equal_one(tiny, tmp_path, parts):
    """Two processes with half of each batch give the losses of one with all of it, up to the order of sums."""
    settings = {"objective": "hybrid", "log_every": 1, "budget": "8-steps", "save_every": "8", "eval_every": 8}
    settings |= EARLIER  # its λ moves
    one = train(tiny(**settings, out=str(tmp_path / "one")))
    two = tiny(**settings, out=str(tmp_path / "two"), accumulation=parts)
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, str(script), json.dumps(asdict(two))], env=environment, capture_output=True, text=True
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
from geomprobe.pretrain import loop
from geomprobe.pretrain.config import make_config

config = make_config(json.loads(sys.argv[1]))
if os.environ["RANK"] == "1" and sys.argv[2] == "die":
    learning_rate = loop.learning_rate
    loop.learning_rate = lambda config, step, steps: os._exit(9) if step == 6 else learning_rate(config, step, steps)
try:
    loop.train(config, resume=True)
except GeomprobeError as error:
    print(error, error.hint, file=sys.stderr, flush=True)
    sys.exit(1)
"""


@pytest.mark.thorough
def test_a_rank_that_dies_ends_the_job_and_leaves_a_state_to_go_on_from(tiny, tmp_path):
    settings = {"objective": "mlm", "log_every": 1, "budget": "8-steps", "save_every": "2", "eval_every": 8}
    one = train(tiny(**settings, out=str(tmp_path / "one")))
    two = tiny(**settings, out=str(tmp_path / "two"))
    script = tmp_path / "run.py"
    script.write_text(DYING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(how):
        arguments = [*command, str(script), json.dumps(asdict(two)), how]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True)

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


def test_a_budget_in_minutes_becomes_steps(tiny, corpus, monkeypatch):
    """Whatever the speed: a step of 0.7 s, as on a busy machine, does not fit into 0.6 s."""
    config = tiny(objective="mlm", budget="0.01-minutes")
    assert prepare.time_step(config, BatchSource(config, corpus), torch.device("cpu")) > 0
    with pytest.raises(UsageError, match="less than one step"):
        budget.plan_steps(config, corpus.vocab_size, lambda: 0.7)
    monkeypatch.setattr(prepare, "time_step", lambda *_: 0.11)
    run = budget.read_run(train(config))
    assert run["final"]["step"] == run["steps"] == 6
