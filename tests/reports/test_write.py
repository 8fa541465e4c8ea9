"""Reports are written whole, from one view, with the same bytes every time."""

from __future__ import annotations

import json
import sys

import pytest

from geomprobe.common import GeomprobeError, InputError, UsageError
from geomprobe.reports import build_view, write_report
from geomprobe.results import write_results

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "attention")}


def test_all_formats_from_a_folder_twice_with_the_same_bytes(make_results, tmp_path):
    folder = write_results(tmp_path / "results", make_results(**SMALL, spectrum_points=64))
    names = ("report.html", "report.pdf", "report.json")
    first = [p.read_bytes() for p in write_report(folder, *(folder / n for n in names))]
    second = [p.read_bytes() for p in write_report(folder, *(folder / n for n in names))]
    assert first == second
    assert first[0].startswith(b"<!doctype html>")
    assert first[1].startswith(b"%PDF-1.7")
    assert json.loads(first[2])["title"] == "hybrid against mlm"


def test_results_in_memory_and_folder_give_the_same_view(make_results, tmp_path):
    results = make_results(**SMALL)
    assert build_view(results) == build_view(write_results(tmp_path / "results", results))


def test_without_intervals_there_is_no_verdict(make_results):
    view = build_view(make_results(**SMALL))
    assert view["answer"]["code"] == "no verdict"
    assert view["answer"]["sentence"].startswith("No verdict: no difference has an interval.")
    (told,) = view["answer"]["lists"]
    assert (told["name"], {each["word"] for each in told["items"]}) == ("cannot_tell", {"no verdict"})
    assert "untrained-pooling" in {f["code"] for f in view["findings"] if f["severity"] == "issue"}


def test_wrong_requests_are_errors_that_help(make_results, tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        write_report(make_results(**SMALL), tmp_path / "a.html", tmp_path / "a.json")
    assert not (tmp_path / "a.html").exists()
    with pytest.raises(UsageError, match="is no report"):
        write_report(make_results(**SMALL), tmp_path / "report.docx")
    with pytest.raises(InputError):
        write_report(tmp_path / "nothing", tmp_path / "report.html")
    assert not list(tmp_path.glob("report*"))


def test_without_typst_the_page_is_written_and_the_error_says_what_to_install(make_results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    results = make_results(tasks=("sst2",), poolings=("mean",), spectrum_points=64)
    with pytest.raises(GeomprobeError, match="typst"):
        write_report(results, tmp_path / "report.html", tmp_path / "report.pdf")
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "report.pdf").exists()


def test_no_file_is_written_where_another_must_not_be_replaced(make_results, tmp_path):
    results, page, data = make_results(**SMALL), tmp_path / "report.html", tmp_path / "report.json"
    (tmp_path / "task.csv").write_text("text\n")
    for target, message in ((data, "report.json is a link to itself"), (tmp_path / "task.csv", "of another kind")):
        data.unlink(missing_ok=True)
        data.symlink_to(target)
        with pytest.raises(UsageError, match=message):
            write_report(results, page, data)
        assert not page.exists()
    assert (tmp_path / "task.csv").read_text() == "text\n"
