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
KINDS = {
    "tasks": "what models are measured on: --task",
    "metrics": "every number of the results: measure --metric",
    "poolings": "how token states become one vector: --pool",
    "baselines": "encoders that learned nothing or next to nothing: --baseline",
    "views": "what is done to vectors before they are measured: measure --view",
    "protocols": "bundles of the choices of an analysis: --protocol",
    "objectives": "what an encoder is trained on: pretrain --objective",
    "presets": "models and their settings: pretrain --preset",
}
"""The lists, and what each holds."""


def ls(
    kind: Annotated[str | None, typer.Argument(metavar="LIST", help=", ".join(KINDS), show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List the names that commands take; without LIST, the lists."""
    if kind is not None and kind not in KINDS:
        raise unknown_name("list", kind, list(KINDS))
    rows = _rows(kind) if kind else [{"list": name, "about": about} for name, about in KINDS.items()]
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
    if kind == "baselines":
        from geomprobe.encoders.baselines import BASELINES

        return [{"baseline": name, "about": about} for name, about in BASELINES.items()]
    if kind == "views":
        from geomprobe.metrics import VIEWS

        return [{"view": name, "about": about} for name, about in VIEWS.items()]
    if kind == "protocols":
        from geomprobe.analysis.protocols import choices_of, word_of
        from geomprobe.predict_reconstruct.protocol import PROTOCOLS

        chosen = {
            name: [f"{choice}={word_of(getattr(protocol, choice))}" for choice in choices_of(type(protocol))]
            for name, protocol in PROTOCOLS.items()
        }
        return [{"protocol": name, "choices": ", ".join(words)} for name, words in chosen.items()]
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
