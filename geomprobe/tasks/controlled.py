"""The controlled suite: tasks written by a small grammar, in which meaning, words and syntax vary apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from geomprobe.common import UsageError, unknown_name
from geomprobe.tasks.base import Split, Task
from geomprobe.tasks.controlled_glue import SHAPES, Group
from geomprobe.tasks.controlled_grammar import Family, draw, grammar, write_cell
from geomprobe.tasks.words import word_overlap, words

# Draws of each family (crossed design) and rows (the other tasks), train and validation.
SIZES: dict[str, dict[str, tuple[int, int]]] = {
    "small": {"draws": (2, 1), "rows": (1_500, 600)},
    "medium": {"draws": (6, 3), "rows": (5_000, 1_500)},
    "large": {"draws": (14, 6), "rows": (10_000, 4_000)},
}
CROSSED = "controlled"
CROSSED_SHAPE = SHAPES["controlled-paraphrase"]
TASK_NAMES = (CROSSED, *SHAPES)
TRIES = 200


def load(name: str = CROSSED, *, size: str = "small", seed: int = 0) -> Task:
    """Write a controlled task; the same arguments give the same task on every machine.

    Parameters
    ----------
    name : str
        One of TASK_NAMES. "controlled" is the crossed design as pairs: equivalent (same meaning, other words, other
        frame) or not (another meaning of the same words, in the words and frame of its equivalent twin). The others
        have the shape of the GLUE tasks: sentiment, paraphrase, inference, acceptability, similarity.
    size : {"small", "medium", "large"}
    seed : int

    Raises
    ------
    UsageError
        Unknown name or size.
    """
    if name not in TASK_NAMES:
        raise unknown_name("controlled task", name, list(TASK_NAMES))
    if size not in SIZES:
        raise unknown_name("size", size, list(SIZES))
    rng = np.random.default_rng([seed, TASK_NAMES.index(name)])
    seen: set[str] = set()
    shape = SHAPES.get(name, CROSSED_SHAPE)
    write, unit = (_crossed_split, "draws") if name == CROSSED else (partial(_shaped_split, name), "rows")
    n_train, n_validation = SIZES[size][unit]
    validation = write("validation", n_validation, seen, rng)
    train = write("train", n_train, seen, rng)
    task = Task(
        name,
        "classification" if shape.label_names else "regression",
        train,
        validation,
        shape.label_names,
        "accuracy" if shape.label_names else "spearman",
        positive_label=shape.positive_label,
        positive_score=shape.positive_score,
        source=f"geomprobe controlled suite, size {size}, seed {seed}",
    )
    return replace(task, notes=tuple(f"{check}: {found}" for check, found in checks(task).items()))


# The crossed design


@dataclass(frozen=True)
class CrossedDesign:
    """Where the sentences of complete families stand among the pairs of a split.

    Attributes
    ----------
    families : tuple of str
        Name of the frame family of each complete block; a family that was drawn twice occurs twice.
    rows : tuple of int64 ndarray, each of shape (P, L, V)
        Positions of the block's sentences in the stack [first; second] of the split.
    """

    families: tuple[str, ...]
    rows: tuple[np.ndarray, ...]


CELL = re.compile(r"(?P<block>.+/\d+)/m(\d+)w(\d+)s(\d+)-m(\d+)w(\d+)s(\d+)")


def crossed_cells(family: Family) -> Iterable[tuple[tuple[int, int, int], tuple[int, int, int], int]]:
    """Yield (first cell, second cell, label) of the pairs of one family; a cell is (meaning, wording, frame).

    Every sentence of the first wording is paired with the next frame of the second wording twice, in its own meaning
    (label 1) and in another (label 0). So each sentence occurs as often with either label, and the two twins of a pair
    have the same words.
    """
    n_meanings, n_frames = len(family.meanings), len(family.frames)
    for m in range(n_meanings):
        for s in range(n_frames):
            other = (s + 1) % n_frames
            yield (m, 0, s), (m, 1, other), 1
            yield (m, 0, s), ((m + 1) % n_meanings, 1, other), 0


def _crossed_split(name: str, n_draws: int, seen: set[str], rng: np.random.Generator) -> Split:
    rows: list[tuple[str, str, int, str]] = []
    for number in range(n_draws):
        for family in grammar().families:
            texts = _fresh_block(family, seen, rng)
            if texts is None:
                continue  # a small family has no unseen words left
            for a, b, label in crossed_cells(family):
                where = "-".join("m{}w{}s{}".format(*cell) for cell in (a, b))
                rows.append((texts[a], texts[b], label, f"{name}/{family.name}/{number}/{where}"))
    first, second, labels, ids = zip(*rows, strict=True)
    return Split(name, first, second, np.array(labels, np.int64), ids)


def _fresh_block(family: Family, seen: set[str], rng: np.random.Generator) -> dict[tuple[int, int, int], str] | None:
    """Sentences of all cells of a family for words that give no sentence seen before."""
    shape = (len(family.meanings), 2, len(family.frames))
    for _ in range(TRIES):
        words = draw(family.slots, rng)
        texts = {cell: write_cell(family, words, *cell) for cell in np.ndindex(*shape)}
        if seen.isdisjoint(texts.values()):
            seen.update(texts.values())
            return texts
    return None


def crossed_design(split: Split) -> CrossedDesign | None:
    """Complete blocks of a split of the task "controlled", or None where there are none.

    A block of which rows are missing (a limit on rows) is left out: only a full cross splits exactly.
    """
    n = len(split)
    blocks: dict[str, dict[tuple[int, int, int], int]] = {}
    for position, row_id in enumerate(split.row_ids):
        match = CELL.fullmatch(row_id)
        if match is None:
            return None
        cells = blocks.setdefault(match["block"], {})
        m, w, s, *other = (int(number) for number in match.groups()[1:])
        cells.setdefault((m, w, s), position)
        cells.setdefault((other[0], other[1], other[2]), n + position)
    shapes = {family.name: (len(family.meanings), 2, len(family.frames)) for family in grammar().families}
    names: list[str] = []
    rows: list[np.ndarray] = []
    for block, cells in blocks.items():
        name = block.split("/")[1]
        shape = shapes[name]
        if len(cells) == np.prod(shape):
            names.append(name)
            rows.append(np.array([cells[cell] for cell in np.ndindex(*shape)], np.int64).reshape(shape))
    return CrossedDesign(tuple(names), tuple(rows)) if names else None


# Tasks in the shape of GLUE


def _shaped_split(task: str, name: str, n_rows: int, seen: set[str], rng: np.random.Generator) -> Split:
    """Write whole groups of rows, within which labels are balanced against words, until ``n_rows`` are reached."""
    shape = SHAPES[task]
    rows: Group = []
    while len(rows) < n_rows:
        for _ in range(TRIES):
            group = shape.write(rng)
            texts = {text for row in group for text in row[:2] if text is not None}
            if seen.isdisjoint(texts):
                break
        else:
            raise UsageError(f"The grammar cannot write {n_rows} different rows of {task}.", "Ask for a smaller size.")
        seen.update(texts)
        rows += group
    labels = np.array([row[2] for row in rows], np.int64 if shape.label_names else np.float64)
    second = None if rows[0][1] is None else tuple(row[1] or "" for row in rows)
    return Split(name, tuple(row[0] for row in rows), second, labels, tuple(f"{name}/{i}" for i in range(len(rows))))


# What the suite says of itself


def checks(task: Task, vocabulary: Iterable[str] | None = None) -> dict[str, Any]:
    """Promises of the suite, measured on a task that it wrote.

    Parameters
    ----------
    task : Task
    vocabulary : iterable of str, optional
        Words that the tokenizer holds whole.

    Returns
    -------
    dict
        word_balance: largest |share of a class among the rows with a word − share of the class| over words in at least
        20 rows (0: no word tells anything of the label; for scores, the largest absolute correlation);
        overlap_by_label: mean share of common words of the pairs of each class (for scores: the correlation);
        frame_order: share of the families in which the first swapped variable comes first in half of the frames;
        sentences, words, families: how much was written; coverage: share of the content words in ``vocabulary``.
    """
    split = task.validation
    rows = [words(a + " " + b) for a, b in zip(split.first, split.second or [""] * len(split), strict=True)]
    found: dict[str, Any] = {
        "word_balance": round(_word_balance(rows, split.labels, bool(task.label_names)), 6),
        "sentences": len(set(split.first) | set(split.second or ())),
        "words": len({word for row in rows for word in row}),
        "families": len(grammar().families),
        "frame_order": float(np.mean([order_is_balanced(family) for family in grammar().families])),
    }
    if split.second is not None:
        overlap = word_overlap(split)
        if task.label_names:
            of = {task.label_names[int(c)]: overlap[split.labels == c].mean() for c in np.unique(split.labels)}
            found["overlap_by_label"] = {label: round(float(value), 6) for label, value in of.items()}
        else:
            found["overlap_correlation"] = round(float(np.corrcoef(overlap, split.labels)[0, 1]), 6)
    if vocabulary is not None:
        known = set(vocabulary)
        found["coverage"] = float(np.mean([word in known for word in grammar().content_words]))
    return found


def _word_balance(rows: list[list[str]], labels: np.ndarray, classes: bool) -> float:
    values = np.unique(labels, return_inverse=True)[1] if classes else labels
    holders: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        for word in set(row):
            holders.setdefault(word, []).append(position)
    worst = 0.0
    for found in holders.values():
        if not 20 <= len(found) < len(rows):
            continue
        if classes:
            shares = [np.bincount(v, minlength=values.max() + 1) / len(v) for v in (values[found], values)]
            worst = max(worst, float(np.abs(shares[0] - shares[1]).max()))
        else:
            holds = np.zeros(len(rows))
            holds[found] = 1
            worst = max(worst, abs(float(np.corrcoef(holds, labels)[0, 1])))
    return worst


def order_is_balanced(family: Family) -> bool:
    """Whether the first two variables that stand for different slots in different meanings come in either order in
    half of the frames each."""
    first, second = [v for v in family.meanings[0] if len({meaning[v] for meaning in family.meanings}) > 1][:2]

    def position(frame: str, variable: str) -> int:
        found = re.search(r"\{" + variable + r"(_s)?\}", frame)
        assert found is not None
        return found.start()

    before = sum(position(frame, first) < position(frame, second) for frame in family.frames)
    return 2 * before == len(family.frames)
