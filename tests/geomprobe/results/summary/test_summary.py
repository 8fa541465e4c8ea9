"""The summary: which list a metric stands in, the sentence, and how it is printed."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from geomprobe.common.text import listed
from geomprobe.results.summary.printed import LINES, WIDTH, as_html, as_latex, as_markdown, terminal
from geomprobe.results.summary.words import ALONE

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max"), "intervals": True}
VERDICTS = {"higher": 0.5, "lower": -0.5, "no difference": 0.001, "no clear difference": 0.2}
VERDICTS |= {"no valid interval, no verdict": 0.2}


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


EQUAL = (("uniformity", "raw"), ("uniformity", "centred"), ("mean_cosine", "raw"))


@pytest.mark.parametrize(
    ("equal", "said"),
    [
        (0, "all 6 headline numbers cannot be told."),
        (1, "uniformity (raw) is shown equal; 5 other headline numbers cannot be told."),
        (2, "uniformity (raw) and uniformity (centred) are shown equal; 4 other headline numbers cannot be told."),
        (3, "uniformity (raw), uniformity (centred) and mean cosine are shown equal; {} cannot be told."),
    ],
)
def test_without_a_difference_the_sentence_says_what_is_equal_and_what_cannot_be_told(verdicts, equal, said):
    summary = verdicts(dict.fromkeys(EQUAL[:equal], "no difference")).summary()
    names = listed([each.title for each in summary.cannot_tell])
    assert summary.code == "no difference"
    assert summary.sentence == f"No difference between hybrid and mlm is established: {said.format(names)}"
    assert len(summary.cannot_tell) == 6 - equal


def test_a_number_without_a_verdict_cannot_be_told_either(verdicts):
    summary = verdicts({("uniformity", "raw"): "no valid interval, no verdict"}).summary()
    assert "none" in named(summary.cannot_tell).values()
    assert summary.sentence.endswith("all 6 headline numbers cannot be told.")


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


def test_an_interval_beside_an_adjusted_verdict_is_said_to_be_of_one_difference(verdicts, make_results):
    """It may exclude 0 where the verdict is "no clear difference"."""
    pair, alone = verdicts({("uniformity", "raw"): "lower"}).summary(), make_results(models=("m",), **SMALL).summary()
    headings = {name: [line for line in terminal(of) if "95 %" in line] for name, of in (("b", pair), ("a", alone))}
    assert len(headings["b"]) == 1
    assert headings["b"][0].endswith("95 % intervals of single differences; verdicts are adjusted):")
    assert headings["a"][0] == "measured (95 % intervals):"
    for form in (as_markdown, as_html, as_latex):
        assert form(pair).count(ALONE) == 1
        assert ALONE not in form(alone)


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


@pytest.fixture
def ranked(make_results):
    """Results of models a to d whose order and letters are given: (metric, view) -> such as "a:a b:ab c:b", best first.

    A list gives each cell its own; without one no pair was tested.
    """

    def make(given):
        results = make_results(models=("a", "b", "c", "d"), **SMALL)
        frame = results.rankings = results.rankings.assign(letters="a")
        frame["rank"] = ["abcd".index(model) + 1 for model in frame["model"]]
        for (metric, view), said in given.items():
            cells = [(t, p) for t in SMALL["tasks"] for p in SMALL["poolings"]]
            for (task, pooling), order in zip(cells, said if isinstance(said, list) else [said] * 4, strict=True):
                mine = (frame["metric"] == metric) & (frame["view"] == view)
                mine &= (frame["task"] == task) & (frame["pooling"] == pooling)
                for place, (model, letters) in enumerate((part.split(":") for part in order.split()), 1):
                    frame.loc[mine & (frame["model"] == model), ["rank", "letters"]] = [place, letters]
        return results

    return make


BOTH = [("uniformity", "raw"), ("uniformity", "centred")]


def test_of_many_models_the_sentence_says_which_come_first_and_which_are_not_told_apart(ranked):
    summary = ranked(dict.fromkeys(BOTH, "b:a a:a c:b d:c")).summary()
    assert (summary.kind, summary.code) == ("many", "ranking")
    assert summary.sentence == (
        "b and a cannot be told apart; each spreads its embeddings more evenly (raw uniformity) than c and d in all 4 "
        "cells."
    )
    assert "All 6 pairs of models were tested" in summary.limits
    first = summary.rankings[0]
    assert (first.models, first.first, first.behind) == (["b", "a", "c", "d"], ["b", "a"], ["c", "d"])
    assert not [*summary.differs, *summary.equal, *summary.cannot_tell, *summary.values]


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ("a:a b:b c:b d:b", "a spreads its embeddings more evenly (raw uniformity) than b, c and d in all 4 cells."),
        # c is not told apart from b, which is not told apart from a
        (
            "a:a b:ab c:b d:c",
            "a spreads its embeddings more evenly (raw uniformity) than c and d in all 4 cells; b cannot be told apart "
            "from it.",
        ),
        ("a:a b:a c:a d:a", "a, b, c and d cannot be told apart by raw uniformity."),
        (
            "d: a:a b:b c:b",
            "a spreads its embeddings more evenly (raw uniformity) than b and c in all 4 cells; d could not be tested.",
        ),
        ("a:ab b:a c:b d:ab", "b, c and d cannot be told apart from a by raw uniformity."),
        (
            ["a:a b:b c:b d:c", "a:a b:a c:b d:b", "a:a b:b c:b d:c", "a:a b:b c:b d:b"],
            "a spreads its embeddings more evenly (raw uniformity) than b, c and d in at least 3 of 4 cells.",
        ),
        # in one cell the order is the other one, so b is not behind a
        (
            ["a:a b:b c:c d:d", "a:a b:b c:c d:d", "a:a b:b c:c d:d", "b:a a:b c:c d:d"],
            "a and b cannot be told apart; each spreads its embeddings more evenly (raw uniformity) than c and d in "
            "all 4 cells.",
        ),
    ],
)
def test_the_sentence_of_many_models_claims_what_the_letters_show(ranked, order, sentence):
    assert ranked(dict.fromkeys(BOTH, order)).summary().sentence == sentence


def test_an_order_that_centring_changes_is_said_to_be_one(ranked):
    alone = {BOTH[0]: "a:a b:b c:b d:b", BOTH[1]: "d:a a:b b:b c:b"}
    assert ranked(alone).summary().sentence.endswith("in all 4 cells; d comes first once the mean vector is removed.")
    # another number whose order holds leads
    held = ranked(alone | {("effective_rank", "raw"): "a:a b:b c:b d:b"}).summary()
    assert held.sentence == "a uses more directions (effective rank) than b, c and d in all 4 cells."


def test_models_that_were_not_tested_are_ranked_and_nothing_is_claimed(make_results):
    results = make_results(models=("a", "b", "c"), **SMALL)
    results.rankings = results.rankings.iloc[:0]  # as in a folder of an earlier version
    summary = results.summary()
    assert summary.sentence == "By raw uniformity, b comes first; no pair of models was tested."
    assert summary.limits.startswith("None of the 3 pairs of models was tested, so no difference is claimed.")


def test_many_models_take_twenty_lines_and_every_form_names_them(ranked):
    results = ranked(dict.fromkeys(BOTH, "a:a b:ab c:b d:c"))
    summary = results.summary()
    lines = terminal(summary, ["results: x"])
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    assert any("4/4" in line and line.endswith("a and b | c and d") for line in lines)
    assert json.loads(json.dumps(summary.as_dict()))["rankings"][0]["behind"] == ["c", "d"]
    for text in (results.to_markdown(), results.to_latex(), results._repr_html_()):
        assert "effective rank" in text


def test_a_difference_of_both_signs_alone_is_no_established_difference(verdicts):
    results = verdicts({("mean_cosine", "raw"): ("higher", "lower", "higher", "lower")})
    assert "mean cosine is higher in some cells and lower in others" in results.summary().sentence


def test_what_training_gave_over_random_initialisation_is_said(verdicts):
    results = verdicts({("effective_rank", "raw"): "higher"})
    untrained = results.comparisons.assign(b="hybrid", a="random-init", level="checkpoint")
    results.comparisons = pd.concat([results.comparisons, untrained], ignore_index=True)
    mine = results.results[results.results["model"] == "mlm"].assign(model="random-init")
    results.results = pd.concat([results.results, mine], ignore_index=True)
    results.run["models"] = [*results.run["models"], {**results.run["models"][0], "name": "random-init"}]
    results.run |= {"baselines": {"random-init": "random-init"}, "compared": ["mlm", "hybrid"]}
    assert results.summary().sentence.endswith(
        "Over random initialisation, hybrid uses more directions (effective rank +0.500 ± 0.010 in all 4 cells)."
    )


def test_a_view_without_an_interval_takes_nothing_back(verdicts):
    results = verdicts({("uniformity", "raw"): "lower"})
    mine = (results.comparisons["metric"] == "uniformity") & (results.comparisons["view"] == "centred")
    results.comparisons.loc[mine, "verdict"] = "no valid interval, no verdict"
    summary = results.summary()
    assert "once the mean vector is removed" not in summary.sentence
    assert [each.only_mean for each in summary.differs if each.metric == "uniformity"] == [False]


def test_the_strongest_difference_leads(verdicts):
    results = verdicts(
        {("uniformity", "raw"): "lower", ("uniformity", "centred"): "lower", ("effective_rank", "raw"): "higher"}
    )
    frame = results.comparisons
    frame.loc[(frame["metric"] == "uniformity") & (frame["view"] == "raw"), "margin"] = 0.01
    frame.loc[(frame["metric"] == "uniformity") & (frame["view"] == "centred"), "margin"] = 0.4
    assert results.summary().sentence.startswith("hybrid spreads its embeddings more evenly (raw uniformity")


def test_a_difference_of_accuracies_below_the_majority_class_does_not_lead(verdicts):
    results = verdicts({("semantic_accuracy", "raw"): "higher"})
    summary = results.summary()
    assert "labels" in summary.sentence
    floor = results.results[results.results["metric"] == "semantic_accuracy"].assign(control="majority", value=1.0)
    results.results = pd.concat([results.results, floor], ignore_index=True)
    found = results.summary()
    assert [each.beats_control for each in found.differs] == [False]
    assert "labels" not in found.sentence


def test_other_baselines_are_not_called_random_initialisation(verdicts):
    results = verdicts({("effective_rank", "raw"): "higher"})
    other = results.comparisons.assign(b="hybrid", a="tfidf", level="checkpoint")
    results.comparisons = pd.concat([results.comparisons, other], ignore_index=True)
    results.run |= {"baselines": {"tfidf": "tfidf"}, "compared": ["mlm", "hybrid"]}
    assert "random initialisation" not in results.summary().sentence


def test_a_path_is_printed_whole(make_results):
    path = "results: " + "x" * 200
    assert terminal(make_results(**SMALL).summary(), [path])[-1] == path


def test_markdown_mentions_nobody(make_results):
    text = make_results(models=("@octocat", "#12"), **SMALL).to_markdown()
    assert "@octocat" not in text
    assert "#12" not in text.replace("&#", "")
