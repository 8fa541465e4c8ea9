"""`geomprobe plan`: how many rows, and seeds, find a difference of a given size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.options import Full, Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH, TEXT
from geomprobe.common.text import NAME_LIMIT, clean, count, counted, decimals, number, roughly, words

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
    cells = [[row] for cell in cells for row in cell] if full else cells
    shown = cells if full else cells[:MOST]
    several = full or len({(row["a"], row["b"]) for row in found}) > 1
    output.result(
        {"pilot": str(pilot), "results": found},
        "\n".join(said(cells, shown, several, None if full else NOTES)),
        [line(cell, several) for cell in shown],
    )


Row = dict[str, Any]
Cell = list[Row]
"""Rows of the plan of one number in one cell: one, or one for each correlation of a single model's influences."""


def by_number(rows: list[Row]) -> list[list[Cell]]:
    """The cells of each number."""
    found: dict[Any, dict[Any, Cell]] = {}
    for row in rows:
        of_number = found.setdefault((row["metric"], row["view"]), {})
        cell = tuple(row[key] for key in ("a", "b", "task", "layer", "pooling", "definition"))
        of_number.setdefault(cell, []).append(row)
    return [list(cells.values()) for cells in found.values()]


def most_needed(cell: Cell) -> tuple[bool, float, float]:
    """What the cells of a number are ordered by, the decisive one last: with an interval, needing most."""
    row = cell[0]
    none = float("inf")
    seeds, rows = (none if row[what] is None else row[what] for what in ("seeds", "rows"))
    return row["mdd"] is not None, seeds if row["seeds_pilot"] else rows, rows


def line(cell: Cell, several: bool) -> dict[str, str]:
    """A line of the table; of `several` pairs of models it names its own."""
    row = cell[0]
    shown = {"metric": named(row)}
    shown |= {"of": contrast(row)} if several else {}
    shown |= {"cell": f"{clean(row['task'])}, {clean(row['pooling'])}", "difference": size(row["difference"])}
    units = [counted(row["n"], "row"), row["clusters"] and counted(row["clusters"], "cluster")]
    shown["pilot"] = ", ".join(filter(None, [*units, row["seeds_pilot"] and counted(row["seeds_pilot"], "seed")]))
    if len(cell) > 1:
        return shown | {f"rows, ρ = {each['correlation']:g}": needed(each, "rows") for each in cell}
    shown |= {"ρ": f"{row['correlation']:g}"} if row["correlation"] is not None else {}
    shown |= {"pilot detects": size(row["mdd"]), "rows": needed(row, "rows")}
    shown |= {"seeds a group": needed(row, "seeds")} if row["seeds_pilot"] else {}
    return shown | {"adjusted": adjusted(row), "tests": str(row["tests"])}


def named(row: Row) -> str:
    """The metric of a row, with its view where this is not the raw one."""
    return words(row["metric"]) + (f" ({row['view']})" if row["view"] and row["view"] != "raw" else "")


def contrast(row: Row) -> str:
    """The two sides of a row, as a difference."""
    return f"{clean(row['b'], NAME_LIMIT)} − {clean(row['a'], NAME_LIMIT)}"


def needed(row: Row, what: str) -> str:
    """Rows or seeds that one test needs, with the upper limit."""
    from geomprobe.comparison.power import FEWEST

    if row["mdd"] is None or not row["difference"]:
        return "–"
    one, upper = (written(row[f"{what}{part}"], what) for part in ("", "_upper"))
    if what == "rows" and row["rows_upper"] == min(FEWEST, row["n"]):
        return f"{upper} or fewer"
    return one if one == "none" else f"{one} (≤ {upper})"


def adjusted(row: Row) -> str:
    """What the smallest of the adjusted p-values needs: of groups seeds, or rows where these alone suffice."""
    if row["mdd"] is None or not row["difference"]:
        return "–"
    what = "seeds" if row["seeds_adjusted"] is not None else "rows"
    value = written(row[f"{what}_adjusted"], what)
    return value if value == "none" else f"{value} {what}"


def written(value: int | None, what: str) -> str:
    """A number of rows, to two significant digits, or of seeds."""
    return "none" if value is None else count(value) if what == "seeds" else roughly(value)


def size(value: float | None) -> str:
    """A difference to two significant digits."""
    return "–" if value is None else number(value, decimals([value], abs(value)))


def said(cells: list[Cell], shown: list[Cell], several: bool, most: int | None) -> list[str]:
    """What is printed below the table: of the notes so many, the reasons for "none" first."""
    first = shown[0][0]
    lines = [f"and {len(cells) - len(shown)} more: --full prints all"] if len(shown) < len(cells) else []
    lines += [] if several else [f"{contrast(first)}, deepest layer; of each number the cell that needs most"]
    lines.append("rows, seeds: for one test; ≤ upper limit, 80 % confidence, since the pilot's error is an estimate")
    if len(shown[0]) > 1:
        lines.append(
            "ρ: correlation of the influences of the two models, unknown from one; 0 needs most. Adjusted tests: --full"
        )
    else:
        lines.append("adjusted: as the smallest of so many p-values of its family (tests), under Holm's adjustment")
    notes: dict[str, list[str]] = {}
    for row in (row for cell in shown for row in cell):
        for note in filter(None, str(row["note"]).split("; ")):
            notes.setdefault(clean(note), []).append(named(row))
    told = [
        f"{', '.join(dict.fromkeys(notes[note]))}: {note}"
        for note in sorted(notes, key=lambda note: not note.startswith(("no number of", "neither")))
    ]
    lines += told[:most]
    return lines + ([f"and {counted(len(told[most:]), 'more note')}: --full"] if most and told[most:] else [])
