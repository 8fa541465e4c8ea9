"""Reports of results that `analyze` and `compare` made: cells that failed are named, hatched and explained."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from reports_measured import CASES, SOUND

from geomprobe.reports import build_view, write_report
from geomprobe.reports.data.load import load
from geomprobe.reports.document.schema import document_schema
from geomprobe.reports.document.walk import walk
from geomprobe.results import check_run, read_results
from geomprobe.results.summary.findings import ORDER, RULES, findings

THOROUGH = ("both sides", "many", "published")
EVERY = [pytest.param(case, marks=pytest.mark.thorough) if case in THOROUGH else case for case in CASES]
FAILED = [case for case in EVERY if case not in SOUND]
STRANGE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]"


def blocks(view, kind):
    return [b for b in walk(view) if b["type"] == kind]


def failed_names(folder):
    rows = read_results(folder).results
    return set(rows.loc[rows["status"] == "failed", "model"])


@pytest.mark.parametrize("case", EVERY)
def test_both_reports_are_written_and_the_exit_code_says_whether_cells_failed(measured, case):
    folder, code = measured(case)
    assert code == (0 if case in SOUND else 4)
    assert (folder / "report.html").read_bytes().startswith(b"<!doctype html>")
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-1.7")
    run = check_run(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    frame = pd.read_parquet(folder / "results.parquet")
    failed = frame[frame["status"] == "failed"].drop_duplicates(["model", "task", "layer", "pooling"])
    assert run["failed_cells"] == len(failed)
    assert (len(failed) > 0) == (case not in SOUND)


@pytest.mark.parametrize("case", EVERY)
def test_the_view_meets_its_schema_and_every_rule_speaks(measured, case):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in the test extra")
    folder, _ = measured(case)
    view = build_view(folder)
    jsonschema.validate(json.loads(json.dumps(view, allow_nan=False)), document_schema())
    assert build_view(read_results(folder)) == view
    found = findings(load(folder))
    assert [ORDER.index(f["severity"]) for f in found] == sorted(ORDER.index(f["severity"]) for f in found)
    assert {f["code"] for f in found} <= set(RULES)
    assert all(f["sentence"].endswith(".") and "None" not in f["sentence"] for f in found)
    ids = [b["id"] for b in walk(view) if "id" in b] + [b["table"]["id"] for b in walk(view) if b.get("table")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", FAILED)
def test_failed_cells_are_named_with_their_reason(measured, case):
    folder, _ = measured(case)
    view = build_view(folder)
    (finding,) = [f for f in view["findings"] if f["code"] == "failed-cells"]
    assert finding["severity"] == "issue"
    assert finding["link"] == "poolings"
    (table,) = [b for b in blocks(view, "table") if b["id"] == "failed-cells-table"]
    named = [[c["text"] for c in row["cells"]] for row in table["rows"]]
    for model in failed_names(folder):
        mine = [row for row in named if row[0].split(" (seed")[0] == model]
        assert mine
        assert all("gave NaN or infinity: validation rows validation/" in row[-1] for row in mine)
    caveats = next(s for s in view["sections"] if s["id"] == "caveats")["blocks"][1]["items"]
    assert any(item.startswith("Not measured: ") for item in caveats)
    assert "failed and" in view["answer"]["limits"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "gave NaN or infinity" in page
    assert not re.findall(STRANGE, page)


@pytest.mark.parametrize("case", FAILED)
def test_what_failed_is_hatched_and_nothing_else(measured, case):
    folder, _ = measured(case)
    view, facts = build_view(folder), load(folder)
    failed = {(e["model"], e["task"], e["pooling"]) for e in facts.failed_cells}
    for plot in (b for b in blocks(view, "figure") if b["kind"] == "heat" and not b["id"].startswith("similarity")):
        for panel in plot["data"]["panels"][: None if facts.pair is None else 2]:
            name = panel["title"].removeprefix("A · ").removeprefix("B · ")
            members = facts.groups.get(name, [name])
            for pooling, row in zip(facts.poolings, panel["cells"], strict=True):
                for task, cell in zip(facts.tasks, row, strict=True):
                    broken = any((m, task, pooling) in failed for m in members)
                    assert cell["failed"] == broken
                    assert broken <= (cell["value"] is None)
        hatched = any(c["failed"] for p in plot["data"]["panels"] for r in p["cells"] for c in r)
        assert ("Hatched: the cell failed." in plot["caption"]) == hatched
    for table in blocks(view, "table"):
        tones = {c["tone"] for row in table["rows"] for c in row["cells"]}
        if table["id"] not in ("failed-cells-table", "claims"):
            assert ("Hatched: the cell failed." in table["caption"]) == ("failed" in tones)


def test_a_group_with_a_failed_seed_has_no_number_there_and_says_whose_it_is(measured):
    folder, _ = measured("seeds")
    view = build_view(folder)
    assert view["kind"] == "groups"
    (heat,) = [b for b in blocks(view, "figure") if b["id"] == "heat-effective-rank-raw"]
    first, second, difference = heat["data"]["panels"]
    assert [c["failed"] for c in first["cells"][0]] == [True, False]
    assert [c["failed"] for c in second["cells"][0]] == [False, False]
    assert [c["failed"] for c in difference["cells"][0]] == [True, False]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "bad (seed of a)" in page
    assert "Pairs with a seed that failed are left out of the means." in page


@pytest.mark.parametrize(
    ("case", "title"),
    [
        ("one side", "worse against good"),
        pytest.param("both sides", "bad against worse", marks=pytest.mark.thorough),
    ],
)
def test_a_comparison_of_nothing_is_still_one_of_two_models(measured, case, title):
    view = build_view(measured(case)[0])
    assert (view["kind"], view["title"]) == ("pair", title)
    assert view["answer"]["code"] == "no verdict"
    assert view["answer"]["sentence"].endswith("could not be compared: cells of one or both failed.")


def test_an_analysis_of_nothing_is_still_one_of_a_model(measured):
    assert build_view(measured("only cell")[0])["kind"] == "single"


def test_the_similarity_of_a_failed_side_is_a_failed_row(measured):
    folder, _ = measured("failed cell")
    alike = read_results(folder).similarities
    failed = alike[alike["status"] == "failed"]
    assert failed[["task", "pooling"]].to_numpy().tolist() == [["some", "mean"], ["some", "max"]]
    assert failed["note"].str.match(r"bad: \d+ of \d+ texts gave NaN or infinity: validation rows ").all()
    (table,) = [b for b in blocks(build_view(folder), "table") if b["id"] == "similarities"]
    assert [[c["text"] for c in r["cells"]].count("failed") for r in table["rows"]].count(1) == 2
    assert len({len(r["cells"]) for r in table["rows"]}) == 1


@pytest.mark.parametrize("case", ["pair", "failed cell", "seeds"])
def test_links_have_targets(measured, case):
    folder, _ = measured(case)
    page = (folder / "report.html").read_text(encoding="utf-8")
    bare = re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    ids = re.findall(r'<[a-zA-Z][^<>]*? id="([^"]+)"', bare)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'<a [^>]*?href="(#[^"]+)"', page)} <= {*ids, "main"}


@pytest.mark.parametrize(
    "case", ["failed cell", *(pytest.param(case, marks=pytest.mark.thorough) for case in ("pair", "seeds"))]
)
def test_the_same_folder_gives_the_same_bytes(measured, case, tmp_path):
    folder, _ = measured(case)
    again = write_report(folder, tmp_path / "report.html", tmp_path / "report.pdf")
    assert [p.read_bytes() for p in again] == [(folder / p.name).read_bytes() for p in again]


def test_the_document_names_the_failed_cell(measured):
    pypdf = pytest.importorskip("pypdf", reason="pypdf is in the test extra")
    folder, _ = measured("failed cell")
    text = " ".join("".join(p.extract_text() for p in pypdf.PdfReader(folder / "report.pdf").pages).split())
    assert "Hatched: the cell failed." in text
    assert "texts gave NaN or infinity: validation rows validation/" in text
