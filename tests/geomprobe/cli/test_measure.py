"""`geomprobe measure` on files."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from geomprobe.api import measure as measure_array
from geomprobe.cli.errors import guard
from geomprobe.cli.measure import measure
from geomprobe.vectors.moments import Moments


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command()(guard(measure))
    return app


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_shards_and_json(app, x, tmp_path):
    np.save(tmp_path / "a.npy", x[:80])
    np.save(tmp_path / "b.npy", x[80:])
    wanted = ["--metric", "effective_rank,uniformity", "--view", "raw", "--json"]
    result = run(app, tmp_path / "a.npy", tmp_path / "b.npy", *wanted)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["n"], document["d"]) == (200, 8)
    expected = measure_array(x, metrics=["effective_rank", "uniformity"], views=["raw"])
    assert [row["value"] for row in document["results"]] == pytest.approx(list(expected["value"]), rel=1e-6)
    assert document["results"][0]["se"] > 0
    assert set(document["definitions"]) == {"effective_rank", "uniformity"}


def test_table_file_and_moments(app, x, tmp_path):
    np.save(tmp_path / "a.npy", x)
    options = ["--no-intervals", "--out", tmp_path / "m.csv", "--save-moments", tmp_path / "m.safetensors"]
    result = run(app, tmp_path / "a.npy", *options)
    assert result.exit_code == 0, result.output
    assert "effective_rank" in result.stdout
    assert "200 rows of 8 numbers" in result.stderr
    assert "uniformity" in set(pd.read_csv(tmp_path / "m.csv")["metric"])
    assert Moments.load(tmp_path / "m.safetensors").n == 200


def test_errors_are_short(app, x, tmp_path):
    bad = x.copy()
    bad[7, 1] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "bits.npy", x > 0)
    for path, code, message in (
        (tmp_path / "bad.npy", 3, "NaN or infinity: 7"),
        (tmp_path / "bits.npy", 3, "real numbers, not bool"),
        (tmp_path / "missing.npy", 3, "not a file"),
        (tmp_path / "a.txt", 3, "not a file"),
    ):
        result = run(app, path)
        assert result.exit_code == code
        assert message in result.stderr
        assert "Traceback" not in result.output
    assert run(app, tmp_path / "one.npy", "--metric", "efective_rank").exit_code in (2, 3)
    assert run(app, tmp_path / "one.npy", "--seed", "-1").exit_code == 2


def test_repeated_rows_are_reported(app, x, tmp_path):
    np.save(tmp_path / "twice.npy", np.vstack([x, x]))
    result = run(app, tmp_path / "twice.npy", "--metric", "effective_rank,intrinsic_dimension", "--view", "raw")
    assert "50.00% of the rows repeat" in result.stderr
    assert "200 duplicated rows dropped" in result.stdout


def test_what_was_read_is_said_on_the_terminal_and_in_json(app, x, tmp_path):
    frame = pd.DataFrame(x).assign(text="a")
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.save(tmp_path / "a.npy", x)
    wanted = ["--metric", "effective_rank,participation_ratio", "--view", "raw"]
    told = run(app, tmp_path / "a.csv", *wanted)
    assert "0, 1, 2, 3, 4, 5, 6, 7" in told.stderr
    assert "left out: text (text)" in told.stderr
    document, plain = (json.loads(run(app, tmp_path / name, *wanted, "--json").stdout) for name in ("a.csv", "a.npy"))
    for row, expected in zip(document["results"], plain["results"], strict=True):
        assert row["n"] == 200
        assert row["value"] == pytest.approx(expected["value"], rel=1e-6)
    (source,) = document["source"]
    assert source["file"] == str(tmp_path / "a.csv")
    assert (source["rows"], source["columns"]["count"]) == (200, 8)
    assert source["left_out"] == {"count": 1, "columns": [{"name": "text", "why": "text"}]}


def test_two_readings_are_refused_and_options_choose(app, tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).integers(-99, 99, size=(50, 6)))
    table.to_csv(tmp_path / "a.csv", index=False)
    refused = run(app, tmp_path / "a.csv")
    assert refused.exit_code == 3
    assert "--no-header" in refused.stderr
    for option, n in (("--header", 50), ("--no-header", 51)):
        result = run(app, tmp_path / "a.csv", option, "--metric", "effective_rank", "--no-intervals", "--json")
        assert json.loads(result.stdout)["n"] == n
    np.save(tmp_path / "a.npy", table.to_numpy(np.int8))
    assert "packed bits" in run(app, tmp_path / "a.npy", "--no-intervals").stderr.lower()
    assert run(app, tmp_path / "a.npy", "--header").exit_code == 2


def test_what_would_be_written_is_checked_before_anything_is_read(app, x, tmp_path):
    vectors, table = tmp_path / "a.npy", tmp_path / "a.csv"
    np.save(vectors, x)
    pd.DataFrame(x).to_csv(table, index=False)
    (tmp_path / "link.csv").symlink_to(table)
    (tmp_path / "hard.csv").hardlink_to(table)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "old.csv").write_text("mine")
    before = {path: path.read_bytes() for path in (vectors, table)}
    wanted = ["--metric", "effective_rank", "--view", "raw", "--no-intervals"]
    for source, option, name in (
        (vectors, "--out", "a.npy"),
        (vectors, "--out", "b.npy"),
        (vectors, "--out", "b.json"),
        (table, "--out", "a.csv"),
        (table, "--out", "../" + tmp_path.name + "/a.csv"),
        (table, "--out", "link.csv"),
        (table, "--out", "hard.csv"),
        (vectors, "--out", "pipe.csv"),
        (vectors, "--out", ""),
        (vectors, "--out", "a.npy/b.csv"),
        (vectors, "--save-moments", "a.npy"),
        (vectors, "--save-moments", "m.npz"),
    ):
        result = run(app, source, option, tmp_path / name, *wanted)
        assert result.exit_code == 2, (option, name, result.output)
        assert result.stdout == ""
        assert option in result.stderr
        assert "rows of" not in result.stderr
        assert {path: path.read_bytes() for path in before} == before
    same = run(app, vectors, "--out", tmp_path / "m", "--save-moments", tmp_path / "m", *wanted)
    assert same.exit_code == 2
    (tmp_path / "to_old.csv").symlink_to(tmp_path / "old.csv")
    long = tmp_path / f"{'x' * 250}.csv"
    for path in (tmp_path / "to_old.csv", long):
        assert run(app, vectors, "--out", path, *wanted).exit_code == 0
        assert pd.read_csv(path)["metric"].tolist() == ["effective_rank"]
    assert (tmp_path / "to_old.csv").is_symlink()
    assert not list(tmp_path.glob(".*"))


def test_names_are_checked_before_anything_is_read(app, tmp_path):
    for option, name, said in (
        ("--metric", "effective_rnk", "Did you mean 'effective_rank'"),
        ("--metric", "effective_rank:nosuch", "definition"),
        ("--metric", "", "empty"),
        ("--view", "rw", "Did you mean 'raw'"),
        ("--view", ",", "empty"),
    ):
        result = run(app, tmp_path / "missing.npy", option, name)
        assert result.exit_code == 2, (option, name, result.output)
        assert said in result.stderr


def test_rows_that_are_not_finite_are_named_in_their_own_file(app, x, tmp_path):
    bad = x.copy()
    bad[[7, 9]] = np.inf
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", bad)
    result = run(app, *(tmp_path / f"{name}.npy" for name in "aba"))
    assert result.exit_code == 3
    assert f"{tmp_path / 'b.npy'}: 2 rows hold NaN or infinity: 7, 9" in result.stderr


@pytest.mark.filterwarnings("error")
def test_two_rows_give_no_warning_of_numpy(app, x, tmp_path):
    np.save(tmp_path / "a.npy", x[:2, :6])
    result = run(app, tmp_path / "a.npy", "--json")
    assert result.exit_code == 0, result.output
    assert {row["n"] for row in json.loads(result.stdout)["results"]} == {2}


def test_one_row_is_too_few_and_no_failure(app, x, tmp_path):
    np.save(tmp_path / "one.npy", x[:1])
    result = run(app, tmp_path / "one.npy", "--metric", "effective_rank,uniformity", "--view", "raw", "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["results"]
    assert [(row["metric"], row["status"], row["note"]) for row in rows] == [
        (name, "too few rows", "1 row; at least 2 are needed") for name in ("effective_rank", "uniformity")
    ]
    assert run(app, tmp_path / "one.npy").exit_code == 0
    moments = run(app, tmp_path / "one.npy", "--save-moments", tmp_path / "m.safetensors")
    assert moments.exit_code == 3
    assert not (tmp_path / "m.safetensors").exists()
