"""The checkpoints of a training in the order of their steps: where they lie, and which step each is of."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from geomprobe.common import InputError, UsageError, hub, listed, model_name, read_json
from geomprobe.common.text import count
from geomprobe.encoders.opening import check_source
from geomprobe.encoders.weights import HINT

UNITS = ("step", "checkpoint", "ckpt", "iteration", "iter", "epoch")
"""Words before the number in a name, the one that counts first where a name has several."""
COUNTED = {"checkpoint": "step", "ckpt": "step", "iter": "iteration"}
"""What a number after such a word counts."""
SIZES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
NUMBERED = "For example checkpoint-500, step_20k or epoch-3."


@dataclass(frozen=True)
class Checkpoint:
    """A model of a training: where it is, what it is called, and its step."""

    source: str
    label: str
    step: float


@dataclass(frozen=True)
class TrainingSeries:
    """The checkpoints of one training, in the order of their steps.

    Attributes
    ----------
    name, source : str
    unit : str
        What the steps count: step, iteration or epoch.
    checkpoints : tuple of Checkpoint
    notes : list of str
        What was left out and why.
    """

    name: str
    source: str
    unit: str
    checkpoints: tuple[Checkpoint, ...]
    notes: list[str]


def step_in(name: str) -> tuple[str, float] | None:
    """What is counted and the step in a name; None where no number follows one of the words, and it is no number.

    Examples
    --------
    >>> step_in("checkpoint-500"), step_in("seed_0-step_20k"), step_in("stage1-step1000-tokens5B"), step_in("epoch_3")
    (('step', 500.0), ('step', 20000.0), ('step', 1000.0), ('epoch', 3.0))
    >>> step_in("main"), step_in("0042")
    (None, ('step', 42.0))
    """
    for unit in UNITS:
        found = re.findall(rf"(?<![a-z]){unit}s?[-_ =]?(\d+)([kmb]?)(?![a-z0-9])", name.lower())
        if len(found) == 1:
            return COUNTED.get(unit, unit), float(int(found[0][0]) * SIZES[found[0][1]])
    return ("step", float(name)) if re.fullmatch(r"\d{1,15}", name) else None


def find_series(sources: Sequence[str | os.PathLike], pattern: str | None = None) -> list[TrainingSeries]:
    """The trainings that folders, hub ids and models mean.

    A folder with checkpoints is a training; so is a hub id with a pattern of revisions. All models given by themselves
    are one training together.

    Parameters
    ----------
    sources : sequence of str or path
    pattern : str, optional
        Which branches and tags of hub ids are checkpoints, such as ``step*``.

    Raises
    ------
    UsageError
        A step cannot be told, two checkpoints have the same one, or there are fewer than two.
    InputError
        There is no such folder or repository, or the hub cannot be reached.
    """
    found: list[TrainingSeries | str] = []
    for source in map(str, sources):
        check_source(source)
        path = Path(os.path.expanduser(source))
        if path.is_dir():
            found.append(_of_folder(source, path) if _numbered(path) else source)
        elif pattern is not None:
            if "@" in source:
                hint = f"Give {source.partition('@')[0]}, or leave --revisions out."
                raise UsageError(f"{source} names a revision, and --revisions {pattern} names others.", hint)
            found.append(_of_repository(source, pattern))
        else:
            found.append(source)
    if pattern is not None and not any(not Path(os.path.expanduser(source)).is_dir() for source in map(str, sources)):
        raise UsageError("--revisions chooses branches and tags of hub ids, and there is none.", "Leave it out.")
    own = [each for each in found if isinstance(each, TrainingSeries)]
    single = [each for each in found if isinstance(each, str)]
    return [*own, *([_of_models(single)] if single else [])]


def _numbered(folder: Path) -> list[Path]:
    """The models with a step in their names inside a folder."""
    return sorted(path for path in folder.iterdir() if step_in(path.name) and _is_model(path))


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()


def _left_out(folder: Path) -> list[str]:
    """What is said of folders in a training that are a model or have a step in their names, and not both."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    empty = [path.name for path in inside if step_in(path.name) and not _is_model(path)]
    unnamed = [path.name for path in inside if not step_in(path.name) and _is_model(path)]
    return [
        *([f"left out, for there is no model in it (no config.json): {listed(empty)}"] if empty else []),
        *([f"left out, for the step is not in its name: {listed(unnamed)}"] if unnamed else []),
    ]


