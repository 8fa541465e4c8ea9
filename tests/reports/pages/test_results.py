"""The page of a results folder: what run.json may leave out, and a verdict that it gives."""

from __future__ import annotations

from geomprobe.reports import build_view

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}


def test_missing_provenance_is_no_error(make_results):
    results = make_results(**SMALL)
    results.run.clear()
    results.definitions.clear()
    view = build_view(results)
    assert view["title"] == "hybrid against mlm"


def test_a_verdict_of_the_run_is_printed_as_it_is(make_results):
    results = make_results(**SMALL)
    results.run["verdict"] = "hybrid is more uniform than mlm in 4 of 4 cells."
    assert build_view(results)["answer"]["sentence"] == "hybrid is more uniform than mlm in 4 of 4 cells."
