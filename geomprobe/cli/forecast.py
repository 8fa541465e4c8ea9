"""What `analyze --dry-run` and `compare --dry-run` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomprobe.cli.output import Output
from geomprobe.cli.progress import duration
from geomprobe.common import gigabytes


def say_forecast(output: Output, found: dict[str, Any], folder: Path) -> None:
    """Print what an analysis would do; `found` is what `analysis.forecast.forecast` gives."""
    rows = [
        {"task": task["name"], "rows": _count(task["rows"]), "rows to fit probes on": _count(task.get("train_rows"))}
        | {"different texts": _count(task.get("texts"))}
        for task in found["tasks"]
    ]
    tokens = ", ".join(
        f"{model['name']} {model['tokens']:,}" + (f" ({model['cut']:,} texts cut)" if model["cut"] else "")
        for model in found["models"]
        if model["tokens"]
    )
    finished = found["finished_cells_at_most"]
    total, of = sum(found["seconds"].values()), found["seconds"]
    parts = ", ".join(f"{name} {duration(value)}" for name, value in of.items() if value)
    memory = gigabytes(found["memory_bytes"])
    machine = f" of the machine's {gigabytes(found['machine_bytes'])}" if found["machine_bytes"] else ""
    lines = [
        f"tokens: {tokens or 'not known before the download'}",
        f"poolings: {', '.join(found['poolings'])}",
        f"cells: {found['cells']:,}" + (f", up to {finished:,} of them finished" if finished else ", none finished"),
        *([_download(name, files) for name, files in found["downloads"].items()] or ["downloads: none"]),
        f"time: about {duration(total)} on {found['device']} ({parts}), if nothing is found finished or in the cache",
        f"memory: about {memory}{machine}",
        f"results: {folder}"
        + (" (exists; finished cells are reused, the rest is replaced)" if folder.exists() else ""),
    ]
    output.result({"results": str(folder), **found}, "\n".join(lines), rows)
    output.note("dry run: nothing was measured, downloaded or written")


def _count(number: int | None) -> str:
    return "not known before the download" if number is None else f"{number:,}"


def _download(name: str, files: dict[str, int]) -> str:
    size = sum(files.values())
    shown = gigabytes(size) if size >= 1e8 else f"{size / 1e6:.1f} MB"
    largest = max(files, key=lambda file: files[file])
    return f"download: {shown}, {name}, {len(files)} file{'s' * (len(files) > 1)}, the largest {largest}"
