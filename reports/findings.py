"""Findings: rules that read the facts and say one thing each, with a code, a severity and a link to the evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

from geomprobe.reports.facts import Facts, Row, judgement
from geomprobe.reports.failed import how_many, place, why
from geomprobe.reports.formats import amount, count, listed, number, power, words

Severity = Literal["issue", "tip", "passed", "not applicable"]
ORDER = ("issue", "tip", "passed", "not applicable")
SHOWN = 7
MATCHED = 0.01  # relative; a run matched by FLOPs ends at a whole step
NEAR_BOUND = 0.95  # of min(n - 1, d): a rank above it can hardly rise
CUT_APART = 0.01  # of the texts of a task


class Finding(TypedDict):
    """One finding; ``link`` is the id of the section that holds the evidence."""

    code: str
    severity: Severity
    sentence: str
    number: str
    link: str


Rule = Callable[[Facts], Finding | None]
RULES: dict[str, Rule] = {}


def rule(code: str) -> Callable[[Rule], Rule]:
    """Register a rule under its code."""

    def register(function: Rule) -> Rule:
        RULES[code] = function
        return function

    return register


def findings(facts: Facts) -> list[Finding]:
    """Return the findings of all rules, issues first."""
    found = [result for check in RULES.values() if (result := check(facts)) is not None]
    return sorted(found, key=lambda f: ORDER.index(f["severity"]))


def _finding(code: str, severity: Severity, sentence: str, link: str, figure: str = "") -> Finding:
    return {"code": code, "severity": severity, "sentence": sentence, "number": figure, "link": link}


def _sides(facts: Facts) -> list[Row]:
    """The model entries that a comparison is about; all but the baselines where there is none."""
    named = facts.pair if facts.kind == "pair" and facts.pair else facts.own
    return [m for m in facts.model_entries if m["name"] in named]


@rule("failed-cells")
def failed_cells(facts: Facts) -> Finding | None:
    """Some cells could not be measured."""
    failed = facts.failed
    if not failed:
        return _finding("failed-cells", "passed", "Every cell of the grid was measured.", "poolings")
    first = failed[0]
    head = f"{how_many(facts)} could not be measured"
    text = f"{head}{', first' if len(failed) > 1 else ':'} {place(first)}: {why(first)}."
    return _finding("failed-cells", "issue", text, "poolings", count(len(failed)))


@rule("no-intervals")
def no_intervals(facts: Facts) -> Finding | None:
    """Differences have no intervals."""
    rows = list(facts.by_difference.values())
    if not rows:
        return None
    without = [r for r in rows if judgement(r) == "none"]
    if not without:
        return _finding("no-intervals", "passed", "Every difference has an interval.", "verdict")
    if len(without) == len(rows):
        text = "The differences have no interval. They say what was measured, and nothing of how sure it is."
        return _finding("no-intervals", "issue", text, "caveats", f"{count(len(rows))} differences")
    text = "Some differences have no valid interval; they carry no verdict."
    return _finding("no-intervals", "tip", text, "geometry", f"{count(len(without))} of {count(len(rows))}")


@rule("same-rows")
def same_rows(facts: Facts) -> Finding | None:
    """Both models saw the same rows."""
    if len(facts.models) < 2:
        return None
    if unequal := [t for t in facts.tasks if len(facts.task_hashes.get(t, ())) > 1]:
        return _finding("same-rows", "issue", f"The models saw different rows of {listed(unequal)}.", "provenance")
    return _finding("same-rows", "passed", "All models saw the same rows of every task.", "provenance")


@rule("one-seed")
def one_seed(facts: Facts) -> Finding | None:
    """One checkpoint an objective supports no claim about objectives."""
    if facts.kind == "groups":
        smallest = min(len(members) for members in facts.groups.values()) if facts.groups else 0
        if smallest < 3:
            text = "A group has fewer than three seeds: nothing can be said of objectives."
            return _finding("one-seed", "issue", text, "caveats", f"{smallest} seeds")
        return _finding("one-seed", "passed", "Every group has at least three seeds.", "caveats", f"{smallest} seeds")
    if facts.kind != "pair":
        return None
    text = "One checkpoint on each side: what is said holds for these two checkpoints, not for their objectives."
    return _finding("one-seed", "tip", text, "caveats", "1 seed a side")


@rule("uniformity-is-mean")
def uniformity_is_mean(facts: Facts) -> Finding | None:
    """A difference in raw uniformity that is not there once the mean is removed."""
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
        text = "Uniformity moves with the common mean vector: read the raw value beside the centred one."
        return _finding("uniformity-is-mean", "tip", text, "geometry")
    moved = [c for r, c in known if r in ("higher", "lower") and c != r]
    if moved:
        text = "Raw uniformity differs, and the difference is gone or turned round once the mean vector is removed."
        return _finding("uniformity-is-mean", "issue", text, "geometry", f"{len(moved)} of {len(known)} tasks")
    hidden = [r for r, c in known if c in ("higher", "lower") and c != r]
    if hidden:
        text = "Centred uniformity differs where raw uniformity does not: the common mean vector hides the difference."
        return _finding("uniformity-is-mean", "tip", text, "geometry", f"{len(hidden)} of {len(known)} tasks")
    text = "Raw and centred uniformity say the same: what differs is more than the common mean vector."
    return _finding("uniformity-is-mean", "passed", text, "geometry", f"{len(known)} of {len(known)} tasks")


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
    return _finding("pooling-decides", "issue", text, "poolings", f"{len(turned)} cases")


@rule("untrained-pooling")
def untrained_pooling(facts: Facts) -> Finding | None:
    """Poolings with parameters at initialisation."""
    if not facts.untrained:
        return None
    text = (
        f"The {listed(facts.untrained)} pooling{'s are' if len(facts.untrained) > 1 else ' is'} not trained: "
        "weighted then equals mean, and attention is a mean with random softmax weights."
    )
    return _finding("untrained-pooling", "issue", text, "caveats")


@rule("below-majority")
def below_majority(facts: Facts) -> Finding | None:
    """A probe does not beat the most frequent class."""
    floor = {
        (r["model"], r["task"], r["layer"], r["pooling"], r["metric"]): r["value"]
        for r in facts.rows
        if r["control"] == "majority" and r["metric"].endswith("accuracy") and r["value"] is not None
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
        text = f"Probes do not beat the majority class on {listed(tasks)}: nothing linear was read there."
        return _finding("below-majority", "issue", text, "downstream", f"{len(below)} of {compared} probes")
    return _finding(
        "below-majority", "passed", "Every probe beats the majority class.", "downstream", f"{compared} probes"
    )


@rule("unequal-models")
def unequal_models(facts: Facts) -> Finding | None:
    """The models differ in more than their objective."""
    sides = _sides(facts)
    if len(sides) < 2:
        return None
    unequal = []
    for key, label, shown in (
        ("parameters", "parameters", amount),
        ("dim", "dimension", count),
        ("n_layers", "layers", count),
        ("dtype", "dtype", str),
        ("vocabulary", "vocabulary", count),
        ("max_length", "longest input", count),
    ):
        values = [m.get(key) for m in sides]
        if len({v for v in values if v is not None}) > 1:
            unequal.append(f"{label} ({' / '.join(shown(v) for v in values)})")
    if unequal:
        return _finding("unequal-models", "issue", f"The models differ in {listed(unequal)}.", "provenance")
    return _finding("unequal-models", "passed", "The models have the same size and type.", "provenance")


@rule("unequal-training")
def unequal_training(facts: Facts) -> Finding | None:
    """The models were not trained on the same budget, or not on the same text."""
    runs = [m.get("training") or {} for m in _sides(facts)]
    if len(runs) < 2 or not all(runs):
        return None
    equal, unequal = [], []
    for key, label, shown in (("steps", "steps", count), ("tokens", "tokens", amount), ("flops", "FLOPs", power)):
        values = [r[key] for r in runs if r.get(key) is not None]
        if len(values) < len(runs):
            continue
        if max(values) - min(values) <= MATCHED * max(values):
            equal.append(label)
        else:
            unequal.append(f"{label} ({' / '.join(shown(v) for v in values)})")
    at = f"at equal {listed(equal)}" if equal else "on different budgets"
    texts = {r.get("corpus_fingerprint") for r in runs} - {None}
    same_text = ", on the same text" if len(texts) == 1 else ", on different text" if texts else ""
    if unequal:
        text = f"The models were compared {at}{same_text}, not at equal {listed(unequal)}."
        return _finding("unequal-training", "issue", text, "training")
    severity: Severity = "issue" if len(texts) > 1 else "passed"
    return _finding("unequal-training", severity, f"The models were trained {at}{same_text}.", "training")


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
    text = f"Fewer rows than dimensions on {listed(list(few))}: ranks are bounded by the number of rows there."
    n, d = next(iter(few.values()))
    return _finding("few-rows", "issue", text, "geometry", f"n = {count(n)}, d = {count(d)}")


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
    return _finding("too-few-rows", "issue", text, "provenance", f"{count(len(few))} numbers")


@rule("rank-at-bound")
def rank_at_bound(facts: Facts) -> Finding | None:
    """A rank is close to the largest that so many rows of so many numbers can have."""
    names = {m["name"] for m in _sides(facts)}
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
        f"Ranks are within {1 - NEAR_BOUND:.0%} of their bound, the smaller of n - 1 and d, first the "
        f"{words(first['metric'])} of {first['model']} on {first['task']}: differences are cut short there."
    )
    return _finding("rank-at-bound", "tip", text, "geometry", f"{len(near)} of {len(ranks)} ranks")


@rule("unequal-d")
def unequal_d(facts: Facts) -> Finding | None:
    """Ranks and uniformity of vectors of different dimensions have different bounds."""
    names = {m["name"] for m in _sides(facts)}
    found = {r["d"] for r in facts.rows if r["model"] in names and r["d"] and not r["control"]}
    if len(found) < 2:
        return None
    text = (
        "The vectors have different dimensions, which bound ranks and move uniformity: compare spectral entropy or "
        "isoscore, which are relative to them, and uniformity with its reference."
    )
    return _finding("unequal-d", "issue", text, "geometry", " / ".join(count(d) for d in sorted(found)))


@rule("unequal-rows")
def unequal_rows(facts: Facts) -> Finding | None:
    """The same number of two models was taken from different numbers of rows."""
    names = {m["name"] for m in _sides(facts)}
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
        f"({' / '.join(count(x) for x in sorted(n))}): a row without a direction, or one that failed, is left out."
    )
    return _finding("unequal-rows", "issue", text, "provenance", f"{len(unequal)} of {len(sizes)} numbers")


@rule("mixed-definitions")
def mixed_definitions(facts: Facts) -> Finding | None:
    """Some numbers stand there by several definitions or protocols, or by the published one."""
    protocols = {str(r["protocol"]) for r in facts.rows if r.get("protocol")}
    if len(protocols) > 1:
        text = f"Numbers of several protocols stand here ({listed(sorted(protocols))}): compare within one."
        return _finding("mixed-definitions", "issue", text, "provenance")
    rows = [r for r in facts.rows if not r["control"] and r["value"] is not None]
    place = ("metric", "view", "model", "task", "layer", "pooling")
    for keys, said in ((place, "tables show the first"), (place[:2], "do not compare them between tasks")):
        kinds: dict[tuple, set[str]] = {}
        for r in rows:
            kinds.setdefault(tuple(r[k] for k in keys), set()).add(r["definition"] or "")
        several = list(dict.fromkeys(metric for (metric, *_), found in kinds.items() if len(found) > 1))
        if several:
            text = f"There are several definitions of {listed([words(m) for m in several[:3]])}: {said}."
            return _finding("mixed-definitions", "tip", text, "geometry", f"{len(several)} metrics")
    if protocols and protocols != {"strict"}:
        text = f"Numbers follow the protocol {protocols.pop()}: they are not comparable with those of strict."
        return _finding("mixed-definitions", "tip", text, "provenance")
    return None


@rule("limited-rows")
def limited_rows(facts: Facts) -> Finding | None:
    """Only the first rows of each split were read."""
    limit = facts.run.get("limit")
    if not limit:
        return None
    text = "Only a part of each split was read: the numbers are not those of the whole tasks, ranks least of all."
    return _finding("limited-rows", "tip", text, "provenance", f"at most {count(limit)} rows")


@rule("unequal-n")
def unequal_n(facts: Facts) -> Finding | None:
    """Ranks of tasks with different N are not comparable with one another."""
    sizes = {t["name"]: t.get("geometry_rows") or t.get("rows") for t in facts.task_entries}
    known = {t: n for t, n in sizes.items() if n}
    if len(set(known.values())) < 2:
        return None
    text = "The tasks have different numbers of rows: compare ranks between models, not between tasks"
    matched = any(metric.endswith("_n_matched") for metric, _ in facts.metrics)
    text += ", except those that are n-matched." if matched else "."
    low, high = min(known.values()), max(known.values())
    return _finding("unequal-n", "tip", text, "caveats", f"{count(low)} to {count(high)} rows")


@rule("truncation")
def truncation(facts: Facts) -> Finding | None:
    """Texts were cut to the longest input of a model."""
    known = [t for t in facts.task_entries if t.get("truncated") is not None]
    if not known:
        return None
    cut = [(t["name"], m, n) for t in known for m, n in t["truncated"].items() if n]
    if not cut:
        return _finding("truncation", "passed", "No text was cut.", "caveats")
    tasks = list(dict.fromkeys(t for t, _, _ in cut))
    most = max(n for _, _, n in cut)
    return _finding(
        "truncation",
        "tip",
        f"Texts of {listed(tasks)} were cut to the longest input.",
        "caveats",
        f"up to {count(most)} texts",
    )


@rule("unequal-truncation")
def unequal_truncation(facts: Facts) -> Finding | None:
    """The models read different shares of the texts."""
    names = [m["name"] for m in _sides(facts)]
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
    text = f"Inputs were cut for one model more than for another on {listed([name for name, _ in apart])}."
    return _finding("unequal-truncation", "issue", text, "caveats", f"{task}: {' / '.join(map(count, known))} texts")


@rule("near-collapse")
def near_collapse(facts: Facts) -> Finding | None:
    """All vectors point nearly the same way."""
    rows = [r for r in facts.by_cell.values() if r["metric"] == "mean_cosine" and r["value"] is not None]
    high = [r for r in rows if r["value"] >= 0.95 and r["layer"] == facts.last_layer[r["model"]]]
    if not rows:
        return None
    if not high:
        return _finding(
            "near-collapse", "passed", "No encoder is close to collapse (mean cosine below 0.95).", "geometry"
        )
    worst = max(high, key=lambda r: r["value"])
    text = f"Vectors of {worst['model']} on {worst['task']} ({worst['pooling']}) point nearly all the same way."
    return _finding("near-collapse", "issue", text, "geometry", f"mean cosine {number(worst['value'], 3)}")


@rule("one-layer")
def one_layer(facts: Facts) -> Finding | None:
    """Only one layer was measured."""
    layers = {r["layer"] for r in facts.rows}
    if len(layers) > 1:
        return None
    return _finding("one-layer", "not applicable", "Layer profiles need more than one layer (--layer all).", "layers")


@rule("no-training-log")
def no_training_log(facts: Facts) -> Finding | None:
    """No checkpoint brought its training log along."""
    if facts.training:
        return None
    return _finding("no-training-log", "not applicable", "No model came with a training log.", "training")
