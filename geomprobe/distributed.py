"""One process or several, of torchrun or started here, and what they exchange to measure together."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from threadpoolctl import threadpool_limits

from geomprobe.common import GeomprobeError, UsageError, first_line, torchrun_place
from geomprobe.vectors import TILE, VectorSource, full_precision, unit_rows

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")
PATIENCE = timedelta(days=2)
"""How long a rank waits for another at work; one that ended is noticed at once."""


class LostProcess(GeomprobeError):
    """Another process of the job ended."""


@dataclass(frozen=True)
class Processes:
    """This process among all. Alone, every exchange gives back what was put in.

    What is exchanged lies in host memory, so all backends are gloo; objects travel pickled, between the processes of
    one job only. An exchange that finds another process gone raises ConnectionError, which is no failed cell.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process reads and writes folders, and reports."""
        return self.rank == 0

    def share(self, n: int) -> tuple[int, int]:
        """First of this rank's rows among n, and the one after its last."""
        return n * self.rank // self.world, n * (self.rank + 1) // self.world

    def exchange(self, value: T) -> list[T]:
        """Values of all processes, on all processes, in their order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with _talking():
            dist.all_gather_object(values, value)
        return values

    def gather(self, value: T) -> list[T]:
        """Values of all processes on rank 0, an empty list elsewhere."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world if self.first else []
        with _talking():
            dist.gather_object(value, values if self.first else None)
        return values

    def broadcast(self, value: T) -> T:
        """Value of rank 0."""
        if self.world == 1:
            return value
        held: list[Any] = [value if self.first else None]
        with _talking():
            dist.broadcast_object_list(held)
        return held[0]

    def scatter(self, values: Sequence[T]) -> T | None:
        """This rank's value among those of rank 0; None where there are fewer of them than processes."""
        if self.world == 1:
            return values[0] if values else None
        held: list[Any] = [None]
        padded = [*values, *[None] * (self.world - len(values))] if self.first else None
        with _talking():
            dist.scatter_object_list(held, padded)
        return held[0]

    def reduce(self, value: T, join: Callable[[T, T], T]) -> T:
        """Join(…join(join(v0, v1), …)…) of the values of all processes, on all processes.

        Neighbours join first, then neighbours of those: about log2(world) messages one after the other, and no rank
        holds more than two values. The order depends on the number of processes alone.
        """
        step = 1
        while step < self.world:
            if self.rank % (2 * step) == step:
                with _talking():
                    dist.send_object_list([value], self.rank - step)
            elif self.rank % (2 * step) == 0 and self.rank + step < self.world:
                held: list[Any] = [None]
                with _talking():
                    dist.recv_object_list(held, self.rank + step)
                value = join(value, held[0])
            step *= 2
        return self.broadcast(value)

    def shift(self, block: torch.Tensor, steps: int) -> torch.Tensor:
        """Block of the rank `steps` further on (around the end); this rank's goes as many back."""
        source, target = (self.rank + steps) % self.world, (self.rank - steps) % self.world
        if source == self.rank:
            return block
        shapes = self.exchange(tuple(block.shape))
        held = torch.empty(shapes[source], dtype=block.dtype)
        with _talking():
            sent = dist.isend(block.contiguous(), target)
            dist.recv(held, source)
            if sent is not None:
                sent.wait()
        return held

    def agreed(self, part: Callable[[], T]) -> T:
        """Part() where it succeeds on all processes; what one raises stops it on all.

        A rank that went on alone would leave the others waiting for it. A ValueError is one on all of them, anything
        else a RuntimeError on the others.
        """
        if self.world == 1:
            return part()
        value, error = None, None
        try:
            value = part()
        except Exception as raised:
            error = raised
        kind = ValueError if isinstance(error, ValueError) else RuntimeError
        errors = self.exchange(None if error is None else (kind, f"{type(error).__name__}: {error}"))
        if error is not None:
            raise error
        for rank, failure in enumerate(errors):
            if failure is not None:
                raise failure[0](f"rank {rank} of {self.world}: {failure[1]}")
        return value  # type: ignore[return-value]

    def collect(self, parts: Iterator[T], rounds: int, take: Callable[[T], None]) -> None:
        """Call `take` on rank 0 with the parts of all processes, at most `rounds` of each; an error stops all."""

        def take_all(values: list[T | None]) -> None:
            for part in values:
                if part is not None:
                    take(part)

        for _ in range(rounds + 1):  # once more than there are parts, so that what yields them comes to its end
            self.agreed(partial(take_all, self.gather(self.agreed(partial(next, parts, None)))))

    def in_turns(self, items: Sequence[T], send: Callable[[T], S], work: Callable[[S], R]) -> Iterator[tuple[T, R]]:
        """Yield (item, work(send(item))) on all processes; rank 0 sends, each rank works on one item at a time."""
        for start in range(0, len(items), self.world):
            turn = items[start : start + self.world]
            mine: Any = self.scatter([send(item) for item in turn] if self.first else [])
            done: list[Any] = self.exchange(work(mine) if self.rank < len(turn) else None)
            yield from zip(turn, done, strict=False)


