"""Which files of a folder are trained on, which are held out, and which are left out and why."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from geomprobe.common import InputError
from geomprobe.pretrain.corpus.files import ENDINGS, ending

# As data sets on the hub are laid out: data/train-00000-of-00002.parquet, train/0000.parquet, test.jsonl.
NAMES = {
    "test": {"test", "testset", "devtest"},
    "validation": {"validation", "valid", "val", "dev", "valset", "devset", "heldout", "holdout"},
    "train": {"train", "trainset"},
}
# Also names of subjects (docs/testing/), so they count only where there is something to train on and something not to.
ALSO = {
    "test": NAMES["test"] | {"testing", "eval", "evaluation"},
    "validation": NAMES["validation"] | {"development"},
    "train": NAMES["train"] | {"training"},
}
SHARD = re.compile(r"\d+|of|[0-9a-f]{12,}")  # what a shard's name holds apart from its split


@dataclass(frozen=True)
class Files:
    """The files of a source.

    Attributes
    ----------
    train, validation : list of Path
        Sorted. ``validation`` is empty where the source has no such split.
    notes : list of str
        What was left out, and which splits were found, for the user.
    """

    train: list[Path]
    validation: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_files(path: Path) -> Files:
    """Files of a source: the file itself, or a folder's, by split.

    Raises
    ------
    InputError
        Not a known kind of file, or a folder with nothing to train on.
    """
    if path.is_file():
        if not ending(path):
            raise InputError(f"{path} is not a text source.", f"Known endings: {', '.join(ENDINGS)}")
        return Files([path])
    if not path.is_dir():
        raise InputError(f"{path} is neither a file nor a folder.", "Write the text to a file first.")
    files, left_out = _walk(path)
    splits = _group(files, path, ALSO)
    if not (splits["train"] and (splits["test"] or splits["validation"])):
        splits = _group(files, path, NAMES)
    notes = [f"left out: {', '.join(f'{what} ({n:,})' for what, n in left_out.items())}"] if left_out else []
    if not files:
        what = f"No {', '.join(ENDINGS)} file in {path}{f' ({notes[0]})' if notes else ''}."
        raise InputError(what, "Give a file, or a folder that holds such files.")
    train = splits["train"] or splits[""]
    if not train:
        other = " and ".join(f"{len(splits[s]):,} {s} file{'s' * (len(splits[s]) > 1)}" for s in NAMES if splits[s])
        example = (splits["test"] or splits["validation"])[0].relative_to(path)
        raise InputError(
            f"{path} holds nothing to train on: {other}, as {example}.",
            f"To train on them all the same, name the folder or file itself: {path / example.parts[0]}",
        )
    if any(splits[split] for split in NAMES):
        notes.insert(0, _describe(splits, path))
    return Files(train, splits["validation"], notes)


def _group(files: list[Path], root: Path, names: dict[str, set[str]]) -> dict[str, list[Path]]:
    families = _families([file.relative_to(root) for file in files], names)
    splits: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        path = file.relative_to(root)
        splits[split_of(path, names) or families.get(path, "")].append(file)
    return splits


def _families(paths: list[Path], names: dict[str, set[str]]) -> dict[Path, str]:
    """Splits of files where names differ in the word for it only.

    The names are of files (ptb.train.txt and ptb.test.txt) or of folders above them (train_data and test_data).
    """
    found: dict[tuple, dict[str, list[Path]]] = defaultdict(dict)
    for path in paths:
        for depth, name in enumerate(path.parts):
            words = _words(name)
            for place, word in enumerate(words):
                for split in (split for split, known in names.items() if word in known):
                    rest = (path.parts[:depth], *words[:place], "", *words[place + 1 :])
                    found[rest].setdefault(split, []).append(path)
    families = [family for family in found.values() if "train" in family and len(family) > 1]
    # where names contradict each other, test wins over validation, and validation over train
    return {path: split for split in reversed(names) for family in families for path in family.get(split, ())}


def _words(name: str) -> list[str]:
    """Words of the name of a file or folder, without its ending and the numbers of a shard."""
    words = re.split(r"[-._ =]+", name.lower().removesuffix(ending(Path(name))))
    return [word.rstrip("0123456789") for word in words if word and not SHARD.fullmatch(word)]


def split_of(path: Path, names: dict[str, set[str]] = NAMES) -> str:
    """Return "train", "validation" or "test" where a path's folders or file name say so, else an empty string.

    A folder or file says so by its whole name without numbers (``test/``, ``train2017/``, ``held-out/``,
    ``train-00000-of-00002``; not ``training-notes/``). Test wins over validation, and validation over train.
    A file whose name starts with a word for validation or test (``dev-matched``, ``test.en``) is in that split, too.
    """
    said = {"".join(_words(name)) for name in path.parts}
    words = _words(path.name)
    for split, known in names.items():
        if said & known:
            return split
    return next((split for split in ("test", "validation") if len(words) > 1 and words[0] in NAMES[split]), "")


def _walk(root: Path) -> tuple[list[Path], Counter[str]]:
    """Readable files under a folder, sorted, and how many others there are of each kind.

    Links are followed; a folder or file that is reached twice is read once.
    """
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    other: Counter[str] = Counter()
    seen = {os.path.realpath(root)}

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None

    for folder, folders, names in os.walk(root, onerror=fail, followlinks=True):
        visible = sorted(name for name in folders if not name.startswith("."))
        left_out["hidden folders"] += len(folders) - len(visible)
        folders[:] = [name for name in visible if not _again(os.path.join(folder, name), seen)]
        left_out["links to folders already read"] += len(visible) - len(folders)
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith("."):
                left_out["hidden files"] += 1
            elif not ending(file):
                other[file.suffix.lower() or "none"] += 1
            elif not file.exists():
                left_out["broken links"] += 1
            elif not file.is_file():
                left_out["pipes and devices"] += 1
            elif not file.stat().st_size:
                left_out["empty files"] += 1
            elif _again(str(file), seen):
                left_out["links to files already read"] += 1
            else:
                files.append(file)
    if other:
        often = sorted(other.items(), key=lambda item: (-item[1], item[0]))[:5]
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in often) + (", …" if len(other) > 5 else "")
        left_out[f"files with other endings, {kinds}"] = other.total()
    return sorted(files), +left_out


def _again(path: str, seen: set[str]) -> bool:
    """Whether a path's target was seen before; it is noted."""
    real = os.path.realpath(path)
    known = real in seen
    seen.add(real)
    return known


def _describe(splits: dict[str, list[Path]], root: Path) -> str:
    """What is done with the files of each split, in words."""

    def count(split: str) -> str:
        files = splits[split]
        return f"{len(files):,} file{'s' * (len(files) > 1)} (such as {files[0].relative_to(root)})"

    use = {"validation": "held out", "test": "left out as test data"}
    use = {"train": "trained on"} | use | {"": "left out, in no split"} if splits["train"] else {"": "trained on"} | use
    return "; ".join(["splits by name", *(f"{what}: {count(split)}" for split, what in use.items() if splits[split])])
