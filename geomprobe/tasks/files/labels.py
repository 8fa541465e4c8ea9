"""A column of labels as classes or scores: which cells are numbers, which mean "no label", which are neither."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from geomprobe.common import InputError, listed
from geomprobe.tasks.files.tables import Table, is_whole

Kind = Literal["classification", "regression"]
Label = int | float | str
Values = Mapping[str, list[int | float | None]]

MAX_CLASSES = 200
MANY_CLASSES = 20
"""Above it, classes need at least two rows each on average, and numbers with words among them are no classes."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
TRUTH = ("true", "false")
MARKS = ("-", "?")
MISSING = (*MARKS, "N/A", "n/a", "#N/A", "None", "null", "NULL", "nan", "NaN", "<NA>", r"\N")
"""What writers put where there is no label; as the label of a row it means none, unless other classes are like it."""
LIKE_MISSING = {word.lower() for word in MISSING} | {"na", "nil", "unknown", "missing"}
"""Among words these are classes where they are not in MISSING, and a note says so."""
MISSING_AMONG_NUMBERS = {word.lower() for word in MISSING} | {"na", "nil", "--", ".", "inf", "+inf", "-inf", "infinity"}


@dataclass(frozen=True)
class LabelColumn:
    """The cells of a column in one split, and where they stand.

    Attributes
    ----------
    table : Table
    name : str
    rows : sequence of int
        Which rows of the table the cells are from.
    cells : sequence
    """

    table: Table
    name: str
    rows: Sequence[int]
    cells: Sequence[Any]

    def place(self, i: int) -> str:
        """Where a cell stands."""
        return self.table.place(self.rows[i])


@dataclass(frozen=True)
class Labels:
    """Labels of all splits, read in one way.

    Attributes
    ----------
    kind : {"classification", "regression"}
    values : mapping of split to list
        Indices of classes or scores; None where there is no label.
    names : tuple of str
        The classes.
    missing : mapping of split to Counter
        How often each cell that means no label occurs, such as "'-'".
    notes : tuple of str
    """

    kind: Kind
    values: Values
    names: tuple[str, ...]
    missing: Mapping[str, Counter[str]]
    notes: tuple[str, ...]


def read_labels(columns: Mapping[str, LabelColumn], kind: str) -> Labels:
    """Labels of all splits as classes or scores.

    Numbers with a fraction are scores, everything else classes, unless `kind` says so. A cell means "no label" where it
    is empty, NaN or infinite, one of MISSING, or −1: where classes have declared names, or where −1 is the only
    negative number and there are at least two others.

    Raises
    ------
    InputError
        Cells that are neither (lists, bytes, dates, truth values among words); scores among which are words; as many
        classes as texts; two readings that are both possible.
    """
    notes: list[str] = []
    cells = {split: [_cell(column, i) for i in range(len(column.cells))] for split, column in columns.items()}
    _one_type(columns, cells)
    cells = _named(columns, cells, notes)
    numbers = [v for part in cells.values() for v in part if isinstance(v, int | float)]
    words = [v for part in cells.values() for v in part if isinstance(v, str)]
    no_label = _missing_words(columns, numbers, words)
    real_words = [word for word in words if word not in no_label]
    numbers = [number for number in numbers if number not in no_label]
    if numbers and real_words:
        _check_mixture(columns, cells, no_label, numbers, real_words, kind)
    if real_words and kind == "regression":
        at = _first(columns, cells, lambda v: isinstance(v, str) and v not in no_label)
        raise InputError(f"{at}: the labels are not numbers, so they cannot be scores.", "Leave --kind out.")
    hidden = None if real_words else _hidden(columns, numbers, notes)
    drop = no_label | ({hidden} if hidden is not None else set())
    missing = {split: Counter(_shown(v) for v in part if v is None or v in drop) for split, part in cells.items()}
    kept = {split: [None if v is None or v in drop else v for v in part] for split, part in cells.items()}
    present = [v for part in kept.values() for v in part if v is not None]
    fraction = not real_words and any(v % 1 for v in present)
    if kind == "regression" or (kind == "auto" and fraction):
        scores: Values = {s: [None if v is None else float(v) for v in part] for s, part in kept.items()}
        return Labels("regression", scores, (), missing, tuple(notes))
    if real_words and any(not isinstance(v, str) for v in present):
        kept = {s: [None if v is None else _name(v) for v in part] for s, part in kept.items()}
        notes.append("the classes are words and numbers")
    classes = _classes(columns, kept, kind, notes)
    index = {label: i for i, label in enumerate(classes)}
    numbered: Values = {s: [None if v is None else index[v] for v in part] for s, part in kept.items()}
    return Labels("classification", numbered, tuple(map(_name, classes)), missing, tuple(notes))


