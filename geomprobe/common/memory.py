"""Compare the memory that work needs with the machine's memory, before any is allocated."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from geomprobe.common.errors import InputError

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_bytes() -> int | None:
    """Memory that this process may have in bytes: the machine's, or its control group's where it is less.

    None where the system does not say.
    """
    limits = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # no POSIX system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in CGROUP_LIMITS:
        try:
            limits.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min((size for size in limits if size > 0), default=None)


def process_bytes() -> int:
    """Most memory that this process has held so far, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # no POSIX system
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def refuse_beyond_memory(needed: int, what: str, hint: str, limit: int | None = None) -> None:
    """Raise InputError where a piece of work needs more memory than there is.

    Parameters
    ----------
    needed : int
        Bytes that it needs at least.
    what : str
        The subject of the message, such as "The moments of 100,000 dimensions".
    hint : str
        What to do instead.
    limit : int, optional
        Bytes that there are; by default `machine_bytes`.
    """
    limit = machine_bytes() if limit is None else limit
    if limit is not None and needed > limit:
        raise InputError(f"{what} need {gigabytes(needed)} of memory; this machine has {gigabytes(limit)}.", hint)


def gigabytes(size: int) -> str:
    """A size in GB (10^9 bytes), with three digits."""
    return f"{size / 1e9:,.0f} GB" if size >= 1e11 else f"{size / 1e9:.3g} GB"
