"""Decisions of a gate: by intervals, error rates kept; what it prints is inert."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from geomprobe.comparison.gate import (
    CANNOT_TELL,
    DEFAULT,
    FAILED,
    PASSED,
    SKIPPED,
    About,
    Check,
    Gate,
    Rule,
    decide,
    read_policy,
)
from geomprobe.comparison.gate.decide import at_level, bounded, degrees, level_of, settled
from geomprobe.comparison.gate.printed import ROWS, as_document, as_junit, as_markdown, lines
from geomprobe.comparison.records import record
from geomprobe.comparison.table import add_comparisons
from geomprobe.inference.estimate import student
from geomprobe.metrics import REGISTRY
from geomprobe.probes.scores import mean_interval
from geomprobe.results import EXAMPLE_COLUMNS, RESULT_COLUMNS, Results, table
from geomprobe.results.record import Margin

RULE = Rule("uniformity", "equivalent_within")
PLAIN = Check(RULE, "task", "mean", "raw", 2, baseline=1.0, candidate=1.0)


def row_of(diff, se, dof=50.0):
    found = student(diff, se, dof, "made up")
    return {"diff": diff, "ci_low": found.low, "ci_high": found.high, "se": se, "dof": dof}


def check(diff, se, least=-0.1, most=0.1, dof=50.0):
    return bounded(PLAIN, row_of(diff, se, dof), "diff", least, most)


@pytest.mark.parametrize(
    ("diff", "se", "least", "outcome"),
    [
        (0.0, 0.0, -0.1, PASSED),
        (0.0, 0.0, 0.0, PASSED),  # equal, though the margin of a share of 0 is 0
        (0.05, 0.02, -0.1, PASSED),
        (0.05, 0.03, -0.1, CANNOT_TELL),
        (0.15, 0.04, -0.1, CANNOT_TELL),
        (0.2, 0.02, -0.1, FAILED),
        (-0.2, 0.02, -0.1, FAILED),
        (-0.2, 0.02, -math.inf, PASSED),  # better, where higher is worse
        (0.2, 0.0, -0.1, FAILED),
    ],
)
def test_three_outcomes(diff, se, least, outcome):
    (found,) = settled([check(diff, se, least)])
    assert found.outcome == outcome


def test_without_a_standard_error_it_can_pass_and_not_fail():
    row = {"diff": 0.0, "ci_low": -0.05, "ci_high": 0.05, "se": None, "dof": None}
    assert settled([bounded(PLAIN, row, "diff", -0.1, 0.1)])[0].outcome == PASSED
    row = {"diff": 0.5, "ci_low": 0.3, "ci_high": 0.7, "se": None, "dof": None}
    assert settled([bounded(PLAIN, row, "diff", -0.1, 0.1)])[0].outcome == CANNOT_TELL


def test_one_of_many_checks_is_not_failed_by_chance():
    """Outside at 5 % alone; with nine others it may be chance."""
    beyond = check(0.141, 0.02)
    assert settled([beyond])[0].outcome == FAILED
    assert settled([beyond, *[check(0.0, 0.01)] * 9])[0].outcome == CANNOT_TELL


def test_error_rates():
    """At the edge of a margin: one check passes in 2.5 %, and of ten one fails in 5 % at most."""
    rng, draws = np.random.default_rng(0), 2000
    edge = 0.1 + 0.02 * rng.standard_t(50, size=(draws, 10))
    gates = [settled([check(diff, 0.02) for diff in row]) for row in edge]
    passed = np.mean([found.outcome == PASSED for gate in gates for found in gate])
    failed = np.mean([any(found.outcome == FAILED for found in gate) for gate in gates])
    assert passed == pytest.approx(0.025, abs=0.004)
    assert 0.0 < failed < 0.05


def test_a_candidate_off_a_single_rule_hardly_passes():
    """However many rules it keeps."""
    rng = np.random.default_rng(1)
    gates = [
        Gate(settled([check(0.1 + 0.02 * rng.standard_t(50), 0.02), *[check(0.0, 0.001)] * 30])) for _ in range(800)
    ]
    assert np.mean([gate.outcome == PASSED for gate in gates]) < 0.025 + 3 * math.sqrt(0.025 / 800)


def test_nightly_candidates_off_the_margin_pass_sooner_or_later_unless_looks_are_counted():
    """50 candidates at the edge of a margin: some night one passes in most series at 5 % each, hardly ever by looks."""
    rng, series, looks = np.random.default_rng(2), 300, 50
    edge = 0.1 + 0.02 * rng.standard_t(50, size=(series, looks))
    rows = [[row_of(diff, 0.02) for diff in each] for each in edge]

    def passes(row, look):
        level = level_of(look)
        (found,) = settled([bounded(PLAIN, at_level(row, "diff", level), "diff", -0.1, 0.1)], 1 - level)
        return found.outcome == PASSED

    alone = np.mean([any(passes(row, None) for row in each) for each in rows])
    counted = np.mean([any(passes(row, k) for k, row in enumerate(each, 1)) for each in rows])
    assert alone > 0.6
    assert counted < 0.025 + 3 * math.sqrt(0.025 / series)


def test_the_shares_of_all_looks_are_five_percent():
    assert sum(1 - level_of(k) for k in range(1, 2000)) == pytest.approx(0.05, rel=1e-3)
    assert level_of(None) == 0.95


def test_the_t_interval_of_a_counted_look():
    half = stats.t.ppf(1 - 0.05 / 56 / 2, 50) * 0.02
    wide = at_level(row_of(0.1, 0.02), "diff", level_of(7))
    assert (wide["ci_low"], wide["ci_high"]) == pytest.approx((0.1 - half, 0.1 + half))
    value = {"value": 0.1, "se": 0.02, "ci_low": row_of(0.1, 0.02)["ci_low"], "ci_high": row_of(0.1, 0.02)["ci_high"]}
    assert at_level(value, "value", level_of(7))["ci_high"] == pytest.approx(0.1 + half), "dof is in the interval"
    assert at_level(row_of(0.1, 0.02), "diff", 0.95) == row_of(0.1, 0.02)
    none = {"diff": 0.1, "ci_low": None, "ci_high": None, "se": None, "dof": None}
    assert at_level(none, "diff", level_of(7)) == none


def test_an_accuracy_at_a_counted_look_has_a_wider_score_interval():
    made = accuracies(first_of(400, 0), first_of(400, 4))
    rule = Rule("semantic_accuracy", "no_worse_than", margin=Margin(0.03), worse="lower")
    floor = Rule("semantic_accuracy", "not_below", floor=0.96)
    for each in (rule, floor):
        (alone,), (tenth,) = (decide(made, "a", "b", [each], look=look).checks for look in (None, 10))
        assert (alone.outcome, tenth.outcome) == (PASSED, CANNOT_TELL)
        assert tenth.low < alone.low


def accuracies(first, second, clusters=None):
    """Results of two models whose probes are right on these rows, bool (n,), with their difference."""
    n, rows, examples = len(first), [], []
    for name, right in (("a", first), ("b", second)):
        place = {"model": name, "task": "t", "layer": 1, "pooling": "mean"}
        own = np.arange(n) if clusters is None else clusters
        value = {"metric": "semantic_accuracy", "status": "ok", "value": float(right.mean()), "n": n}
        found = mean_interval(right.astype(float), value["value"], own)
        rows.append({**place, **value, **{key: found[key] for key in ("se", "ci_low", "ci_high", "ci_method")}})
        of_rows = {"probe": "semantic", "row_id": [f"validation/{i}" for i in range(n)], "cluster": own}
        examples.append(pd.DataFrame({**of_rows, "label": 1.0, "prediction": right.astype(float)}).assign(**place))
    found = Results(
        table(pd.DataFrame(rows), RESULT_COLUMNS),
        definitions={"semantic_accuracy": record("semantic_accuracy").entry()},
        examples=table(pd.concat(examples), EXAMPLE_COLUMNS),
        run={"models": [{"name": name, "n_layers": 1} for name in "ab"]},
    )
    return add_comparisons(found, "a", "b")


def first_of(n, wrong):
    return np.arange(n) >= wrong


def only(results, rule):
    (found,) = decide(results, "a", "b", [rule]).checks
    return found


@pytest.mark.parametrize(("n", "size"), [(200, 0.05), (500, 0.02), (500, 0.05)])
def test_an_accuracy_at_its_margin_hardly_passes(n, size):
    """Rows are only lost, none won: by Student's t 3 % to 7 % of such candidates would pass."""
    rule = Rule("semantic_accuracy", "no_worse_than", margin=Margin(size), worse="lower")
    fewest = int(stats.binom.ppf(0.026, n, size))  # so few losses or fewer: 2.6 % and more
    assert only(accuracies(first_of(n, 0), first_of(n, fewest)), rule).outcome == CANNOT_TELL
    assert only(accuracies(first_of(n, 0), first_of(n, 0)), rule).outcome == PASSED


