"""The place of this process among those that torchrun started."""

from __future__ import annotations

import os

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
