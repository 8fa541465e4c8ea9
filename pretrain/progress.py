"""What a run says and keeps on its way: averages of what is logged, when to save, whether it was asked to stop."""

from __future__ import annotations

import contextlib
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from geomprobe.common import GeomprobeError, Terminated, UsageError
from geomprobe.pretrain.device import peak_memory
from geomprobe.pretrain.distributed import Processes

Record = dict[str, Any]


class Averages:
    """Means of what is logged since the last line, kept on the device, so that no step waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0
        self.waited = 0.0
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for data."""
        begun = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begun

    def add(self, values: dict[str, torch.Tensor]) -> None:
        """Add scalars to their sums."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self, processes: Processes, tokens_per_step: int) -> Record:
        """Means over steps and processes, and the speed, since the last call."""
        values = processes.mean(list(self.sums.values()))
        seconds = time.perf_counter() - self.started
        record: Record = {name: value / self.steps for name, value in zip(self.sums, values, strict=True)}
        record["tokens_per_s"] = round(self.steps * tokens_per_step / seconds, 1)
        record["data_wait"] = round(self.waited / seconds, 4)
        peak = peak_memory()
        record["peak_memory_gb"] = None if peak is None else round(peak / 1e9, 3)
        self.__init__()  # type: ignore[misc]
        return record

    def restart_clock(self) -> None:
        """Forget the time spent on saving, where no step is pending."""
        if not self.steps:
            self.started = time.perf_counter()


def refuse_non_finite(line: Record, out: Path) -> None:
    """Raise GeomprobeError where a loss or the gradient is not finite."""
    bad = [name for name, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        raise GeomprobeError(
            f"{bad[0]} is not finite by step {line['step']}; the last good state in {out} is kept.",
            f"Try a lower learning rate, as in --set lr={line['lr'] / 2:.2g}, more warm-up, or --set precision=fp32",
        )


class SaveRule:
    """When a state is due: every N steps, or every N minutes on the first rank's clock."""

    def __init__(self, text: str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
        if not match or float(match[1]) <= 0 or (not match[2] and "." in match[1]):
            hint = "Write --save-every 500 (steps) or --save-every 10m (minutes)"
            raise UsageError(f"{text!r} is no interval.", hint)
        self.steps = 0 if match[2] else int(match[1])
        self.seconds = 60 * float(match[1])
        self.last = time.perf_counter()

    def due(self, step: int, processes: Processes, logged: bool) -> bool:
        """Whether to save after this step; several processes agree on the minutes only where they also log."""
        if self.steps:
            return step % self.steps == 0
        if processes.world > 1 and not logged:
            return False
        due = time.perf_counter() - self.last >= self.seconds
        if processes.any(due and processes.first, torch.device("cuda" if torch.cuda.is_available() else "cpu")):
            self.last = time.perf_counter()
            return True
        return False


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], type[KeyboardInterrupt] | None]]:
    """Yield a question: was the process asked to stop, and by what? A second Ctrl-C stops it at once."""
    asked: type[KeyboardInterrupt] | None = None

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
        previous = {number: signal.signal(number, ask) for number in heard}
    except ValueError:  # not in the main thread: whoever owns it decides
        previous = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