ALONE = Processes()


def uniformity(block: Any, processes: Processes, t: float = 2.0) -> float:
    """Log of the mean over all pairs i<j of exp(−t‖z_i − z_j‖²) of rows that are spread over processes.

    Wang & Isola (2020), ICML. Exact; each rank's directions go half way round the ring of processes, so that every two
    blocks meet once. Computed in float64; a rank holds its own rows and those of one other rank.

    Parameters
    ----------
    block : array-like of shape (n_rank, d)
        This rank's rows, z = x/‖x‖. Zero rows have no direction and are left out.
    processes : Processes
        All of them call this.
    t : float

    Raises
    ------
    ValueError
        For rows that are not finite, or fewer than two with a direction on all processes together.
    """

    def directions() -> torch.Tensor:
        rows = VectorSource(block)
        x = torch.cat([part.double().cpu() for _, part in rows.blocks()]) if rows.n else torch.empty(0, rows.d).double()
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"rows of rank {processes.rank} hold NaN or infinity")
        return unit_rows(x[x.abs().amax(1) > 0])

    z = processes.agreed(directions)
    counts = processes.exchange(len(z))
    if (n := sum(counts)) < 2:
        raise ValueError(f"{n} rows have a direction; pairs need two")
    # around a common point, so that near directions keep the digits of their distances
    z = z - sum(processes.exchange(z.sum(0)), torch.zeros(z.shape[1], dtype=torch.float64)) / n
    return kernel_log_mean(z, t, 2 * sum(processes.exchange(float((z * z).sum()))) / (n - 1), processes)


