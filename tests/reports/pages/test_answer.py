"""The first screen: the questions that a reader asks are answered by its text alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.render.html import render_html
from geomprobe.results import read_results

SMALL = {"tasks": ("sst2", "mrpc", "cola"), "poolings": ("mean", "max"), "training": False, "spectrum_points": 8}
GALLERY = Path(__file__).parents[3] / "docs" / "gallery" / "wikipedia-small"


class First(HTMLParser):
    """The text of the element with id "verdict", as a reader sees it: lines of items, without figures."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.depth, self.parts, self.drawn = 0, [], 0
        self.feed(page)
        self.text = re.sub(r"[ \n]+", " ", "".join(self.parts).replace("\x00", " | "))

    def handle_starttag(self, tag, attrs):
        if self.depth or dict(attrs).get("id") == "verdict":
            self.depth += tag not in ("br", "path", "rect", "use")
            self.parts.append("\x00" if tag in ("li", "p", "h3") else "")

    def handle_endtag(self, tag):
        self.depth -= bool(self.depth)

    def handle_data(self, data):
        if self.depth:
            self.parts.append(data)


def first_screen(results) -> str:
    view = build_view(results)
    pictures = [view["answer"]["picture"], *_figures(view)]
    return First(render_html(view, {each["id"]: "<svg></svg>" for each in pictures if each}, {})).text


def _figures(view):
    from geomprobe.reports.document.walk import figures

    return figures(view).values()


@pytest.fixture(scope="module")
def made_up(make_results):
    """A pair whose numbers are known: B is more spread out raw, and by some hundredths centred."""
    results = make_results(intervals=True, **SMALL)
    return results, first_screen(results)


@pytest.fixture(scope="module")
def gallery():
    results = read_results(GALLERY)
    return results, first_screen(results)


def item(text: str, title: str) -> str:
    """The line of a list with a metric's title."""
    return next(part for part in text.split(" | ") if part.startswith(title))


def test_which_model_is_more_spread_out(made_up):
    _, text = made_up
    line = item(text, "uniformity (raw)")
    assert "▼ lower" in line
    assert "spreads its embeddings more evenly" in line
    assert "in all 6 cells" in line


def test_is_that_only_the_mean_vector(gallery):
    """In the gallery it is: the sentence says so, and so does the line of raw uniformity."""
    results, text = gallery
    raw = next(s for s in results.summary().differs if (s.metric, s.view) == ("uniformity", "raw"))
    assert raw.only_mean
    assert "not once the mean vector is removed" in item(text, raw.title)
    assert "raw uniformity is not found once the mean vector is removed" in text


def test_what_is_equal_and_within_which_margin(gallery):
    results, text = gallery
    equal = results.summary().equal
    assert equal
    shown = text[text.index("| Shown equal") : text.index("| Cannot tell")]
    for each in equal:
        assert each.typical.text(signed=True) in item(shown, each.title)
        assert f"margin {each.seen.removeprefix('within ')}" in item(shown, each.title)


def test_what_could_not_be_told_and_how_small_a_difference_could_have_been(gallery):
    results, text = gallery
    shown = text[text.index("| Cannot tell") :]
    unclear = [each for each in results.summary().cannot_tell if each.seen.startswith("detectable")]
    assert unclear
    for each in unclear:
        assert each.seen in item(shown, each.title)
        assert each.where in item(shown, each.title)


def test_what_must_not_be_claimed(gallery):
    results, text = gallery
    summary = results.summary()
    assert summary.limits in text
    assert "the results are about these two checkpoints, not about their objectives" in text
    for finding in summary.beware:
        assert finding["sentence"] in text
    assert summary.scope in text


def test_every_headline_difference_is_in_the_picture_or_named_as_left_out(made_up):
    results, _ = made_up
    picture = build_view(results)["answer"]["picture"]
    summary = results.summary()
    every = [*summary.differs, *summary.equal, *summary.cannot_tell]
    assert [row["name"] for row in picture["data"]["rows"]] == [each.title for each in every]
    for row, each in zip(picture["data"]["rows"], every, strict=True):
        assert row["value"] == pytest.approx(each.typical.value / each.typical.margin, rel=1e-3)
        assert len(row["marks"]) == len(each.cells)


def test_a_metric_without_a_margin_is_named_and_not_drawn(make_results):
    results = make_results(intervals=True, **SMALL)
    results.comparisons.loc[results.comparisons["metric"] == "effective_rank", "margin"] = None
    picture = build_view(results)["answer"]["picture"]
    assert "effective rank" not in [row["name"] for row in picture["data"]["rows"]]
    assert "Not drawn, for want of a margin: effective rank." in picture["caption"]


def test_another_seed_is_said_where_the_comparison_knows_it(make_results):
    results = make_results(intervals=True, **SMALL)
    results.comparisons["seed_spread"] = 0.126
    assert "another seed alone moves it by up to 0.13" in first_screen(results)


def test_a_single_model_stands_against_baselines_and_controls(make_results):
    results = make_results(models=("mlm",), intervals=True, **SMALL)
    text = first_screen(results)
    assert "uniform on the sphere −3.969" in item(text, "uniformity (raw)")
    assert "majority" in item(text, "semantic accuracy")
    assert "No comparison was made, so no difference is claimed." in text


def test_many_models_are_ranked(make_results):
    results = make_results(models=("a", "b", "c"), intervals=True, **SMALL)
    text = first_screen(results)
    assert build_view(results)["answer"]["picture"]["kind"] == "ranking"
    for each in results.summary().rankings:
        assert each.phrase in item(text[text.index("| Which come first") :], each.title)
