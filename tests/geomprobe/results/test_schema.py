"""The contract of the results folder: what the types say is refused with file and field, on both ways."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from geomprobe.common import InputError
from geomprobe.results import (
    RESULT_COLUMNS,
    SIMILARITY_COLUMNS,
    STATUSES,
    Results,
    check_run,
    count_failures,
    read_results,
    table,
    write_results,
)

GALLERY = Path(__file__).parents[3] / "docs" / "gallery"
RUN = {
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {"python": "3.11"},
    "hardware": {"cores": 2},
    "limit": None,
    "models": [{"name": "a", "n_layers": 2, "notes": [], "training": {"flops": 1.5e9, "tokens": 3, "seed": None}}],
    "baselines": {},
    "tasks": [{"name": "t", "rows": 3, "truncated": {"a": 0}, "notes": ["x"]}],
    "poolings": [{"name": "mean", "trained": None, "note": "", "untrained_on": {}}],
    "layers": "all",
    "compared": None,
    "groups": None,
    "similarity": [
        {"metric": "m", "task": "t", "pooling": "mean", "a": "a", "b": "a", "values": [[1, None]], "layers_a": [0]}
    ],
    "failed_cells": 0,
    "wall_seconds": 1,
    "of a later version": {"anything": [1]},
}
WRONG = [
    (("failed_cells",), [], "failed_cells must be a whole number, not a list"),
    (("failed_cells",), True, "failed_cells must be a whole number, not True"),
    (("failed_cells",), 1.5, "failed_cells must be a whole number, not 1.5"),
    (("models",), {"a": 1}, "models must be a list, not an object"),
    (("models", 0), "a", "models[0] must be an object, not 'a'"),
    (("models", 0, "name"), None, "models[0].name must be text, not None"),
    (("models", 0, "n_layers"), "two", "models[0].n_layers must be a whole number, not 'two'"),
    (("models", 0, "notes"), "x", "models[0].notes must be a list, not 'x'"),
    (("models", 0, "training"), 3, "models[0].training must be an object or null, not 3"),
    (("models", 0, "training", "flops"), float("inf"), "models[0].training.flops must be a number or null, not inf"),
    (("tasks", 0, "truncated", "a"), "0", "tasks[0].truncated.a must be a whole number, not '0'"),
    (("poolings", 0, "trained"), "no", "poolings[0].trained must be true or false or null, not 'no'"),
    (("layers",), 3, "layers must be text or a list, not 3"),
    (("layers",), [0, "1"], "layers[1] must be a whole number, not '1'"),
    (("compared",), "a", "compared must be a list or null, not 'a'"),
    (("groups",), {"g": "abc"}, "groups.g must be a list, not 'abc'"),
    (("similarity", 0, "values", 0, 1), "x", "similarity[0].values[0][1] must be a number or null, not 'x'"),
    (("versions", "python"), 3.11, "versions.python must be text, not 3.11"),
    (("verdict",), {"sentence": "x"}, "verdict must be text or null, not an object"),
    ((), [], "the document must be an object, not a list"),
]


def changed(path, value):
    """Return RUN with one value replaced."""
    if not path:
        return value
    run = copy.deepcopy(RUN)
    at = run
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return run


@pytest.fixture
def folder(tmp_path):
    row = {"model": "a", "task": "t", "layer": 2, "pooling": "mean", "metric": "m", "value": 1.0, "status": "ok"}
    return write_results(tmp_path / "r", Results(table([row], RESULT_COLUMNS), run=dict(RUN)))


def test_the_schema_needs_the_standard_library_alone():
    place = Path(sys.modules["geomprobe.results"].__file__).parent / "schema.py"
    code = (
        f"import runpy, sys; runpy.run_path({str(place)!r}); print({{'numpy', 'pandas', 'torch'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_what_is_right_is_let_through_as_it_is():
    assert check_run(RUN) is RUN
    assert check_run({}) == {}


@pytest.mark.parametrize(("path", "value", "said"), WRONG)
def test_a_wrong_type_is_refused_with_file_and_field_when_read_and_when_written(folder, path, value, said, tmp_path):
    wrong = changed(path, value)
    text = json.dumps(wrong | {"schema_version": 1} if isinstance(wrong, dict) else wrong)
    (folder / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as read:
        read_results(folder)
    assert read.value.message == f"{folder / 'run.json'}: {said}."
    with pytest.raises(InputError) as written:
        write_results(tmp_path / "new", Results(table([], RESULT_COLUMNS), run=wrong))
    assert written.value.message == f"run.json: {said}."
    assert not (tmp_path / "new").exists()


def test_a_missing_name_is_named(folder):
    (folder / "run.json").write_text(json.dumps({"schema_version": 1, "models": [{"hash": "0"}]}), encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: models\[0\]\.name is missing"):
        read_results(folder)


def test_other_files_are_checked_too(folder):
    (folder / "definitions.json").write_text('{"m": {"formula": 3}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"definitions\.json: m\.formula must be text, not 3"):
        read_results(folder)
    (folder / "definitions.json").write_text("{}", encoding="utf-8")
    (folder / "training").mkdir()
    for line, said in (("[1]", "must be an object"), ("{", "line 2"), ("\xff", "line 2")):
        (folder / "training" / "a.jsonl").write_bytes(b"{}\n" + line.encode("latin-1") + b"\n")
        with pytest.raises(InputError, match=said):
            read_results(folder)


def test_a_status_that_there_is_none_of_is_refused(folder, tmp_path):
    frame = pd.read_parquet(folder / "results.parquet").assign(status="broken")
    with pytest.raises(InputError, match=r"status 'broken' is none of ok, failed"):
        write_results(tmp_path / "new", Results(table(frame, RESULT_COLUMNS)))
    frame.to_parquet(folder / "results.parquet")
    with pytest.raises(InputError, match=r"results\.parquet: status 'broken'"):
        read_results(folder)
    assert STATUSES == ("ok", "failed", "not applicable", "needs rows", "too few rows")


@pytest.mark.parametrize("path", sorted(GALLERY.rglob("run.json")), ids=lambda p: p.parent.name)
def test_finished_folders_of_before_are_read(path):
    check_run(json.loads(path.read_text(encoding="utf-8")), str(path))
    if (path.parent / "curves.parquet").is_file():
        read_results(path.parent).check()


def test_failures_are_counted_by_cell_and_a_similarity_only_where_both_sides_are_sound():
    place = {"model": "a", "task": "t", "layer": 2, "pooling": "mean", "status": "failed"}
    rows = [place | {"metric": "geometry"}, place | {"metric": "probes"}, place | {"metric": "probes", "layer": 1}]
    pair = {"level": "checkpoint", "task": "t", "metric": "similarity", "status": "failed"}
    pairs = [
        pair | {"a": "a", "b": "b", "pooling": "mean"},  # follows from the cell
        pair | {"a": "b", "b": "a", "pooling": "max"},
    ]
    assert count_failures(table(rows, RESULT_COLUMNS), table(pairs, SIMILARITY_COLUMNS)) == 3
    assert count_failures(table([], RESULT_COLUMNS), table([], SIMILARITY_COLUMNS)) == 0
