"""What a file of published numbers shows about itself, without a model.

A file holds one cell for each task, model and pooling. Every rule is a function from cells to findings.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import InputError
from geomprobe.common.files import json_fault, read_text, unique_names

Key = tuple[str, str, str]  # task, model, pooling
MAX_BYTES = 100_000_000
SAME = 1e-5  # relative; float32 sums of the same vectors in another order differ by less
Z_95 = 1.959964

# Rows of the validation splits of GLUE as the published analysis takes them (its first 2,000), and the share of their
# most frequent class.
ROWS = {"sst2": 872, "mrpc": 408, "mnli": 2000, "cola": 1043, "stsb": 1500}
MAJORITY = {"sst2": 444 / 872, "mrpc": 279 / 408, "mnli": 697 / 2000, "cola": 721 / 1043}
SUBSAMPLE_ROWS = 1000  # rows past which the published uniformity is taken over a random subsample

NAMES = {
    "erank": "effective_rank",
    "token_probe_acc": "token_probe_accuracy",
    "semantic_probe_acc": "semantic_probe_accuracy",
}
RANGES = {  # a percentage, say, would be passed over by the rules
    "token_probe_accuracy": (0.0, 1.0),
    "semantic_probe_accuracy": (-1.0, 1.0),  # STS-B: a correlation
    "effective_rank": (0.0, math.inf),
    "stable_rank": (0.0, math.inf),
}
SPECTRA = ("eigenvalues", "singular_vals", "explained_var", "cumulative_var")


@dataclass(frozen=True)
class Cell:
    """The numbers (float) and spectra (float64 arrays of shape (k,)) of one task, model and pooling, by name.

    ``absent`` are the names without a value (null or NaN).
    """

    numbers: Mapping[str, float]
    spectra: Mapping[str, np.ndarray]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes
    ----------
    rule : str
        Name of the rule.
    found : str
        The fact, with its numbers.
    meaning : str
        What it means for a reader.
    cells : tuple of str
        The cells concerned, "task, model, pooling".
    """

    rule: str
    found: str
    meaning: str
    cells: tuple[str, ...] = field(default=())


