"""A recipe is read strictly, trained once, and continued where it stopped."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app
from geomprobe.cli.replicate import objective_of
from geomprobe.common import GeomprobeError, UsageError
from geomprobe.predict_reconstruct.replication import check_arms, read_recipe, train, training_arguments

REPOSITORY = Path(__file__).parents[2]
RECIPE = """
seeds = {seeds}
[settings]
preset = "demo"
tokenizer = "train:256"
hidden = 32
heads = 2
intermediate = 32
predictor_hidden = 16
row_length = 32
batch_rows = 8
budget = "6-steps"
monitor_every = 3
eval_every = 6
compile = "no"
[arms.hybrid]
objective = "hybrid"
balance = "learned"
[arms.mlm]
objective = "mlm"
match_arm = "hybrid"
[arms.fixed]
objective = "hybrid"
balance = "fixed"
jepa_weight_of = "hybrid"
[compare.seeds]
groups = ["mlm", "hybrid"]
task = ["rows.csv"]
limit = 30
[compare.balance]
groups = ["hybrid", "fixed"]
task = ["rows.csv"]
limit = 30
"""


@pytest.mark.parametrize("seeds", [[0], pytest.param([0, 1], marks=pytest.mark.thorough)], ids=["seed", "seeds"])
def test_a_recipe_is_trained_and_compared_once(tmp_path, monkeypatch, seeds):
    import random

    rng = random.Random(0)
    words = ["river", "stone", "garden", "window", "teacher", "letter", "market", "bridge", "winter", "engine"]
    (tmp_path / "text.jsonl").write_text(
        "".join(
            json.dumps({"text": f"{i} " + " ".join(rng.choice(words) for _ in range(60))}) + "\n" for i in range(200)
        )
    )
    rows = "".join(f"{' '.join(rng.choice(words) for _ in range(6))},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "rows.csv").write_text(f"sentence,label\n{rows}")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(seeds=seeds))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # trainings are processes
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    command = ["replicate", "recipe.toml", "--corpus", "text.jsonl", "--out", "out", "--jobs", "2", "--json"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output[-2000:]
    out = tmp_path / "out"
    runs = {(arm, seed): json.loads((out / arm / f"seed-{seed}" / "run.json").read_text())
            for arm in ("hybrid", "mlm", "fixed") for seed in seeds}  # fmt: skip
    for seed in seeds:
        assert runs["mlm", seed]["flops"] == pytest.approx(runs["hybrid", seed]["flops"], rel=0.2)
        assert runs["mlm", seed]["steps"] > runs["hybrid", seed]["steps"]
        weight = runs["hybrid", seed]["final"]["lambda"]
        assert runs["fixed", seed]["config"]["jepa_weight"] == weight
    lines = list(csv.DictReader((out / "training.csv").open()))
    assert {(line["arm"], line["seed"]) for line in lines} == {(arm, str(seed)) for arm, seed in runs}
    assert all(float(line["uniformity_raw"]) <= 0 for line in lines if line["uniformity_raw"])
    summary = (out / "summary.md").read_text()
    assert "## seeds" in summary
    assert "## balance" in summary
    sides = "fixed − hybrid, at the level of objectives"
    assert (sides if len(seeds) > 1 else "fixed/seed-0 − hybrid/seed-0, at the level of checkpoints") in summary
    assert (out / "training.svg").read_text().startswith("<svg ")
    assert json.loads(first.stdout)["comparisons"] == ["out/seeds", "out/balance"]  # one document, not one a part
    assert (out / "seeds" / "report.html").is_file()
    assert json.loads((out / "balance" / "run.json").read_text())["limit"] == 30
    # what comparisons share is measured once
    assert len(list((out / "cells").glob("*/results.parquet"))) == len(runs)

    # what is finished is another training than a changed recipe asks for
    (tmp_path / "changed.toml").write_text(RECIPE.format(seeds=seeds).replace('balance = "learned"\n', ""))
    refused = CliRunner().invoke(app, ["replicate", "changed.toml", *command[2:]])
    assert refused.exit_code == 2
    assert "other settings: balance=learned" in " ".join(refused.output.split())

    # the same command again trains nothing; what is missing is trained alone
    kept, lost = (out / arm / f"seed-{seeds[-1]}" for arm in ("fixed", "mlm"))
    before = (kept / "model-00001-of-00002.safetensors").stat().st_mtime_ns
    shutil.rmtree(lost)
    second = CliRunner().invoke(app, command)
    assert second.exit_code == 0, second.output[-2000:]
    assert f"{len(runs) - 1} of {len(runs)} trainings are finished" in second.stderr
    assert (kept / "model-00001-of-00002.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [", "not TOML"),
        ("arm = 1", "unknown arm"),
        ("seeds = [-1]\n[arms.a]", "whole numbers"),
        ("seeds = [true]\n[arms.a]", "whole numbers"),
        ("seeds = 3\n[arms.a]", "whole numbers"),
        ("seeds = [0]", "no arms"),
        ('[arms."../a"]', "must be a folder name"),
        ('[arms.a]\n[arms.b]\n[compare."a (b)"]\ngroups = ["a", "b"]', "must be a folder name"),
        ('arms = ["a"]', "arms must be a table"),
        ("settings = 1\n[arms.a]", "settings must be a table"),
        ("[arms.a]\n[compare]\nx = 1", "two arms"),
        ("[arms.a]\n[compare.x]\ngroups = [[1], {}]", "two arms"),
        ('[arms.a]\nmatch_arm = "b"\n[arms.b]', "which must come before"),
        ('[arms.a]\n[arms.b]\n[compare.x]\ngroups = ["a", "c"]', "two arms"),
        ('[arms.a]\n[arms.b]\n[compare.a]\ngroups = ["a", "b"]', "names two things"),
        ('[arms.a]\n[arms.b]\n[compare.x]\ngroups = ["a", "b"]\nlimit = 1', "limit is a number of rows"),
        ('[arms.a]\n[arms.b]\n[audit.x]\ngroups = ["a", "b"]\nlimit = true', "limit is a number of rows"),
    ],
)
def test_a_recipe_that_cannot_be_followed(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(GeomprobeError, match=message):
        read_recipe(path)


def test_the_documented_recipe_can_be_read(tmp_path):
    plan = read_recipe(REPOSITORY / "docs" / "replication.toml")
    assert len(plan.seeds) >= 3
    command = training_arguments(plan, tmp_path, "hybrid-padded", 2)
    assert command[command.index("--preset") + 1] == "demo"
    assert "rows=padded" in command
    assert "--resume" not in command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[arms.a]\n[arms.b]\nobjektive = "mlm"', "arm b: Unknown setting 'objektive'"),
        ('[settings]\nbudget = "1e30-steps"\n[arms.a]', "arm a: The budget 1e30-steps is over"),
        ("[settings]\npreset = 5\n[arms.a]", "arm a: Unknown preset '5'"),
        ("[arms.a]\nlr = [1]", "arm a: lr must be float"),
    ],
)
def test_settings_of_every_arm_are_refused_before_any_training(tmp_path, text, message):
    (tmp_path / "recipe.toml").write_text(text)
    plan = read_recipe(tmp_path / "recipe.toml")
    with pytest.raises(UsageError, match=message):
        check_arms(plan, objective_of)


def test_trainings_share_the_cores_that_the_process_may_use(tmp_path, monkeypatch):
    """Not those of the machine: a container or `taskset` may leave fewer."""
    monkeypatch.setattr("loky.cpu_count", lambda: 5)
    (tmp_path / "recipe.toml").write_text(RECIPE.format(seeds=[0, 1]))
    recipe = read_recipe(tmp_path / "recipe.toml")
    say = f"import os; open(f'{tmp_path}/{{os.getpid()}}.said', 'w').write(os.environ['OMP_NUM_THREADS'])"
    train(recipe, [("hybrid", 0), ("hybrid", 1)], tmp_path, program=[sys.executable, "-c", say], jobs=2)
    assert [file.read_text() for file in tmp_path.glob("*.said")] == ["2", "2"]
