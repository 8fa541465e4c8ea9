"""The place of this process among those that torchrun started, and processes that it starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from geomprobe.common.errors import UsageError


def torchrun_place() -> tuple[int, int]:
    """Rank of this process and the number of processes from torchrun's environment; (0, 1) without it.

    Raises
    ------
    UsageError
        WORLD_SIZE is set, as batch systems do too, and what torchrun sets with it is missing or makes no sense.
    """
    world = os.environ.get("WORLD_SIZE") or "1"
    if world == "1":
        return 0, 1
    given = {name: os.environ.get(name, "") for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")}
    rank = given["RANK"]
    if not all(given.values()) or not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        settings = ", ".join(f"{name} is {value or 'not set'}" for name, value in given.items())
        raise UsageError(
            f"WORLD_SIZE is {world}, but {settings}.",
            "Start several processes by torchrun, or unset WORLD_SIZE to be alone.",
        )
    return int(rank), int(world)


def run_command(command: Sequence[str], threads: int, running: set[subprocess.Popen[str]]) -> tuple[int, str]:
    """Exit code of a command and the last lines of its stderr; its process is in `running` meanwhile."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    running.add(process)
    try:
        said = process.communicate()[1].strip().splitlines()
    finally:
        running.discard(process)
    return process.returncode, " ".join(said[-2:]).removeprefix("error: ")[:500]
