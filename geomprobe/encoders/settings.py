"""The settings in a sentence-transformers folder, with their types checked; errors name file and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from geomprobe.common import InputError, read_json
from geomprobe.common.json_types import checked

# what the settings may be; null stands for one that is not made
_OBJECTS = "modality_config model_kwargs model_args processor_kwargs tokenizer_args config_kwargs config_args"
_TEXTS = "default_prompt_name model_type transformer_task tokenizer_name_or_path activation_function"
_TEXTS += " module_input_name module_output_name"
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_OBJECTS.split(), dict[str, Any] | None),
    **dict.fromkeys(_TEXTS.split(), str | None),
    **dict.fromkeys(("do_lower_case", "include_prompt", "bias", "use_residual"), bool | None),
    "prompts": dict[str, str | None] | None,
    "processing_kwargs": dict[str, dict[str, Any] | None] | None,
    "max_seq_length": int | None,
    "pooling_mode": str | list | None,
}


def read_object(file: Path) -> dict[str, Any]:
    """Object in a JSON file; an empty one where there is no file."""
    if not file.is_file():
        return {}
    values = read_json(file)
    if not isinstance(values, dict):
        raise InputError(f"{file} does not hold a JSON object.", "Save the model again.")
    return values


def read_settings(file: Path) -> dict[str, Any]:
    """Settings in a file; an empty mapping where there is no file.

    Raises
    ------
    InputError
        No JSON object, or a setting of the wrong kind.
    """
    values, hint = read_object(file), "Correct the file, or save the model again."
    for name, value in values.items():
        checked(value, _KINDS.get(name, Any), str(file), hint, name)
    if (limit := values.get("max_seq_length")) is not None and limit < 1:
        raise InputError(f"{file}: max_seq_length must be at least 1, not {limit}.", hint)
    return values


def is_path(name: Any) -> bool:
    """Whether a setting can be the path of a file: a text, and no part of it longer than a file's name may be."""
    return isinstance(name, str) and "\0" not in name and len(name) < 4096 and max(map(len, name.split("/"))) < 256


def inside(folder: Path, part: Any, named_in: Path) -> Path:
    """Path that a file names inside a folder; raises InputError for a name that leads out of it."""
    if not is_path(part) or len(str(folder / part)) > 4000:
        raise InputError(f"{named_in} names no file or folder: {str(part)[:40]!r}.", "Save the model again.")
    if PurePath(part).is_absolute() or ".." in PurePath(part.replace("\\", "/")).parts:
        raise InputError(f"{named_in} points outside of its folder: {part!r}.", "Save the model again.")
    return folder / part


def size(settings: Mapping[str, Any], name: str, module: str) -> int:
    """A width that a module states."""
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise InputError(f"module {module} has the {name} {str(value)[:40]}")
    return value
