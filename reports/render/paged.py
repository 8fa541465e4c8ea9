"""The view model as pages: what a reviewer reads, then an appendix with the rest. Blocks are moved, none is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Block = Mapping[str, Any]

ORDER = ("text", "table", "figure", "findings")
"""Of the blocks of a section before the appendix: a figure that needs the next page leaves least of this one empty."""
FURTHER = ("detectable", "A → B")
"""Columns that a table before the appendix does not have, for want of room."""
WIDTH, INSET, CHARACTER = 493.0, 6.0, 0.62
"""Points across a page, and beside the text of a column; width of a character in units of the size of type."""
SIZES = ((6, 7.2), (8, 6.6), (99, 6.1))
"""Most columns, and their size of type in points."""
SOFT = "\u200b"
"""Where a long name may be broken: after what separates its parts."""
LIMITS_CLAIM = ("issue", "tip")
"""Severities of findings that stand before the appendix."""


def arranged(view: Mapping[str, Any], figures: int, lines: int) -> dict[str, Any]:
    """The view model with its sections as `main` and `appendix`.

    Before the appendix, a section that answers a question has its answer, at most so many figures and one short table.
    The appendix has what is left of these, and the sections that answer none: what was measured, files, glossary. Of
    variants by pooling or task both have the first one; of those by metric the appendix has the others.

    Parameters
    ----------
    view : mapping
    figures, lines : int
        Figures of a section, and rows of its table, before the appendix.
    """
    told = [finding["code"] for finding in view["answer"]["beware"]]
    main, appendix = [], []
    for section in view["sections"]:
        opened = list(_opened(section["blocks"], foreground=True))
        if not section["answer"]:
            blocks = [b if b["type"] != "findings" else {**b, "findings": view["findings"]} for b, _ in opened]
            appendix.append({**section, "blocks": blocks})
            continue
        here, there = _split(opened, figures, lines)
        if any(block["type"] == "findings" for block in there):
            shown = [f for f in view["findings"] if f["severity"] in LIMITS_CLAIM and f["code"] not in told]
            here = [*here, {"type": "findings", "findings": shown}]
            rest = {"type": "findings", "findings": [f for f in view["findings"] if f not in shown]}
            there = [rest, *(block for block in there if block["type"] != "findings")]
        main.append({**section, "blocks": sorted(here, key=lambda block: ORDER.index(block["type"]))})
        if there:
            appendix.append({"id": "", "title": section["title"], "lead": "", "blocks": there})
    answer = _laid_out(view["answer"])
    answer |= {key: softened(answer[key]) for key in ("sentence", "limits", "scope")}
    answer["beware"] = [{**finding, "sentence": softened(finding["sentence"])} for finding in answer["beware"]]
    kept = {key: value for key, value in view.items() if key not in ("sections", "findings")}
    return kept | {
        "answer": answer,
        "main": [_with_tables(part) for part in main],
        "appendix": [_with_tables(part) for part in appendix],
        "poolings": [option["name"] for option in _poolings(view)],
    }


def _poolings(view: Mapping[str, Any]) -> list[Any]:
    """The options of the first choice between poolings, if there is one."""
    blocks = [block for section in view["sections"] for block in section["blocks"]]
    choices = (block for block in blocks if block["type"] == "choice" and block["axis"] == "pooling")
    return next((block["options"] for block in choices), [])


def _opened(blocks: Sequence[Block], foreground: bool) -> Iterator[tuple[Block, bool]]:
    """Every block, choices and folds opened, and whether it is in the foreground."""
    for block in blocks:
        if block["type"] == "choice":
            options = block["options"] if block["axis"] == "metric" else block["options"][:1]
            for i, option in enumerate(options):
                yield from _opened(option["blocks"], foreground and not i)
        elif block["type"] == "fold":
            yield {"type": "heading", "id": block["id"], "title": block["title"]}, False
            yield from _opened(block["blocks"], foreground=False)
        else:
            yield block, foreground


def _split(opened: Sequence[tuple[Block, bool]], figures: int, lines: int) -> tuple[list[Block], list[Block]]:
    """The blocks before the appendix, and those in it."""
    here: list[Block] = []
    there: list[Block] = []
    for block, foreground in opened:
        kinds = [found["type"] for found in here]
        if foreground and block["type"] == "figure" and kinds.count("figure") < figures:
            here.append({**block, "table": None})
            there += [block["table"]] if block["table"] else []
        elif foreground and block["type"] == "table" and "table" not in kinds and not block["folded"]:
            here.append(short := _first(block, lines))
            there += [block] if short != block else []
        elif foreground and block["type"] == "text":
            here.append(block)
        else:
            there.append(block)
    return here, there


def _first(table: Block, lines: int) -> Block:
    """The first rows of a table, without `FURTHER`; the caption counts the others."""
    kept = [i for i, column in enumerate(table["columns"]) if column["name"] not in FURTHER]
    more = len(table["rows"]) - lines
    told = [said for said in table["caption"].split(". ") if said.partition(":")[0].lower() not in FURTHER]
    caption = ". ".join(told).removesuffix(".") + "."
    return {
        **table,
        "caption": caption + (f" {more:,} more in the appendix." if more > 0 else ""),
        "columns": [table["columns"][i] for i in kept],
        "rows": [{**row, "cells": [row["cells"][i] for i in kept]} for row in table["rows"][:lines]],
    }


def _with_tables(part: Block) -> Block:
    return {**part, "blocks": [_laid_out(block) for block in part["blocks"]]}


def _laid_out(block: Block) -> dict[str, Any]:
    """A block with its table fitted to the page."""
    if block.get("type") == "table":
        return fitted(block)
    return {**block, "table": fitted(block["table"])} if block.get("table") else {**block}


def fitted(table: Block) -> dict[str, Any]:
    """A table with the size of its type, and the shares of the width that its columns take where it needs all of it.

    A column takes its longest text; where that is too much for all, long texts are wrapped, and no word is broken.
    """
    names = [column["name"] for column in table["columns"]]
    rows = [
        {**row, "cells": [{**each, "text": softened(each["text"])} for each in row["cells"]]} for row in table["rows"]
    ]
    texts = ["\n".join([name, *(row["cells"][i]["text"] for row in rows)]) for i, name in enumerate(names)]
    longest = [max(map(len, column.split("\n"))) for column in texts]
    words = [max(map(len, re.split(f"[ \n{SOFT}]", column))) for column in texts]
    size = next(size for most, size in SIZES if len(names) <= most)
    beside = INSET / (CHARACTER * size)
    room = WIDTH / (CHARACTER * size) - beside * len(names)
    shares: list[float] = []
    if sum(longest) > room:
        wraps = range(min(max(longest), int(room)), 0, -1)
        tried = ([max(word, min(text, most)) for word, text in zip(words, longest, strict=True)] for most in wraps)
        shares = [share + beside for share in next((each for each in tried if sum(each) <= room), words)]
    return {**table, "rows": rows, "size": size, "shares": shares}


def softened(text: str, most: int = 18) -> str:
    """A text whose long words may be broken after what separates their parts, and anywhere at last."""

    def soft(word: re.Match[str]) -> str:
        parts = re.sub(r"(?<=[-_/.:@])(?=\w)", SOFT, word[0]).split(SOFT)
        return SOFT.join(SOFT.join(re.findall(f".{{1,{most}}}", part)) for part in parts)

    return re.sub(rf"\S{{{most + 1},}}", soft, text)
