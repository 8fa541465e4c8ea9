"""The summary: which list a metric stands in, the sentence, and how it is printed."""

from __future__ import annotations

import json

import pytest

from geomprobe.results.summary.printed import LINES, WIDTH, terminal

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max"), "intervals": True}
VERDICTS = {"higher": 0.5, "lower": -0.5, "no difference": 0.001, "no clear difference": 0.2}


@pytest.fixture
def verdicts(make_results):
    """Results of a pair whose verdicts are given: (metric, view) -> the verdict of each cell, all else unclear."""

    def make(given, **grid):
        results = make_results(**SMALL | grid)
        frame = results.comparisons
        frame["verdict"], frame["diff"] = "no clear difference", 0.2
        for (metric, view), said in given.items():
            mine = (frame["metric"] == metric) & (frame["view"].fillna("") == view)
            mine &= frame["layer"] == frame["layer"].max()
            frame.loc[mine, "verdict"] = said if isinstance(said, str) else list(said)
            frame.loc[mine, "diff"] = [VERDICTS[verdict] for verdict in frame.loc[mine, "verdict"]]
        frame["ci_low"], frame["ci_high"], frame["margin"] = frame["diff"] - 0.01, frame["diff"] + 0.01, 0.1
        return results

    return make


def named(statements):
    return {(each.metric, each.view): each.judgement for each in statements}


def test_each_metric_stands_in_one_list(verdicts):
    summary = verdicts(
        {
            ("uniformity", "raw"): "lower",
            ("uniformity", "centred"): "lower",
            ("effective_rank", "raw"): "no difference",
            ("mean_cosine", "raw"): ("higher", "lower", "higher", "higher"),
        }
    ).summary()
    assert named(summary.differs) == {
        ("uniformity", "raw"): "lower", ("uniformity", "centred"): "lower", ("mean_cosine", "raw"): "mixed",
    }  # fmt: skip
    assert named(summary.equal) == {("effective_rank", "raw"): "equivalent"}
    assert set(named(summary.cannot_tell).values()) == {"unclear"}
    every = [*summary.differs, *summary.equal, *summary.cannot_tell]
    assert len(named(every)) == len(every)


def test_a_difference_in_all_cells_and_views_leads(verdicts):
    summary = verdicts(
        {
            ("uniformity", "raw"): "lower",
            ("uniformity", "centred"): "lower",
            ("mean_cosine", "raw"): ("higher", "higher", "higher", "no clear difference"),
        }
    ).summary()
    assert summary.code == "difference"
    assert summary.sentence == (
        "hybrid spreads its embeddings more evenly (raw uniformity −0.500 ± 0.010 in all 4 cells), compared with mlm."
    )


def test_a_difference_of_the_mean_vector_is_said_to_be_one(verdicts):
    summary = verdicts({("uniformity", "raw"): "lower", ("uniformity", "centred"): "no difference"}).summary()
    assert summary.sentence == (
        "hybrid spreads its embeddings more evenly than mlm (raw uniformity −0.500 ± 0.010 in all 4 cells); this is "
        "not found once the mean vector is removed."
    )
    assert [each.only_mean for each in summary.differs] == [True]
    assert "uniformity-is-mean" in [finding["code"] for finding in summary.beware]
    reversed_ = verdicts({("uniformity", "raw"): "lower", ("uniformity", "centred"): "higher"}).summary()
    assert "its lower raw uniformity reverses once the mean vector is removed" in reversed_.sentence


def test_without_a_difference_the_sentence_says_what_is_equal_and_what_cannot_be_told(verdicts):
    summary = verdicts({("uniformity", "raw"): "no difference"}).summary()
    assert summary.code == "no difference"
    assert summary.sentence.startswith("No difference between hybrid and mlm is established: uniformity (raw) is shown")
    assert "effective rank" in summary.sentence


def test_one_model_is_described_and_nothing_is_compared(make_results):
    summary = make_results(models=("mlm",), **SMALL).summary()
    assert summary.kind == "single"
    assert summary.sides == ("mlm",)
    assert summary.values
    assert not [*summary.differs, *summary.equal, *summary.cannot_tell]
    assert "No comparison was made" in summary.limits


@pytest.mark.parametrize("width", [60, WIDTH])
def test_the_terminal_takes_twenty_lines(verdicts, width):
    results = verdicts({("uniformity", "raw"): "lower", ("uniformity", "centred"): "lower"}, failed=True)
    lines = terminal(results.summary(), ["results: x", "report: y"], width)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= width
    assert lines[-2:] == ["results: x", "report: y"]
    for heading in ("differs", "cannot tell", "beware"):
        assert any(line.startswith(heading) for line in lines), heading


def test_every_form_says_the_sentence_and_the_lists(verdicts):
    results = verdicts({("uniformity", "raw"): "lower", ("uniformity", "centred"): "no difference"})
    summary = results.summary()
    found = json.loads(json.dumps(summary.as_dict()))
    assert found["sentence"] == summary.sentence
    assert found["differs"][0]["typical"]["margin"] == 0.1
    for text in (results.to_markdown(), results.to_latex(), results._repr_html_()):
        for each in (*summary.differs, *summary.equal, *summary.cannot_tell):
            assert each.title.split(" (")[0] in text


def test_names_are_inert_in_every_form(make_results):
    results = make_results(models=("a|b*<script>", "c_d&%$#\\"), **SMALL)
    assert "<script>" not in results._repr_html_() + results.to_markdown()
    assert "c\\_d\\&\\%\\$\\#\\textbackslash{}" in results.to_latex()
