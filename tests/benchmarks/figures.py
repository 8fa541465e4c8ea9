"""What every file of figures says of the machine that it was measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from geomprobe.common import processor_name


def machine(device: str) -> dict[str, Any]:
    """Date, device, processor and versions."""
    card: dict[str, Any] = {}
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            memory = torch.cuda.get_device_properties(0).total_memory
            name = torch.cuda.get_device_name()
            card = {"device": name, "memory_gb": round(memory / 1e9, 1), "cuda": torch.version.cuda}
    versions = {"python": platform.python_version()}
    for name in ("geomprobe", "torch", "transformers", "accelerate", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": processor_name(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "versions": versions,
        **card,
    }
