"""Matrices written as text in many dialects come back equal, or are refused: never as another matrix."""

import csv
import gzip
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from geomprobe.common import InputError, UsageError
from geomprobe.vectors import open_vectors

CASES = int(os.environ.get("GEOMPROBE_CASES", "100"))
FRACTIONS = st.floats(-1e6, 1e6, allow_subnormal=False)
EVERY = st.one_of(
    FRACTIONS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3).map(float),
)
NAMES = {
    "none": None,
    "counted": lambda d: [f"e{i}" for i in range(d)],
    "numbers": lambda d: [str(i) for i in range(d)],
    "numbers from 1": lambda d: [str(i + 1) for i in range(d)],
    "fractions": lambda d: [f"{i}.0" for i in range(d)],
    "words": lambda d: [f"{chr(97 + i)} name" for i in range(d)],
    "twice": lambda d: ["v"] * d,
    "years": lambda d: [str(1990 + 3 * i) for i in range(d)],
}
SIDES = {
    "none": None,
    "index": lambda i: i,
    "ids": lambda i: 1000 + 37 * ((i * 7919) % 101),
    "words": lambda i: f"doc {i}",
    "texts": lambda i: f'it, "said"; {i}\n a # b',
    "numbered words": lambda i: f"#{i}",
}


@st.composite
def dialects(draw):
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 6))
    whole = draw(st.integers(0, 9)) == 0
    numbers = st.integers(-128, 127).map(float) if whole else draw(st.sampled_from([FRACTIONS, EVERY]))
    matrix = np.array(draw(st.lists(st.lists(numbers, min_size=d, max_size=d), min_size=n, max_size=n)))
    return {
        "matrix": matrix,
        "write": (lambda v: str(int(v)))
        if whole
        else draw(st.sampled_from([repr, "{:.17g}".format, "{:.17e}".format])),
        "names": draw(st.sampled_from(sorted(NAMES))),
        "side": draw(st.sampled_from(sorted(SIDES))),
        "side_name": draw(st.sampled_from(["id", "", "text"])),
        "side_last": draw(st.booleans()),
        "delimiter": draw(st.sampled_from([",", "\t", ";", "|", " ", "  "])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "newline": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])),
        "gzip": draw(st.booleans()),
        "blank": draw(st.integers(0, 2)),
        "comment": draw(st.sampled_from(["", "# written by hand\n", "# a,b,c\n"])),
        "suffix": draw(st.sampled_from([".csv", ".tsv", ".txt", ".CSV", ""])),
        "whole": whole,
    }


def text_of(case):
    rows = [[case["write"](value) for value in row] for row in case["matrix"].tolist()]
    names = NAMES[case["names"]] and NAMES[case["names"]](case["matrix"].shape[1])
    if side := SIDES[case["side"]]:
        cells = [str(side(i)) for i in range(len(rows))]
        rows = [[*row, cell] if case["side_last"] else [cell, *row] for row, cell in zip(rows, cells, strict=True)]
        if names:
            names = [*names, case["side_name"]] if case["side_last"] else [case["side_name"], *names]
    rows = [names, *rows] if names else rows
    out = io.StringIO()
    if case["delimiter"].isspace() and case["delimiter"] != "\t":
        out.writelines(case["delimiter"].join(cell.replace(" ", "_") for cell in row) + "\n" for row in rows)
    else:
        csv.writer(out, delimiter=case["delimiter"], quoting=case["quoting"], lineterminator="\n").writerows(rows)
    return (case["comment"] + out.getvalue() + "\n" * case["blank"]).replace("\n", case["newline"])


@settings(max_examples=CASES, deadline=None)
@given(dialects())
def test_a_matrix_comes_back_equal_or_is_refused(case):
    different = [len(set(column)) == len(column) for column in case["matrix"].T.tolist()]
    if case["whole"] and case["names"] == "none" and (len(case["matrix"]) < 3 or any(different)):
        case["side"] = (
            "none"  # nothing tells ids from whole numbers in two rows, or where these differ in every row too
        )
    if case["names"] == "years" and case["matrix"].shape[1] < 5:
        case["names"] = "words"  # a few whole numbers above others: nothing tells the names from a row
    data = text_of(case).encode(case["encoding"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"vectors{case['suffix']}"
        path.write_bytes(gzip.compress(data) if case["gzip"] else data)
        try:
            found = open_vectors([path])
        except (InputError, UsageError):
            event("refused")
            return
        event("read")
        assert found.shape == case["matrix"].shape
        np.testing.assert_array_equal(np.asarray(found), case["matrix"])
