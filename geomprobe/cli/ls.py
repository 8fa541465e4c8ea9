"""`geomprobe ls`: the names that commands take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.common import unknown_name

KINDS = ("tasks", "metrics", "poolings", "objectives", "presets")


def ls(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    as_json: Json = False,
) -> None:
    """List the names that commands take."""
    if kind not in KINDS:
        raise unknown_name("list", kind, list(KINDS))
    rows = _rows(kind)
    Output(as_json).result(rows, rows=rows)


def _rows(kind: str) -> list[dict[str, str]]:
    if kind == "tasks":
        from geomprobe.tasks import task_names

        return [{"task": name} for name in task_names()]
    if kind == "metrics":
        from geomprobe.api import every_metric

        return [_metric(name, entry) for name, entry in every_metric().items()]
    if kind == "poolings":
        from geomprobe.embedding.pooling import POOLINGS

        return [{"pooling": name, "about": about} for name, about in POOLINGS.items()]
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
