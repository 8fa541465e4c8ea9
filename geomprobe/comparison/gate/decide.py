"""The decisions of a gate: pure functions of differences, their intervals and rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from geomprobe.common.text import clean
from geomprobe.comparison.gate.policy import Rule
from geomprobe.comparison.margin_overrides import margin as margin_of
from geomprobe.comparison.pairs import NUMBER, PLACE, ModelResults, Row, clusters_of, filled, joined, paired
from geomprobe.inference import intervals
from geomprobe.inference.sequences import share_of_look
from geomprobe.results import Results

Outcome = Literal["passed", "failed", "cannot tell", "skipped"]
PASSED: Outcome = "passed"
FAILED: Outcome = "failed"
CANNOT_TELL: Outcome = "cannot tell"
SKIPPED: Outcome = "skipped"
ALPHA = 1 - intervals.LEVEL


@dataclass(frozen=True)
class Check:
    """One rule in one cell, and its outcome.

    Attributes
    ----------
    rule : Rule
    task, pooling, view : str
        Empty where no cell has the metric.
    layer : int or None
    outcome : {"passed", "failed", "cannot tell", "skipped"}
    why : str
        Where there is no outcome by the interval.
    baseline, candidate : float or None
        Values.
    estimate, low, high : float or None
        What the rule speaks of, with its interval at the level of the gate: candidate minus baseline, or the
        candidate's value.
    least, most : float
        Between which the estimate must lie; infinite where it need not.
    p : float or None
        p-value of "it lies there", adjusted by Holm over all checks.
    n : int or None
        Rows.
    """

    rule: Rule
    task: str = ""
    pooling: str = ""
    view: str = ""
    layer: int | None = None
    outcome: Outcome = SKIPPED
    why: str = ""
    baseline: float | None = None
    candidate: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    least: float = -math.inf
    most: float = math.inf
    p: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Gate:
    """All checks of a gate.

    Attributes
    ----------
    checks : list of Check
    failed_cells : int
        Cells that could not be measured.
    look : int or None
        Which candidate this is on these rows, counted from 1; None where each is judged by itself.
    """

    checks: list[Check]
    failed_cells: int = 0
    look: int | None = None

    @property
    def level(self) -> float:
        """Level of the intervals."""
        return level_of(self.look)

    def of(self, outcome: Outcome) -> list[Check]:
        """Checks with an outcome."""
        return [check for check in self.checks if check.outcome == outcome]

    @property
    def outcome(self) -> Outcome:
        """Failed where a check failed; else "cannot tell" where one cannot be told, or nothing was decided."""
        if self.of(FAILED):
            return FAILED
        return CANNOT_TELL if self.failed_cells or self.of(CANNOT_TELL) or not self.of(PASSED) else PASSED


def level_of(look: int | None) -> float:
    """Level of the intervals at a look; 95 % where looks are not counted."""
    return intervals.LEVEL if look is None else 1 - ALPHA * share_of_look(look)


def decide(
    results: Results,
    baseline: str,
    candidate: str,
    rules: Sequence[Rule],
    unmeasured: Sequence[str] = (),
    look: int | None = None,
) -> Gate:
    """Outcome of every rule in every cell of two compared models.

    A check passes where the 95 % interval lies within what the rule tolerates. Of accuracies of independent rows it is
    the score interval of the difference and the exact one of a value, for Student's t lets too much pass where few rows
    differ or few are wrong. The gate passes only if all checks do,
    so this needs no adjustment (an intersection-union test: Berger 1982, "Multiparameter hypothesis testing and
    acceptance sampling", Technometrics 24). One failed check fails the gate, so the p-values of "it is tolerated" are
    adjusted by Holm over all checks. At the k-th look on the same rows the error is not 5 % but 5 % · 1/(k(k + 1)), so
    that all looks together keep the 5 %, however many there will be.

    Parameters
    ----------
    results : Results
        With the differences candidate minus baseline.
    baseline, candidate : str
        Names of the models.
    rules : sequence of Rule
    unmeasured : sequence of str
        Tasks of the baseline that the candidate was not measured on: a gate does not pass by leaving a task out.
    look : int, optional
        Which candidate this is on these rows, counted from 1; None judges it by itself.
    """
    level = level_of(look)
    sides = ModelResults(results, baseline), ModelResults(results, candidate)
    compared = results.comparisons
    compared = compared[(compared["a"] == baseline) & (compared["b"] == candidate)]
    differences = {cell_of(row): at_level(row, "diff", level) for row in filled(compared, NUMBER).to_dict("records")}
    differences |= {
        cell: {**differences[cell], **ends} for cell, ends in by_scores(*sides, rules, level) if cell in differences
    }
    checks = [check for rule in rules for check in checks_of(rule, *sides, differences, level)]
    why = "the candidate was not measured on this task"
    needed = [rule for rule in rules if not rule.if_measured]
    checks += [
        Check(rule, task, view=rule.view or "", outcome=CANNOT_TELL, why=why) for task in unmeasured for rule in needed
    ]
    return Gate(settled(checks, 1 - level), results.run.get("failed_cells", 0), look)


def checks_of(
    rule: Rule, baseline: ModelResults, candidate: ModelResults, differences: Mapping[tuple, Row], level: float
) -> Iterator[Check]:
    """Checks of a rule, with their p-values before adjustment and without an outcome where the interval decides."""
    first, second = (
        {key: row for key, row in side.numbers.items() if covers(rule, row)} for side in (baseline, candidate)
    )
    if not first and not second and not rule.if_measured:
        yield Check(rule, outcome=CANNOT_TELL, view=rule.view or "", why="no cell has it")
    for key in dict.fromkeys((*first, *second)):
        a, b = first.get(key), second.get(key)
        check = placed(rule, a or b or {}, a, b)
        if b is None and key in candidate.without:
            note = clean(candidate.without[key]["note"])
            yield replace(check, outcome=CANNOT_TELL, why=f"the candidate has no value: {note}")
        elif b is None:
            yield replace(check, why="not measured of the candidate")
        elif rule.kind == "not_below":
            yield floored(check, b, candidate, level)
        elif a is None:
            yield replace(check, why="the baseline has no value")
        else:
            size = margin_of(baseline.records.get(rule.metric, {}), float(a["value"]), float(b["value"]), rule.margin)
            least = -math.inf if rule.worse == "higher" else -(size or 0.0)
            most = math.inf if rule.worse == "lower" else size or 0.0
            yield bounded(check, differences.get(cell_of(a), {}), "diff", least, most)


def at_level(row: Row, value: str, level: float) -> Row:
    """A row of a table with its t interval at another level than 95 %."""
    estimate, low, high, se, dof = (number(row, key) for key in (value, "ci_low", "ci_high", "se", "dof"))
    if level == intervals.LEVEL or estimate is None or low is None or high is None or not se:
        return row
    half = intervals.t_quantile((1 + level) / 2, degrees((high - low) / 2 / se) if dof is None else dof) * se
    return {**row, "ci_low": estimate - half, "ci_high": estimate + half}


def by_scores(
    baseline: ModelResults, candidate: ModelResults, rules: Sequence[Rule], level: float
) -> Iterator[tuple[tuple, Row]]:
    """Cells in which rows are right or wrong, with the score intervals of their differences (Tango 1998)."""
    asked = {rule.metric for rule in rules if rule.kind != "not_below"}
    for row in joined(baseline.rows, candidate.rows, PLACE):
        counted = row["metric"] in asked and baseline.score(row) in ("accuracy", "skill")
        if counted and (rows := paired(baseline, candidate, row).discordant) is not None:
            low, high = rows.interval(level)
            yield cell_of({**row, "layer": row["layer_a"]}), {"ci_low": low, "ci_high": high}


def floored(check: Check, row: Row, candidate: ModelResults, level: float) -> Check:
    """A check of the candidate's own value; of an accuracy by the binomial distribution of its right rows.

    Clusters divide the counts by the largest of them; only where all rows are right, or all wrong, for elsewhere they
    show their own spread.
    """
    floor, se = check.rule.floor or 0.0, number(row, "se")
    examples = candidate.examples(row) if candidate.score(row) == "accuracy" else None
    largest = 1 if examples is None else int(np.bincount(clusters_of(examples)).max())
    if se == 0 and examples is None:
        return replace(check, least=floor, estimate=number(row, "value"), why="no valid interval: no row moves it")
    if examples is None or (largest > 1 and se):
        return bounded(check, at_level(row, "value", level), "value", floor, math.inf)
    right = float((examples["label"] == examples["prediction"]).sum()) / largest
    wrong = len(examples) / largest - right
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, right, wrong + 1)) if right else 0.0
    high = float(stats.beta.isf(tail, right + 1, wrong)) if wrong else 1.0
    p = min(1.0, 2 * float(stats.beta.sf(floor, right + 1, wrong))) if wrong else 1.0
    return replace(check, least=floor, estimate=number(row, "value"), low=low, high=high, p=p)


def cell_of(row: Row) -> tuple[str, ...]:
    """Place of a number of the baseline, as the table of differences has it."""
    return tuple(str(row[key]) for key in ("task", "layer", "pooling", *NUMBER))


def covers(rule: Rule, row: Row) -> bool:
    """Whether a rule is about a number: standard definitions only."""
    return row["metric"] == rule.metric and row["definition"] in ("", "standard") and rule.view in (None, row["view"])


def placed(rule: Rule, row: Row, a: Row | None, b: Row | None) -> Check:
    """A check with its place and the values there."""
    task, pooling, view = (str(row[key]) for key in ("task", "pooling", "view"))
    baseline, candidate = (None if side is None else float(side["value"]) for side in (a, b))
    return Check(
        rule, task, pooling, view, int(row["layer"]), baseline=baseline, candidate=candidate, n=number(row, "n")
    )


def bounded(check: Check, row: Row, value: str, least: float, most: float) -> Check:
    """A check with its estimate, interval and p-value; skipped where there is no interval."""
    estimate, low, high, se, dof = (number(row, key) for key in (value, "ci_low", "ci_high", "se", "dof"))
    if estimate is None or low is None or high is None:
        return replace(check, least=least, most=most, estimate=estimate, why="no valid interval")
    if se is not None and dof is None:
        dof = degrees((high - low) / 2 / se) if se > 0 else 1.0
    p = None if se is None or dof is None else p_tolerated(estimate, se, dof, least, most)
    return replace(check, least=least, most=most, estimate=estimate, low=low, high=high, p=p)


def p_tolerated(estimate: float, se: float, dof: float, least: float, most: float) -> float:
    """Two-sided p-value of "it lies from least to most": 1 where the estimate does."""
    beyond = max(least - estimate, estimate - most)
    if beyond <= 0:
        return 1.0
    return float(2 * special.stdtr(dof, -beyond / se)) if se > 0 else 0.0


def degrees(quantile: float) -> float:
    """Degrees of freedom at which the 97.5 % quantile of Student's t is this: what an interval and its SE imply."""
    if quantile <= intervals.t_quantile(0.975, 1e7):
        return 1e7
    if quantile >= intervals.t_quantile(0.975, 1.0):
        return 1.0
    return float(optimize.brentq(lambda dof: intervals.t_quantile(0.975, dof) - quantile, 1.0, 1e7))


def settled(checks: Sequence[Check], alpha: float = ALPHA) -> list[Check]:
    """Checks with their outcomes, from their intervals and from the p-values adjusted over all of them."""
    p = intervals.holm(np.array([np.nan if check.p is None else check.p for check in checks]))
    return [settle(check, None if math.isnan(q) else float(q), alpha) for check, q in zip(checks, p, strict=True)]


def settle(check: Check, p: float | None, alpha: float) -> Check:
    """A check with its outcome by its interval and its adjusted p-value."""
    if check.low is None or check.high is None:
        return check
    if check.least <= check.low and check.high <= check.most:
        return replace(check, p=p, outcome=PASSED)
    return replace(check, p=p, outcome=FAILED if p is not None and p < alpha else CANNOT_TELL)


def number(row: Mapping[Any, Any], key: str) -> Any:
    """A number of a row of a table, None where it is missing."""
    value = row.get(key)
    return None if value is None or pd.isna(value) else value
