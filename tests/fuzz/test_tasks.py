"""The user's own task files, whole and damaged, through `geomprobe analyze` and the door that it reads them by."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from fuzz_contract import examples
from fuzz_damage import KINDS_OF_FILE, damaged_bytes, damaged_json, fresh_copy, read_or_refused
from fuzz_encoders import WORDS, tiny_model, word_tokenizer
from hypothesis import example, given
from hypothesis import strategies as st

from geomprobe.tasks import load_file

N = 8
TABLE = pd.DataFrame(
    {
        "id": range(N),
        "sentence": [f"the {word} sat on a mat" for word in WORDS[1:9]],
        "label": ["yes", "no"] * (N // 2),
        "score": np.linspace(0, 1, N),
    }
)
RECORDS = TABLE.to_dict("records")


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def arrow(table: pa.Table) -> bytes:
    out = io.BytesIO()
    feather.write_feather(table, out)
    return out.getvalue()


ARROW = pa.Table.from_pandas(TABLE, preserve_index=False)
CSV = TABLE.to_csv(index=False).encode()
JSONL = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
FILES = {
    "t.csv": CSV,
    "t.tsv": TABLE.to_csv(index=False, sep="\t").encode(),
    "t.jsonl": JSONL,
    "t.json": json.dumps(RECORDS).encode(),
    "t.txt": "\n".join(TABLE["sentence"]).encode(),
    "t.parquet": parquet(ARROW),
    "t.arrow": arrow(ARROW),
    "t.csv.gz": gzip.compress(CSV),
    "t.jsonl.bz2": bz2.compress(JSONL),
    "t.csv.xz": lzma.compress(CSV),
}
CELLS = [
    None, True, False, 0, 1, -1, 2**64, 10**400, 0.5, float("nan"), float("inf"), 1e308, "", " ", "yes", "0", "false",
    "nan", "NA", "\0", "\ud800", "é猫", "a" * 5000, '"', "'", "\n", "\r\n", ",", [], [1, 2], ["a"], {}, {"a": [1]},
    [[]], {"text": "a"}, "\u2028", "\ufeff", "=1+1", "1e5", "1,5", "٣", "-0",
]  # fmt: skip
NAMES = [
    "label",
    "id",
    "score",
    "sentence",
    "split",
    "text",
    "",
    " ",
    "Label",
    "x" * 300,
    "\ufeffsentence",
    "a,b",
    "\0",
]
TYPES = [
    pa.array([None] * N),
    pa.array([b"a\xff"] * N),
    pa.array([[1, 2]] * N),
    pa.array([{"a": 1}] * N),
    pa.array([2**64 - 1] * N, pa.uint64()),
    pa.array(["a", "b"] * 4).dictionary_encode(),
    pa.array([1.5] * N, pa.float16()),
    pa.array([True, False] * 4),
    pa.array(range(N), pa.timestamp("ns")),
    pa.array(range(N), pa.duration("s")),
    pa.array([None, *range(N - 1)], pa.date32()),
    pa.array([1] * N).cast(pa.decimal128(30, 3)),
    pa.array([f"t{i}" for i in range(N)], pa.large_string()),
    pa.array([f"t{i}" for i in range(N)], pa.string_view()),
    pa.array([("k", 1)] * N, pa.struct([("a", pa.string()), ("b", pa.int8())])),
    pa.array([["a"]] * N, pa.list_(pa.string(), 1)),
    pa.array([[("k", 1)]] * N, pa.map_(pa.string(), pa.int8())),
    pa.array([float("nan"), 1.0] * 4),
    pa.array([b"ab"] * N, pa.binary(2)),
]
OPTIONS = [
    {},
    {"label": "label"},
    {"text": ["sentence"], "row_id": "id"},
    {"label": "score"},
    {"kind": "regression"},
    {"kind": "classification"},
    {"split": "train"},
    {"label": "id", "row_id": "label"},
    {"text": ["sentence", "label"]},
    {"positive": "yes", "text": ["sentence", "label"]},
    {"split_column": "label"},
]


def load(path, options=None):
    """Read a task and look at everything that it holds."""
    task = load_file(path, **(options or {}))
    for split in filter(None, (task.train, task.validation)):
        assert len(split.first) == len(split.labels) == len(split.row_ids) == len(set(split.row_ids))
        assert all(isinstance(text, str) for text in split.first)
        assert split.fingerprint
    return task


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz-model")
    tiny_model("bert").save_pretrained(folder / "m")
    word_tokenizer().save_pretrained(folder / "m")
    return folder


@examples(4)
@given(data=st.data())
def test_damaged_tasks(obeys, model, tmp_path, data):
    folder = fresh_copy(model, tmp_path)
    name = data.draw(st.sampled_from(sorted(FILES)))
    (folder / name).write_bytes(data.draw(damaged_bytes(FILES[name])))
    more = data.draw(st.sampled_from([[], ["--label=label"], ["--id=id"], ["--kind=regression"]]))
    obeys("analyze", "m", f"--task={name}", "--out=o", *more, folder=folder)


@examples(4)
@given(data=st.data())
def test_records_of_any_cells(obeys, model, tmp_path, data):
    """Any value in any cell of a .jsonl file."""
    folder = fresh_copy(model, tmp_path)
    (folder / "t.jsonl").write_bytes(data.draw(records()))
    more = data.draw(st.sampled_from([[], ["--label=label"], ["--id=id"], ["--kind=regression"]]))
    obeys("analyze", "m", "--task=t.jsonl", "--out=o", *more, folder=folder)


@st.composite
def records(draw) -> bytes:
    rows = [dict(record) for record in RECORDS]
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(["label", "id", "score", "sentence", "split", "text"]))
        value = draw(st.sampled_from(CELLS))
        for row in rows if draw(st.booleans()) else [rows[draw(st.integers(0, N - 1))]]:
            row[key] = value
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@examples(30)
@given(data=st.data())
@example(data=None)
def test_damaged_tasks_at_the_door(tmp_path, data):
    folder = fresh_copy(None, tmp_path)
    if data is None:  # every kind of file under every name
        cases = [(name, content) for name in sorted(FILES) for content in KINDS_OF_FILE]
        options = {}
    else:
        name, options = data.draw(st.sampled_from(sorted(FILES))), data.draw(st.sampled_from(OPTIONS))
        content = data.draw(damaged_bytes(FILES[name]))
        if name == "t.json" and data.draw(st.booleans()):
            content = data.draw(damaged_json(FILES[name].decode())).encode("utf-8", "surrogatepass")
        elif name == "t.jsonl" and data.draw(st.booleans()):
            content = data.draw(records())
        cases = [(name, content)]
    for name, content in cases:
        (folder / name).write_bytes(content)
        read_or_refused(load, folder / name, options)


@examples(15)
@given(data=st.data())
def test_columns_of_any_type_and_name(tmp_path, data):
    """Tables of any Arrow type under any name, names twice, in Parquet and Arrow files and folders of splits."""
    folder = fresh_copy(None, tmp_path)
    options = data.draw(st.sampled_from(OPTIONS))
    names = [*ARROW.column_names, *data.draw(st.lists(st.sampled_from(NAMES), max_size=3))]
    columns = [*ARROW.columns, *(data.draw(st.sampled_from(TYPES)) for _ in names[4:])]
    for _ in range(data.draw(st.integers(0, 2))):
        columns[data.draw(st.integers(0, len(names) - 1))] = data.draw(st.sampled_from(TYPES))
    table = pa.Table.from_arrays(columns, names)
    table = table.slice(0, data.draw(st.sampled_from([N, N, N, 1, 2, 0])))
    for split, part in {"train": ARROW, "validation": table}.items() if data.draw(st.booleans()) else [("t", table)]:
        (folder / f"{split}.parquet").write_bytes(parquet(part))
    if data.draw(st.booleans()):
        (folder / "t.arrow").write_bytes(arrow(table))
        read_or_refused(load, folder / "t.arrow", options)
    read_or_refused(load, folder / "t.parquet" if (folder / "t.parquet").exists() else folder, options)


@examples(15)
@given(data=st.data())
def test_texts_are_read_as_they_were_written(tmp_path, data):
    """The texts and labels that pandas wrote are the ones that are read, or the file is refused."""
    word = st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=6
    )
    texts = data.draw(st.lists(word.map("the {}".format), min_size=4, max_size=8, unique=True))
    labels = data.draw(st.sampled_from([["a", "b"], [0, 1], [True, False], ["0", "1"], ["no", "NO"]]))
    frame = pd.DataFrame({"sentence": texts, "label": [labels[i % 2] for i in range(len(texts))]})
    how = data.draw(st.sampled_from(["csv", "tsv", "jsonl", "parquet", "csv.gz"]))
    path = fresh_copy(None, tmp_path) / f"t.{how}"
    if how == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif how == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if how == "tsv" else ",")
    task = read_or_refused(load, path)
    if task is not None:
        assert list(task.validation.first) == texts
        assert len({(a, b) for a, b in zip(frame["label"], task.validation.labels, strict=True)}) == len(
            set(frame["label"])
        )
