"""Differences of models whose results lie in finished folders; the models themselves are not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, listed, unknown_name
from geomprobe.comparison.combined import combined
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.margin_overrides import Margin
from geomprobe.comparison.pairs import ModelResults
from geomprobe.comparison.sides import Side, task_hashes
from geomprobe.comparison.table import add_comparisons, add_untrained, add_variants, variants_of
from geomprobe.results import Results, folder_and_name, read_results


def compare_results(
    sides: Sequence[str | Path] | Mapping[str, Sequence[str | Path]], margins: Mapping[str, Margin] | None = None
) -> Results:
    """Compare models, or groups of seeds, by their finished results folders.

    The differences are those that `geomprobe compare` finds where it measures the same models in one run. What needs
    vectors is missing: how alike the models are (CKA and its kin), and pairs of rows that moved.

    Parameters
    ----------
    sides : sequence of two, or mapping of two group names to sequences
        Results folders; ``FOLDER#NAME`` where a folder holds several models.
    margins : mapping of metric to (size, relative), optional
        Equivalence margins in place of those of the records.

    Returns
    -------
    Results
        The models with their baselines and variants, and the differences. ``run["sources"]`` names the folders and the
        hash of each run.json; ``run["notes"]`` says what was left out and why.

    Raises
    ------
    UsageError
        The models did not see the same rows of a task, were measured under different protocols or seeds, or share no
        number; a folder holds several models and none is named.
    InputError
        A folder does not hold finished results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> results = gp.compare_results(["runs/analyze/mine", "runs/analyze/other"])
    >>> results.run["compared"]  # names that coincide get their folders before them
    ['mine/my-encoder', 'other/my-encoder']
    >>> folder = gp.write_results("runs/analyze/compared", results)
    """
    groups = sides if isinstance(sides, Mapping) else None
    chosen = read_sides([each for members in groups.values() for each in members] if groups else [*sides])
    check_sides(chosen, groups is not None)
    results, names = combined(chosen)
    keep_comparable(results, names)
    if groups is not None:
        named = iter(names)
        compare_groups(results, {group: [next(named) for _ in members] for group, members in groups.items()}, margins)
    else:
        add_untrained(add_comparisons(results, names[0], names[1], margins), margins)
    return add_variants(results, margins) if variants_of(results) else results


def read_sides(texts: Sequence[str | Path]) -> list[Side]:
    """The model that each text means; a folder is read once."""
    read: dict[Path, Results] = {}
    found = []
    for folder, name in map(folder_and_name, texts):
        if folder not in read:
            read[folder] = read_results(folder)
        found.append(Side(folder, read[folder], chosen_entry(folder, read[folder].run, name)))
    return found


def chosen_entry(folder: Path, run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What run.json says of the model of this name; of the only one where no name is given.

    Raises
    ------
    UsageError
        There is no such model, or there are several to choose from.
    """
    entries = {entry["name"]: entry for entry in run.get("models", ()) if not entry.get("of")}
    if name:
        if name not in entries:
            raise unknown_name(f"model of {folder}", name, list(entries))
        return entries[name]
    own = [each for each in entries if each not in run.get("baselines", {})]
    if len(own) != 1:
        what = f"{len(own)} models: {listed(own)}" if own else "no model"
        raise UsageError(f"{folder} holds {what}.", f"Name one of them: '{folder}#{own[0]}'" if own else None)
    return entries[own[0]]


