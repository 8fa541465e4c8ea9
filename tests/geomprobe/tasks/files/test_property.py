"""Random tables in many formats: what is read back is what was written, or the file is refused; nothing in between.

GEOMPROBE_CASES sets how many tables are drawn (60 by default; 2,000 take some minutes).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomprobe.common import InputError
from geomprobe.tasks import load_file

CASES = int(os.environ.get("GEOMPROBE_CASES", "60"))
PIECES = [
    *'"",\t\n\r;|\'\\ ab1-?',
    '""', '","', '"\t"', "\r\n", "\n\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\ufeff", "\ufffd",
    "é", "猫", "🙂", "NA", "null", "-1", "#", "{", "[", " word ",
]  # fmt: skip
RARE = ["\0", "\ud83d"]
WORDS = ["yes", "no", "maybe so", "é", 'a "b"', "x,y", "x;y", "a\tb", "no one", "NA"]
NO_LABEL = [None, "", "-", "?", "None", "nan", "N/A"]

texts = st.lists(st.sampled_from(PIECES * 8 + RARE), max_size=8).map("".join)
plain = st.text("ab \"'", max_size=6)


@st.composite
def tables(draw):
    """Return a table as columns in some order, with the names of those that hold text."""
    n = draw(st.integers(1, 8))
    pairs = draw(st.booleans())
    cell = draw(st.sampled_from([texts, plain]))
    kinds = {
        "words": st.sampled_from(WORDS),
        "whole": st.integers(0, 5),
        "scores": st.integers(0, 20).map(lambda i: i / 4 + 0.125),
        "truth": st.booleans(),
    }
    label = draw(st.sampled_from(list(kinds.values())))
    missing = draw(st.sampled_from(NO_LABEL))
    text = ["sentence1", "sentence2"] if pairs else ["sentence"]
    columns = {name: draw(st.lists(cell, min_size=n, max_size=n)) for name in text}
    labels = draw(st.lists(label | st.none() if draw(st.booleans()) else label, min_size=n, max_size=n))
    columns["label"] = labels
    if draw(st.booleans()):
        columns["id"] = [f"r{i}" for i in range(n)]
    order = draw(st.permutations(list(columns)))
    return {name: columns[name] for name in order}, text, missing


def expected(columns, text):
    """Return the rows that have a label: texts, and the label as a word, or as a number where it is a score."""
    rows = []
    for i, label in enumerate(columns["label"]):
        if label is not None:
            name = str(label).lower() if isinstance(label, bool) else label
            rows.append((*(columns[name][i] for name in text), name if isinstance(name, float) else str(name)))
    return rows


def read(path, text):
    """Return the rows of a file in the same form, or None where it is refused."""
    try:
        task = load_file(path)
    except InputError as error:
        return None if len(error.message) < 2000 else "an error is a few lines"
    assert task.notes[0].startswith("text " + " and ".join(map(repr, text)))
    split = task.validation
    sides = [split.first, split.second] if split.second else [split.first]
    labels = split.labels if task.kind == "regression" else [task.label_names[i] for i in split.labels]
    return [(*row, label) for *row, label in zip(*sides, labels, strict=True)]


def delimited(columns, missing, *, delimiter=",", end="\n", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(columns)
    writer.writerows([missing if v is None else v for v in row] for row in zip(*columns.values(), strict=True))
    return out.getvalue()


def unquoted(columns, missing, delimiter="\t"):
    """Return lines of cells with nothing quoted, as many tools write TSV; None where even its bytes cannot be told.

    Two of quotes, delimiters and line breaks in texts can give the very bytes of another table, and a break at the very
    end of the file is a blank line.
    """
    cells = [str(cell) for column in columns.values() for cell in column]
    held = [any(mark in cell for cell in cells for mark in marks) for marks in ('"', delimiter, "\r\n")]
    if sum(held) > 1:
        return None
    rows = [[str(missing or "") if v is None else str(v) for v in row] for row in zip(*columns.values(), strict=True)]
    return None if rows[-1][-1].endswith("\n") else "".join(delimiter.join(r) + "\n" for r in [list(columns), *rows])


def records(columns, missing):
    return [dict(zip(columns, (missing if v is None else v for v in row), strict=True)) for row in zip(*columns.values(), strict=True)]  # noqa: E501  # fmt: skip


def written(columns, missing):
    """Yield (suffix, writer, content): bytes, or a pyarrow table."""
    filled = {name: [missing if v is None else v for v in column] for name, column in columns.items()}
    some = None if missing is None or not all(isinstance(v, str | None) for v in columns["label"]) else missing
    rows = records(columns, some)
    yield "csv", "csv module", delimited(columns, missing)
    yield "csv", "csv module, CRLF", delimited(columns, missing, end="\r\n")
    yield "csv", "csv module, all quoted", delimited(columns, missing, quoting=csv.QUOTE_ALL)
    yield "csv", "semicolons", delimited(columns, missing, delimiter=";")
    yield "tsv", "csv module", delimited(columns, missing, delimiter="\t")
    yield "tsv", "csv module, CRLF", delimited(columns, missing, delimiter="\t", end="\r\n")
    yield "tsv", "csv module, all quoted", delimited(columns, missing, delimiter="\t", quoting=csv.QUOTE_ALL)
    yield "tsv", "unquoted", unquoted(columns, missing)
    yield "jsonl", "escapes", "".join(json.dumps(row) + "\n" for row in rows)
    yield "jsonl", "letters", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    yield "json", "records", json.dumps(rows, indent=1)
    yield "json", "data", json.dumps({"version": "1", "data": rows})
    yield "json", "columns", json.dumps(columns)
    if not any("\ud83d" in str(v) for column in columns.values() for v in column):
        frame = pd.DataFrame(columns)
        yield "csv", "pandas", pd.DataFrame(filled).to_csv(index=False)
        yield "tsv", "pandas", pd.DataFrame(filled).to_csv(index=False, sep="\t")
        yield "jsonl", "pandas", frame.to_json(orient="records", lines=True, force_ascii=False)
        yield "json", "pandas", frame.to_json()
        yield "parquet", "pyarrow", pa.table(columns)
        yield "parquet", "pandas", pa.Table.from_pandas(frame)
        yield "feather", "pyarrow", pa.table(columns)


def encoded(content, encoding):
    """Return the content as bytes; in UTF-8 where the encoding lacks a letter or would spell another."""
    if encoding in ("latin-1", "cp1252") and "\x85" in content:
        encoding = "utf-8"
    try:
        return content.encode(encoding)
    except UnicodeEncodeError:
        return content.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def counts():
    """How many files of each writer were read and refused; printed at the end (pytest -s)."""
    found: Counter[tuple[str, str, str]] = Counter()
    yield found
    for key in sorted(found):
        print(*key, found[key])


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), encoding=st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "latin-1", "cp1252"]))
def test_rows_are_read_as_written_or_refused(tmp_path_factory, counts, table, encoding):
    columns, text, missing = table
    wanted = expected(columns, text)
    folder = tmp_path_factory.mktemp("table")
    for suffix, writer, content in written(columns, missing):
        if content is None:
            continue
        path = folder / f"t.{suffix}"
        if isinstance(content, str):
            path.write_bytes(encoded(content, encoding))
        elif suffix == "parquet":
            pa.parquet.write_table(content, path)
        else:
            pa.feather.write_feather(content, path)
        found = read(path, text)
        counts[suffix, writer, "refused" if found is None else "read"] += 1
        assert found is None or found == wanted, (suffix, writer)
        if suffix in ("parquet", "feather") and wanted:
            assert found == wanted, "a typed table leaves nothing open"
