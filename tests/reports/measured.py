"""Results that `analyze` and `compare` make of tiny encoders, with cells that fail, for the tests of reports.

`bad` overflows on every text that holds the word "who", `worse` on all texts. Their weights are finite.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import torch
from typer.testing import CliRunner

from geomprobe.cli.main import app

_spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parents[1] / "geomprobe" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

CASES = {
    "pair": "compare good other --task=clean.csv --layer=all",
    "failed cell": "compare good bad --task=some.csv,clean.csv --pool=mean,max --layer=0,2",
    "one side": "compare good worse --task=clean.csv",
    "both sides": "compare worse bad --task=some.csv",
    "only cell": "analyze worse --task=clean.csv",
    "many": "analyze good other bad --task=some.csv",
    "seeds": "compare --group=a=good,other,bad --group=b=third,fourth,fifth --task=some.csv,clean.csv",
    "published": "compare good bad --protocol=paper --task=some.csv,clean.csv",
}
SOUND = ("pair",)
SCALES = {"good": 1.0, "other": 1.1, "third": 0.9, "fourth": 1.2, "fifth": 0.8, "bad": 1.0, "worse": 1.0}


def make_inputs(folder: Path) -> None:
    """Write the encoders and the task files that the cases name."""
    for name, scale in SCALES.items():
        model = tiny.tiny_model("bert")
        with torch.no_grad():
            words = model.embeddings.word_embeddings.weight
            words.mul_(scale)
            if name == "bad":
                words[5 + tiny.WORDS.index("who")] = 3e38
            elif name == "worse":
                model.embeddings.LayerNorm.weight.fill_(1e38)
                model.encoder.layer[0].attention.self.value.weight.fill_(1e38)
        model.save_pretrained(folder / name)
        tiny.word_tokenizer().save_pretrained(folder / name)
    write_task(folder / "clean.csv", {})
    write_task(folder / "some.csv", dict.fromkeys(range(0, 60, 4), " who"))


def write_task(path: Path, ends: dict[int, str], n: int = 60) -> None:
    """Write a task of one sentence a row and two classes; `ends` is what some rows end with."""
    draw = random.Random(0)
    words = [word for word in tiny.WORDS if word.isalpha() and word != "who"]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        out = csv.writer(handle)
        out.writerow(["sentence", "label"])
        for i in range(n):
            text = " ".join(draw.choice(words) for _ in range(7))
            out.writerow([text + ends.get(i, ""), "yes" if "cat" in text else "no"])


def maker(folder: Path) -> Callable[[str], tuple[Path, int]]:
    """Return a function from a case to its results folder, report included, and the exit code; made once."""
    make_inputs(folder)
    made: dict[str, tuple[Path, int]] = {}

    def make(case: str) -> tuple[Path, int]:
        if case not in made:
            out = folder / case.replace(" ", "-")
            cache = {"GEOMPROBE_CACHE": str(folder / "cache"), "GEOMPROBE_DATA": ""}
            with contextlib.chdir(folder):
                done = CliRunner().invoke(app, [*CASES[case].split(), f"--out={out.name}"], env=cache)
                if CASES[case].startswith("analyze"):
                    again = CliRunner().invoke(app, ["report", out.name])
                    assert again.exit_code == done.exit_code, again.output
            made[case] = out, done.exit_code
        return made[case]

    return make
