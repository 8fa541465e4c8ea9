"""Findings on the comparison: failed cells, intervals, seeds, uniformity, poolings, probes against the majority."""

from __future__ import annotations

from itertools import product
from operator import itemgetter

from geomprobe.common.text import count, counted, listed, words
from geomprobe.results.summary.facts import PLACE, Facts, judgement
from geomprobe.results.summary.findings.rules import Found, rule
from geomprobe.results.summary.words import how_many, place, why


@rule("failed-cells", "poolings")
def failed_cells(facts: Facts) -> Found | None:
    """Some cells could not be measured."""
    failed = facts.failed
    if not failed:
        return Found("passed", "Every cell of the grid was measured.")
    first = failed[0]
    head = f"{how_many(facts)} could not be measured"
    text = f"{head}{', first' if len(failed) > 1 else ':'} {place(first)}: {why(first)}."
    return Found("issue", text, count(len(failed)))


@rule("no-intervals", "verdict")
def no_intervals(facts: Facts) -> Found | None:
    """Differences have no intervals."""
    rows = list(facts.by_difference.values())
    if not rows:
        return None
    without = [r for r in rows if judgement(r) == "none"]
    if not without:
        return Found("passed", "Every difference has an interval.")
    if len(without) == len(rows):
        text = "No difference has an interval, so any of them may be chance."
        return Found("issue", text, f"{count(len(rows))} differences", "caveats")
    text = "Some differences have no valid interval, so they have no verdict."
    return Found("tip", text, f"{count(len(without))} of {count(len(rows))}", "geometry")


@rule("same-rows", "provenance")
def same_rows(facts: Facts) -> Found | None:
    """Both models saw the same rows."""
    if len(facts.models) < 2:
        return None
    if unequal := [t for t in facts.tasks if len(facts.task_hashes.get(t, ())) > 1]:
        return Found("issue", f"The models saw different rows of {listed(unequal)}.")
    return Found("passed", "All models saw the same rows of every task.")


@rule("results-folders", "provenance")
def results_folders(facts: Facts) -> Found | None:
    """The models come from results folders that do not hold the same."""
    notes = facts.run.get("notes") or []
    if not notes:
        return None
    text = f"The models come from results folders that do not hold the same: {'; '.join(notes[:3])}."
    return Found("tip", text, f"{count(len(notes))} notes" if len(notes) > 3 else "")


@rule("one-seed", "caveats")
def one_seed(facts: Facts) -> Found | None:
    """One checkpoint an objective supports no claim about objectives."""
    if facts.kind == "pair":
        text = "One checkpoint per side: the results are about these two checkpoints, not about their objectives."
        known = [r for r in facts.by_difference.values() if r["seed_spread"] and judgement(r) in ("higher", "lower")]
        if within := [r for r in known if abs(r["diff"]) <= r["seed_spread"]]:
            size = within[0]["seed_size"]
            text = f"{text[:-1]}: another seed alone moves numbers of such models as far as some differences here."
            return Found("tip", text, f"{len(within)} of {len(known)} differences; {size}")
        return Found("tip", text, "1 seed per side")
    if facts.kind != "groups":
        return None
    smallest = min((len(members) for members in facts.groups.values()), default=0)
    if smallest < 3:
        text = "A group has fewer than three seeds: too few for a claim about objectives."
        return Found("issue", text, f"{smallest} seeds")
    return Found("passed", "Every group has at least three seeds.", f"{smallest} seeds")


@rule("uniformity-is-mean", "geometry")
def uniformity_is_mean(facts: Facts) -> Found | None:
    """A difference in raw uniformity that disappears or reverses after centring."""
    pairs = []
    for task in facts.tasks:
        both = [facts.difference(task, facts.pooling, "uniformity", view) for view in ("raw", "centred")]
        pairs += [tuple(judgement(row) for row in both if row)] if all(both) else []
    if not pairs:
        return None
    known = [(raw, centred) for raw, centred in pairs if raw != "none"]
    if not known:
        return Found("tip", "Uniformity depends on the common mean vector: read raw and centred values together.")
    differ = [(raw, centred) for raw, centred in known if raw != centred]
    if vanished := [raw for raw, _ in differ if raw in ("higher", "lower")]:
        text = "Raw uniformity differs, but the difference disappears or reverses after centring."
        return Found("issue", text, f"{len(vanished)} of {len(known)} tasks")
    if hidden := [centred for _, centred in differ if centred in ("higher", "lower")]:
        text = "Centred uniformity differs where raw uniformity does not: the common mean vector masks the difference."
        return Found("tip", text, f"{len(hidden)} of {len(known)} tasks")
    text = "Raw and centred uniformity have the same verdict: the common mean vector does not explain it."
    return Found("passed", text, f"{len(known)} of {len(known)} tasks")


@rule("pooling-decides", "poolings")
def pooling_decides(facts: Facts) -> Found | None:
    """The direction of a headline difference depends on the pooling."""
    if not facts.pair or len(facts.poolings) < 2:
        return None
    turned = []
    for (metric, view), task in product(facts.headline, facts.tasks):
        rows = [facts.difference(task, pooling, metric, view) for pooling in facts.poolings]
        if {"higher", "lower"} <= {judgement(r) for r in rows if r}:
            turned.append(f"{words(metric)}{f' ({view})' if view else ''} on {task}")
    if not turned:
        return None
    named = listed(turned) if len(turned) <= 3 else ", ".join(turned[:3]) + " and more"
    return Found("issue", f"The sign of a difference depends on the pooling: {named}.", counted(len(turned), "case"))


@rule("untrained-pooling", "caveats")
def untrained_pooling(facts: Facts) -> Found | None:
    """Poolings with parameters at initialisation."""
    if not facts.untrained:
        return None
    text = (
        f"The {listed(facts.untrained)} pooling{'s are' if len(facts.untrained) > 1 else ' is'} not trained: "
        "untrained, weighted equals mean, and attention is a mean with random softmax weights."
    )
    return Found("issue", text)


@rule("below-majority", "downstream")
def below_majority(facts: Facts) -> Found | None:
    """A probe does not beat the most frequent class."""
    floor = {
        itemgetter(*PLACE, "metric")(row): row["value"]
        for row in facts.rows
        if row["control"] == "majority" and facts.entry(row["metric"]).get("score") == "accuracy"
    }
    cells = [(row, floor.get(key[:-1])) for key, row in facts.by_cell.items() if row["value"] is not None]
    compared = [(row, least) for row, least in cells if least is not None]
    if not any(least is not None for least in floor.values()):
        return None
    below = [row for row, least in compared if row["value"] <= least]
    if below:
        tasks = list(dict.fromkeys(row["task"] for row in below))
        text = f"Probes do not beat the majority class on {listed(tasks)}: no linear signal was found there."
        return Found("issue", text, f"{len(below)} of {len(compared)} probes")
    return Found("passed", "Every probe beats the majority class.", f"{len(compared)} probes")