def _cell(column: LabelColumn, i: int) -> Label | bool | None:
    """A cell as a number, a word, a truth value, or None where it is empty or not finite."""
    value = column.cells[i]
    if isinstance(value, str):
        value = value.strip()
        if not NUMBER.fullmatch(value):
            return _checked_word(column, i, value) if value else None
        if WHOLE.fullmatch(value) and len(value) > 400:
            value = "1e999"  # int() refuses thousands of digits; a float says that it is too large
        value = int(value) if WHOLE.fullmatch(value) else float(value)
        if value in (math.inf, -math.inf):
            raise InputError(f"{column.place(i)}: column {column.name!r} holds a number beyond 64-bit floats.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return (int(value) if value.is_integer() else value) if math.isfinite(value) else None
    if not isinstance(value, int):
        raise InputError(
            f"{column.place(i)}: column {column.name!r} holds {type(value).__name__}, not a class or a score.",
            "A row has one label, a word or a number; choose another column: --label",
        )
    try:
        float(value)
    except OverflowError:
        raise InputError(f"{column.place(i)}: column {column.name!r} holds a number beyond 64-bit floats.") from None
    return value


def _checked_word(column: LabelColumn, i: int, word: str) -> str:
    if not is_whole(word):
        raise InputError(f"{column.place(i)}: column {column.name!r} holds half of a surrogate pair.")
    return word


def _one_type(columns: Mapping[str, LabelColumn], cells: Mapping[str, list[Any]]) -> None:
    """Refuse truth values among others, and typed numbers among words; make truth values the words true and false."""
    found: dict[str, str] = {}
    name = next(iter(columns.values())).name
    for split, column in columns.items():
        for i, value in enumerate(cells[split]):
            raw = column.cells[i]
            if value is None or value in MISSING:
                continue
            kind = "word" if isinstance(value, str) else "truth value" if isinstance(value, bool) else "number"
            if isinstance(raw, str) and (kind == "number" or value.lower() in TRUTH):
                continue  # as text, a number or a truth value is also a word
            if kind not in found:
                found[kind] = f"{kind} {_cut(raw)} ({column.place(i)})"
    if len(found) > 1 and not _declared(columns):
        raise InputError(
            f"Column {name!r} mixes types: {'; '.join(found.values())}.",
            "Give all labels one type, or choose another column: --label",
        )
    present = (value for part in cells.values() for value in part if value is not None and value not in MISSING)
    truth = all(str(value).lower() in TRUTH for value in present)
    for part in cells.values():
        part[:] = [str(v).lower() if isinstance(v, bool) or (truth and str(v).lower() in TRUTH) else v for v in part]


def _declared(columns: Mapping[str, LabelColumn]) -> tuple[str, ...]:
    """Names of classes that some split declares; raises InputError where two splits differ."""
    named = {
        column.table.classes[column.name]: column for column in columns.values() if column.name in column.table.classes
    }
    if len(named) > 1:
        a, b = list(named)[:2]
        raise InputError(f"Two splits declare different classes: {listed(a)}; and {listed(b)}.")
    for names, column in named.items():
        if len(set(names)) < len(names):
            raise InputError(
                f"{column.table.where}: column {column.name!r} declares one name for two classes: {listed(names)}."
            )
    return next(iter(named), ())


def _named(columns: Mapping[str, LabelColumn], cells: dict[str, list[Any]], notes: list[str]) -> dict[str, list[Any]]:
    """Numbers of declared classes as their names; a negative number means no label."""
    names = _declared(columns)
    if not names:
        return cells
    notes.append("class names as the file declares them")
    found: dict[str, list[Any]] = {}
    for split, column in columns.items():
        found[split] = []
        for i, value in enumerate(cells[split]):
            if isinstance(value, float) or (isinstance(value, int) and value >= len(names)):
                raise InputError(
                    f"{column.place(i)}: label {value} is not one of the {len(names)} declared classes "
                    f"({listed(names)})."
                )
            found[split].append(names[value] if isinstance(value, int) and value >= 0 else value)
    return found


def _missing_words(columns: Mapping[str, LabelColumn], numbers: Sequence[Any], words: Sequence[str]) -> set[Any]:
    """Cells that mean no label: words, and −1 among words, or negative numbers of declared classes."""
    different = set(words)
    if names := _declared(columns):
        return {n for n in numbers if n < 0} | {word for word in different if word in MISSING and word not in names}
    if numbers and all(word.lower() in MISSING_AMONG_NUMBERS for word in different):
        return different
    found: set[Any] = {word for word in different if word in MISSING}
    others = different - found
    if others and set(numbers) == {-1}:
        different, found, numbers = different | {"-1"}, found | {-1, "-1"}, ()
    if others and all(not any(c.isalnum() for c in word) for word in others):
        found -= set(MARKS)  # classes of punctuation, such as + and -
    if found and not numbers and len(different - found) == 1:
        column = next(iter(columns.values()))
        raise InputError(
            f"{column.table.where}: column {column.name!r} holds {listed(sorted(map(repr, different)))}: "
            f"two classes, or one class and rows without a label?",
            "Rename the class, or leave the cells without a label empty.",
        )
    return found


def _check_mixture(
    columns: Mapping[str, LabelColumn],
    cells: Mapping[str, list[Any]],
    no_label: set[Any],
    numbers: Sequence[Any],
    words: Sequence[str],
    kind: str,
) -> None:
    """Refuse a column of numbers in which a few cells are words, unless its numbers can be names of classes."""
    few_numbers = len(set(numbers)) <= MANY_CLASSES and not any(n % 1 for n in numbers)
    names = few_numbers and 10 * len(words) >= len(numbers)
    if kind == "classification" or (kind == "auto" and (names or len(numbers) < len(words))):
        return
    at = _first(columns, cells, lambda v: isinstance(v, str) and v not in no_label)
    column = next(iter(columns.values()))
    shown = listed([repr(word) for word in dict.fromkeys(words)], 3)
    raise InputError(
        f"{at}: column {column.name!r} holds {len(numbers)} numbers and {len(words)} cells that are not numbers "
        f"({shown}): neither all scores nor clearly classes.",
        "Correct these cells or leave them empty (rows without a score are left out), or use --kind classification.",
    )


def _hidden(columns: Mapping[str, LabelColumn], numbers: Sequence[Any], notes: list[str]) -> int | None:
    """Return −1 where it means "no label", as on the hub; else None."""
    others = set(numbers) - {-1}
    if -1 not in numbers or min(numbers) < -1 or any(-1 < n < 0 for n in others):
        return None
    if len(others) == 1:
        notes.append("-1 is taken as a label like any other")
        return None
    if others == {0, 1}:
        notes.append("-1 next to 0 and 1 is taken for 'no label'; where it is a class, write the classes as words")
    return -1


def _classes(
    columns: Mapping[str, LabelColumn], kept: Mapping[str, list[Any]], kind: str, notes: list[str]
) -> list[Label]:
    """Different classes in order: numbers by size, declared names as declared, words by the alphabet."""
    column = next(iter(columns.values()))
    labels = [value for part in kept.values() for value in part if value is not None]
    different = set(labels)
    declared = _declared(columns)
    classes = [name for name in declared if name in different] if declared else sorted(different)
    if declared and len(classes) < len(different):
        odd = sorted(different - set(declared), key=str)
        raise InputError(
            f"{column.table.where}: {listed(odd)} is not a class that the file declares ({listed(declared)})."
        )
    commas = sum(isinstance(v, str) and DECIMAL_COMMA.fullmatch(v) is not None for v in labels)
    where = f"{column.table.where}: column {column.name!r}"
    if kind == "auto" and 2 * commas > len(labels):
        raise InputError(
            f"{where} holds numbers with a decimal comma.", "Write 1.42, not 1,42; and thousands without a comma."
        )
    few_rows = kind == "auto" and len(different) > MANY_CLASSES and 2 * len(different) > len(labels)
    if len(different) > MAX_CLASSES or few_rows:
        most = f"at most {MAX_CLASSES}"
        most += f", or {MANY_CLASSES} where a class has less than two rows on average" if few_rows else ""
        words = any(isinstance(v, str) for v in different)
        hint = "" if words else "Scores need --kind regression. "
        hint += "If they are classes: --kind classification. " if len(different) <= MAX_CLASSES else ""
        raise InputError(
            f"{where}: {len(different)} different labels in {len(labels)} rows are too many for classes ({most}).",
            hint + "Or choose another column: --label",
        )
    if len(different) > MANY_CLASSES and all(isinstance(v, int) for v in different):
        notes.append(f"{len(different)} whole numbers are taken as classes; --kind regression reads them as scores")
    if alike := sorted(v for v in different if isinstance(v, str) and v.lower() in LIKE_MISSING):
        notes.append(f"taken as a class: {listed(list(map(repr, alike)))}")
    folded = Counter(v.casefold() for v in different if isinstance(v, str))
    if same := [name for name, count in folded.items() if count > 1]:
        notes.append(f"classes that differ in upper and lower case only: {listed(same, 5)}")
    spelled: dict[float, set[str]] = {}
    for word in {cell.strip() for each in columns.values() for cell in each.cells if isinstance(cell, str)}:
        if NUMBER.fullmatch(word):
            spelled.setdefault(float(word), set()).add(word)
    if twice := [words for words in spelled.values() if len(words) > 1]:
        notes.append(f"numbers written in two ways are one class: {listed(sorted(twice[0]), 4)}")
    _check_splits(columns, kept, notes)
    return classes


def _check_splits(columns: Mapping[str, LabelColumn], kept: Mapping[str, list[Any]], notes: list[str]) -> None:
    """Refuse splits that have no class in common; note classes that only the scored split has."""
    if set(kept) != {"train", "validation"}:
        return
    train, scored = ({v for v in kept[split] if v is not None} for split in ("train", "validation"))
    if train and scored and not train & scored:
        a, b = (listed(sorted(map(_name, part)), 5) for part in (train, scored))
        where = columns["train"].table.where, columns["validation"].table.where
        raise InputError(f"No class is in both splits: {where[0]} holds {a}; {where[1]} holds {b}.")
    if odd := sorted(map(_name, scored - train)):
        notes.append(f"classes that train lacks: {listed(odd, 5)}")


def _first(columns: Mapping[str, LabelColumn], cells: Mapping[str, list[Any]], odd: Any) -> str:
    """Where the first odd cell stands, and what it holds."""
    for split, column in columns.items():
        for i, value in enumerate(cells[split]):
            if odd(value):
                return f"{column.place(i)} holds {_cut(value)}"
    return ""


def _name(value: Any) -> str:
    return str(value)


def _shown(value: Any) -> str:
    return "" if value is None else repr(value)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
