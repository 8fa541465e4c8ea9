"""The notebooks run, and what they store is what they print; nothing that they store is of one machine."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TRAINING = ("choose-a-model", "follow-a-training")
"""Notebooks that train an encoder, which comes out somewhat different on every kind of processor."""
OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt)/|\d s\b|tokens/s|\b0x[0-9a-f]{6}|[A-Z]:\\")


def printed(notebook) -> list[tuple[str, list[str]]]:
    """Source of each cell, and the texts of its outputs; a figure as the word that it is one."""
    found = []
    for cell in notebook["cells"]:
        texts = []
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            texts += ["a figure"] if "image/png" in data else ["".join(data["text/plain"])]
        found.append(("".join(cell["source"]), texts))
    return found


@pytest.fixture(scope="module")
def executed():
    """The function that executes a notebook, of docs/notebooks/execute.py."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is in the test extra")
    spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.thorough if p.stem in TRAINING else ()) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_prints_what_it_stores(path, executed):
    stored = printed(json.loads(path.read_text(encoding="utf-8")))
    fresh = printed(executed(path))
    assert len(fresh) == len(stored)
    for (source, texts), (_, kept) in zip(fresh, stored, strict=True):
        assert len(texts) == len(kept), source
        assert path.stem in TRAINING or texts == kept, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_executed_and_nothing_is_of_one_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr" or output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for source, texts in printed(notebook):
        assert not OF_A_MACHINE.search("\n".join(texts)), source


def test_the_index_names_every_notebook():
    index = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 3
    assert all(f"(notebooks/{path.name})" in index for path in NOTEBOOKS)
