"""`geomprobe ls`: the names that commands take."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.common import unknown_name
from geomprobe.common.plugins import Extensible

EXTENSIBLE = {
    "tasks": ("geomprobe.tasks", "TASKS"),
    "metrics": ("geomprobe.metrics", "REGISTRY"),
    "poolings": ("geomprobe.embedding.pooling", "POOLINGS"),
}
"""What other packages add to, and where it is."""
KINDS = (*EXTENSIBLE, "objectives", "presets")


def ls(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    as_json: Json = False,
) -> None:
    """List the names that commands take."""
    if kind not in KINDS:
        raise unknown_name("list", kind, list(KINDS))
    rows = _rows(kind)
    if kind in EXTENSIBLE:
        known = extensible(kind)
        rows = [row | {"package": str(known.owner(row[known.kind]))} for row in rows]
    Output(as_json).result(rows, rows=rows)


def extensible(kind: str) -> Extensible[Any]:
    """Tasks, metrics or poolings by name."""
    module, name = EXTENSIBLE[kind]
    return getattr(import_module(module), name)


def _rows(kind: str) -> list[dict[str, str]]:
    if kind == "tasks":
        return [{"task": name} for name in extensible(kind)]
    if kind == "metrics":
        from geomprobe.api import every_metric

        return [_metric(name, entry) for name, entry in every_metric().items()]
    if kind == "poolings":
        return [{"pooling": name, "about": pooling.about} for name, pooling in extensible(kind).items()]
    from geomprobe.pretrain import config

    if kind == "objectives":
        from geomprobe.pretrain.objectives import objective_class

        return [{"objective": name, "about": objective_class(name).about} for name in config.objective_names()]
    return [{"preset": name, "about": _preset(config.load_config(name))} for name in config.preset_names()]


def _metric(name: str, entry: dict[str, Any]) -> dict[str, str]:
    """List's entry of a metric; `definitions` names the other definitions."""
    others = [each for each, formula in entry.get("definitions", {}).items() if formula != entry["formula"]]
    shown = {key: entry[key] for key in ("family", "formula", "source")}
    return {"metric": name, **shown, "definitions": ", ".join(others)}


def _preset(config: Any) -> str:
    size = f"{config.layers} layers of {config.hidden}, {config.heads} heads, rows of {config.row_length} tokens"
    return f"{size}, {config.budget}, learning rate {config.lr:g}"
