"""Findings on what was measured: rows, texts, definitions, collapse, layers, training logs."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter

from geomprobe.common.text import count, listed, number, words
from geomprobe.results.summary.facts import PLACE, Facts, Row, rows_of
from geomprobe.results.summary.findings.rules import Found, compared_models, compared_numbers, rule
from geomprobe.results.summary.words import why

NEAR_BOUND = 0.95  # of min(n - 1, d): a rank above it can hardly rise
CUT_APART = 0.01  # of the texts of a task


@rule("few-rows", "geometry")
def few_rows(facts: Facts) -> Found | None:
    """Fewer rows than dimensions: ranks are bounded by N."""
    ranks = [r for r in facts.rows if _is_rank(facts, r) and r["n"]]
    few = {r["task"]: r for r in ranks if r["n"] <= r["d"]}
    if not few:
        return None
    text = f"Fewer rows than dimensions on {listed(list(few))}: the number of rows bounds ranks there."
    first = next(iter(few.values()))
    return Found("issue", text, f"n = {count(first['n'])}, d = {count(first['d'])}")


@rule("too-few-rows", "provenance")
def too_few_rows(facts: Facts) -> Found | None:
    """Numbers that would exist with more rows."""
    variants = facts.variants.rows if facts.variants else ()
    few = [r for r in (*facts.rows, *variants, *facts.similarities) if r["status"] == "too few rows"]
    if not few:
        return None
    first = few[0]
    text = f"Too few rows for some numbers on {listed(list(dict.fromkeys(r['task'] for r in few)))}"
    text += f", first {words(first['metric'])}: {why(first)}."
    return Found("issue", text, f"{count(len(few))} numbers")


@rule("rank-at-bound", "geometry")
def rank_at_bound(facts: Facts) -> Found | None:
    """A rank is close to the largest that so many rows of so many numbers can have."""
    ranks = [row for row in compared_numbers(facts) if _is_rank(facts, row)]
    near = [r for r in ranks if r["value"] >= NEAR_BOUND * min(r["n"] - 1, r["d"])]
    if not near:
        return None
    first = near[0]
    text = (
        f"Ranks are within {1 - NEAR_BOUND:.0%} of their bound, min(n − 1, d), first the "
        f"{words(first['metric'])} of {first['model']} on {first['task']}: the bound limits differences there."
    )
    return Found("tip", text, f"{len(near)} of {len(ranks)} ranks")


def _is_rank(facts: Facts, row: Row) -> bool:
    return bool(row["d"] and facts.entry(row["metric"]).get("rank"))


@rule("unequal-d", "geometry")
def unequal_d(facts: Facts) -> Found | None:
    """Ranks and uniformity of vectors of different dimensions have different bounds."""
    names = {m["name"] for m in compared_models(facts)}
    found = {r["d"] for r in facts.rows if r["model"] in names and r["d"] and not r["control"]}
    if len(found) < 2:
        return None
    text = (
        "The vectors have different dimensions, which bound ranks and shift uniformity: compare spectral entropy or "
        "isoscore, which are normalised by dimension, and uniformity relative to its reference."
    )
    return Found("issue", text, " / ".join(count(d) for d in sorted(found)))


@rule("unequal-rows", "provenance")
def unequal_rows(facts: Facts) -> Found | None:
    """The same number of two models was taken from different numbers of rows."""
    sizes: dict[tuple, set[int]] = defaultdict(set)
    for row in compared_numbers(facts):
        if row["layer"] == facts.last_layer[row["model"]]:
            sizes[row["task"], row["pooling"], row["metric"], row["view"]].add(row["n"])
    unequal = {key: n for key, n in sizes.items() if len(n) > 1}
    if not unequal:
        return None
    (task, _, metric, _), n = next(iter(unequal.items()))
    text = (
        f"Models are compared on different numbers of rows, first {words(metric)} on {task} "
        f"({' / '.join(count(x) for x in sorted(n))}): rows that are zero vectors, and rows that failed, are left out."
    )
    return Found("issue", text, f"{len(unequal)} of {len(sizes)} numbers")


@rule("mixed-definitions", "provenance")
def mixed_definitions(facts: Facts) -> Found | None:
    """Numbers come from several definitions or protocols, or from the published protocol."""
    protocols = {str(r["protocol"]) for r in facts.rows if r.get("protocol")}
    if len(protocols) > 1:
        text = f"Numbers come from several protocols ({listed(sorted(protocols))}): compare only within one."
        return Found("issue", text)
    rows = [r for r in facts.rows if not r["control"] and r["value"] is not None]
    number = ("metric", "view")
    for keys, advice in (((*number, *PLACE), "tables show the first"), (number, "do not compare them between tasks")):
        kinds: dict[tuple, set[str]] = defaultdict(set)
        for r in rows:
            kinds[itemgetter(*keys)(r)].add(r["definition"] or "")
        several = list(dict.fromkeys(metric for (metric, *_), found in kinds.items() if len(found) > 1))
        if several:
            text = f"Several definitions of {listed([words(m) for m in several[:3]])} occur: {advice}."
            return Found("tip", text, f"{len(several)} metrics", "geometry")
    if protocols and protocols != {"strict"}:
        text = f"Numbers follow protocol {protocols.pop()}: they are not comparable with numbers of protocol strict."
        return Found("tip", text)
    return None


@rule("limited-rows", "provenance")
def limited_rows(facts: Facts) -> Found | None:
    """Only the first rows of each split were read."""
    limit = facts.run.get("limit")
    if not limit:
        return None
    text = "Only the first rows of each split were read: whole tasks would give other numbers, above all other ranks."
    return Found("tip", text, f"at most {count(limit)} rows")


@rule("unequal-n", "caveats")
def unequal_n(facts: Facts) -> Found | None:
    """Ranks of tasks with different N are not comparable with one another."""
    sizes = [n for n in map(rows_of, facts.task_entries) if n]
    if len(set(sizes)) < 2:
        return None
    text = "The tasks have different numbers of rows: compare ranks between models, not between tasks"
    matched = any(facts.entry(metric).get("stage") == "sample size" for metric, _ in facts.metrics)
    text += ", unless they are n-matched." if matched else "."
    return Found("tip", text, f"{count(min(sizes))} to {count(max(sizes))} rows")


@rule("truncation", "caveats")
def truncation(facts: Facts) -> Found | None:
    """Texts were cut to the longest input of a model."""
    counted = {t["name"]: t["truncated"].values() for t in facts.task_entries if t.get("truncated") is not None}
    most = {task: max(counts) for task, counts in counted.items() if any(counts)}
    if not most:
        return Found("passed", "No text was truncated.") if counted else None
    text = f"Texts of {listed(list(most))} were truncated to the longest input."
    return Found("tip", text, f"up to {count(max(most.values()))} texts")


@rule("unequal-truncation", "caveats")
def unequal_truncation(facts: Facts) -> Found | None:
    """The models read different shares of the texts."""
    names = [m["name"] for m in compared_models(facts)]
    apart = []
    for task in facts.task_entries:
        cut = task.get("truncated") or {}
        texts = (task.get("rows") or 0) + (task.get("train_rows") or 0)
        known = [cut[name] for name in names if name in cut]
        if len(known) > 1 and max(known) - min(known) > CUT_APART * texts:
            apart.append((task["name"], known))
    if not apart:
        return None
    task, known = apart[0]
    text = f"One model's inputs were truncated more often than another's on {listed([name for name, _ in apart])}."
    return Found("issue", text, f"{task}: {' / '.join(map(count, known))} texts")


@rule("near-collapse", "geometry")
def near_collapse(facts: Facts) -> Found | None:
    """All vectors point nearly the same way."""
    rows = [r for r in facts.by_cell.values() if r["metric"] == "mean_cosine" and r["value"] is not None]
    high = [r for r in rows if r["value"] >= 0.95 and r["layer"] == facts.last_layer[r["model"]]]
    if not rows:
        return None
    if not high:
        return Found("passed", "No encoder is close to collapse (mean cosine below 0.95).")
    worst = max(high, key=lambda r: r["value"])
    text = (
        f"Vectors of {worst['model']} on {worst['task']} ({worst['pooling']}) all point in nearly the same direction."
    )
    return Found("issue", text, f"mean cosine {number(worst['value'], 3)}")


@rule("one-layer", "layers")
def one_layer(facts: Facts) -> Found | None:
    """Only one layer was measured."""
    layers = {r["layer"] for r in facts.rows}
    if len(layers) > 1:
        return None
    return Found("not applicable", "Layer profiles need more than one layer (--layer all).")


@rule("no-training-log", "training")
def no_training_log(facts: Facts) -> Found | None:
    """No checkpoint brought its training log along."""
    if facts.training:
        return None
    return Found("not applicable", "No model has a training log.")
