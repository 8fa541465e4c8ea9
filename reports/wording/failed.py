"""Failed cells in words: how many, which, and why."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.document.formats import clean, count, listed

HATCHED = " Hatched: the cell failed."
NAMED = 3


def how_many(facts: Facts) -> str:
    """How many cells failed, and similarities, in words; empty without any."""
    cells, pairs = len(facts.failed_cells), len(facts.failed) - len(facts.failed_cells)
    parts = [f"{count(cells)} cell{'s' * (cells > 1)}"] if cells else []
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
    found = [f"{e['model']} on {e['task']}" for e in facts.failed_cells if e["pooling"] == pooling]
    found = list(dict.fromkeys(found))
    if not found:
        return ""
    more = f" and {count(len(found) - NAMED)} more" if len(found) > NAMED else ""
    named = ", ".join(found[:NAMED]) + more if more else listed(found)
    return f" Failed, in part or entirely: {named}."


def whose(facts: Facts, model: str) -> str:
    """A model's name with the group of seeds that it is in, if any."""
    group = next((name for name, members in facts.groups.items() if model in members), "")
    return f"{model} (seed of {group})" if group else model
