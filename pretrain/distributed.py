"""One process or many: what torchrun started, and the few exchanges that training needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist

from geomprobe.common import GeomprobeError, first_line, torchrun_place


@dataclass(frozen=True)
class Processes:
    """The processes of a run as this one sees them: its rank, their number, and its place on this host."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def mean(self, values: list[torch.Tensor]) -> list[float]:
        """Scalars averaged over all processes, as floats; one exchange and one host sync for all of them."""
        if not values:
            return []
        stacked = torch.stack([value.detach().double().reshape(()) for value in values])
        if self.world > 1:
            dist.all_reduce(stacked)
        return (stacked / self.world).tolist()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in some process."""
        if self.world == 1:
            return flag
        tensor = torch.tensor(float(flag), device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return bool(tensor)

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def join() -> Iterator[Processes]:
    """Join the other processes of a torchrun job; without one, be alone.

    Raises
    ------
    UsageError
        WORLD_SIZE is set, and not all that torchrun sets beside it.
    GeomprobeError
        Another process of the job ended, so an exchange with it failed.
    """
    rank, world = torchrun_place()
    if world == 1:
        yield Processes()
        return
    processes = Processes(rank, world, int(os.environ.get("LOCAL_RANK", "0")))
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes
    except RuntimeError as error:  # torch's own kinds of it, for a lost connection
        message = f"Rank {processes.rank} of {world} lost the others: {first_line(error)}"
        raise GeomprobeError(message, "One of them ended. Start the same command again with --resume.") from None
    finally:
        with contextlib.suppress(Exception):
            dist.destroy_process_group()
