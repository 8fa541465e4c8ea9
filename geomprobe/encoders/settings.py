"""The settings in a sentence-transformers folder, with their types checked; errors name file and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from geomprobe.common import InputError, read_json

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {}
for _types, _words, _names in (
    ((dict,), "an object", "prompts modality_config processing_kwargs model_kwargs model_args"),
    ((dict,), "an object", "processor_kwargs tokenizer_args config_kwargs config_args"),
    ((str,), "a text", "default_prompt_name model_type transformer_task tokenizer_name_or_path activation_function"),
    ((str,), "a text", "module_input_name module_output_name"),
    ((bool,), "true or false", "do_lower_case include_prompt bias use_residual"),
    ((int,), "a whole number of at least 1", "max_seq_length"),
    ((str, list), "a name or a list of names", "pooling_mode"),
):
    _KINDS |= dict.fromkeys(_names.split(), (_types, _words))


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
    values = read_object(file)
    for name, value in values.items():
        if name in _KINDS and value is not None and not _fits(value, _KINDS[name][0]):
            raise InputError(
                f"{file}: {name} must be {_KINDS[name][1]}, not {str(value)[:40]!r}.",
                "Correct the file, or save the model again.",
            )
    for name, inner in (("prompts", str), ("processing_kwargs", dict)):
        for key, value in (values.get(name) or {}).items():
            if value is not None and not isinstance(value, inner):
                words = "a text" if inner is str else "an object"
                raise InputError(f"{file}: {name}.{key} must be {words}, not {str(value)[:40]!r}.", "Correct the file.")
    return values


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    if types == (int,):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return isinstance(value, types)


def is_path(name: Any) -> bool:
    """Whether a setting can be the path of a file: a text, and no part of it longer than a file's name may be."""
    return isinstance(name, str) and "\0" not in name and len(name) < 4096 and max(map(len, name.split("/"))) < 256


def inside(folder: Path, part: Any, named_in: Path) -> Path:
    """Path that a file names inside a folder; raises InputError for a name that leads out of it."""
    if not is_path(part):
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
