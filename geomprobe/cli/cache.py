"""`geomprobe cache`: list or delete what the cache holds."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.errors import guard
from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.common import GeomprobeError, cache_dir, unknown_name

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List or delete cached corpora and embeddings.")


# Only these are ever listed or deleted: GEOMPROBE_CACHE may name a folder that holds other things, too.
KINDS = ("corpora", "docstrings", "embeddings", "hub", "remote")


def _is_there(folder: Path) -> bool:
    """Whether a folder of the cache is there; raise GeomprobeError for what is no folder, such as a file."""
    try:
        os.stat(os.path.join(folder, "."))  # raises for what is no folder
    except OSError as error:
        if not os.path.lexists(folder) and isinstance(error, FileNotFoundError):
            return False
        why = f"The cache {folder} cannot be read: {os.strerror(error.errno or 0)}."
        raise GeomprobeError(why, "Point GEOMPROBE_CACHE to a folder.") from None
    return True


def _entries() -> list[dict[str, Any]]:
    rows = []
    cache = cache_dir()
    for kind in (cache / name for name in KINDS if _is_there(cache) and _is_there(cache / name)):
        for entry in sorted(kind.iterdir()):
            size = sum(file.stat().st_size for file in (entry, *entry.rglob("*")) if file.is_file())
            rows.append({"kind": kind.name, "name": entry.name, "megabytes": round(size / 1e6, 1)})
    return rows


@app.command("ls")
@functools.partial(guard, group="cache")
def ls(as_json: Json = False) -> None:
    """List what the cache holds."""
    output = Output(as_json)
    rows = _entries()
    if rows or as_json:
        output.result(rows, rows=rows)
    else:
        output.note("The cache is empty.")


@app.command("prune")
@functools.partial(guard, group="cache")
def prune(
    kind: Annotated[
        str | None, typer.Option(help="Delete only corpora, docstrings, embeddings, hub (text) or remote.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete what the cache holds; commands make it again when they need it."""
    import shutil

    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, list(KINDS))
    rows = [row for row in _entries() if kind is None or row["kind"] == kind]
    for row in rows:
        path = cache_dir() / row["kind"] / row["name"]
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    freed = sum(row["megabytes"] for row in rows)
    Output(as_json).result({"deleted": len(rows), "megabytes": freed}, f"deleted {len(rows)} entries, {freed:.1f} MB")
