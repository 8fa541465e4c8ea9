"""`geomprobe doctor`: check what the commands need."""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path

import typer
from packaging.requirements import Requirement

from geomprobe.cli.ls import EXTENSIBLE, extensible
from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.common import cache_dir

NETWORK_SECONDS = 3.0


def doctor(as_json: Json = False) -> None:
    """Check packages, device, cache, data and network.

    Exits with 1 if something that the commands need is broken.
    """
    output = Output(as_json)
    checks = [*_packages(), *(_check(name, test) for name, test in CHECKS.items()), *_plugins()]
    output.result(checks, rows=checks)
    if any(check["state"] == "broken" for check in checks):
        raise typer.Exit(1)


def _check(name: str, test: Callable[[], tuple[str, str]]) -> dict[str, str]:
    try:
        state, detail = test()
    except Exception as error:  # whatever a broken package raises
        return _broken(name, error)
    return {"check": name, "state": state, "detail": detail}


def _broken(name: str, error: Exception) -> dict[str, str]:
    return {"check": name, "state": "broken", "detail": str(error) or type(error).__name__}


def _packages() -> list[dict[str, str]]:
    """Compare what is installed with what this version declares; nothing is imported."""
    rows = []
    for wanted in map(Requirement, requires("geomprobe") or ()):
        extra = str(wanted.marker).partition("extra == ")[2].strip("\"'")
        if extra in ("test", "lint", "bench", "docs"):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            state = "absent" if extra else "broken"
            optional, needed = f"optional: pip install 'geomprobe[{extra}]'", f"'{wanted.name}{wanted.specifier}'"
            detail = optional if extra else f"not installed; pip install {needed}"
        else:
            state, detail = "ok", found
            if not wanted.specifier.contains(found, prereleases=True):
                state, detail = "broken", f"{found}, but {wanted.specifier} is needed"
                detail += f"; pip install --upgrade {wanted.name}"
        rows.append({"check": wanted.name, "state": state, "detail": detail})
    return rows


def _plugins() -> list[dict[str, str]]:
    """Metrics, tasks and poolings of other packages; rooms are imported only where some package adds to them.

    A plug-in that cannot be used is refused, and breaks no command.
    """
    rows = []
    for kind in EXTENSIBLE:
        if not entry_points(group=f"geomprobe.{kind}"):
            continue
        try:
            found = extensible(kind).plugins()
        except Exception as error:  # its room cannot be imported
            rows.append(_broken(kind, error))
            continue
        for name, owner, problem in found:
            state = "refused" if problem else "ok"
            rows.append({"check": f"{kind[:-1]} {name}", "state": state, "detail": problem or str(owner)})
    return rows


def _device() -> tuple[str, str]:
    cores = f"{os.cpu_count()} cores"
    try:
        build = version("torch")
    except PackageNotFoundError:
        return "broken", "torch is not installed"
    if not shutil.which("nvidia-smi"):
        return "ok", f"{cores}, no NVIDIA driver"
    if build.endswith("+cpu"):
        return "low", f"{cores}; an NVIDIA driver is here, but torch {build} is built without CUDA"
    return "ok", f"{cores}, NVIDIA driver found"


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
    """Ask the hub that the environment names, through its proxies, unless it says to stay offline."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return "absent", f"{name} is set: only what is cached is used"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        urllib.request.urlopen(endpoint, timeout=NETWORK_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code == 407:
            return "absent", f"{endpoint} answers {error.code}; local folders and --task controlled work"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return "absent", f"{endpoint} cannot be reached ({reason}); local folders and --task controlled work"
    return "ok", f"{endpoint} answers"


CHECKS = {"device": _device, "cache": _cache, "data": _data, "hub": _hub}
