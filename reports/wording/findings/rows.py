"""Findings on rows and texts: too few, unequal, several definitions, truncation."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import count, listed, words
from geomprobe.reports.document.model import Finding
from geomprobe.reports.wording.failed import why
from geomprobe.reports.wording.findings.rules import compared_models, finding, rule

NEAR_BOUND = 0.95  # of min(n - 1, d): a rank above it can hardly rise
CUT_APART = 0.01  # of the texts of a task


RANKS = ("effective_rank", "rankme", "rank_90", "rank_99")


@rule("few-rows")
def few_rows(facts: Facts) -> Finding | None:
    """Fewer rows than dimensions: ranks are bounded by N."""
    few = {
        r["task"]: (r["n"], r["d"])
        for r in facts.rows
        if r["metric"] in RANKS and r["n"] and r["d"] and r["n"] <= r["d"]
    }
    if not few:
        return None
    text = f"Fewer rows than dimensions on {listed(list(few))}: the number of rows bounds ranks there."
    n, d = next(iter(few.values()))
    return finding("few-rows", "issue", text, "geometry", f"n = {count(n)}, d = {count(d)}")


@rule("too-few-rows")
def too_few_rows(facts: Facts) -> Finding | None:
    """Numbers that would exist with more rows."""
    variants = facts.variants.rows if facts.variants else ()
    few = [r for r in (*facts.rows, *variants, *facts.similarities) if r["status"] == "too few rows"]
    if not few:
        return None
    first = few[0]
    text = f"Too few rows for some numbers on {listed(list(dict.fromkeys(r['task'] for r in few)))}"
    text += f", first {words(first['metric'])}: {why(first)}."
    return finding("too-few-rows", "issue", text, "provenance", f"{count(len(few))} numbers")


@rule("rank-at-bound")
def rank_at_bound(facts: Facts) -> Finding | None:
    """A rank is close to the largest that so many rows of so many numbers can have."""
    names = {m["name"] for m in compared_models(facts)}
    ranks = [
        r
        for r in facts.by_cell.values()
        if r["metric"] in RANKS and r["model"] in names and r["n"] and r["d"] and r["value"] is not None
    ]
    near = [r for r in ranks if r["value"] >= NEAR_BOUND * min(r["n"] - 1, r["d"])]
    if not near:
        return None
    first = near[0]
    text = (
        f"Ranks are within {1 - NEAR_BOUND:.0%} of their bound, min(n − 1, d), first the "
        f"{words(first['metric'])} of {first['model']} on {first['task']}: the bound limits differences there."
    )
    return finding("rank-at-bound", "tip", text, "geometry", f"{len(near)} of {len(ranks)} ranks")


@rule("unequal-d")
def unequal_d(facts: Facts) -> Finding | None:
    """Ranks and uniformity of vectors of different dimensions have different bounds."""
    names = {m["name"] for m in compared_models(facts)}
    found = {r["d"] for r in facts.rows if r["model"] in names and r["d"] and not r["control"]}
    if len(found) < 2:
        return None
    text = (
        "The vectors have different dimensions, which bound ranks and shift uniformity: compare spectral entropy or "
        "isoscore, which are normalised by dimension, and uniformity relative to its reference."
    )
    return finding("unequal-d", "issue", text, "geometry", " / ".join(count(d) for d in sorted(found)))


@rule("unequal-rows")
def unequal_rows(facts: Facts) -> Finding | None:
    """The same number of two models was taken from different numbers of rows."""
    names = {m["name"] for m in compared_models(facts)}
    sizes: dict[tuple, set[int]] = {}
    for (model, task, layer, *cell), row in facts.by_cell.items():
        if model in names and row["n"] and row["value"] is not None and layer == facts.last_layer[model]:
            sizes.setdefault((task, *cell), set()).add(row["n"])
    unequal = {key: n for key, n in sizes.items() if len(n) > 1}
    if not unequal:
        return None
    (task, _, metric, _), n = next(iter(unequal.items()))
    text = (
        f"Models are compared on different numbers of rows, first {words(metric)} on {task} "
        f"({' / '.join(count(x) for x in sorted(n))}): rows that are zero vectors, and rows that failed, are left out."
    )
    return finding("unequal-rows", "issue", text, "provenance", f"{len(unequal)} of {len(sizes)} numbers")


@rule("mixed-definitions")
def mixed_definitions(facts: Facts) -> Finding | None:
    """Numbers come from several definitions or protocols, or from the published protocol."""
    protocols = {str(r["protocol"]) for r in facts.rows if r.get("protocol")}
    if len(protocols) > 1:
        text = f"Numbers come from several protocols ({listed(sorted(protocols))}): compare only within one."
        return finding("mixed-definitions", "issue", text, "provenance")
    rows = [r for r in facts.rows if not r["control"] and r["value"] is not None]
    place = ("metric", "view", "model", "task", "layer", "pooling")
    for keys, advice in ((place, "tables show the first"), (place[:2], "do not compare them between tasks")):
        kinds: dict[tuple, set[str]] = {}
        for r in rows:
            kinds.setdefault(tuple(r[k] for k in keys), set()).add(r["definition"] or "")
        several = list(dict.fromkeys(metric for (metric, *_), found in kinds.items() if len(found) > 1))
        if several:
            text = f"Several definitions of {listed([words(m) for m in several[:3]])} occur: {advice}."
            return finding("mixed-definitions", "tip", text, "geometry", f"{len(several)} metrics")
    if protocols and protocols != {"strict"}:
        text = f"Numbers follow protocol {protocols.pop()}: they are not comparable with numbers of protocol strict."
        return finding("mixed-definitions", "tip", text, "provenance")
    return None


@rule("limited-rows")
def limited_rows(facts: Facts) -> Finding | None:
    """Only the first rows of each split were read."""
    limit = facts.run.get("limit")
    if not limit:
        return None
    text = "Only the first rows of each split were read: whole tasks would give other numbers, above all other ranks."
    return finding("limited-rows", "tip", text, "provenance", f"at most {count(limit)} rows")


@rule("unequal-n")
def unequal_n(facts: Facts) -> Finding | None:
    """Ranks of tasks with different N are not comparable with one another."""
    sizes = {t["name"]: t.get("geometry_rows") or t.get("rows") for t in facts.task_entries}
    known = {t: n for t, n in sizes.items() if n}
    if len(set(known.values())) < 2:
        return None
    text = "The tasks have different numbers of rows: compare ranks between models, not between tasks"
    matched = any(facts.entry(metric).get("stage") == "sample size" for metric, _ in facts.metrics)
    text += ", unless they are n-matched." if matched else "."
    low, high = min(known.values()), max(known.values())
    return finding("unequal-n", "tip", text, "caveats", f"{count(low)} to {count(high)} rows")


@rule("truncation")
def truncation(facts: Facts) -> Finding | None:
    """Texts were cut to the longest input of a model."""
    known = [t for t in facts.task_entries if t.get("truncated") is not None]
    if not known:
        return None
    cut = [(t["name"], m, n) for t in known for m, n in t["truncated"].items() if n]
    if not cut:
        return finding("truncation", "passed", "No text was truncated.", "caveats")
    tasks = list(dict.fromkeys(t for t, _, _ in cut))
    most = max(n for _, _, n in cut)
    return finding(
        "truncation",
        "tip",
        f"Texts of {listed(tasks)} were truncated to the longest input.",
        "caveats",
        f"up to {count(most)} texts",
    )


@rule("unequal-truncation")
def unequal_truncation(facts: Facts) -> Finding | None:
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
    return finding("unequal-truncation", "issue", text, "caveats", f"{task}: {' / '.join(map(count, known))} texts")