def _of_folder(source: str, folder: Path) -> TrainingSeries:
    checkpoints = [Checkpoint(str(path), path.name, 0.0) for path in _numbered(folder)]
    found = in_order(model_name(folder) or folder.name, source, checkpoints, _left_out(folder))
    if not (folder / "config.json").is_file():
        return found
    last, notes = found.checkpoints[-1], found.notes
    step = _last_step(folder)
    if step is None or found.unit != "step":
        notes = [*notes, f"the model in {source} itself is left out: its step is not recorded"]
    elif step > last.step:
        end = Checkpoint(source, "final", step)
        return TrainingSeries(found.name, source, found.unit, (*found.checkpoints, end), notes)
    else:
        notes = [*notes, f"the model in {source} itself is left out: {last.label} is of the same step or a later one"]
    return TrainingSeries(found.name, source, found.unit, found.checkpoints, notes)


def _last_step(folder: Path) -> float | None:
    """Step of the model that lies in a training's folder itself, from what the trainer wrote next to it."""
    for name, keys in (("trainer_state.json", ("global_step",)), ("run.json", ("final", "step"))):
        try:
            value = read_json(folder / name)
            for key in keys:
                value = value[key]
        except (InputError, KeyError, TypeError):
            continue
        if isinstance(value, int) and value >= 0:
            return float(value)
    return None


def _of_repository(repo_id: str, pattern: str) -> TrainingSeries:
    names, unreachable = hub.revisions(repo_id, kind="model", hint=HINT)
    matching = [name for name in names if fnmatchcase(name, pattern)]
    notes = [f"the hub cannot be reached ({unreachable}); these are the cached revisions"] if unreachable else []
    if "main" in matching:
        matching.remove("main")
        notes.append("main is left out: its name does not say its step")
    if not matching:
        known = listed(sorted(names)) or "none"
        raise UsageError(f"{repo_id} has no branch or tag that matches {pattern!r}.", f"It has: {known}.")
    checkpoints = [Checkpoint(f"{repo_id}@{name}", name, 0.0) for name in matching]
    return in_order(model_name(repo_id), repo_id, checkpoints, notes)


def _of_models(sources: Sequence[str]) -> TrainingSeries:
    if len(sources) == 1:
        source = sources[0]
        if Path(os.path.expanduser(source)).is_dir():
            what = f"{source} holds no checkpoints: no folder in it is a model with a step in its name."
            raise UsageError(what, f"{NUMBERED} Or give the models themselves, two or more.")
        hint = f"geomprobe track {source.partition('@')[0]} --revisions 'step*', or two or more models"
        raise UsageError(f"{source} is one model, and a series has two or more.", hint)
    checkpoints = [Checkpoint(source, _last_part(source), 0.0) for source in sources]
    return in_order("models", ", ".join(sources), checkpoints)


def _last_part(source: str) -> str:
    repo_id, _, revision = source.partition("@")
    path = Path(os.path.expanduser(source))
    return path.resolve().name if path.is_dir() else revision or repo_id.rpartition("/")[2]


def in_order(name: str, source: str, checkpoints: Sequence[Checkpoint], notes: Sequence[str] = ()) -> TrainingSeries:
    """A training of these checkpoints, ordered by the steps in their labels.

    Raises
    ------
    UsageError
        A label has no step, two have the same one, or there are fewer than two.
    """
    steps = {each.source: step_in(each.label) for each in checkpoints}
    if unknown := [each.label for each in checkpoints if steps[each.source] is None]:
        raise UsageError(f"The step of {listed(unknown)} cannot be told from its name.", NUMBERED)
    told = {source: found for source, found in steps.items() if found}
    units = sorted({unit for unit, _ in told.values()})
    if len(units) > 1:
        what = f"The checkpoints of {name} count {' and '.join(units)}s, which cannot be put in one order."
        raise UsageError(what, "Give those of one kind, as models or by a narrower --revisions.")
    ordered = sorted((Checkpoint(c.source, c.label, told[c.source][1]) for c in checkpoints), key=lambda c: c.step)
    for first, second in itertools.pairwise(ordered):
        if first.step == second.step:
            what = f"{first.label} and {second.label} of {name} are both of {units[0]} {count(first.step)}."
            raise UsageError(what, "Give one of them.")
    if len(ordered) < 2:
        raise UsageError(f"{source} has one checkpoint ({ordered[0].label}), and a series has two or more.")
    return TrainingSeries(name, source, units[0], tuple(ordered), list(notes))
