"""`geomprobe plan`: how many rows, and seeds, find a difference of a given size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.options import Full, Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH, TEXT
from geomprobe.common.text import count, counted, decimals, number, roughly, words

MOST, NOTES = 8, 3
"""Lines of the table, and notes below it, without --full."""


def plan(
    pilot: Annotated[Path, typer.Option("--pilot", **PATH, help="Results folder of analyze or compare.")],
    detect: Annotated[
        list[str] | None,
        typer.Option(
            **TEXT,
            help="METRIC=0.5 (own units), METRIC=5% (of the mean of both values) or METRIC (its own margin): the "
            "difference to be found; repeatable. [default: the headline metrics by their margins]",
        ),
    ] = None,
    as_json: Json = False,
    full: Full = False,
) -> None:
    """Say how many rows, and seeds, find a difference: with a power of 80 % at the 5 % level.

    The influences of a pilot say how far rows move a number, and how rows of one cluster move it together. A pilot of
    two models or more gives the paired difference, one of groups of seeds the claim about objectives too; one of a
    single model gives what two models need by how far their influences correlate. Nothing is measured.
    """
    from geomprobe.api import every_metric
    from geomprobe.comparison.pilot import parse_detect
    from geomprobe.comparison.pilot import plan as planned

    output = Output.of(as_json, full, "text")
    asked = parse_detect(detect, list(every_metric())) if detect else None
    frame = planned(pilot, asked)
    found: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[assignment]
    numbers = by_number(found)
    cells = [cell for number in numbers for cell in (number if full else [max(number, key=most_needed)])]
    shown = cells if full else cells[:MOST]
    output.result({"pilot": str(pilot), "results": found}, "\n".join(said(cells, shown)), [line(cell) for cell in shown])


Cell = list[dict[str, Any]]
"""Rows of the plan of one number in one cell: one, or one for each correlation of a single model's influences."""


def by_number(rows: list[dict[str, Any]]) -> list[list[Cell]]:
    """The cells of each number."""
    found: dict[Any, dict[Any, Cell]] = {}
    for row in rows:
        of_number = found.setdefault((row["metric"], row["view"]), {})
        cell = tuple(row[key] for key in ("a", "b", "task", "layer", "pooling", "definition"))
        of_number.setdefault(cell, []).append(row)
    return [list(cells.values()) for cells in found.values()]


def most_needed(cell: Cell) -> tuple[bool, float]:
    """What the cells of a number are ordered by: those with an interval come last, by what they need."""
    row = cell[0]
    needed = row["seeds"] if row["seeds_pilot"] else row["rows"]
    return row["mdd"] is not None, float("inf") if needed is None else needed


def line(cell: Cell) -> dict[str, str]:
    """A line of the table."""
    row = cell[0]
    view = f" ({row['view']})" if row["view"] and row["view"] != "raw" else ""
    shown = {"metric": f"{words(row['metric'])}{view}", "of": f"{row['b']} − {row['a']}"}
    shown |= {"cell": f"{row['task']}, {row['pooling']}", "difference": size(row["difference"])}
    units = [counted(row["n"], "row"), row["clusters"] and counted(row["clusters"], "cluster")]
    units += [row["seeds_pilot"] and counted(row["seeds_pilot"], "seed")]
    shown["pilot"] = ", ".join(filter(None, units))
    if row["correlation"] is not None:
        return shown | {f"rows, ρ = {each['correlation']:g}": needed(each, "rows") for each in cell}
    shown |= {"it detects": size(row["mdd"]), "rows": needed(row, "rows")}
    return shown | ({"seeds a group": needed(row, "seeds")} if row["seeds_pilot"] else {})


def needed(row: dict[str, Any], what: str) -> str:
    """Number that one test needs, its upper limit, and the number that the smallest of the adjusted p-values needs."""
    if row["mdd"] is None or not row["difference"]:
        return "–"
    values = [row[f"{what}{part}"] for part in ("", "_upper", "_adjusted")]
    rounded = count if what == "seeds" else roughly
    one, upper, adjusted = ("none" if value is None else rounded(value) for value in values)
    return one if one == "none" else f"{one} (≤ {upper}); {adjusted} of {row['tests']}"


def size(value: float | None) -> str:
    """A difference to two significant digits."""
    return "–" if value is None else number(value, decimals([value], abs(value)))


def said(cells: list[Cell], shown: list[Cell]) -> list[str]:
    """What is printed below the table."""
    lines = [f"and {len(cells) - len(shown)} more: --full prints all"] if len(shown) < len(cells) else []
    lines.append(
        "N (≤ U); M of K: one test needs about N, U is an upper limit (80 % confidence); M as the smallest of K p-values "
        "under Holm's adjustment"
    )
    if shown[0][0]["correlation"] is not None:
        lines.append("ρ: how far the influences of the two models correlate; the pilot has one model. ρ = 0 is the most")
    notes: dict[str, list[str]] = {}
    for row in (row for cell in shown for row in cell):
        for note in filter(None, str(row["note"]).split("; ")):
            notes.setdefault(note, []).append(words(row["metric"]))
    lines += [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in list(notes.items())[:NOTES]]
    return lines
