"""A column of labels as classes or scores: which cells are numbers, which mean "no label", which are neither."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

from geomprobe.common import InputError, listed
from geomprobe.tasks.files.columns import FileRows
from geomprobe.tasks.files.tables import NUMBER, is_whole

Kind = Literal["classification", "regression"]
Label = int | float | str

NO_LABEL = "none"
MAX_CLASSES = 200
MANY_CLASSES = 20
"""Above it, classes need at least two rows each on average, and numbers with words among them are no classes."""
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
        What was decided on the way.
    """

    kind: Kind
    values: Mapping[str, list[int | float | None]]
    names: tuple[str, ...]
    missing: Mapping[str, Counter[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class LabelColumn:
    """The column of labels of all splits, one below the other.

    Attributes
    ----------
    parts : mapping of split to FileRows
    name : str
    cells : list
        As they are in the files.
    declared : tuple of str
        Names of classes that some split declares.
    """

    def __init__(self, parts: Mapping[str, FileRows], name: str):
        self.parts, self.name = parts, name
        self.where = next(iter(parts.values())).table.where
        self.cells = [cell for part in parts.values() for cell in part.cells]
        self.declared = self._declared()

    def __str__(self) -> str:
        return f"{self.where}: column {self.name!r}"

    def place(self, i: int) -> str:
        """Where a cell stands."""
        for part in self.parts.values():
            if i < len(part.cells):
                return part.place(i)
            i -= len(part.cells)
        raise IndexError(i)

    def cell(self, i: int) -> str:
        """Where a cell stands, and the name of the column, for messages."""
        return f"{self.place(i)}: column {self.name!r}"

    def by_split(self, values: Iterable[Any]) -> dict[str, list[Any]]:
        """Values of all cells as a list for each split."""
        rest = iter(values)
        return {split: list(islice(rest, len(part.cells))) for split, part in self.parts.items()}

    def _declared(self) -> tuple[str, ...]:
        tables = [part.table for part in self.parts.values() if self.name in part.table.classes]
        named = {table.classes[self.name]: table.where for table in tables}
        if len(named) > 1:
            a, b = list(named)[:2]
            raise InputError(f"Two splits declare different classes: {listed(a)}; and {listed(b)}.")
        for names, where in named.items():
            if len(set(names)) < len(names):
                raise InputError(f"{where}: column {self.name!r} declares one name for two classes: {listed(names)}.")
        return next(iter(named), ())


def read_labels(parts: Mapping[str, FileRows], name: str | None, kind: str) -> Labels:
    """Labels of all splits as classes or scores; one class for all rows where no column holds them.

    Numbers with a fraction are scores, everything else classes, unless `kind` says so. A cell means "no label" where it
    is empty, NaN or infinite, one of MISSING, or −1: where classes have declared names, or where −1 is the only
    negative number and there are at least two others.

    Raises
    ------
    InputError
        Cells that are neither (lists, bytes, dates, truth values among words); scores among which are words; as many
        classes as texts; two readings that are both possible.
    """
    if name is None:
        return Labels("classification", {split: [0] * len(part.ids) for split, part in parts.items()}, (NO_LABEL,))
    column = LabelColumn(parts, name)
    notes: list[str] = []
    values = _one_type(column, [_cell(column, i) for i in range(len(column.cells))])
    if column.declared:
        notes.append("class names as the file declares them")
        values = [_declared_class(column, i, value) for i, value in enumerate(values)]
    numbers = [v for v in values if isinstance(v, int | float)]
    words = [v for v in values if isinstance(v, str)]
    no_label = _missing_words(column, numbers, words)
    real_words = [word for word in words if word not in no_label]
    numbers = [number for number in numbers if number not in no_label]
    if real_words and (numbers or kind == "regression"):
        _check_mixture(column, values, no_label, numbers, real_words, kind)
    if not real_words and _minus_one_is_none(numbers, notes):
        no_label = no_label | {-1}
    missing = {
        split: Counter("" if v is None else repr(v) for v in part if v is None or v in no_label)
        for split, part in column.by_split(values).items()
    }
    values = [None if v in no_label else v for v in values]
    present = [v for v in values if v is not None]
    fraction = not real_words and any(v % 1 for v in present)
    if kind == "regression" or (kind == "auto" and fraction):
        scores = column.by_split(None if v is None else float(v) for v in values)
        return Labels("regression", scores, (), missing, tuple(notes))
    if real_words and any(not isinstance(v, str) for v in present):
        values = [None if v is None else str(v) for v in values]
        notes.append("the classes are words and numbers")
    classes = _classes(column, values, kind, notes)
    index = {label: i for i, label in enumerate(classes)}
    numbered = column.by_split(index.get(v) for v in values)
    return Labels("classification", numbered, tuple(map(str, classes)), missing, tuple(notes))


def _cell(column: LabelColumn, i: int) -> Label | bool | None:
    """A cell as a number, a word, a truth value, or None where it is empty or not finite."""
    value = column.cells[i]
    if isinstance(value, str):
        value = value.strip()
        if not NUMBER.fullmatch(value):
            if not is_whole(value):
                raise InputError(f"{column.cell(i)} holds half of a surrogate pair.")
            return value or None
        # int() refuses thousands of digits; float() makes them infinite
        value = int(value) if WHOLE.fullmatch(value) and len(value) <= 400 else float(value)
        if value in (math.inf, -math.inf):
            raise InputError(f"{column.cell(i)} holds a number beyond 64-bit floats.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return (int(value) if value.is_integer() else value) if math.isfinite(value) else None
    if not isinstance(value, int):
        hint = "A row has one label, a word or a number; choose another column: --label"
        raise InputError(f"{column.cell(i)} holds {type(value).__name__}, not a class or a score.", hint)
    try:
        float(value)
    except OverflowError:
        raise InputError(f"{column.cell(i)} holds a number beyond 64-bit floats.") from None
    return value


def _one_type(column: LabelColumn, values: list[Any]) -> list[Any]:
    """Refuse truth values among others, and typed numbers among words; make truth values the words true and false."""
    kinds: dict[str, str] = {}
    present = [(i, value) for i, value in enumerate(values) if value is not None and value not in MISSING]
    for i, value in present:
        raw = column.cells[i]
        kind = "word" if isinstance(value, str) else "truth value" if isinstance(value, bool) else "number"
        # as text, a number or a truth value is also a word
        if kind not in kinds and not (isinstance(raw, str) and (kind == "number" or value.lower() in TRUTH)):
            kinds[kind] = f"{kind} {_cut(raw)} ({column.place(i)})"
    if len(kinds) > 1 and not column.declared:
        hint = "Give all labels one type, or choose another column: --label"
        raise InputError(f"Column {column.name!r} mixes types: {'; '.join(kinds.values())}.", hint)
    truth = all(str(value).lower() in TRUTH for _, value in present)
    return [
        str(v).lower() if isinstance(v, bool) or (truth and isinstance(v, str) and v.lower() in TRUTH) else v
        for v in values
    ]


def _declared_class(column: LabelColumn, i: int, value: Any) -> Any:
    """The name of a declared class for its number; words, and negative numbers, which mean no label, as they are."""
    names = column.declared
    if isinstance(value, float) or (isinstance(value, int) and value >= len(names)):
        declared = f"{len(names)} declared classes ({listed(names)})"
        raise InputError(f"{column.place(i)}: label {value} is not one of the {declared}.")
    return names[value] if isinstance(value, int) and value >= 0 else value


def _missing_words(column: LabelColumn, numbers: Sequence[Any], words: Sequence[str]) -> set[Any]:
    """Cells that mean no label: words, and −1 among words, or negative numbers of declared classes."""
    different = set(words)
    if names := column.declared:
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
        held = listed(sorted(map(repr, different)))
        what = f"{column} holds {held}: two classes, or one class and rows without a label?"
        raise InputError(what, "Rename the class, or leave the cells without a label empty.")
    return found


def _check_mixture(
    column: LabelColumn, values: Sequence[Any], no_label: set[Any], numbers: Sequence[Any], words: list[str], kind: str
) -> None:
    """Refuse scores that are words, and numbers of which a few are words, unless they can be names of classes."""
    few_numbers = len(set(numbers)) <= MANY_CLASSES and not any(n % 1 for n in numbers)
    names = few_numbers and 10 * len(words) >= len(numbers)
    if kind == "classification" or (kind == "auto" and (names or len(numbers) < len(words))):
        return
    first = next(i for i, value in enumerate(values) if isinstance(value, str) and value not in no_label)
    at = f"{column.place(first)} holds {_cut(values[first])}"
    if not numbers:
        raise InputError(f"{at}: the labels are not numbers, so they cannot be scores.", "Leave --kind out.")
    shown = listed([repr(word) for word in dict.fromkeys(words)], 3)
    raise InputError(
        f"{at}: column {column.name!r} holds {len(numbers)} numbers and {len(words)} cells that are not numbers "
        f"({shown}): neither all scores nor clearly classes.",
        "Correct these cells or leave them empty (rows without a score are left out), or use --kind classification.",
    )


def _minus_one_is_none(numbers: Sequence[Any], notes: list[str]) -> bool:
    """Whether −1 means "no label", as on the hub."""
    others = set(numbers) - {-1}
    if -1 not in numbers or min(numbers) < -1 or any(-1 < n < 0 for n in others):
        return False
    if len(others) == 1:
        notes.append("-1 is taken as a label like any other")
    elif others == {0, 1}:
        notes.append("-1 next to 0 and 1 is taken for 'no label'; where it is a class, write the classes as words")
    return len(others) != 1


def _classes(column: LabelColumn, values: Sequence[Any], kind: str, notes: list[str]) -> list[Label]:
    """Different classes in order: numbers by size, declared names as declared, words by the alphabet."""
    labels = [value for value in values if value is not None]
    different, declared = set(labels), column.declared
    classes = [name for name in declared if name in different] if declared else sorted(different)
    if odd := sorted(different.difference(classes), key=str):
        raise InputError(f"{column.where}: {listed(odd)} is not a class that the file declares ({listed(declared)}).")
    words = {v for v in different if isinstance(v, str)}
    commas = sum(isinstance(v, str) and DECIMAL_COMMA.fullmatch(v) is not None for v in labels)
    if kind == "auto" and 2 * commas > len(labels):
        hint = "Write 1.42, not 1,42; and thousands without a comma."
        raise InputError(f"{column} holds numbers with a decimal comma.", hint)
    few_rows = kind == "auto" and len(different) > MANY_CLASSES and 2 * len(different) > len(labels)
    if len(different) > MAX_CLASSES or few_rows:
        most = f"at most {MAX_CLASSES}"
        most += f", or {MANY_CLASSES} where a class has less than two rows on average" if few_rows else ""
        hint = "" if words else "Scores need --kind regression. "
        hint += "If they are classes: --kind classification. " if len(different) <= MAX_CLASSES else ""
        counts = f"{len(different)} different labels in {len(labels)} rows"
        hint += "Or choose another column: --label"
        raise InputError(f"{column}: {counts} are too many for classes ({most}).", hint)
    if len(different) > MANY_CLASSES and all(isinstance(v, int) for v in different):
        notes.append(f"{len(different)} whole numbers are taken as classes; --kind regression reads them as scores")
    if alike := sorted(word for word in words if word.lower() in LIKE_MISSING):
        notes.append(f"taken as a class: {listed(list(map(repr, alike)))}")
    if same := [name for name, count in Counter(map(str.casefold, sorted(words))).items() if count > 1]:
        notes.append(f"classes that differ in upper and lower case only: {listed(same, 5)}")
    spelled: dict[float, set[str]] = defaultdict(set)
    for cell in sorted({cell.strip() for cell in column.cells if isinstance(cell, str)}):
        if NUMBER.fullmatch(cell):
            spelled[float(cell)].add(cell)
    if twice := [words for words in spelled.values() if len(words) > 1]:
        notes.append(f"numbers written in two ways are one class: {listed(sorted(twice[0]), 4)}")
    _check_splits(column, values, notes)
    return classes


def _check_splits(column: LabelColumn, values: Sequence[Any], notes: list[str]) -> None:
    """Refuse splits that have no class in common; note classes that only the scored split has."""
    if len(column.parts) == 1:
        return
    classes = {split: {str(v) for v in part if v is not None} for split, part in column.by_split(values).items()}
    if all(classes.values()) and not set.intersection(*classes.values()):
        held = [f"{column.parts[split].table.where} holds {listed(sorted(of), 5)}" for split, of in classes.items()]
        raise InputError(f"No class is in both splits: {'; '.join(held)}.")
    if odd := sorted(classes["validation"] - classes["train"]):
        notes.append(f"classes that train lacks: {listed(odd, 5)}")


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
