"""Every finding rule, on results that provoke it and on results that do not."""

from __future__ import annotations

import pandas as pd
import pytest

from geomprobe.reports.data.load import load
from geomprobe.results.summary.findings import ORDER, RULES, findings

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}
LINKS = {"verdict", "downstream", "geometry", "poolings", "layers", "training", "caveats", "provenance"}
ALONE = {"mlm": ["m1"], "hybrid": ["h1"]}
SEEDS = {"mlm": ["m1", "m2", "m3"], "hybrid": ["h1", "h2", "h3"]}


def severity(results, code):
    found = RULES[code](load(results))
    return None if found is None else found["severity"]


def edited(results, where, **columns):
    """Return the results with columns of the matching rows set."""
    rows = results.results.eval(where)
    for name, value in columns.items():
        results.results.loc[rows, name] = value
    return results


def verdicts(results, where, verdict, sign=1):
    rows = results.comparisons.eval(where)
    results.comparisons.loc[rows, "verdict"] = verdict
    results.comparisons.loc[rows, "diff"] = sign * results.comparisons.loc[rows, "diff"].abs()
    return results


def run(results, part, index, **values):
    results.run[part][index] |= values
    return results


def limited(results, rows):
    results.run["limit"] = rows
    return results


def noted(results, note):
    results.run["notes"] = [note]
    return results


CASES = {
    "failed-cells": {
        "passed": lambda make: make(**SMALL),
        "issue": lambda make: make(failed=True, **SMALL),
    },
    "no-intervals": {
        None: lambda make: make(models=("mlm",), **SMALL),
        "issue": lambda make: make(**SMALL),
        "tip": lambda make: verdicts(make(intervals=True, **SMALL), "metric == 'rank_90'", "no valid interval"),
        "passed": lambda make: make(intervals=True, **SMALL),
    },
    "same-rows": {
        None: lambda make: make(models=("mlm",), **SMALL),
        "passed": lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "model == 'mlm' and task == 'sst2'", task_hash="0" * 64),
    },
    "results-folders": {
        None: lambda make: make(**SMALL),
        "tip": lambda make: noted(make(**SMALL), "task cola is left out: mlm alone has it"),
    },
    "one-seed": {
        None: lambda make: make(models=("a", "b", "c"), **SMALL),
        "tip": lambda make: make(**SMALL),
        "passed": lambda make: make(models=("m1", "m2", "m3", "h1", "h2", "h3"), groups=SEEDS, **SMALL),
        "issue": lambda make: make(models=("m1", "h1"), compared=False, groups=ALONE, **SMALL),
    },
    "uniformity-is-mean": {
        None: lambda make: make(models=("mlm",), **SMALL),
        "tip": lambda make: make(**SMALL),
        "issue": lambda make: verdicts(
            verdicts(make(intervals=True, **SMALL), "metric == 'uniformity'", "lower", -1),
            "metric == 'uniformity' and view == 'centred'", "no clear difference",
        ),
        "passed": lambda make: verdicts(make(intervals=True, **SMALL), "metric == 'uniformity'", "lower", -1),
    },
    "pooling-decides": {
        None: lambda make: verdicts(make(intervals=True, **SMALL), "diff == diff", "higher"),
        "issue": lambda make: verdicts(
            verdicts(make(intervals=True, **SMALL), "diff == diff", "higher"), "pooling == 'max'", "lower", -1
        ),
    },
    "untrained-pooling": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: make(tasks=("sst2",), poolings=("mean", "attention")),
    },
    "below-majority": {
        "passed": lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "metric == 'semantic_accuracy' and control.isna()", value=0.1),
        None: lambda make: edited(make(**SMALL), "control == 'majority'", control="stratified"),
    },
    "unequal-models": {
        None: lambda make: make(models=("mlm",), **SMALL),
        "passed": lambda make: make(**SMALL),
        "issue": lambda make: run(make(**SMALL), "models", 0, parameters=1_000_000),
    },
    "unequal-training": {
        None: lambda make: run(make(**SMALL), "models", 0, training=None),
        "issue": lambda make: make(**SMALL),
        "passed": lambda make: make(models=("a", "b"), **SMALL),
    },
    "few-rows": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "task == 'sst2'", n=100),
    },
    "too-few-rows": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: edited(
            make(**SMALL), "task == 'sst2'", status="too few rows", value=None, note="1 row; at least 2 are needed"
        ),
    },
    "rank-at-bound": {
        None: lambda make: make(**SMALL),
        "tip": lambda make: edited(make(**SMALL), "metric == 'rankme' and task == 'sst2'", value=0.96 * 256),
    },
    "unequal-d": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "model == 'mlm'", d=384),
    },
    "unequal-rows": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: edited(
            make(**SMALL), "model == 'mlm' and metric == 'uniformity' and task == 'sst2'", n=871
        ),
    },
    "mixed-definitions": {
        None: lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "metric == 'rankme'", protocol="paper"),
        "tip": lambda make: edited(make(**SMALL), "metric == metric", protocol="paper"),
    },
    "limited-rows": {
        None: lambda make: make(**SMALL),
        "tip": lambda make: limited(make(**SMALL), 300),
    },
    "unequal-truncation": {
        None: lambda make: make(tasks=("sst2", "mnli"), poolings=("mean",)),
        "issue": lambda make: run(make(**SMALL), "tasks", 0, truncated={"mlm": 0, "hybrid": 9}),
    },
    "unequal-n": {
        "tip": lambda make: make(**SMALL),
        None: lambda make: make(tasks=("sst2",), poolings=("mean",)),
    },
    "truncation": {
        None: lambda make: run(make(tasks=("sst2",)), "tasks", 0, truncated=None),
        "passed": lambda make: make(**SMALL),
        "tip": lambda make: make(tasks=("sst2", "mnli"), poolings=("mean",)),
    },
    "near-collapse": {
        "passed": lambda make: make(**SMALL),
        "issue": lambda make: edited(make(**SMALL), "metric == 'mean_cosine' and model == 'mlm'", value=0.99),
        None: lambda make: edited(make(**SMALL), "metric == 'mean_cosine'", metric="other"),
    },
    "one-layer": {
        "not applicable": lambda make: make(**SMALL),
        None: lambda make: make(layers=(0, 1), **SMALL),
    },
    "no-training-log": {
        "not applicable": lambda make: make(training=False, **SMALL),
        None: lambda make: make(**SMALL),
    },
}  # fmt: skip


