"""Whether a value read from JSON has the type that is declared for it, in the words of a user."""

from __future__ import annotations

import sys
import types
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from geomprobe.common.errors import InputError
from geomprobe.common.names import brief

WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


def checked(value: Any, kind: Any, where: str, hint: str, at: str = "") -> Any:
    """Value of JSON, known to be of a type from here on.

    Parameters
    ----------
    value : JSON
    kind : type
        Made of the plain types of JSON, ``list``, ``dict``, unions with at most one alternative of each, and typed
        dicts, whose further keys are left alone.
    where, at : str
        The file, and the path to the value in it, such as ``models[0].name``.
    hint : str

    Raises
    ------
    InputError
        It has another type; the message names file and path.
    """
    try:
        _check(value, kind, at)
    except ValueError as error:
        raise InputError(f"{where}: {error}.", hint) from None
    return value


def _check(value: Any, kind: Any, at: str) -> None:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        # one alternative of a kind at most, so the errors inside the one that fits are the ones to tell
        fitting = next((part for part in inner if _fits(value, part)), None)
        if fitting is None:
            raise _wrong(value, inner, at)
        _check(value, fitting, at)
        return
    if not _fits(value, kind):
        raise _wrong(value, (kind,), at)
    if origin is list:
        for i, item in enumerate(value):
            _check(item, inner[0], f"{at}[{i}]")
    elif origin is dict:
        for key, item in value.items():
            _check(item, inner[1], _inside(at, key))
    elif is_typeddict(kind):
        if missing := sorted(kind.__required_keys__ - value.keys()):
            raise ValueError(f"{_inside(at, missing[0])} is missing")
        for key, part in get_type_hints(kind).items():
            if key in value:
                _check(value[key], part, _inside(at, key))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, whatever it holds inside."""
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # false for NaN, and for whole numbers beyond float64
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _outer(kind))


def _outer(kind: Any) -> type:
    return get_origin(kind) or (dict if is_typeddict(kind) else kind)


def _inside(at: str, key: Any) -> str:
    key = brief(str(key), 60)
    return f"{at}.{key}" if at else key


def _wrong(value: Any, kinds: tuple[Any, ...], at: str) -> ValueError:
    wanted = " or ".join(WORDS[_outer(kind)] for kind in kinds)
    actual = (
        repr(value) if isinstance(value, str | int | float | None) else WORDS.get(type(value), type(value).__name__)
    )
    return ValueError(f"{at or 'the document'} must be {wanted}, not {brief(actual, 60)}")
