"""The section of a series of checkpoints, from made-up results: figures, change points, evidence for what is kept."""

from __future__ import annotations

import pytest

from geomprobe.comparison.series import KeepRule, add_series
from geomprobe.reports.pages import build_view
from geomprobe.reports.sections.series import section


@pytest.fixture(scope="module")
def series(make_results):
    """Results of two trainings of three checkpoints each on two tasks, under two poolings."""
    models = tuple(f"{run}/checkpoint-{step}" for run in "ab" for step in (1, 2, 30))
    results = make_results(models, tasks=("sst2", "stsb"), poolings=("mean", "max"), intervals=True, compared=False)
    entries = [{"name": run, "source": run, "unit": "step", "steps": [1.0, 2.0, 30.0], "notes": [],
                "models": [name for name in models if name.startswith(run)]} for run in "ab"]  # fmt: skip
    return add_series(results, entries, KeepRule("max", "effective_rank"), {"both": ["a", "b"]})


def test_every_cell_has_its_trajectories(series):
    found = section(series.facts())
    (choice,) = [block for block in found["blocks"] if block["type"] == "choice"]
    assert [option["name"] for option in choice["options"]] == ["sst2, mean", "sst2, max", "stsb, mean", "stsb, max"]
    drawn = choice["options"][0]["blocks"][0]
    assert drawn["kind"] == "training"
    assert [entry["name"] for entry in drawn["data"]["legend"]] == ["both"]
    for panel in drawn["data"]["panels"]:
        assert [line["x"] for line in panel["lines"]] == [[1, 2, 30]] * 3
        assert {line["series"] for line in panel["lines"]} == {0}
        assert not any("low" in line for line in panel["lines"])  # two trainings give no interval
    cells = series.trajectories.query("series == 'a' and task == 'sst2' and pooling == 'mean'")
    values = cells[(cells["metric"] == "uniformity") & (cells["view"] == "raw")]["value"]
    panel = next(each for each in drawn["data"]["panels"] if each["title"] == "uniformity (raw)")
    assert panel["lines"][1]["y"] == pytest.approx(values.tolist(), rel=1e-5)


def test_the_kept_checkpoint_has_its_evidence(series):
    found = section(series.facts())
    table = found["blocks"][0]
    assert table["id"] == "kept-table"
    assert len(table["rows"]) == 8  # two trainings, two tasks, two poolings
    assert "a: keep" in found["answer"] or "a: none is kept" in found["answer"]


def test_differences_from_the_first_have_intervals_for_repeated_looks(series):
    found = section(series.facts())
    (choice,) = [block for block in found["blocks"] if block["type"] == "choice"]
    blocks = choice["options"][0]["blocks"]
    changes = next(block for block in blocks if block["type"] == "table")
    assert "apart from the first at" in changes["caption"] + str([head["name"] for head in changes["columns"]])
    folds = {block["title"]: block["blocks"][0] for block in blocks if block["type"] == "fold"}
    first = folds["Every difference from the first checkpoint"]
    names = [head["name"] for head in first["columns"]]
    assert {row["cells"][names.index("steps")]["text"] for row in first["rows"]} == {"1 → 2", "1 → 30"}
    assert any(row["cells"][names.index("at all looks")]["text"].startswith("[") for row in first["rows"])


def test_the_page_of_a_series(series):
    view = build_view(series)
    ids = {part["id"] for part in view["sections"]}
    assert view["kind"] == view["answer"]["code"] == "series"
    assert [each["name"] for each in view["sides"]] == ["both", "a", "b"]
    assert view["answer"]["picture"]["data"]["panels"]
    assert {finding["link"] for finding in view["findings"]} <= ids


def test_other_results_have_no_such_section(make_results):
    assert section(make_results().facts()) is None
