"""Findings on the comparison: failed cells, intervals, seeds, uniformity, poolings, probes against the majority."""

from __future__ import annotations

from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import count, listed, words
from geomprobe.reports.document.model import Finding
from geomprobe.reports.wording.failed import how_many, place, why
from geomprobe.reports.wording.findings.rules import finding, rule


@rule("failed-cells")
def failed_cells(facts: Facts) -> Finding | None:
    """Some cells could not be measured."""
    failed = facts.failed
    if not failed:
        return finding("failed-cells", "passed", "Every cell of the grid was measured.", "poolings")
    first = failed[0]
    head = f"{how_many(facts)} could not be measured"
    text = f"{head}{', first' if len(failed) > 1 else ':'} {place(first)}: {why(first)}."
    return finding("failed-cells", "issue", text, "poolings", count(len(failed)))


@rule("no-intervals")
def no_intervals(facts: Facts) -> Finding | None:
    """Differences have no intervals."""
    rows = list(facts.by_difference.values())
    if not rows:
        return None
    without = [r for r in rows if judgement(r) == "none"]
    if not without:
        return finding("no-intervals", "passed", "Every difference has an interval.", "verdict")
    if len(without) == len(rows):
        text = "No difference has an interval, so any of them may be chance."
        return finding("no-intervals", "issue", text, "caveats", f"{count(len(rows))} differences")
    text = "Some differences have no valid interval, so they have no verdict."
    return finding("no-intervals", "tip", text, "geometry", f"{count(len(without))} of {count(len(rows))}")


@rule("same-rows")
def same_rows(facts: Facts) -> Finding | None:
    """Both models saw the same rows."""
    if len(facts.models) < 2:
        return None
    if unequal := [t for t in facts.tasks if len(facts.task_hashes.get(t, ())) > 1]:
        return finding("same-rows", "issue", f"The models saw different rows of {listed(unequal)}.", "provenance")
    return finding("same-rows", "passed", "All models saw the same rows of every task.", "provenance")


@rule("one-seed")
def one_seed(facts: Facts) -> Finding | None:
    """One checkpoint an objective supports no claim about objectives."""
    if facts.kind == "groups":
        smallest = min(len(members) for members in facts.groups.values()) if facts.groups else 0
        if smallest < 3:
            text = "A group has fewer than three seeds: too few for a claim about objectives."
            return finding("one-seed", "issue", text, "caveats", f"{smallest} seeds")
        return finding("one-seed", "passed", "Every group has at least three seeds.", "caveats", f"{smallest} seeds")
    if facts.kind != "pair":
        return None
    text = "One checkpoint per side: the results are about these two checkpoints, not about their objectives."
    return finding("one-seed", "tip", text, "caveats", "1 seed per side")


@rule("uniformity-is-mean")
def uniformity_is_mean(facts: Facts) -> Finding | None:
    """A difference in raw uniformity that disappears or reverses after centring."""
    pairs = []
    for task in facts.tasks:
        raw = facts.difference(task, facts.pooling, "uniformity", "raw")
        centred = facts.difference(task, facts.pooling, "uniformity", "centred")
        if raw and centred:
            pairs.append((judgement(raw), judgement(centred)))
    known = [(r, c) for r, c in pairs if r != "none"]
    if not pairs:
        return None
    if not known:
        text = "Uniformity depends on the common mean vector: read raw and centred values together."
        return finding("uniformity-is-mean", "tip", text, "geometry")
    moved = [c for r, c in known if r in ("higher", "lower") and c != r]
    if moved:
        text = "Raw uniformity differs, but the difference disappears or reverses after centring."
        return finding("uniformity-is-mean", "issue", text, "geometry", f"{len(moved)} of {len(known)} tasks")
    hidden = [r for r, c in known if c in ("higher", "lower") and c != r]
    if hidden:
        text = "Centred uniformity differs where raw uniformity does not: the common mean vector masks the difference."
        return finding("uniformity-is-mean", "tip", text, "geometry", f"{len(hidden)} of {len(known)} tasks")
    text = "Raw and centred uniformity have the same verdict: the common mean vector does not explain it."
    return finding("uniformity-is-mean", "passed", text, "geometry", f"{len(known)} of {len(known)} tasks")


@rule("pooling-decides")
def pooling_decides(facts: Facts) -> Finding | None:
    """The direction of a headline difference depends on the pooling."""
    if not facts.pair or len(facts.poolings) < 2:
        return None
    turned = []
    for metric, view in facts.headline:
        for task in facts.tasks:
            rows = [facts.difference(task, pooling, metric, view) for pooling in facts.poolings]
            if {"higher", "lower"} <= {judgement(r) for r in rows if r}:
                turned.append(f"{words(metric)}{f' ({view})' if view else ''} on {task}")
    if not turned:
        return None
    named = listed(turned[:3]) if len(turned) <= 3 else ", ".join(turned[:3]) + " and more"
    text = f"The sign of a difference depends on the pooling: {named}."
    return finding("pooling-decides", "issue", text, "poolings", f"{len(turned)} cases")


@rule("untrained-pooling")
def untrained_pooling(facts: Facts) -> Finding | None:
    """Poolings with parameters at initialisation."""
    if not facts.untrained:
        return None
    text = (
        f"The {listed(facts.untrained)} pooling{'s are' if len(facts.untrained) > 1 else ' is'} not trained: "
        "untrained, weighted equals mean, and attention is a mean with random softmax weights."
    )
    return finding("untrained-pooling", "issue", text, "caveats")


@rule("below-majority")
def below_majority(facts: Facts) -> Finding | None:
    """A probe does not beat the most frequent class."""
    floor = {
        (r["model"], r["task"], r["layer"], r["pooling"], r["metric"]): r["value"]
        for r in facts.rows
        if r["control"] == "majority" and facts.entry(r["metric"]).get("score") == "accuracy" and r["value"] is not None
    }
    if not floor:
        return None
    below, compared = [], 0
    probes = {key[:5]: row for key, row in facts.by_cell.items()}
    for key, least in floor.items():
        row = probes.get(key)
        if row and row["value"] is not None:
            compared += 1
            if row["value"] <= least:
                below.append(row)
    if below:
        tasks = list(dict.fromkeys(r["task"] for r in below))
        text = f"Probes do not beat the majority class on {listed(tasks)}: no linear signal was found there."
        return finding("below-majority", "issue", text, "downstream", f"{len(below)} of {compared} probes")
    return finding(
        "below-majority", "passed", "Every probe beats the majority class.", "downstream", f"{compared} probes"
    )
