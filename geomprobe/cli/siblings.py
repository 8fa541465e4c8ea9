"""Import the sibling packages `pretrain` and `reports`, and nothing else that happens to bear their plain names."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import geomprobe
from geomprobe.common import GeomprobeError


def sibling(name: str) -> ModuleType:
    """Import ``pretrain…`` or ``reports…``; raises GeomprobeError where a user's own file shadows the package.

    The file that would be imported is looked up first: a user's script of that name is not run.
    """
    package = name.partition(".")[0]
    home = Path(geomprobe.__file__).parent.parent
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin) if spec is not None and spec.origin else None
    if found is None or found.parent != home / package:
        raise GeomprobeError(
            f"`import {package}` would take {found or 'nothing'}, not the package that belongs to geomprobe.",
            "Rename that file, or take its folder off PYTHONPATH and run the console command `geomprobe`.",
        )
    return importlib.import_module(name)
