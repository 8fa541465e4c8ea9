"""The policy of a gate: which rules the differences of a candidate from its baseline must keep, read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geomprobe.common import GeomprobeError, UsageError, brief, unknown_name
from geomprobe.common.files import read_toml
from geomprobe.comparison import records
from geomprobe.metrics.transforms import VIEWS
from geomprobe.results.record import Margin, Record, named_end

DEFAULT = Path(__file__).with_name("default.toml")
DECLARED = "declared"
Kind = Literal["no_worse_than", "equivalent_within", "not_below"]
RULES: tuple[Kind, ...] = ("no_worse_than", "equivalent_within", "not_below")
KEYS = (*RULES, "worse", "if_measured")
SCORES = "semantic"
"""The family whose numbers are better or worse; geometry and wording are only higher or lower."""
PAGE = "docs/how-to/gate-a-release.md shows a policy."


@dataclass(frozen=True)
class Rule:
    """What one metric of a candidate must keep to, in every cell.

    Attributes
    ----------
    metric : str
    kind : {"no_worse_than", "equivalent_within", "not_below"}
    view : str or None
        None is every view.
    margin : Margin or None
        Of the first two kinds; None is the one that the metric's record declares.
    floor : float or None
        Of the last kind: the least value of the candidate.
    worse : {"lower", "higher"} or None
        Of the first kind.
    if_measured : bool
        Whether the rule is kept where no cell has the metric.
    """

    metric: str
    kind: Kind
    view: str | None = None
    margin: Margin | None = None
    floor: float | None = None
    worse: Literal["lower", "higher"] | None = None
    if_measured: bool = False


def read_policy(path: Path) -> list[Rule]:
    """Rules that a TOML file holds: a table for each metric, or for each of its views.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    UsageError
        A table, a key or a value is not what a policy can hold; the message names it.
    """
    document = read_toml(path, PAGE)
    try:
        found = [rule for metric, table in document.items() for rule in rules_of(metric, table)]
        if not found:
            raise UsageError("it holds no rule.", PAGE)
    except GeomprobeError as error:
        raise UsageError(f"{path}: {error.message}", error.hint) from None
    return found


def rules_of(metric: str, table: Any) -> list[Rule]:
    """Rules of one metric of a policy."""
    record = records.record(metric)
    if record is None:
        raise unknown_name("metric", metric, sorted({*records.REGISTRY, *records.OTHERS}))
    if not record.compared:
        raise UsageError(f"models are not compared by {metric}.", "geomprobe ls metrics lists those that they are.")
    if not isinstance(table, dict):
        raise UsageError(f"{metric} must be a table.", f"[{metric}]")
    views = {name: rules for name, rules in table.items() if isinstance(rules, dict)}
    if not views:
        return list(checked_rules(record, None, table))
    if plain := [name for name in table if name not in views]:
        raise UsageError(
            f"[{metric}] sets {brief(plain[0])} for every view and has tables of single views, too.",
            f"Give each view its table: [{metric}.raw], [{metric}.centred].",
        )
    for view in views:
        if view not in VIEWS:
            raise unknown_name(f"view of {metric}", view, list(VIEWS))
    return [rule for view, rules in views.items() for rule in checked_rules(record, view, rules)]


def checked_rules(record: Record, view: str | None, table: Mapping[str, Any]) -> list[Rule]:
    """Rules of one table of a policy."""
    where = f"[{record.name}.{view}]" if view else f"[{record.name}]"
    for key in table:
        if key not in KEYS:
            raise unknown_name(f"key of {where}", key, list(KEYS))
    if not any(key in table for key in RULES):
        raise UsageError(f"{where} has no rule.", f"Give one of {', '.join(RULES)}.")
    if not isinstance(if_measured := table.get("if_measured", False), bool):
        raise UsageError(f"{where} if_measured must be true or false.")
    worse = worse_end(record, where, table)
    found = []
    for kind in (kind for kind in RULES if kind in table):
        value, at = table[kind], f"{where} {kind}"
        if kind == "not_below":
            if not is_number(value):
                raise UsageError(f"{at} must be a number, not {brief(repr(value))}.", f"{kind} = 0.7")
            found.append(Rule(record.name, kind, view, floor=float(value), if_measured=if_measured))
        else:
            margin = margin_of(record, at, value)
            side = worse if kind == "no_worse_than" else None
            found.append(Rule(record.name, kind, view, margin, worse=side, if_measured=if_measured))
    return found


def worse_end(record: Record, where: str, table: Mapping[str, Any]) -> Literal["lower", "higher"] | None:
    """Which values are worse, as the policy says or as the record knows; None where no rule asks."""
    worse = table.get("worse")
    if "no_worse_than" not in table:
        if worse is not None:
            raise UsageError(f"{where} says what is worse, and no rule asks for it.", "It belongs to no_worse_than.")
        return None
    if worse in ("lower", "higher"):
        return worse
    if worse is not None:
        raise UsageError(f'{where} worse must be "lower" or "higher", not {brief(repr(worse))}.')
    better = named_end(record.direction) if record.family == SCORES else None
    if better is None:
        raise UsageError(
            f"{where} no_worse_than: a higher {record.name} is neither better nor worse ({record.direction}).",
            'Say which is worse, worse = "lower" or worse = "higher"; or take equivalent_within.',
        )
    return "lower" if better == "higher" else "higher"


def margin_of(record: Record, at: str, value: Any) -> Margin | None:
    """Margin that a policy gives: a number, a percentage of the mean of both values, or the record's (None)."""
    if value == DECLARED:
        if record.margin is None:
            raise UsageError(f"{at}: no margin is declared for {record.name}.", "Give a number.")
        return None
    size, relative = value, isinstance(value, str) and value.strip().endswith("%")
    if relative:
        try:
            size = float(value.strip().removesuffix("%")) / 100
        except ValueError:
            size = None
    if not is_number(size) or not size > 0:
        what = f'must be a positive number, "5%" or "{DECLARED}", not {brief(repr(value))}.'
        raise UsageError(f"{at} {what}", f'For example 0.05, "5%" of the mean of both values, or "{DECLARED}".')
    try:
        return Margin(float(size), "relative" if relative else "absolute")
    except UsageError as error:
        raise UsageError(f"{at}: {error.message}", error.hint) from None


def is_number(value: Any) -> bool:
    """Whether a value of TOML is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