def check_sides(sides: Sequence[Side], groups: bool, *, again: bool = False) -> None:
    """Refuse a model that is given twice, and sides that were measured on other rows or by other choices.

    Parameters
    ----------
    sides : sequence of Side
    groups : bool
        Whether they are the seeds of groups.
    again : bool
        Whether one model of one folder may be given twice.

    Raises
    ------
    UsageError
    """
    if not groups and len(sides) != 2:
        raise UsageError(f"{len(sides)} results folders were given.", "Give two, or two groups of them.")
    for i, side in enumerate(sides):
        for other in sides[:i]:
            same = side.folder.samefile(other.folder) and side.name == other.name
            # a checkpoint may be compared with itself, as a check of the method; no seed may count twice
            if (same and not again) or (groups and None is not side.entry.get("hash") == other.entry.get("hash")):
                raise UsageError(f"A model is given twice: {other} and {side}.", "Name each model, or each seed, once.")
    first = sides[0]
    for side in sides[1:]:
        for what, options in (("protocol", "--protocol and --set"), ("seed", "--seed")):
            if (a := first.run.get(what)) != (b := side.run.get(what)):
                raise UsageError(
                    f"{first} was measured with {what} {a}, {side} with {what} {b}: the numbers are not comparable.",
                    f"Repeat one of the two analyze commands with the {options} of the other.",
                )
        theirs = task_hashes(side)
        for task, fingerprint in task_hashes(first).items():
            if theirs.get(task, fingerprint) != fingerprint:
                counts = ", ".join(f"{rows_of(one, task)} in {one}" for one in (first, side))
                raise UsageError(
                    f"The rows of {task} are not the same: {counts}. Differences are paired row by row, "
                    "and a number of fewer rows cannot be taken from a folder.",
                    "Repeat one of the two analyze commands with the rows (--task, --data, --limit) of the other.",
                )


def rows_of(side: Side, task: str) -> str:
    """How many rows of a task a side has, in words."""
    entry = side.task_entry(task)
    return f"{entry.get('rows', 0):,} (and {entry.get('train_rows', 0):,} to fit probes on)"


def keep_comparable(results: Results, names: Sequence[str]) -> None:
    """Leave out, in place, numbers of the sides at different sample sizes; note them and what has no counterpart.

    Raises
    ------
    UsageError
        The sides share no number.
    """
    sides = [ModelResults(results, name) for name in names]
    notes, numbers = results.run["notes"], [set(side.numbers) for side in sides]
    shared = set.intersection(*numbers)
    if not shared:
        layers = "; ".join(f"{side.name} has {layers_of(side.rows['layer'])}" for side in sides)
        what = f"The results share no number at the same relative depth: {layers}."
        failed = next((side.name for side in sides if not side.numbers), None)
        hint = f"Repeat the analyze command of {failed}." if failed else "Analyse both with --layer last, or all."
        raise UsageError(what, hint)
    rows = results.results
    rows = rows[rows["model"].isin(names) & (rows["status"] == "ok") & rows["control"].isna()]
    sizes = rows.groupby(["task", "pooling", "view", "metric", "definition"], dropna=False)["n"].nunique().reset_index()
    differing = sizes[sizes["n"] > 1]
    uneven = list(dict.fromkeys(zip(differing["task"], differing["metric"], strict=True)))
    if uneven:
        notes.append(
            f"left out, for its sample size differs: {listed([f'{metric} on {task}' for task, metric in uneven])}"
        )
        for kind in ("results", "influences"):
            frame = getattr(results, kind)
            places = zip(frame["task"], frame["metric"], strict=True)
            setattr(results, kind, frame[[place not in uneven for place in places]].reset_index(drop=True))
    for side, own in zip(sides, numbers, strict=True):
        if alone := own - shared:
            depths = {key[1] for key in own} - {key[1] for key in shared}
            beyond = [row["layer"] for key, row in side.numbers.items() if key[1] in depths]
            where = f", among them all of {layers_of(beyond)}" if beyond else ""
            notes.append(f"{len(alone):,} of {len(own):,} numbers of {side.name} have no counterpart{where}")


def layers_of(layers: Iterable[Any]) -> str:
    """Layers in words."""
    found = sorted({int(layer) for layer in layers})
    return f"layer{'s' * (len(found) > 1)} {listed(list(map(str, found)))}" if found else "no number"