def kernel_log_mean(w: torch.Tensor, t: float, pilot_distance: float, processes: Processes) -> float:
    """Log of the mean over pairs i<j of exp(−t‖w_i − w_j‖²) of points that are spread over processes.

    Parameters
    ----------
    w : tensor of shape (n_rank, d)
        This rank's points, shifted to lie around zero.
    t : float
    pilot_distance : float
        The mean squared distance; where t times it is small, k − 1 is summed to keep its digits.
    processes : Processes
    """
    near, n = t * pilot_distance < 0.1, sum(processes.exchange(len(w)))
    total = _kernel_sum(w, w, t, near, own=True) / 2
    for steps in range(1, processes.world // 2 + 1):
        mine, other = w, processes.shift(w.cpu(), steps).to(w.device)
        if 2 * steps == processes.world:  # both of a pair hold the other's, and each takes half of the work
            if processes.rank < steps:
                mine = mine[: len(mine) // 2]
            else:
                other = other[len(other) // 2 :]
        total += _kernel_sum(mine, other, t, near, own=False)
    mean = math.fsum(processes.exchange(total)) / (n * (n - 1) / 2)
    return math.log1p(mean) if near else math.log(mean)


def _kernel_sum(a: torch.Tensor, b: torch.Tensor, t: float, near: bool, own: bool) -> float:
    """Sum over rows i of a, j of b of exp(−t‖a_i − b_j‖²), or of that − 1; where a is b, over i≠j."""
    total, square_a, square_b = 0.0, (a * a).sum(1), (b * b).sum(1)
    with full_precision():
        for i in range(0, len(a), TILE):
            for j in range(i if own else 0, len(b), TILE):
                tile = a[i : i + TILE] @ b[j : j + TILE].T
                tile.mul_(-2).add_(square_a[i : i + TILE, None]).add_(square_b[None, j : j + TILE]).mul_(-t)
                tile = tile.expm1_() if near else tile.exp_()
                if own and i == j:
                    tile.fill_diagonal_(0)
                total += float(tile.sum(1).double().sum()) * (2 if own and i != j else 1)
    return total


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own kinds of it, for a lost connection
        raise ConnectionError(first_line(error)) from None


@contextlib.contextmanager
def join() -> Iterator[Processes]:
    """Join the other processes of a torchrun job; without one, be alone.

    Each process takes the GPU of its number on its host, where there are any.

    Raises
    ------
    UsageError
        WORLD_SIZE is set, and not all that torchrun sets beside it.
    GeomprobeError
        Another process of the job ended.
    """
    rank, world = torchrun_place()
    if world == 1:
        yield Processes()
        return
    processes = Processes(rank, world)
    _take_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("gloo", timeout=PATIENCE)
    with _joined(processes):
        yield processes


def _take_device(number: int) -> None:
    if devices := torch.cuda.device_count():
        torch.cuda.set_device(number % devices)


@contextlib.contextmanager
def _joined(processes: Processes) -> Iterator[None]:
    """Leave the group at the end, and say where another process ended before."""
    rank, world = processes.rank, processes.world
    try:
        yield
        with _talking():
            dist.barrier()  # a rank that leaves while others still talk to it may be aborted by gloo
    except ConnectionError as error:
        hint = "One of them ended; it says why. The same command starts again, and goes on from what is kept."
        raise LostProcess(f"Rank {rank} of {world} lost the others: {error}", hint) from None
    finally:
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


# ---- processes started here ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def helped(jobs: int, work: Callable[[Processes], Any]) -> Iterator[Processes]:
    """Start ``jobs`` − 1 processes that call ``work`` with their place among all; this one is the first of them.

    Each has its share of the cores, so that they do not wait for each other. They stay for the next call.

    Parameters
    ----------
    jobs : int
        All processes, this one included.
    work : callable
        Sent to them by cloudpickle; what it returns is left there.

    Raises
    ------
    UsageError
        This process is one of torchrun's.
    GeomprobeError
        One of them could not start, or ended.
    """
    if torchrun_place()[1] > 1:
        raise UsageError("--jobs starts processes, and torchrun started this one.", "Leave one of them out.")
    from loky import cpu_count, get_reusable_executor

    threads = max(1, cpu_count() // jobs)
    store = dist.TCPStore("127.0.0.1", 0, jobs, is_master=True, wait_for_workers=False, use_libuv=False)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}  # where it has changed since, processes start anew
    executor = get_reusable_executor(max_workers=jobs - 1, timeout=300, env=environment)
    place = os.getcwd()
    done = [executor.submit(_help, work, rank, jobs, store.port, threads, place) for rank in range(1, jobs)]
    try:
        while not store.check([_HERE.format(rank) for rank in range(1, jobs)]):
            if failed := next((each for each in done if each.done()), None):
                raise GeomprobeError(f"A process of --jobs did not start: {failed.exception()}", "Leave --jobs out.")
            time.sleep(0.01)
        processes = Processes(0, jobs)
        with limited_threads(threads):
            dist.init_process_group("gloo", store=store, rank=0, world_size=jobs, timeout=PATIENCE)
            with _joined(processes):
                yield processes
        for each in done:
            each.result()
    except LostProcess as error:
        ended = wait(done, 10, FIRST_EXCEPTION).done
        executor.shutdown(kill_workers=True)
        why = next((first_line(e) for each in ended if (e := each.exception())), error.message)
        hint = "The same command starts again, and goes on from what is kept; --jobs 1 needs least memory."
        raise GeomprobeError(f"A process of --jobs ended: {why}", hint) from None
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


_HERE = "geomprobe process {}"


def _help(work: Callable[[Processes], Any], rank: int, jobs: int, port: int, threads: int, place: str) -> None:
    """Be one of the processes of `helped`, in the working directory of the first."""
    os.chdir(place)
    _take_device(rank)
    with limited_threads(threads):
        store = dist.TCPStore("127.0.0.1", port, jobs, is_master=False, timeout=timedelta(minutes=5), use_libuv=False)
        store.set(_HERE.format(rank), "here")
        dist.init_process_group("gloo", store=store, rank=rank, world_size=jobs, timeout=PATIENCE)
        processes = Processes(rank, jobs)
        with _joined(processes):
            work(processes)


@contextlib.contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Limit the threads of torch and of the libraries of linear algebra."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)
