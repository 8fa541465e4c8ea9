"""`geomprobe doctor`: does everything that the commands need work here?"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import typer

from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.common import GeomprobeError, cache_dir

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "sklearn", "pandas", "pyarrow",
            "matplotlib", "seaborn", "jinja2")  # fmt: skip
OPTIONAL = {
    "datasets": "reads tasks and corpora from the hub",
    "typst": "writes PDF reports",
    "sentence_transformers": "opens loaded sentence-transformers models",
}


def doctor(as_json: Json = False) -> None:
    """Check that everything works here.

    Packages, devices, cache, data and network; exits with 1 where something needed is broken.
    """
    output = Output(as_json)
    checks = [*_packages(), *(_check(name, test) for name, test in CHECKS.items())]
    output.table(checks, ["check", "state", "detail"])
    if any(check["state"] == "broken" for check in checks):
        raise typer.Exit(1)


def _check(name: str, test: Callable[[], tuple[str, str]]) -> dict[str, str]:
    try:
        state, detail = test()
    except (OSError, ImportError, GeomprobeError, RuntimeError) as error:
        state, detail = "broken", str(error)
    return {"check": name, "state": state, "detail": detail}


def _packages() -> list[dict[str, str]]:
    rows = []
    for package in (*PACKAGES, *OPTIONAL):
        try:
            module = importlib.import_module(package)
            state, detail = "ok", getattr(module, "__version__", "")
        except ImportError as error:
            if package in OPTIONAL:
                state, detail = "absent", f"optional: {OPTIONAL[package]}"
            else:
                state, detail = "broken", f"{error}; pip install {package}"
        rows.append({"check": package, "state": state, "detail": detail})
    return rows


def _siblings() -> tuple[str, str]:
    from geomprobe.cli.siblings import sibling

    sibling("pretrain")
    sibling("reports")
    return "ok", "pretrain and reports are the ones that belong to geomprobe"


def _device() -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        return "ok", f"cuda: {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "ok", "mps"
    return "ok", f"cpu, {torch.get_num_threads()} threads"


def _cache() -> tuple[str, str]:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder):
        free = shutil.disk_usage(folder).free / 1e9
    return ("ok" if free > 1 else "low"), f"{folder}, {free:.0f} GB free"


def _data() -> tuple[str, str]:
    folder = os.environ.get("GEOMPROBE_DATA")
    if not folder:
        return "absent", "GEOMPROBE_DATA is not set: tasks come from the hub, or use --task controlled"
    tasks = sorted(path.name for path in (Path(folder) / "glue").glob("*") if path.is_dir())
    return ("ok", f"{folder}: {', '.join(tasks)}") if tasks else ("broken", f"{folder} holds no glue/<task> folder")


def _hub() -> tuple[str, str]:
    try:
        with socket.create_connection(("huggingface.co", 443), timeout=3):
            return "ok", "huggingface.co answers"
    except OSError as error:
        return "absent", f"huggingface.co cannot be reached ({error}); local folders and --task controlled work"


CHECKS = {"own packages": _siblings, "device": _device, "cache": _cache, "data": _data, "hub": _hub}