@pytest.mark.parametrize(("n", "floor"), [(20, 0.9), (60, 0.95), (200, 0.98)])
def test_an_accuracy_at_its_floor_hardly_passes_and_hardly_fails(n, floor):
    """20 of 20 right rows do not show more than 0.9: that has a probability of 12 %."""
    rule = Rule("semantic_accuracy", "not_below", floor=floor)
    fewest, most = (int(stats.binom.ppf(tail, n, 1 - floor)) for tail in (0.025, 0.975))
    expected = {fewest - 1: PASSED, fewest: CANNOT_TELL, most: CANNOT_TELL, most + 1: FAILED}
    for wrong, outcome in ((wrong, outcome) for wrong, outcome in expected.items() if wrong >= 0):
        right = first_of(n, wrong)
        assert only(accuracies(right, right), rule).outcome == outcome


def test_all_rows_right_in_few_clusters_show_little():
    right = first_of(100, 0)
    rule = Rule("semantic_accuracy", "not_below", floor=0.9)
    assert only(accuracies(right, right), rule).outcome == PASSED
    assert only(accuracies(right, right, np.arange(100) // 10), rule).outcome == CANNOT_TELL


def test_a_value_that_no_row_moves_has_no_interval():
    results = accuracies(first_of(50, 10), first_of(50, 0))
    results.examples = results.examples[:0]
    assert only(results, Rule("semantic_accuracy", "not_below", floor=0.9)).outcome == SKIPPED


@pytest.mark.parametrize("dof", [1.5, 8.0, 40.0, 1e9])
def test_degrees_of_an_interval(dof):
    found = degrees(float(stats.t.ppf(0.975, dof)))
    assert found == pytest.approx(min(dof, 1e7), rel=1e-3)


def test_overall():
    passed, failed, untold = (replace(PLAIN, outcome=outcome) for outcome in (PASSED, FAILED, CANNOT_TELL))
    assert Gate([passed]).outcome == PASSED
    assert Gate([passed, PLAIN]).outcome == PASSED
    assert Gate([passed, untold]).outcome == CANNOT_TELL
    assert Gate([passed, untold, failed]).outcome == FAILED
    assert Gate([PLAIN]).outcome == Gate([]).outcome == CANNOT_TELL
    assert Gate([passed], failed_cells=1).outcome == CANNOT_TELL


def test_the_default_policy():
    rules = read_policy(DEFAULT)
    assert {(rule.metric, rule.view) for rule in rules if not rule.if_measured} == {
        ("uniformity", "raw"), ("uniformity", "centred"), ("mean_cosine", "raw"), ("effective_rank", "raw")
    }  # fmt: skip
    probes = [rule for rule in rules if rule.if_measured]
    assert {rule.worse for rule in probes} == {"lower"}
    assert all(rule.margin is None for rule in rules), "the margins of the records"
    assert all(rule.metric not in REGISTRY for rule in probes)


def test_lower_scores_are_better_where_the_record_says_so(tmp_path):
    (tmp_path / "p.toml").write_text("[semantic_log_loss]\nno_worse_than = '5%'\nnot_below = 0\n")
    first, second = read_policy(tmp_path / "p.toml")
    assert (first.worse, first.margin.size, first.margin.scale) == ("higher", 0.05, "relative")
    assert (second.kind, second.floor) == ("not_below", 0.0)


HOSTILE = 'a|b`<img src=x>\x00\x1b[31m\n# @team #1 [x](y) ]]>\u202e\ud800 &amp; "'


def test_what_is_printed_is_inert():
    entry = {"name": HOSTILE, "source": HOSTILE, "hash": None}
    rule = replace(RULE, metric="uniformity")
    made = [replace(check(0.2, 0.02), rule=rule, task=HOSTILE, pooling=HOSTILE, why=HOSTILE) for _ in range(ROWS + 5)]
    gate = Gate(settled([*made, replace(PLAIN, task=HOSTILE, why=HOSTILE)]), 2)
    about = About(entry, entry, [{"name": HOSTILE, "rows": 3, "fingerprint": "f" * 64}], HOSTILE, "e" * 64, [HOSTILE])
    page = as_markdown(gate, about)
    assert "<img" not in page.replace("\\<img", "")
    assert "@team" not in page
    assert "\x1b" not in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == ROWS + 2
    assert {line.replace("\\|", "").count("|") for line in table} == {9}
    assert "And 6 checks more." in page
    root = ElementTree.fromstring(as_junit(gate, about).encode())
    assert len(root.findall(".//testcase")) == ROWS + 6
    assert len(root.findall(".//failure")) == ROWS + 5
    json.dumps(as_document(gate, about), allow_nan=False)
    shown = lines(gate, about, ["results: x"])
    assert len(shown) <= 20
    assert all(line.isprintable() for line in shown)


def test_a_task_that_the_candidate_was_not_measured_on_cannot_be_told():
    results = accuracies(first_of(500, 0), first_of(500, 1))
    rule = Rule("semantic_accuracy", "no_worse_than", margin=Margin(0.1), worse="lower")
    assert decide(results, "a", "b", [rule]).outcome == PASSED
    found = decide(results, "a", "b", [rule, replace(rule, metric="isoscore", if_measured=True)], ["cola"])
    assert found.outcome == CANNOT_TELL
    assert [(check.rule.metric, check.task) for check in found.of(CANNOT_TELL)] == [("semantic_accuracy", "cola")]
