"""What every file of figures says of the machine that it was measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine(device: str) -> dict[str, Any]:
    """Date, device, processor and versions."""
    import torch

    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    versions = {"python": platform.python_version()}
    for name in ("geomprobe", "torch", "transformers", "accelerate", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "versions": versions,
    }


def processor() -> str:
    """Name of the processor as Linux gives it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
