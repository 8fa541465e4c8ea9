"""Types of JSON values: what fits, and what a user is told of what does not."""

import math
from typing import Any, NotRequired, TypedDict

import pytest

from geomprobe.common import InputError
from geomprobe.common.json_types import checked


class Point(TypedDict):
    x: float
    names: NotRequired[list[str | None]]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, float),  # every whole number is a number
        ({"x": 1.5, "further": object}, Point),
        ({"x": 0, "names": ["a", None]}, Point),
        ({"a": {"b": 1}, "c": None}, dict[str, dict[str, int] | None]),
        (object, Any),
    ],
)
def test_a_value_of_the_kind_comes_back_as_it_is(value, kind):
    assert checked(value, kind, "f.json", "hint") is value


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (True, int, "the document must be a whole number, not True"),
        (math.nan, float, "the document must be a number, not nan"),
        (10**400, float, "the document must be a number, not "),
        ([], Point, "the document must be an object, not a list"),
        ({}, Point, "x is missing"),
        ({"x": 1, "names": ["a", 2]}, Point, "names[1] must be text or null, not 2"),
        ({"a": ["b", {}]}, dict[str, list[str]], "a[1] must be text, not an object"),
    ],
)
def test_another_type_is_refused_with_file_place_and_both_types(value, kind, said):
    with pytest.raises(InputError) as error:
        checked(value, kind, "f.json", "Write it again.")
    assert error.value.message.startswith(f"f.json: {said}")
    assert error.value.hint == "Write it again."


def test_the_path_begins_where_the_caller_says():
    with pytest.raises(InputError, match=r"f\.json: prompts\.query must be text, not 3"):
        checked({"query": 3}, dict[str, str], "f.json", "hint", "prompts")