@pytest.mark.parametrize(("code", "expected"), [(code, level) for code, cases in CASES.items() for level in cases])
def test_rule(make_results, code, expected):
    found = RULES[code](load(CASES[code][expected](lambda **grid: make_results(spectrum_points=8, **grid))))
    assert (None if found is None else found["severity"]) == expected
    if found is not None:
        assert found["code"] == code
        assert found["sentence"].endswith(".")
        assert found["link"] in {
            "verdict",
            "downstream",
            "geometry",
            "poolings",
            "layers",
            "training",
            "caveats",
            "provenance",
        }


def test_a_difference_that_the_mean_hides_is_told(make_results):
    results = verdicts(make_results(intervals=True, **SMALL), "metric == 'uniformity'", "no difference")
    results = verdicts(results, "metric == 'uniformity' and view == 'centred'", "lower", -1)
    assert severity(results, "uniformity-is-mean") == "tip"


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({}, "trained at equal steps, tokens and FLOPs, on the same text."),
        ({"flops": 1.005e15}, "trained at equal steps, tokens and FLOPs, on the same text."),
        (
            {"flops": 2e15},
            "compared at equal steps and tokens, on the same text, not at equal FLOPs (1.00 × 10¹⁵ / 2.00 × 10¹⁵).",
        ),
        (
            {"steps": 2000, "tokens": 2e7},
            "at equal FLOPs, on the same text, not at equal steps (1,000 / 2,000) and tokens",
        ),
        ({"corpus_fingerprint": "b"}, "trained at equal steps, tokens and FLOPs, on different text."),
    ],
)
def test_the_report_says_which_budgets_were_equal(make_results, second, sentence):
    results = make_results(models=("a", "b"), **SMALL)
    first = {"steps": 1000, "tokens": 1e7, "flops": 1e15, "corpus_fingerprint": "a"}
    run(results, "models", 0, training=first)
    run(results, "models", 1, training=first | second)
    (found,) = [f for f in findings(load(results)) if f["code"] == "unequal-training"]
    assert sentence in found["sentence"]
    assert found["severity"] == ("passed" if "same text." in sentence and "not at" not in sentence else "issue")


def test_several_definitions_of_a_metric_are_told(make_results):
    results = make_results(**SMALL)
    other = results.results[results.results["metric"] == "rankme"].assign(definition="covariance")
    results.results = pd.concat([results.results, other], ignore_index=True)
    (found,) = [f for f in findings(load(results)) if f["code"] == "mixed-definitions"]
    assert found["sentence"] == "Several definitions of rankme occur: tables show the first."
    assert found["severity"] == "tip"
    results = edited(make_results(**SMALL), "metric == 'rankme' and task == 'sst2'", definition="covariance")
    (found,) = [f for f in findings(load(results)) if f["code"] == "mixed-definitions"]
    assert found["sentence"] == "Several definitions of rankme occur: do not compare them between tasks."


def test_tokenizers_that_differ_are_told(make_results):
    results = make_results(**SMALL)
    run(results, "models", 0, vocabulary=30_522)
    run(results, "models", 1, vocabulary=50_257)
    (found,) = [f for f in findings(load(results)) if f["code"] == "unequal-models"]
    assert found["sentence"] == "The models differ in vocabulary (30,522 / 50,257)."


def test_a_model_at_a_bound_is_judged_where_it_is_compared_only(make_results):
    results = make_results(**SMALL)
    results.run["baselines"] = {"hybrid": "random-init"}
    edited(results, "metric == 'rankme' and model == 'hybrid'", value=255.0)
    assert severity(results, "rank-at-bound") is not None  # it is one of the pair
    results.comparisons = results.comparisons.iloc[:0]
    assert severity(results, "rank-at-bound") is None


def test_every_rule_has_its_cases():
    assert set(CASES) == set(RULES)


def test_issues_come_first(make_results):
    order = [ORDER.index(f["severity"]) for f in findings(load(make_results(failed=True, **SMALL)))]
    assert order == sorted(order)


def test_one_checkpoint_a_side_says_how_many_differences_another_seed_makes(make_results):
    results = make_results(**SMALL, intervals=True)
    frame = results.comparisons
    frame["verdict"] = "higher"
    frame["diff"] = [0.1 if i % 2 else 10.0 for i in range(len(frame))]
    frame["seed_spread"], frame["seed_size"] = 0.5, "2 layers of 128"
    (found,) = [f for f in findings(load(results)) if f["code"] == "one-seed"]
    shown = len(load(results).by_difference)
    assert found["number"] == f"{shown // 2} of {shown} differences; 2 layers of 128"
    assert "another seed alone" in found["sentence"]
