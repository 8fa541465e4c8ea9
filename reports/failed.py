"""Cells that could not be measured: which numbers are missing for that reason, and the table that names them."""

from __future__ import annotations

from geomprobe.reports.blocks import Block, Text, cell, line, table, text
from geomprobe.reports.facts import Facts, Row
from geomprobe.reports.formats import NONE, clean, count, listed
from geomprobe.reports.wording import slug

WHOLE = {"embedding", "published analysis"}
"""Stages without which a cell has no number at all."""
HATCHED = " Hatched: the cell failed."
NAMED = 3
LISTED = 500


def stage_of(facts: Facts, metric: str) -> str:
    """Return the stage of a cell that a metric comes from, one of `geomprobe.results.STAGES`."""
    if metric.endswith("_n_matched"):
        return "sample size"
    return "geometry" if facts.part_of(metric) == "geometry" else "probes"


def missing(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str, layer: int | None = None) -> bool:
    """Return whether a number of a model, or of a group of seeds, is missing since its cell failed.

    A number that nothing measured on the task, while other numbers of its stage were, does not exist there: no failure.

    Parameters
    ----------
    layer : int, optional
        The deepest of the model by default.
    """
    stage = stage_of(facts, metric)
    known = facts.measured_stages.get(task, set())
    if known and (metric, view) not in known and any(stage_of(facts, m) == stage for m, _ in known):
        return False
    for model in facts.groups.get(name, [name]):
        at = facts.last_layer.get(model, 0) if layer is None else layer
        if {stage, metric, *WHOLE} & facts.failed_stages.get((model, task, at, pooling), set()):
            return True
    return False


def how_many(facts: Facts) -> str:
    """Return how many cells failed, and similarities, in words; empty without any."""
    cells, pairs = len(facts.failed_cells), len(facts.failed) - len(facts.failed_cells)
    parts = [f"{count(cells)} cell{'s' * (cells > 1)}"] if cells else []
    parts += [f"{count(pairs)} {'similarity' if pairs == 1 else 'similarities'}"] if pairs else []
    return listed(parts)


def place(entry: Row) -> str:
    """Return the name of a failed cell: model / task / layer / pooling."""
    layer = "" if entry["layer"] is None else f"layer {entry['layer']}"
    return " / ".join(part for part in (entry["model"], entry["task"], layer, entry["pooling"]) if part)


def why(entry: Row) -> str:
    """Return why a cell failed, without a full stop."""
    return (clean(entry["note"]) or "no reason given").rstrip(".")


def absent(facts: Facts, pooling: str) -> str:
    """Return the sentence of a caption that names the failed cells of a pooling, which no curve or point stands for."""
    found = [f"{e['model']} on {e['task']}" for e in facts.failed_cells if e["pooling"] == pooling]
    found = list(dict.fromkeys(found))
    if not found:
        return ""
    more = f" and {count(len(found) - NAMED)} more" if len(found) > NAMED else ""
    named = ", ".join(found[:NAMED]) + more if more else listed(found)
    return f" Failed, in part or whole: {named}."


def _whose(facts: Facts, model: str) -> str:
    """Return a model's name with the group of seeds that it is in, if any."""
    group = next((name for name, members in facts.groups.items() if model in members), "")
    return f"{model} (seed of {group})" if group else model


def unmeasured(facts: Facts, what: str) -> Text:
    """Return the paragraph of a section without numbers; `what` is a sentence for where no cell failed."""
    if facts.failed_cells:
        return text(f"No numbers: {how_many(facts)} failed (section Pooling × task).", "warning")
    return text(what, "note")


def failed_table(facts: Facts) -> list[Block]:
    """Return the table of all failed cells and similarities, with the stage and the reason; nothing without any."""
    entries = facts.failed
    if not entries:
        return []
    rows = [
        line(
            [cell(_whose(facts, e["model"]), tone="failed"), cell(e["task"]),
             cell(NONE if e["layer"] is None else str(e["layer"])), cell(e["pooling"]),
             cell(f"{e['stage']}: {why(e)}")],
            e["task"],
            e["pooling"],
        )
        for e in entries[:LISTED]
    ]  # fmt: skip
    heads = [("failed", False), ("task", False), ("layer", False), ("pooling", False), ("why", False)]
    caption = "Cells that could not be measured. They are hatched in the maps and tables of this report."
    blocks: list[Block] = [table(slug("failed-cells", "table"), caption, heads, rows, folded=len(rows) > 20)]
    if len(entries) > LISTED:
        blocks.append(text(f"{count(len(entries) - LISTED)} more are in results.parquet (status: failed).", "note"))
    return blocks
