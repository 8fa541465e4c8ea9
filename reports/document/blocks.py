"""The building blocks of the view model: text, list, table, figure, choice, fold, code, downloads, terms, findings."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from geomprobe.reports.document.figure_limits import limited


class Cell(TypedDict):
    """A table cell: what is printed, what it is sorted by, a tone that never stands alone, and the id it links to."""

    text: str
    sort: float | str | None
    tone: str
    link: str


class Column(TypedDict):
    """A table column; numbers are set flush right."""

    name: str
    number: bool


class Line(TypedDict):
    """A table row; ``task`` and ``pooling`` are what the selectors filter by."""

    cells: list[Cell]
    task: str
    pooling: str


class Table(TypedDict):
    """A table with its caption."""

    type: Literal["table"]
    id: str
    caption: str
    columns: list[Column]
    rows: list[Line]
    folded: bool


class Figure(TypedDict):
    """A figure: the data it is drawn from, its words for those who cannot see it, and its table."""

    type: Literal["figure"]
    id: str
    kind: str
    title: str
    caption: str
    alt: str
    data: dict[str, Any]
    table: Table | None


class Text(TypedDict):
    """A paragraph; tone is plain, note or warning."""

    type: Literal["text"]
    text: str
    tone: str


class Items(TypedDict):
    """A list of sentences."""

    type: Literal["items"]
    items: list[str]


class Code(TypedDict):
    """A command or a configuration, printed as it is."""

    type: Literal["code"]
    label: str
    text: str


class Option(TypedDict):
    """One of several variants of the same content."""

    name: str
    note: str
    blocks: list[Any]


class Choice(TypedDict):
    """Variants along one axis (pooling or metric): the first is open, the others can be opened."""

    type: Literal["choice"]
    axis: str
    options: list[Option]


class Fold(TypedDict):
    """What is there for those who look for it: closed on the page, in the appendix of the document."""

    type: Literal["fold"]
    id: str
    title: str
    blocks: list[Any]


class Findings(TypedDict):
    """Where the findings of the document are listed."""

    type: Literal["findings"]


class Downloads(TypedDict):
    """Files of the results folder."""

    type: Literal["downloads"]
    items: list[dict[str, str]]


class Terms(TypedDict):
    """The glossary."""

    type: Literal["terms"]
    items: list[dict[str, str]]


Block = Table | Figure | Text | Items | Code | Choice | Fold | Findings | Downloads | Terms


class Section(TypedDict):
    """A part of the report: a question with its answer in one sentence, or (without an answer) what was measured."""

    id: str
    title: str
    answer: str
    lead: str
    blocks: list[Block]


def section_of(id: str, title: str, lead: str, blocks: list[Block], answer: str = "") -> Section:
    """A section."""
    return {"id": id, "title": title, "answer": answer, "lead": lead, "blocks": blocks}


def cell(text: str, sort: float | str | None = None, tone: str = "", link: str = "") -> Cell:
    """A table cell."""
    key = float(f"{sort:.6g}") if isinstance(sort, int | float) else sort
    return {"text": text, "sort": key, "tone": tone, "link": link}


def table(id: str, caption: str, columns: list[tuple[str, bool]], rows: list[Line], folded: bool = False) -> Table:
    """A table block; columns are (name, is a number). What is the same in all rows stands in the caption instead."""
    heads: list[Column] = [{"name": name, "number": numeric} for name, numeric in columns]
    if same := _same(rows):
        shared = [f"{heads[i]['name']} {rows[0]['cells'][i]['text'] or 'none'}".strip() for i in same]
        caption += f" In all rows: {', '.join(shared)}."
        heads = [head for i, head in enumerate(heads) if i not in same]
        rows = [{**row, "cells": [each for i, each in enumerate(row["cells"]) if i not in same]} for row in rows]
    return {"type": "table", "id": id, "caption": caption, "columns": heads, "rows": rows, "folded": folded}


def _same(rows: list[Line]) -> list[int]:
    """Places of the columns that have one text in all rows, unless it says that cells failed, or no column is left."""
    if len(rows) < 2:
        return []
    columns = range(len(rows[0]["cells"]))
    looks = [{(row["cells"][i]["text"], row["cells"][i]["tone"]) for row in rows} for i in columns]
    same = [i for i in columns if len(looks[i]) == 1 and "failed" not in {tone for _, tone in looks[i]}]
    return same if len(same) < len(columns) else []


def line(cells: list[Cell], task: str = "", pooling: str = "") -> Line:
    """A table row."""
    return {"cells": cells, "task": task, "pooling": pooling}


def text(content: str, tone: str = "plain") -> Text:
    """A paragraph."""
    return {"type": "text", "text": content, "tone": tone}


def code(label: str, content: str) -> Code:
    """A command or a configuration."""
    return {"type": "code", "label": label, "text": content}


def figure(
    id: str, kind: str, title: str, caption: str, alt: str, data: dict[str, Any], figure_table: Table | None = None
) -> Figure:
    """A figure block; of much data the first part is drawn, and the caption counts the rest."""
    data, cut = limited(kind, data)
    return {"type": "figure", "id": id, "kind": kind, "title": title, "caption": caption + cut, "alt": alt,
            "data": data, "table": figure_table}  # fmt: skip


def fold(id: str, title: str, blocks: list[Block]) -> list[Block]:
    """Blocks under a title that opens them; nothing where there are none."""
    return [{"type": "fold", "id": id, "title": title, "blocks": blocks}] if blocks else []


def choice(axis: str, options: list[Option]) -> Choice:
    """Variants; the first is the one in the foreground."""
    return {"type": "choice", "axis": axis, "options": options}
