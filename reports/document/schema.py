"""The JSON Schema of the view model, from its types; `python -m geomprobe.reports.document.schema` writes it here."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from geomprobe.common import write_json
from geomprobe.reports.document.model import VIEW_VERSION, Document

PATH = Path(__file__).parent / "document.schema.json"
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}


def document_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of report.json."""
    kinds: dict[str, Any] = {}
    root = _schema(Document, kinds)
    kinds["Document"]["properties"]["view_version"] = {"const": VIEW_VERSION}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "geomprobe report, the view model"}
    return {**head, **root, "$defs": dict(sorted(kinds.items()))}


def _schema(kind: Any, kinds: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; typed dicts are collected in ``kinds`` and referred to."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": _schema(inner[0], kinds)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inner[1], kinds)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(part, kinds) for part in inner]}
    if not typing.is_typeddict(kind):
        raise TypeError(f"no schema for {kind}")
    name = kind.__name__
    if name not in kinds:
        kinds[name] = {"type": "object", "description": (kind.__doc__ or "").strip()}
        kinds[name] |= {
            "properties": {field: _schema(part, kinds) for field, part in get_type_hints(kind).items()},
            "required": sorted(kind.__required_keys__),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


if __name__ == "__main__":
    write_json(PATH, document_schema())
