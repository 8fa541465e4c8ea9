"""Where a task's rows lie: one file, a folder with a file or a folder for each split, a saved data set, the hub."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from geomprobe.common import InputError, hub, listed, read_json
from geomprobe.tasks.files.content import FORMATS, format_of, stem_of
from geomprobe.tasks.files.tables import Table, joined, read_table

TRAIN = ("train", "training")
SCORED = ("validation", "valid", "val", "dev", "eval", "evaluation", "test", "testing")
"""Names of the split that is scored; the first that is there counts."""
SHARD = re.compile(r"^(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?$")
DEPTH = 4  # folders that are looked into
HUB_HINT = "Give a file or a folder by --task PATH, or use --task controlled (no data)."


@dataclass(frozen=True)
class Sources:
    """Tables by split: {"": table} for rows that are not split, else "validation" and where there is one "train".

    Attributes
    ----------
    tables : mapping of str to Table
    name : str
        What the task is called.
    source : str
        Where the rows come from, for the report.
    notes : tuple of str
    revision : str or None
        Commit of a data set on the hub.
    """

    tables: Mapping[str, Table]
    name: str
    source: str
    notes: tuple[str, ...] = ()
    revision: str | None = None


def open_sources(path: str | Path, split: str | None, quotes: bool | None) -> Sources:
    """Tables of a path, or of a data set on the hub (``owner/name``, ``owner/name/folder``, ``@revision``).

    Raises
    ------
    InputError
        Nothing there; files that leave open which split is which; a split that is not there; a file that is refused.
    """
    local = Path(path)
    if local.is_file():
        table = read_table(local, quotes)
        return Sources({"": table}, writable(stem_of(local)), writable(local.name), table.notes)
    if local.is_dir():
        name = writable(local.resolve().name)
        like_hub = isinstance(path, str) and "/" in path and hub.is_repo_id(path)
        notes = ("read from the local folder; the hub was not asked",) if like_hub else ()
        return _open_folder(local, name, name, split, quotes, notes)
    if local.exists():
        raise InputError(f"{path} is neither a file nor a folder.", "Write what it gives to a file first.")
    return _open_hub(str(path), split, quotes)


def writable(name: str) -> str:
    """A file's name with bytes that are not UTF-8 replaced, since results and reports repeat it."""
    return os.fsencode(name).decode(errors="replace")


def _open_hub(path: str, split: str | None, quotes: bool | None) -> Sources:
    if "://" in path:
        raise InputError(f"{path} is an address, which is not opened.", "Download the file; or --task owner/name.")
    named, _, revision = path.partition("@")
    repository = "/".join(named.split("/")[:2])
    inside = named[len(repository) + 1 :].strip("/")
    if format_of(named) is not None or not hub.is_repo_id(repository) or "/" not in repository:
        hint = f"A task is a built-in name, a folder or a file: {', '.join(FORMATS)}."
        raise InputError(f"{path} does not exist.", hint)

    def wanted(names: Sequence[str]) -> list[str]:
        files = [name for name in names if PurePosixPath(name).is_relative_to(inside or ".")]
        if not any(map(format_of, files)):
            hint = f"The hub's own conversion may be there: --task {repository}@refs/convert/parquet"
            raise InputError(f"{path} on the hub holds no Parquet, CSV or JSON files; code is never run.", hint)
        return [name for part in _files_by_split(files, inside, path, split)[0].values() for name in part]

    root, commit = hub.snapshot(repository, kind="dataset", revision=revision or None, patterns=wanted, hint=HUB_HINT)
    source = f"{repository}@{commit[:12]}" + (f" ({inside})" if inside else "")
    found = _open_folder(root / inside, PurePosixPath(named).name, source, split, quotes, ())
    return replace(found, revision=commit)


def _open_folder(
    folder: Path, name: str, source: str, split: str | None, quotes: bool | None, notes: tuple[str, ...]
) -> Sources:
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        table = _read_saved(folder)
        return Sources({"": table}, name, source, (*notes, *table.notes))
    if (folder / "dataset_dict.json").is_file():
        taken, said = _roles(_saved_splits(folder), split, str(folder))
        tables = {role: _read_saved(folder / each) for role, each in taken.items()}
    else:
        levels = (each for depth in range(1, DEPTH + 1) for each in folder.glob("/".join("*" * depth)))
        inside = sorted(each.relative_to(folder).as_posix() for each in levels if each.is_file())
        files, said = _files_by_split(inside, "", str(folder), split)
        read = {role: [read_table(folder / each, quotes) for each in part] for role, part in files.items()}
        tables = {role: joined(part, str(folder)) for role, part in read.items()}
    found = [f"{role}: {note}" if role else note for role, table in tables.items() for note in table.notes]
    return Sources(tables, name, source, (*notes, *said, *found))


def _saved_splits(folder: Path) -> list[str]:
    """Names of the splits that `datasets.DatasetDict.save_to_disk` wrote."""
    found = read_json(folder / "dataset_dict.json")
    splits = found.get("splits") if isinstance(found, dict) else None
    if not isinstance(splits, list) or not all(isinstance(each, str) and Path(each).name == each for each in splits):
        raise InputError(f"{folder} is not a complete data set of save_to_disk (dataset_dict.json).")
    return splits