def read_published(path: str | Path) -> dict[Key, Cell]:
    """Cells of a JSON file of published results.

    Parameters
    ----------
    path : path
        One object whose keys name a cell as "('task', 'model', 'pooling')" or "task/model/pooling" and whose values
        hold numbers and lists of numbers, nested or not; null and NaN stand for no value.

    Raises
    ------
    InputError
        The file cannot be read or is not of that form.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is larger than 100 MB")
        return _cells(json.loads(read_text(path, "utf-8-sig"), object_pairs_hook=unique_names))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {json_fault(error)}") from None
    except ValueError as error:
        raise InputError(f"{path}: {json_fault(error)}.", FORM) from None


FORM = """Expected: {"('sst2', 'hybrid', 'mean')": {"uniformity": -0.16, …}, …} or "sst2/hybrid/mean" as the key."""


def _cells(document: Any) -> dict[Key, Cell]:
    if not isinstance(document, dict) or not document:
        raise ValueError("it holds no cells")
    cells: dict[Key, Cell] = {}
    for name, content in document.items():
        key = _key(name)
        if key is None or not isinstance(content, dict):
            raise ValueError(f"{name[:80]!r} names no task, model and pooling")
        if key in cells:
            raise ValueError(f"the cell {', '.join(key)} occurs twice")
        try:
            cells[key] = _cell(content)
        except (OverflowError, RecursionError):
            raise ValueError(f"{name[:80]!r} holds too large a number or is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"{name[:80]!r}: {error}") from None
    return cells


def _key(name: str) -> Key | None:
    try:
        parts = ast.literal_eval(name)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        parts = name.split("/")
    if isinstance(parts, tuple | list) and len(parts) == 3 and all(isinstance(part, str) and part for part in parts):
        return parts[0], parts[1], parts[2]
    return None


def _cell(content: Mapping[str, Any]) -> Cell:
    numbers: dict[str, float] = {}
    spectra: dict[str, np.ndarray] = {}
    absent: list[str] = []

    def collect(part: Mapping[str, Any]) -> None:
        for given, value in part.items():
            name, shown = NAMES.get(given, given), repr(given[:80])
            if value is None or value != value:  # NaN, which Python writes for a score that is not defined
                absent.append(name)
                continue
            if isinstance(value, dict):
                collect(value)
                continue
            if name in numbers or name in spectra:
                raise ValueError(f"{shown} occurs twice in the cell")
            if isinstance(value, list):
                spectra[name] = _spectrum(name, [_number(shown, each) for each in value])
            else:
                numbers[name] = _number(shown, value)
                low, high = RANGES.get(name, (-math.inf, math.inf))
                if not low <= numbers[name] <= high:
                    raise ValueError(f"{shown} is {numbers[name]:g}, expected {low:g} to {high:g}")

    collect(content)
    if not numbers and not spectra:
        raise ValueError("the cell holds no numbers")
    return Cell(numbers, spectra, tuple(absent))


def _number(shown: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown} holds {str(value)[:40]!r}, expected a finite number or a list of them")
    return float(value)


def _spectrum(name: str, values: list[float]) -> np.ndarray:
    if not values:
        raise ValueError(f"{name[:80]!r} is an empty list, expected numbers")
    # rounding leaves the smallest eigenvalues a little below zero
    if name in SPECTRA and min(values) < -SAME * max(values):
        raise ValueError(f"{name!r} holds {min(values):g}, expected no negative numbers")
    return np.array(values, np.float64)


Cells = Mapping[Key, Cell]


def audit_published(cells: Cells) -> list[Finding]:
    """Findings of all rules, in their order.

    Every rule needs only what the file holds; a rule whose numbers are absent finds nothing.
    """
    return [finding for rule in RULES for finding in rule(cells)]


def _text(*keys: Key) -> tuple[str, ...]:
    return tuple(", ".join(key) for key in keys)


def _same_vectors(a: Cell, b: Cell) -> bool:
    """Whether two cells have the same spectrum: five leading values at least, and the effective rank if there."""
    names = [n for n in a.spectra if n in b.spectra and a.spectra[n].shape == b.spectra[n].shape]
    if not any(len(a.spectra[name]) >= 5 for name in names):
        return False
    x, y = (cell.numbers.get("effective_rank", 0.0) for cell in (a, b))
    same_rank = math.isclose(x, y, rel_tol=SAME, abs_tol=1e-12)
    return same_rank and all(np.allclose(a.spectra[n], b.spectra[n], rtol=SAME, atol=0) for n in names)


def coinciding(cells: Cells) -> list[tuple[Key, Key]]:
    """Pairs of poolings of one task and model that have the same spectrum."""
    return [(a, b) for a, b in combinations(cells, 2) if a[:2] == b[:2] and _same_vectors(cells[a], cells[b])]


def cells_coincide(cells: Cells) -> Iterator[Finding]:
    """Find poolings that gave the same vectors."""
    by_poolings: dict[tuple[str, str], list[tuple[Key, Key]]] = {}
    for a, b in coinciding(cells):
        by_poolings.setdefault((b[2], a[2]), []).append((a, b))
    for (one, other), pairs in by_poolings.items():
        possible = sum((task, model, other) in cells for task, model, pooling in cells if pooling == one)
        yield Finding(
            "cells coincide",
            f"{one} = {other}: the same spectrum in {len(pairs)} of {possible} pairs of cells",
            f"Both poolings gave the same vectors: `{one}` did nothing that `{other}` does not do, as a weighted "
            "pooling does that is never trained. Its row repeats the other one and is no evidence of its own.",
            _text(*(b for _, b in pairs)),
        )


def same_vectors_other_numbers(cells: Cells) -> Iterator[Finding]:
    """Find numbers that differ although they are functions of the same vectors."""
    names = sorted({name for cell in cells.values() for name in cell.numbers})
    for name in names:
        apart = []
        for a, b in coinciding(cells):
            x, y = (cells[key].numbers.get(name, math.nan) for key in (a, b))
            if math.isfinite(x + y) and not math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-9):
                apart.append((abs(x - y), a, b, x, y))
        if not apart:
            continue
        largest, a, b, x, y = max(apart)
        text = f"{name} differs in {len(apart)} of {len(coinciding(cells))} pairs of cells with the same vectors"
        text += f", most in {a[0]}, {a[1]}: {a[2]} {x:.4f}, {b[2]} {y:.4f}"
        if name == "uniformity":
            meaning = (
                "The uniformity of given vectors is one number. It differs where a task has more than "
                f"{SUBSAMPLE_ROWS:,} rows, so it was taken on a random subsample without a seed; up to {largest:.4f} "
                "of any difference between two models is that draw."
            )
        elif "probe" in name:
            meaning = (
                "The same vectors and labels give the same probe. It was fitted with an unseeded solver or folds; "
                f"differences of {largest:.4f} are that chance alone."
            )
        else:
            meaning = "A function of the vectors alone cannot differ where they do not: chance entered on the way."
        yield Finding("same vectors, other numbers", text, meaning, _text(*(key for f in apart for key in f[1:3])))


def probes_below_majority(cells: Cells) -> Iterator[Finding]:
    """Find accuracies no better than naming the most frequent class."""
    for task, majority in MAJORITY.items():
        of_task = {key: cell.numbers for key, cell in cells.items() if key[0] == task}
        found = {key: n["semantic_probe_accuracy"] for key, n in of_task.items() if "semantic_probe_accuracy" in n}
        below = {key: accuracy for key, accuracy in found.items() if accuracy <= majority}
        if below:
            yield Finding(
                "probe below the majority class",
                f"{task}: {len(below)} of {len(found)} task probes are at or below {majority:.4f}, the share of the "
                f"most frequent class (they range from {min(below.values()):.4f} to {max(below.values()):.4f})",
                "Naming one class for every row scores as high or higher, so these accuracies are no evidence that the "
                "label can be read, and a ratio or balance made of them means nothing.",
                _text(*below),
            )


def differences_within_uncertainty(cells: Cells) -> Iterator[Finding]:
    """Find probe differences between two models that are smaller than their uncertainty."""
    models = list(dict.fromkeys(model for _, model, _ in cells))
    if len(models) != 2:
        return
    # a correlation stands under the name of an accuracy where a task has no majority
    for name, tasks in (("token_probe_accuracy", ROWS), ("semantic_probe_accuracy", MAJORITY)):
        small: list[tuple[Key, float, float]] = []
        total = 0
        for task, model, pooling in cells:
            key, other = (task, model, pooling), (task, models[1], pooling)
            if model != models[0] or other not in cells or task not in tasks or pooling == "weighted":
                continue
            p, q = (cells[each].numbers.get(name, math.nan) for each in (key, other))
            if not (0 <= p <= 1 and 0 <= q <= 1):
                continue
            total += 1
            reach = Z_95 * math.sqrt((p * (1 - p) + q * (1 - q)) / ROWS[task])
            if abs(p - q) <= reach:
                small.append((key, p - q, reach))
        if small:
            key, gap, reach = max(small, key=lambda line: abs(line[1]))
            yield Finding(
                "difference within its uncertainty",
                f"{name}, {models[0]} − {models[1]}: {len(small)} of {total} differences are smaller than their "
                f"binomial uncertainty (the largest of them: {key[0]}, {key[2]}, {gap:+.4f} ± {reach:.4f})",
                "Another sample of rows could turn the sign. A paired test on the same rows sees smaller differences, "
                "but the file does not hold the predictions that it needs, nor more than one seed.",
                _text(*(line[0] for line in small)),
            )


def ranks_of_unequal_samples(cells: Cells) -> Iterator[Finding]:
    """Find effective ranks of unequal numbers of rows."""
    ranked = [key for key in cells if "effective_rank" in cells[key].numbers]
    rows = {key[0]: ROWS[key[0]] for key in ranked if key[0] in ROWS}
    if len(set(rows.values())) < 2:
        return
    least = min(rows, key=rows.__getitem__)
    listed = ", ".join(f"{task} {n:,}" for task, n in sorted(rows.items(), key=lambda item: item[1]))
    highest = max(cells[key].numbers["effective_rank"] for key in ranked if key[0] == least)
    yield Finding(
        "ranks of unequal samples",
        f"effective rank is given for tasks of {rows[least]:,} to {max(rows.values()):,} rows ({listed})",
        f"The rank of n centred rows is at most n − 1, {rows[least] - 1} for {least} (the highest there is "
        f"{highest:.1f}), and its estimate grows with n. Ranks of two models on one task can be compared; ranks of two "
        "tasks cannot, nor can their average be read.",
        _text(*ranked),
    )


def no_uncertainty(cells: Cells) -> Iterator[Finding]:
    """Find a file without intervals or repeated seeds."""
    words = {part for cell in cells.values() for name in cell.numbers for part in name.lower().split("_")}
    if words & {"ci", "low", "high", "se", "sem", "seed", "seeds"}:
        return
    yield Finding(
        "no uncertainty",
        f"none of the {len(cells)} cells has an interval, a standard error or a second seed",
        "A standard deviation over folds is not one: folds share training rows and the same checkpoint. What is said "
        "holds for these checkpoints on these rows, not for two ways of training.",
    )


def spectra_contradict(cells: Cells) -> Iterator[Finding]:
    """Find numbers of a cell that contradict its own spectrum."""
    checks: dict[str, Callable[[Cell], bool]] = {
        "stable_rank = 1 / share of the first eigenvalue": lambda c: math.isclose(
            c.numbers["stable_rank"], 1 / c.spectra["explained_var"].max(), rel_tol=1e-3
        ),
        "eigenvalues = squared singular values": lambda c: bool(
            np.allclose(c.spectra["eigenvalues"], c.spectra["singular_vals"] ** 2, rtol=1e-3)
        ),
        "intra_inter_ratio = intra_mean / inter_mean": lambda c: math.isclose(
            c.numbers["intra_inter_ratio"], c.numbers["intra_mean"] / c.numbers["inter_mean"], rel_tol=1e-3
        ),
    }
    for text, holds in checks.items():
        broken = []
        for key, cell in cells.items():
            try:
                if not holds(cell):
                    broken.append(key)
            except (KeyError, IndexError, ZeroDivisionError, ValueError):
                continue  # not in the file, or not of one length
        if broken:
            yield Finding(
                "spectrum contradicts", f"{text} fails in {len(broken)} of {len(cells)} cells",
                "Two numbers of one cell cannot both be right.", _text(*broken),
            )  # fmt: skip


RULES: tuple[Callable[[Cells], Iterator[Finding]], ...] = (
    cells_coincide,
    same_vectors_other_numbers,
    probes_below_majority,
    differences_within_uncertainty,
    ranks_of_unequal_samples,
    spectra_contradict,
    no_uncertainty,
)
