"""Where output may go, decided before anything is computed, so that no work is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from geomprobe.common.atomic import fcntl, final_path, locked, temporary_folder
from geomprobe.common.errors import GeomprobeError, UsageError
from geomprobe.common.names import is_utf8


def check_output_file(
    path: str | os.PathLike, endings: Sequence[str], inputs: Iterable[str | os.PathLike] = (), option: str = "--out"
) -> None:
    """Refuse a file that must not or cannot be written; leave no trace.

    Parameters
    ----------
    path : path
    endings : sequence of str
        Such as ".csv". The file, and what it points to where it is a link, end in one of them.
    inputs : iterable of path
        What the command reads.
    option : str
        What the messages call it.

    Raises
    ------
    UsageError
        Another ending; a folder, a device or a pipe; one of the inputs; a folder around it that cannot be written to.
    """
    path, hint = Path(path), f"Choose another file with {option}."
    final = _final(path, hint)
    for each in dict.fromkeys((path, final)):
        if each.suffix.lower() not in endings:
            named = " or ".join(ending or "no ending" for ending in endings)
            raise UsageError(f"{option} {each} ends in {each.suffix or 'no ending'}, not in {named}.", hint)
    if final.is_dir():
        raise UsageError(f"{option} {path} is a folder.", hint)
    _check_inputs(path, inputs, option, hint)
    if final.exists() and not os.access(final, os.W_OK):
        raise UsageError(f"{option} {path} cannot be written to: it is read-only.", hint)
    _try(final.parent, option, hint)


def check_output_folder(folder: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> None:
    """Refuse a folder that must not or cannot be written into; leave no trace.

    Raises
    ------
    UsageError
        A file, a device or a pipe; one of the inputs; a folder that cannot be made or written to; a name that is not
        UTF-8, to which the writers of Parquet and safetensors cannot write.
    """
    folder, hint = Path(folder), "Choose another folder with --out."
    if not is_utf8(name := os.path.abspath(folder)):
        raise UsageError(f"--out: the name {name!r} is not UTF-8.", hint)
    _final(folder, hint)
    if folder.is_symlink() and not folder.exists():
        raise UsageError(f"--out {folder} is a link to nothing.", hint)
    _check_inputs(folder, inputs, "--out", hint)
    _try(folder, "--out", hint)


def _final(path: Path, hint: str) -> Path:
    """Path behind links; raise UsageError for what is neither a file nor a folder."""
    try:
        return final_path(path)
    except UsageError as error:
        raise UsageError(error.message, hint) from None
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"{path} cannot be written to: {error.strerror}.", hint) from None


def _check_inputs(path: Path, inputs: Iterable[str | os.PathLike], option: str, hint: str) -> None:
    """Refuse a path that leads to one of the inputs, under whatever name."""
    if not path.exists():
        return
    for each in inputs:
        with contextlib.suppress(OSError):  # what is no path leads nowhere
            if os.path.samefile(path, each):
                raise UsageError(f"{option} {path} is an input of this command and would be overwritten.", hint)


def _try(folder: Path, option: str, hint: str) -> None:
    """Raise UsageError if no file can be made in a folder; the trial file is removed."""
    part = next(part for part in (folder, *folder.parents) if part.exists())
    if not part.is_dir():
        raise UsageError(f"{option}: {part} is a file.", hint)
    try:  # in a folder of its own: another process may be looking at the same place
        with temporary_folder(part) as trial:
            (trial / "new" / folder.relative_to(part)).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=trial):
                pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # another folder may be no help
        raise UsageError(f"{option}: {folder} cannot be written to: {error.strerror}.", hint) from None


_held: set[str] = set()


@contextmanager
def hold_folder(folder: str | os.PathLike) -> Iterator[None]:
    """Keep other processes from writing into a folder while the block runs; within a process it may be nested.

    A folder that is not there is made, and removed at the end where nothing was written into it.

    Raises
    ------
    GeomprobeError
        Another process has it.
    """
    folder = Path(os.path.realpath(folder))
    if fcntl is None or str(folder) in _held:
        yield
        return
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    opened = _locked_folder(folder)
    _held.add(str(folder))
    try:
        yield
    finally:
        _held.discard(str(folder))
        with contextlib.suppress(OSError):  # not empty
            for part in made:
                part.rmdir()
        os.close(opened)


def _locked_folder(folder: Path) -> int:
    """Make, open and lock a folder; the lock ends with the process."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            opened = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed by the one that had it
            continue
        if locked(opened) is False:
            os.close(opened)
            raise GeomprobeError(
                f"{folder} is in use: another process writes into it.",
                "Repeat the command when the other has ended, or choose another folder with --out.",
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder), os.fstat(opened)):
                return opened
        os.close(opened)
