"""Replace files and folders whole or not at all, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from geomprobe.common.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX, SUFFIX = ".geomprobe-", ".tmp"
STALE_SECONDS = 86400  # where files cannot be locked, what is older was left by a process that died
_swept: set[tuple[int, str]] = set()  # what this process has looked at


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` (a file or a folder) only if the block raises nothing.

    A symbolic link stays, and what it points to is replaced. A file replaces a file in one rename. A folder replaces a
    folder by two renames: the old one is moved aside first and removed last, so at every moment one whole version lies
    on the disk. What a killed process left in the same folder is finished or removed first.

    Raises
    ------
    UsageError
        ``path`` is something else, such as a device or a pipe.
    OSError
        Naming ``path``, never the temporary one.
    """
    path = final_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            holder = stack.enter_context(temporary_folder(path.parent))
        except OSError as error:
            raise _named(error, path) from None
        temporary = holder / "new" / path.name
        try:
            temporary.parent.mkdir()
            yield temporary
            if temporary.is_dir():
                _replace_folder(path, temporary, holder / "old")
            else:
                with open(temporary, "r+b") as handle:  # Windows syncs only what is open for writing
                    os.fsync(handle.fileno())
                os.replace(temporary, path)
        except OSError as error:
            if error.filename is not None and str(error.filename).startswith(str(holder)):
                raise _named(error, path) from None
            raise


def _replace_folder(path: Path, new: Path, old: Path) -> None:
    """Move a folder to ``path``; the earlier one is then at ``old``, or back at ``path`` if the move failed."""
    while True:
        try:
            with contextlib.suppress(FileNotFoundError):  # another process is between its two renames
                if path.is_dir():
                    os.rename(path, old)
            os.rename(new, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(old, ignore_errors=True)  # another process was first: now its version is the old one
        finally:
            if old.exists() and not path.exists():
                os.rename(old, path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent`` that is removed at the end, or by the next process that writes or reads there.

    It is locked as long as the block runs, so that no sweep takes it.
    """
    sweep_once(parent)
    while True:
        holder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=parent))
        try:
            lock = open(holder / "lock", "w")  # noqa: SIM115 (closed below)
        except FileNotFoundError:
            continue  # a sweep came between
        except OSError:
            holder.rmdir()
            raise
        with lock:
            if locked(lock) is False or not (holder / "lock").exists():
                continue  # a sweep came between making the folder and locking it
            try:
                yield holder
            finally:
                shutil.rmtree(holder, ignore_errors=True)
            return


def final_path(path: str | os.PathLike) -> Path:
    """Path that writing to ``path`` changes: links followed.

    Raises UsageError for devices and pipes, for a link to itself, and for a link to a file of another kind:
    ``report.pdf`` -> ``task.csv``.
    """
    path = Path(path)
    if path.is_symlink():
        link, path = path, Path(os.path.realpath(path))
        endings = {each.suffix.lower() for each in (link, path)} - {""}
        if len(endings) > 1 and path.is_file():
            raise UsageError(f"{link} is a link to {path}, a file of another kind.", "Remove the link.")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a link to itself.", "Remove the link.") from None
        raise
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"{path} is not a regular file, so it is not replaced.", "Choose another file with --out.")
    return path


def sweep_once(folder: Path) -> None:
    """Sweep a folder once a process: where a run writes, and where it finds everything finished."""
    place = os.getpid(), str(folder)
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what dead writers left in a folder; a whole version that was not yet in place is moved there."""
    for holder in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            recent = holder.stat().st_mtime > time.time() - STALE_SECONDS
            # made where it is missing, for a writer that died before; one that lives finds it locked and makes another
            with open(holder / "lock", "a") as lock:
                free = locked(lock)
                if free is False or (free is None and recent):
                    continue
                if (holder / "old").exists():  # it died between the two renames, or is about to end
                    with contextlib.suppress(FileNotFoundError):
                        for new in (holder / "new").iterdir():
                            if not (folder / new.name).exists():
                                os.rename(new, folder / new.name)
                shutil.rmtree(holder, ignore_errors=True)


def locked(file: IO[str] | int) -> bool | None:
    """Lock an open file or folder until it is closed; False where another has it, None where none can be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None
    return True


def _named(error: OSError, path: Path) -> OSError:
    """Error with the path that the user knows."""
    return type(error)(error.errno, error.strerror, str(path))