def _read_saved(folder: Path) -> Table:
    """Table that `datasets.Dataset.save_to_disk` wrote."""
    try:
        state = read_json(folder / "state.json")
        names = [entry["filename"] for entry in state["_data_files"]]
        old = state.get("_indices_data_files") or any(Path(name).name != name for name in names)
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{folder} is not a complete data set of save_to_disk (state.json).") from None
    if old:
        raise InputError(f"{folder} was saved by an old version of datasets.", "Save it again: save_to_disk.")
    if not names:
        raise InputError(f"{folder} holds no rows.")
    return joined([read_table(folder / name) for name in names], str(folder))


def _files_by_split(
    names: Sequence[str], under: str, where: str, asked: str | None
) -> tuple[dict[str, list[str]], list[str]]:
    """Which files make the training and the scored split, or {"": files}, and notes on what was taken.

    Parameters
    ----------
    names : sequence of str
        Files of a folder or repository, as paths from its root.
    under : str
        The folder inside the repository that is meant.
    """
    sets: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    alone: list[str] = []
    for name in names:
        path = PurePosixPath(name).relative_to(under or ".")
        if format_of(path) is not None and not any(part.startswith((".", "_")) for part in path.parts):
            split, folder = _place_of(path)
            (sets[folder][split] if split else alone).append(name)
    if not sets and len(alone) == 1:
        return {"": alone}, [f"one file: {alone[0]}"]
    if not sets:
        held = f"files of unknown splits: {listed(alone, 6)}" if alone else "no table of texts"
        raise InputError(f"{where} holds {held}.", "Name the files train.parquet and validation.parquet.")
    if len(sets) > 1 and "" not in sets:
        first, *_ = found = sorted(sets)
        raise InputError(f"{where} holds several sets: {listed(found)}.", f"Choose one: --task {where}/{first}")
    folder = "" if "" in sets else next(iter(sets))
    splits = sets[folder]
    roles, notes = _roles(list(splits), asked, where)
    if folder:
        notes.insert(0, f"files in {folder}")
    if alone:
        notes.append(f"files not used: {listed(alone, 4)}")
    return {role: _shards(splits[split], split, where) for role, split in roles.items()}, notes


def _place_of(path: PurePosixPath) -> tuple[str, str]:
    """Split named by a file or its folder ("" for neither), and the folder around it."""
    folders = [part for part in path.parent.parts if part != "data"]
    split = SHARD.sub(r"\g<split>", stem_of(path))
    if _means(split, TRAIN + SCORED):
        return split, "/".join(folders)
    if folders and _means(folders[-1], TRAIN + SCORED):
        return folders[-1], "/".join(folders[:-1])
    return "", "/".join(folders)


def _means(name: str, words: Sequence[str]) -> bool:
    return any(part in words for part in re.split(r"[^a-z]+", name.lower()))


def _shards(files: Sequence[str], split: str, where: str) -> list[str]:
    """Files of a split in order; several are shards, numbered and all there."""
    found = sorted(files)
    stems = [stem_of(name) for name in found]
    numbered = [(int(match["number"]), int(match["count"])) for match in map(SHARD.fullmatch, stems) if match]
    if numbered and numbered != [(number, len(found)) for number in range(len(found))]:
        what = f"{where}: the shards of the {split} split are not complete: {listed(found, 6)}."
        raise InputError(what, "Add the others.")
    if len(found) > 1 and not numbered and [int(s) if s.isdecimal() else -1 for s in stems] != list(range(len(found))):
        what = f"{where} holds {len(found)} files for the {split} split: {listed(found, 6)}."
        raise InputError(what, "Keep one, or name shards train-00000-of-00002.parquet and so on.")
    return found


def roles_of(splits: Sequence[str], asked: str | None, where: str) -> dict[str, str]:
    """Names of the splits that are taken, by role.

    {"train": …, "validation": …}, {"validation": …} where none is to train on, {"": …} where the training rows are
    asked for and are to be split, {} where no name means a split that is scored.

    Raises
    ------
    InputError
        The split asked for is not there, or several names mean the same.
    """
    by_name = {split.lower(): split for split in splits}
    if asked is None:
        scored = _one(by_name, SCORED, where, "Say which is scored: --split NAME")
    elif asked.lower() in by_name:
        scored = by_name[asked.lower()]
    else:
        raise InputError(f"{where} has no split {asked!r}.", f"Splits there: {listed(splits)}")
    if scored is None:
        return {}
    if _means(scored, TRAIN):
        return {"": scored}
    train = _one(by_name, TRAIN, where, "Keep one in a folder of its own, next to the split that is scored.")
    return {"validation": scored} if train is None else {"train": train, "validation": scored}


def _one(by_name: Mapping[str, str], words: Sequence[str], where: str, hint: str) -> str | None:
    for word in words:
        if word in by_name:
            return by_name[word]
    found = [split for low, split in by_name.items() if _means(low, words)]
    if len(found) > 1:
        raise InputError(f"{where} has several splits of one kind: {listed(found)}.", hint)
    return found[0] if found else None


def _roles(splits: Sequence[str], asked: str | None, where: str) -> tuple[dict[str, str], list[str]]:
    """Names of the splits by role, and a note on them."""
    roles = roles_of(splits, asked, where)
    if not roles:
        hint = f"Name the files train.parquet and validation.parquet. --split {splits[0]} splits its rows."
        raise InputError(f"{where} has no validation file; splits there: {listed(splits)}.", hint)
    note = f"rows of the split {roles.get('validation', roles.get(''))!r}"
    if "train" in roles:
        note = f"trained on the split {roles['train']!r}, scored on {roles['validation']!r}"
    elif "validation" in roles:
        note += "; without a training split no probe is fitted"
    if unused := [split for split in splits if split not in roles.values()]:
        note += f"; not used: {listed(unused)}"
    return roles, [note]
