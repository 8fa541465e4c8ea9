"""Results folders and files of published numbers, whole and damaged, through `report`, `compare` and `audit`."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_contract import examples
from fuzz_damage import damage_one, damaged_file, fresh_copy, read_or_refused
from fuzz_encoders import tiny_model, word_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from geomprobe.cli.main import app
from geomprobe.results import read_results

CELLS = itertools.product(("sst2", "stsb"), ("mlm", "hybrid"), ("mean", "max"))
PUBLISHED = {
    f"{task}/{model}/{pooling}": {
        "uniformity": -1.5 - i / 10,
        "effective_rank": 20.0 + i,
        "anisotropy": 0.1 * i,
        "n": 872,
        "spectrum": [4.0, 2.0, 1.0, 0.5],
        "nested": {"token_probe_acc": 0.7, "token_probe_acc_std": 0.01, "names": ["a"], "none": None},
    }
    for i, (task, model, pooling) in enumerate(
        (task, model, pooling)
        for task in ("sst2", "stsb")
        for model in ("mlm", "hybrid")
        for pooling in ("mean", "max")
    )
}
FILES = ["run.json", "run.json", "definitions.json", "results.parquet", "comparisons.parquet", "curves.parquet",
         "examples.parquet", "influences.parquet", "similarities.parquet", "report.json",
         "maps.parquet", "neighbours.parquet", "neighbour_overlap.parquet", "moved_pairs.parquet", "texts.parquet",
         "training/m.jsonl"]  # fmt: skip
ANY = [
    None,
    "",
    "x",
    "m",
    "mean",
    -1,
    0,
    1,
    3,
    2**40,
    0.5,
    float("nan"),
    float("inf"),
    1e308,
    "failed",
    "<b>",
    "\n",
    True,
]


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A folder with a comparison `o` of the tiny encoders `m` and `n`, and a training log in it."""
    folder = tmp_path_factory.mktemp("fuzz-results")
    for name in ("m", "n"):
        tiny_model("bert" if name == "m" else "roberta").save_pretrained(folder / name)
        word_tokenizer().save_pretrained(folder / name)
    rows = [f"the {a} sat on a {b}" for a in ("cat", "dog", "bird") for b in ("mat", "tree")]
    (folder / "t.csv").write_text("\n".join(["sentence", *rows]))
    arguments = ["compare", str(folder / "m"), str(folder / "n"), f"--task={folder / 't.csv'}", f"--out={folder / 'o'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (folder / "o" / "training").mkdir()
    record = {"step": 1, "tokens": 100, "loss": 3.5, "held_out_mlm": 3.0, "lambda": 0.5, "effective_rank_raw": 3.0}
    (folder / "o" / "training" / "m.jsonl").write_text(
        "".join(json.dumps(record | {"step": i}) + "\n" for i in range(3))
    )
    for unneeded in ("report.html", "report.pdf", "cells"):
        shutil.rmtree(folder / "o" / unneeded, ignore_errors=True)
        (folder / "o" / unneeded).unlink(missing_ok=True)
    return folder / "o"


def change_table(data, path: Path) -> None:
    """Put any value into any cell, or change columns and rows of a parquet file."""
    frame = pd.read_parquet(path)
    how = data.draw(
        st.sampled_from(["cell", "cell", "cell", "drop", "add", "column", "rows", "twice", "order", "type"])
    )
    name = data.draw(st.sampled_from(list(frame.columns)))
    value = data.draw(st.sampled_from(ANY))
    if how == "cell" and len(frame):
        frame = frame.astype(object)
        frame.loc[data.draw(st.integers(0, len(frame) - 1)), name] = value
    elif how == "column":
        frame[name] = value
    elif how == "drop":
        frame = frame.drop(columns=name)
    elif how == "add":
        frame["extra"] = value
    elif how == "rows":
        frame = frame.iloc[:: data.draw(st.sampled_from([2, 7, -1]))].iloc[: data.draw(st.sampled_from([0, 1, 100]))]
    elif how == "twice":
        frame = pd.concat([frame, frame])
    elif how == "type":
        frame[name] = frame[name].astype(str)
    table = None
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # pandas keeps what no column can hold
        frame[name] = frame[name].astype(str)
        table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, path)


def damage_results(data, folder: Path) -> None:
    name = data.draw(st.sampled_from(FILES))
    if name.endswith(".parquet") and data.draw(st.integers(0, 3)):
        change_table(data, folder / name)
    else:
        damage_one(data, folder, [name])


@examples(2)
@given(data=st.data())
def test_reports_of_damaged_results(obeys, results, tmp_path, data):
    folder = fresh_copy(None, tmp_path)
    shutil.copytree(results, folder / "o")
    damage_results(data, folder / "o")
    changed = tuple(f"o/report.{kind}" for kind in ("html", "json", "pdf"))
    obeys("report", "o", "--html", folder=folder, may_change=changed)
    shutil.rmtree(folder)


@examples(10)
@given(data=st.data())
def test_damaged_results_at_the_door(results, tmp_path, data):
    folder = fresh_copy(results, tmp_path)
    damage_results(data, folder)
    read_or_refused(read_results, folder)


@examples(12)
@given(data=st.data())
def test_damaged_published_numbers(obeys, tmp_path, data):
    """Any JSON value at any place of a file of published numbers."""
    folder = fresh_copy(None, tmp_path)
    content = data.draw(damaged_file(json.dumps(PUBLISHED).encode()))
    if content is not None:
        (folder / "p.json").write_bytes(content)
    out = data.draw(st.sampled_from([[], ["--out=o.json"], ["--json"]]))
    obeys("audit", "--published=p.json", *out, folder=folder)
