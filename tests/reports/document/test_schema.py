"""The view model meets its schema, for every kind of report."""

from __future__ import annotations

import json

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.document.schema import PATH, document_schema
from geomprobe.reports.document.walk import walk

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}
SEEDS = {"mlm": ["m1", "m2", "m3"], "hybrid": ["h1", "h2", "h3"]}
KINDS = {
    "pair": {},
    "pair with verdicts": {"intervals": True, "layers": (0, 2, 4), "failed": True},
    "single": {"models": ("mlm",)},
    "single without logs": {"models": ("mlm",), "training": False},
    "many": {"models": ("a", "b", "c"), "intervals": True},
    "groups": {"models": ("m1", "m2", "m3", "h1", "h2", "h3"), "groups": SEEDS, "intervals": True},
}


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_view_meets_the_schema(make_results, case):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in the test extra")
    view = build_view(make_results(**SMALL | KINDS[case]))
    jsonschema.validate(json.loads(json.dumps(view, allow_nan=False)), document_schema())
    assert view["kind"] == case.split()[0]
    known = [
        "geometry", "directions", "lexical", "downstream", "poolings", "layers", "training", "caveats", "provenance",
        "downloads", "glossary",
    ]  # fmt: skip
    assert [section["id"] for section in view["sections"] if section["id"] in known] == known
    for section in view["sections"]:  # a question has its answer; what was measured has none
        assert section["title"].endswith("?") == bool(section["answer"])
        assert section["answer"].rstrip(".") == section["answer"][:-1]


def test_the_schema_in_the_repository_is_the_one_of_the_types():
    assert json.loads(PATH.read_text(encoding="utf-8")) == document_schema()


def test_every_figure_has_a_table_and_words(make_results):
    view = build_view(make_results(intervals=True, layers=(0, 1, 2), **SMALL))
    figures = [b for b in walk(view) if b["type"] == "figure"]
    tables = {b["id"] for b in walk(view) if b["type"] == "table"}
    assert {f["kind"] for f in figures} == {
        "spectra", "histograms", "decomposition", "heat", "forest", "profiles", "training", "controls", "overview",
    }  # fmt: skip
    for figure in figures:
        assert len(figure["alt"]) > 30
        beside = figure["id"].removeprefix("forest-")  # the differences stand in the table of the same section
        assert figure["table"] is not None or figure["kind"] == "overview" or beside in tables
    ids = [b["id"] for b in walk(view) if "id" in b] + [f["table"]["id"] for f in figures if f["table"]]
    assert len(ids) == len(set(ids))
