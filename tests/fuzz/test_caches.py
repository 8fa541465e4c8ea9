"""Damaged caches and half-written results folders: the same command gives the numbers of a run without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from fuzz_contract import examples
from fuzz_damage import damage_one, fresh_copy
from fuzz_encoders import tiny_model, word_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from geomprobe.cli.main import app

ROWS = [f"the {a} sat on a {b}" for a in ("cat", "dog", "bird") for b in ("mat", "tree")]


@pytest.fixture(scope="session")
def measured(tmp_path_factory) -> Path:
    """A folder with the model `m`, the task `t.csv`, the results `o` and the cache `cache` of one analysis."""
    folder = tmp_path_factory.mktemp("fuzz-caches")
    tiny_model("bert").save_pretrained(folder / "m")
    word_tokenizer().save_pretrained(folder / "m")
    (folder / "t.csv").write_text("\n".join(["sentence", *ROWS]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["analyze", "m", "--task=t.csv", "--out=o"])
    assert done.exit_code == 0, done.output
    return folder


@examples(6)
@given(data=st.data())
def test_the_same_numbers_after_damage(obeys, measured, tmp_path, data, monkeypatch):
    """One or two files of the cache, or of the cells and tables of the results folder, damaged."""
    folder = fresh_copy(measured, tmp_path)
    if data.draw(st.booleans(), label="cache only"):
        shutil.rmtree(folder / "o")
    for _ in range(data.draw(st.integers(1, 2))):
        parts = [part for part in ("cache", "o") if (folder / part).exists()]
        part = folder / data.draw(st.sampled_from(parts))
        names = sorted(str(file.relative_to(part)) for file in part.rglob("*") if file.is_file())
        damage_one(data, part, names)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
    code = obeys("analyze", "m", "--task=t.csv", "--out=o", folder=folder, may_change=("o", "cache"))
    if code == 0:
        found, expected = (pd.read_parquet(here / "o" / "results.parquet") for here in (folder, measured))
        pd.testing.assert_frame_equal(found, expected)
    else:
        assert code in (2, 3)
    shutil.rmtree(folder)
