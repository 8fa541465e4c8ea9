"""The demo: its steps, its trainings side by side, and what it compares them with; at a size of seconds."""

import json

import pytest
from typer.testing import CliRunner

from geomprobe.cli import demo
from geomprobe.cli.main import app
from geomprobe.cli.output import Output

PRESET = """
corpus = "{corpus}"
tokenizer = "train:100"
layers = 1
hidden = 8
heads = 2
intermediate = 8
predictor_layers = 1
predictor_hidden = 8
predictor_heads = 2
target_layers = 1
row_length = 16
batch_rows = 2
budget = "3-steps"
device = "cpu"
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the demo asks `compare` for; its preset is a tiny one."""
    lines = (f"The {a} of the {b} saw " + "a cat or " * 9 + f"an {c}." for a in "abcd" for b in "efgh" for c in "ijkl")
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "tiny.toml").write_text(PRESET.format(corpus=tmp_path / "texts.txt"))
    monkeypatch.setattr(demo, "PRESET", str(tmp_path / "tiny.toml"))
    monkeypatch.setattr(demo, "SETTINGS", {"log_every": "1"})
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(demo.compare, "compare_models", lambda *given: asked.append(given))
    return asked


def test_the_demo_trains_both_and_compares_them_with_encoders_that_learned_nothing(asked, tmp_path, monkeypatch):
    done = CliRunner().invoke(app, ["demo", "--out", "d", "--seed", "3"])
    assert done.exit_code == 0, done.output
    said = [line.partition(" ")[0] for line in done.stderr.splitlines() if " of 3: " in line or line[:5] == "took "]
    assert said == ["step", "step", "step", "took"]
    ((_, models, groups, options),) = asked
    assert (models, groups) == (["d/mlm", "d/hybrid"], {})
    assert options.baselines == ["random-init", "bow"]
    runs = [json.loads((tmp_path / model / "run.json").read_text()) for model in models]
    assert [(run["config"]["objective"], run["seed"], run["finished"]) for run in runs] == [
        ("mlm", 3, True),
        ("hybrid", 3, True),
    ]
    monkeypatch.setattr(demo, "train", None)  # nothing is left to train
    again = CliRunner().invoke(app, ["demo", "--out", "d", "--seed", "3"])
    assert again.exit_code == 0
    assert "d/mlm is finished and is reused" in again.stderr
    assert f"training mlm and hybrid side by side; about {demo.USUAL['measuring']} s to the end" in again.stderr
    again = CliRunner().invoke(app, ["demo", "--out", "d", "--seed", "4"])
    assert again.exit_code == 2
    assert "trained with seed 3" in again.stderr
    assert len(asked) == 2


def test_a_training_that_fails_stops_the_demo_with_its_words(asked, monkeypatch):
    def run(command, threads, running):
        return (1, "The disk is full.") if command[command.index("--objective") + 1] == "hybrid" else (0, "")

    monkeypatch.setattr(demo, "run_command", run)
    done = CliRunner().invoke(app, ["demo", "--out", "d"])
    assert done.exit_code == 1
    assert done.stderr.endswith("error: training hybrid: The disk is full.\n  Repeat the command to go on.\n")
    assert not asked


def test_each_step_says_how_long_is_left_and_the_end_what_each_took(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(demo.time, "monotonic", lambda: now[0])
    steps = demo.Steps(Output(), {"reading": 10, "training": 60, "measuring": 20})
    for seconds in (20, 120, 30):  # a machine at half the speed
        with steps.next("all of it"):
            now[0] += seconds
    steps.say_times()
    assert capsys.readouterr().err.splitlines() == [
        "step 1 of 3: reading all of it; about 90 s to the end",
        "step 2 of 3: training all of it; about 3 min to the end",
        "step 3 of 3: measuring all of it; about 40 s to the end",
        "took 3 min: reading 20 s, training 2 min, measuring 30 s",
    ]
