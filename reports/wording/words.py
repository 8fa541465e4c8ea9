"""The words of a report: names, what a difference is called, and in how many cells it holds."""

from __future__ import annotations

from collections import Counter

from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import capitalised, clean, words

WORDS = {
    "higher": "▲ higher",
    "lower": "▼ lower",
    "equivalent": "≈ equivalent",
    "unclear": "○ no clear difference",
    "none": "– no verdict",
}


def title(facts: Facts, metric: str, view: str) -> str:
    """A metric's name in plain words, with its view where the metric has several."""
    views = {v for m, v in facts.metrics if m == metric}
    return words(metric) + (f" ({view})" if view and (len(views) > 1 or view != "raw") else "")


def meaning(facts: Facts, metric: str) -> str:
    """What a larger or smaller value means, from the metric's definition."""
    found = direction(facts, metric)
    return found if ":" in found else ""


def direction(facts: Facts, metric: str) -> str:
    return clean(facts.definitions.get(metric, {}).get("direction"), 140)


def quality(facts: Facts, metric: str, code: str) -> str:
    """A judgement in words; only scores of a task are better or worse, geometry is higher or lower."""
    good = {"higher": "higher", "larger": "higher", "lower": "lower", "smaller": "lower"}.get(
        direction(facts, metric).partition(":")[0]
    )
    if facts.part_of(metric) == "semantic" and code in ("higher", "lower") and good:
        return "better" if good == code else "worse"
    return {"unclear": "no clear difference", "none": "no verdict"}.get(code, code)


def tally(facts: Facts, metric: str, view: str) -> Counter[str]:
    """How many task × pooling cells of the deepest layer carry each judgement."""
    found: Counter[str] = Counter(dict.fromkeys(WORDS, 0))
    for task in facts.tasks:
        for pooling in facts.poolings:
            if row := facts.difference(task, pooling, metric, view):
                found[judgement(row)] += 1
    return found


def in_cells(counts: Counter[str]) -> str:
    """In how many cells each verdict holds: "higher in 10 of 20 cells, equivalent in the other 10"."""
    total = sum(counts.values())
    (most, n), *others = [(WORDS[code][2:], n) for code, n in counts.most_common() if n]
    if not others:
        return f"{most} in all {total} cells" if total > 1 else f"{most} in the one cell"
    *between, (least, last) = others
    parts = [f"{most} in {n} of {total} cells", *(f"{word} in {k}" for word, k in between)]
    return f"{', '.join(parts)}, {least} in the other {last}"


def signs(facts: Facts, metric: str, view: str) -> tuple[int, int, int]:
    """How many cells of the deepest layer have a positive difference, a negative one, and how many there are."""
    rows = [facts.difference(t, p, metric, view) for t in facts.tasks for p in facts.poolings]
    diffs = [r["diff"] for r in rows if r and r["diff"] is not None]
    return sum(d > 0 for d in diffs), sum(d < 0 for d in diffs), len(diffs)


def sentence(phrase: str) -> str:
    """A phrase as a sentence, with the space after it; nothing for nothing."""
    return f"{capitalised(phrase)}. " if phrase else ""
