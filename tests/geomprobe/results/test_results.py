"""The results folder: what is written is read back, what is broken is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from geomprobe.common import InputError
from geomprobe.results import RESULT_COLUMNS, Results, read_results, table, write_results

MODELS = ["a", "runs/b ema", "../up", "n" * 10_000, "\ud800"]


@pytest.fixture
def results():
    rows = [
        {
            "model": "a",
            "task": "t",
            "layer": 2,
            "pooling": "mean",
            "metric": "uniformity",
            "value": -1.5,
            "status": "ok",
        },
        {
            "model": "a",
            "task": "t",
            "layer": 2,
            "pooling": "max",
            "metric": "embedding",
            "status": "failed",
            "note": "x",
        },
    ]
    log = {name: [{"step": 1, "loss": 2.0}] for name in MODELS}
    run = {"models": [{"name": name} for name in MODELS]}
    return Results(table(rows, RESULT_COLUMNS), run=run, training=log)


def test_round_trip(tmp_path, results):
    write_results(tmp_path / "r", results)
    back = read_results(tmp_path / "r")
    pd.testing.assert_frame_equal(back.results, results.results)
    assert back.training == results.training
    assert back.run["models"] == results.run["models"]
    assert {path.parent.name for path in tmp_path.rglob("*.jsonl")} == {"training"}
    assert list(back.results.columns) == list(RESULT_COLUMNS)
    assert pd.isna(back.results["se"]).all()


def test_table_refuses_unknown_columns():
    with pytest.raises(ValueError, match="outside the schema"):
        table([{"value": 1.0, "valeu": 2.0}], RESULT_COLUMNS)


def test_incomplete_and_damaged_folders_are_refused(tmp_path, results):
    folder = write_results(tmp_path / "r", results)
    (folder / "results.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="damaged"):
        read_results(folder)
    (folder / "run.json").unlink()
    with pytest.raises(InputError, match="no finished results"):
        read_results(folder)
    with pytest.raises(InputError, match="not a folder"):
        read_results(tmp_path / "absent")


def test_folder_is_incomplete_until_the_last_file(tmp_path, results, monkeypatch):
    folder = write_results(tmp_path / "r", results)
    monkeypatch.setattr("geomprobe.results.write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_results(folder, results)
    with pytest.raises(InputError, match="no finished results"):
        read_results(folder)


def test_published_folders_may_lack_influences(tmp_path, results):
    folder = write_results(tmp_path / "r", results)
    (folder / "influences.parquet").unlink()
    assert len(read_results(folder).influences) == 0


def test_results_name_themselves_on_one_line(make_results):
    results = make_results(tasks=("sst2", "mr\npc"), poolings=("mean",), spectrum_points=2)
    n, differences = len(results.results), len(results.comparisons)
    assert repr(results) == f"<Results of mlm and hybrid on sst2 and mr pc: {n} numbers, {differences} differences>"
