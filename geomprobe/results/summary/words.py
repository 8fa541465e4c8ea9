"""The words of a report: names, what a difference is called, in how many cells it holds, failed cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from geomprobe.common.text import capitalised, clean, count, counted, listed, words
from geomprobe.results.record import named_end
from geomprobe.results.summary.facts import Facts, Row, judgement

WORDS = {
    "higher": ("▲", "higher"),
    "lower": ("▼", "lower"),
    "equivalent": ("≈", "equivalent"),
    "unclear": ("○", "no clear difference"),
    "none": ("–", "no verdict"),
}
"""A judgement's code -> its glyph and its words."""


def title(facts: Facts, metric: str, view: str) -> str:
    """A metric's name in plain words, with its view where the metric has several."""
    views = {v for m, v in facts.metrics if m == metric}
    return words(metric) + (f" ({view})" if view and (len(views) > 1 or view != "raw") else "")


OF_FITTED = ("semantic_", "sts_probe_", "lexical_")
"""How the names of numbers begin whose probe is fitted on training rows."""


def about_probe_intervals(facts: Facts) -> str:
    """What the intervals of fitted probes are for, in a sentence; empty where there is none."""
    rows = (row for row in facts.rows if not row["control"] and row["ci_low"] is not None)
    if not any(row["metric"].startswith(OF_FITTED) for row in rows):
        return ""
    if refits := facts.run.get("refits"):
        return f"Probe intervals also cover the choice of the training rows ({refits} refits on halves of them)."
    seen = " (see geomprobe analyze --refits)" if str(facts.run.get("protocol", "")).startswith("strict") else ""
    return (
        "Probe intervals are for these fitted probes, over the scored rows; "
        f"fitting them on other training rows would add spread{seen}."
    )


def without_brackets(title: str) -> str:
    """A title for the inside of brackets or of a sentence: "raw uniformity" from "uniformity (raw)"."""
    name, _, view = title.removesuffix(")").partition(" (")
    return f"{view} {name}" if view else title


def meaning(facts: Facts, metric: str) -> str:
    """What a larger or smaller value means, from the metric's definition."""
    found = _direction(facts, metric)
    return found if ":" in found else ""


def _direction(facts: Facts, metric: str) -> str:
    return clean(facts.entry(metric).get("direction"), 140)


def quality(facts: Facts, metric: str, code: str) -> str:
    """A judgement in words; only scores of a task are better or worse, geometry is higher or lower."""
    if facts.part_of(metric) == "semantic" and code in ("higher", "lower"):
        better = named_end(_direction(facts, metric))
        return code if better is None else "better" if better == code else "worse"
    return WORDS[code][1]


def tally(facts: Facts, metric: str, view: str) -> Counter[str]:
    """How many task × pooling cells of the deepest layer carry each judgement."""
    found: Counter[str] = Counter(dict.fromkeys(WORDS, 0))
    for task in facts.tasks:
        for pooling in facts.poolings:
            if row := facts.difference(task, pooling, metric, view):
                found[judgement(row)] += 1
    return found


def in_cells(counts: Counter[str]) -> str:
    """In how many cells each verdict holds: "higher in 10 of 20 cells, equivalent in 10"."""
    total = counts.total()
    (most, n), *others = [(WORDS[code][1], n) for code, n in counts.most_common() if n]
    if not others:
        return f"{most} in all {total} cells" if total > 1 else f"{most} in the one cell"
    return ", ".join([f"{most} in {n} of {total} cells", *(f"{word} in {k}" for word, k in others)])


def signs(facts: Facts, metric: str, view: str) -> tuple[int, int, int]:
    """How many cells of the deepest layer have a positive difference, a negative one, and how many there are."""
    rows = [facts.difference(t, p, metric, view) for t in facts.tasks for p in facts.poolings]
    diffs = [r["diff"] for r in rows if r and r["diff"] is not None]
    return sum(d > 0 for d in diffs), sum(d < 0 for d in diffs), len(diffs)


def majority_sign(facts: Facts, metric: str, view: str) -> tuple[str, int, int]:
    """Whether most differences are positive (higher) or negative (lower), in how many cells, and how many there are."""
    up, down, total = signs(facts, metric, view)
    return ("higher", up, total) if up >= down else ("lower", down, total)


def sentence(phrase: str) -> str:
    """A phrase as a sentence, with the space after it; nothing for nothing."""
    return f"{capitalised(phrase)}. " if phrase else ""


def budget(training: Row, written: dict[str, Callable[[Any], str]]) -> str:
    """What a training took, such as 16.4 M tokens, 1.64 × 10¹⁵ FLOPs, seed 0; ``written`` writes each amount."""
    units = {"flops": "FLOPs"}
    parts = [f"{write(training[key])} {units.get(key, key)}" for key, write in written.items() if training.get(key)]
    if training.get("seed") is not None:
        parts.append(f"seed {training['seed']}")
    return ", ".join(parts)


HATCHED = " Hatched: the cell failed."
ALONE = "Intervals are of single differences; verdicts are adjusted for their number (Holm)."
NAMED = 3


def how_many(facts: Facts) -> str:
    """How many cells failed, and similarities, in words; empty without any."""
    cells, pairs = len(facts.failed_cells), len(facts.failed) - len(facts.failed_cells)
    parts = [counted(cells, "cell")] if cells else []
    parts += [f"{count(pairs)} {'similarity' if pairs == 1 else 'similarities'}"] if pairs else []
    return listed(parts)


def place(entry: Row) -> str:
    """The name of a failed cell: model / task / layer / pooling."""
    layer = "" if entry["layer"] is None else f"layer {entry['layer']}"
    return " / ".join(part for part in (entry["model"], entry["task"], layer, entry["pooling"]) if part)


def why(entry: Row) -> str:
    """Why a cell failed, without a full stop."""
    return (clean(entry["note"]) or "no reason given").rstrip(".")


def absent(facts: Facts, pooling: str) -> str:
    """The sentence of a caption that names the failed cells of a pooling, which have no curve or point."""
    cells = [f"{e['model']} on {e['task']}" for e in facts.failed_cells if e["pooling"] == pooling]
    named = listed(list(dict.fromkeys(cells)), most=NAMED)
    return f" Failed, in part or entirely: {named}." if cells else ""


def whose(facts: Facts, model: str) -> str:
    """A model's name with the group of seeds that it is in, if any."""
    group = next((name for name, members in facts.groups.items() if model in members), "")
    return f"{model} (seed of {group})" if group else model
