"""What the machine is called."""

from __future__ import annotations

import contextlib
import platform


def processor_name() -> str:
    """Model of the processor, its architecture where the system does not say."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
