"""The worked guides of docs/how-to: every command and every block of Python of them runs, in their order."""

from __future__ import annotations

import contextlib
import io
import random
import re
import shlex
from pathlib import Path

import matplotlib
import pytest
import torch
from typer.testing import CliRunner

from tests.geomprobe.conftest import WORDS, tiny_model, word_tokenizer

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
SAID = {
    "add-your-own": ["above: too narrow", "above_by_density: holds"],
    "choose-for-retrieval": ["alignment", "model-a", "model-b"],
    "did-my-fine-tune-help": ["uniformity", "verdict"],
    "watch-a-pretraining": ["step 10: rank", "step 40: rank"],
}
"""What the Python of each guide prints."""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with what the guides name: models, pairs, texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "agg")
    for names, noise in ((("model-a", "base"), 0.0), (("model-b", "tuned"), 0.1)):
        model = tiny_model("bert")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * noise)
        for name in names:
            model.save_pretrained(name)
            word_tokenizer().save_pretrained(name)
    draw = random.Random(0)

    def sentence(n=6):
        return " ".join(draw.choices([word for word in WORDS if word.isalpha()], k=n))

    pairs = [f"{sentence()},{sentence()},{i % 2}\n" for i in range(60)]
    Path("pairs.csv").write_text("query,passage,relevant\n" + "".join(pairs), encoding="utf-8")
    Path("texts.csv").write_text("text\n" + "".join(f"{sentence()}\n" for _ in range(60)), encoding="utf-8")
    Path("texts.txt").write_text("".join(f"{sentence(20)}\n" for _ in range(1500)), encoding="utf-8")


THOROUGH = ("add-your-own", "choose-for-retrieval", "did-my-fine-tune-help")
GUIDES = [pytest.param(name, marks=pytest.mark.thorough) if name in THOROUGH else name for name in SAID]


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_runs_from_top_to_bottom(guide, workplace):
    from geomprobe.cli.main import app

    text = (HOW_TO / f"{guide}.md").read_text(encoding="utf-8")
    printed, names = io.StringIO(), {}
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block, guide, "exec"), names)
        for line in block.splitlines() if not language else []:
            if line.startswith("geomprobe "):
                done = CliRunner().invoke(app, shlex.split(line)[1:])
                assert done.exit_code == 0, done.output
    assert all(word in printed.getvalue() for word in SAID[guide]), printed.getvalue()
