"""Folders of sentence-transformers: the transformer inside, and what its other modules declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomprobe.common import InputError, read_json
from geomprobe.encoders.encoder import Encoder


def sentence_transformers_parts(folder: Path, encoder: Encoder) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the transformer inside a sentence-transformers folder, and its settings."""
    modules: list[dict[str, Any]] = []
    if (folder / "modules.json").is_file():
        modules = read_json(folder / "modules.json")
    inner = folder
    if modules:
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        if kinds[0] != "Transformer":
            raise InputError(
                f"{encoder.source} (sentence-transformers: {', '.join(kinds)}) has no transformer, so no token states.",
                "geomprobe measures transformers; embed with the model itself and use: geomprobe measure VECTORS_FILE",
            )
        inner = _inside(folder, modules[0].get("path", ""))
        for kind, module in zip(kinds[1:], modules[1:], strict=True):
            if kind == "Pooling":
                encoder.pooling = _declared_pooling(_inside(folder, module.get("path", "")) / "config.json")
            else:
                encoder.notes.append(f"module {kind} after the pooling is not applied")
    settings: dict[str, Any] = {}
    if modules and (inner / "sentence_bert_config.json").is_file():
        settings = read_json(inner / "sentence_bert_config.json")
    if (folder / "config_sentence_transformers.json").is_file():
        prompt = read_json(folder / "config_sentence_transformers.json").get("default_prompt_name")
        if prompt:
            encoder.notes.append(f"prompt {prompt!r} is not put before the texts")
    return inner, settings


def _inside(folder: Path, part: str) -> Path:
    """Return a subfolder, refusing paths that lead out of the folder."""
    path = folder / part
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / 'modules.json'} points outside of its folder: {part!r}.")
    return path


def _declared_pooling(config: Path) -> str | None:
    if not config.is_file():
        return None
    values = read_json(config)
    if isinstance(values.get("pooling_mode"), str):
        return values["pooling_mode"]
    chosen = [key for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
    names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
    return "+".join(names.get(key.removeprefix("pooling_mode_"), key) for key in chosen) or None
