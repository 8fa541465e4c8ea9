"""Blocks of a view model: visit them, shorten their tables; the view model as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def shortened(view: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The view model with at most so many rows a table; captions count those that were left out."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        found = {key: item if key == "data" else short(item) for key, item in value.items()}
        if "columns" in value and len(value.get("rows", ())) > most:
            gone = len(value["rows"]) - most
            note = f" {gone:,} more rows are left out here; report.json and the results folder have them."
            found |= {"rows": value["rows"][:most], "caption": value["caption"] + note}
        return found

    return short(view)


def walk(view: Mapping[str, Any], foreground: bool = False) -> Iterator[Mapping[str, Any]]:
    """Yield every block of the view model, also inside others; with `foreground`, what is open at first only."""

    def inner(blocks: list[Any]) -> Iterator[Mapping[str, Any]]:
        for block in blocks:
            yield block
            if block["type"] == "fold" and not foreground:
                yield from inner(block["blocks"])
            for option in block.get("options", ())[: 1 if foreground else None]:
                yield from inner(option["blocks"])

    first = view.get("answer", {})  # sections alone have none
    yield from filter(None, (first.get("picture"), first.get("table")))

    for section in view["sections"]:
        yield from inner(section["blocks"])


def figures(view: Mapping[str, Any], foreground: bool = False) -> dict[str, Mapping[str, Any]]:
    """The figures of the view model by their ids; with `foreground`, those seen before anything is opened."""
    return {block["id"]: block for block in walk(view, foreground) if block["type"] == "figure"}


def dumps(view: Mapping[str, Any]) -> str:
    """The view model as JSON text; the same view gives the same bytes."""
    return json.dumps(view, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
