"""Numbers come from the folder unchanged; what failed or was not trained is marked; baselines are no side."""

from __future__ import annotations

import json

import pytest

from geomprobe.common import text
from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}


def _line(view, table_id, task, metric):
    table = next(b for b in walk(view) if b.get("id") == table_id)
    heads = [c["name"] for c in table["columns"]]
    return next((heads, r["cells"]) for r in table["rows"] if [c["text"] for c in r["cells"][:2]] == [task, metric])


def test_numbers_come_from_the_folder_unchanged(make_results):
    results = make_results(intervals=True, **SMALL)
    row = results.comparisons.query("metric == 'effective_rank' and task == 'sst2' and pooling == 'mean'").iloc[0]
    view = build_view(results)
    heads, cells = _line(view, "directions-mean", "sst2", "effective rank")
    found = dict(zip(heads, cells, strict=True))
    assert found["A · mlm"]["sort"] == pytest.approx(row["value_a"], rel=1e-5)
    assert found["B · hybrid"]["sort"] == pytest.approx(row["value_b"], rel=1e-5)
    assert found["B − A"]["text"] == text.number(row["diff"], 2, signed=True)
    table = next(b for b in walk(view) if b.get("id") == "directions-mean")
    assert found["verdict"]["text"] == "▲ higher" if "verdict" in found else "verdict ▲ higher" in table["caption"]


def test_untrained_poolings_say_so(make_results):
    view = build_view(make_results(tasks=("sst2",), poolings=("mean", "weighted", "attention")))
    notes = {o["name"]: o["note"] for b in walk(view) if b.get("axis") == "pooling" for o in b["options"]}
    assert notes["mean"] == ""
    assert notes["weighted"].startswith("not trained")
    assert notes["attention"].startswith("not trained")


def test_a_failed_cell_is_marked_with_its_reason(make_results):
    view = build_view(make_results(failed=True, **SMALL))
    heat = next(b for b in walk(view) if b["type"] == "figure" and b["kind"] == "heat")
    assert heat["data"]["panels"][1]["cells"][1][1] == {"value": None, "text": "–", "failed": True}
    caveats = next(s for s in view["sections"] if s["id"] == "caveats")["blocks"][1]["items"]
    assert "Not measured: hybrid / mrpc / layer 4 / max: OutOfMemory: 3.1 GB wanted, 1.9 GB free." in caveats


def test_baselines_stand_beside_a_pair_and_are_no_side_of_it(make_results):
    import pandas as pd

    results = make_results(**SMALL, intervals=True)
    own = [m["name"] for m in results.run["models"]]
    results.results = pd.concat(
        [results.results, results.results[results.results["model"] == own[0]].assign(model="R")]
    )
    results.run["models"].append(results.run["models"][0] | {"name": "R", "parameters": 7})
    results.run["baselines"] = {"R": "random-init"}
    tokens = {"task": "sst2", "layer": 4, "pooling": "mean", "curve": "pooling_token_weight"}
    layer = int(results.results["layer"].max())
    rows = [
        tokens | {"layer": layer, "model": own[0], "x": i + 1.0, "y": 2.0 - i, "label": f"<b>{i}"} for i in range(3)
    ]
    results.curves = pd.concat([results.curves, pd.DataFrame(rows)])
    view = build_view(results)
    assert view["kind"] == "pair"
    assert [s["lines"][0] for s in view["sides"]].count("baseline") == 1
    assert "unequal-models" not in {f["code"] for f in view["findings"] if f["severity"] == "issue"}
    tables = {b["id"]: b for b in walk(view) if b["type"] == "table"}
    assert '"R"' in json.dumps(tables["geometry-mean"])
    (weights,) = [t for name, t in tables.items() if name.startswith("token-weights")]
    assert "<b>0 2.00, <b>1 1.00" in json.dumps(weights)  # escaped where it is drawn
