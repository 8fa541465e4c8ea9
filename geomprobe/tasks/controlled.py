"""The controlled suite: sentences written by a small grammar, in which meaning, words and syntax vary apart."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from geomprobe.common import UsageError
from geomprobe.tasks.base import Split, Task

FRAMES = (
    "the {a} {v} the {b} {t}",
    "the {b} was {v} by the {a} {t}",
    "it was the {a} that {v} the {b} {t}",
    "it was the {b} that the {a} {v} {t}",
)


@cache
def grammar() -> dict[str, Any]:
    """Return the grammar that is packaged with this module."""
    text = resources.files("geomprobe.tasks").joinpath("controlled_grammar.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _sentence(frame: str, words: dict[str, str]) -> str:
    text = frame.format(**words)
    return text[0].upper() + text[1:] + "."


def _paraphrase_split(name: str, n_rows: int, seen: set[str], rng: np.random.Generator) -> Split:
    """Write ``n_rows`` pairs in twos: same proposition in other words and frame, then the same with the roles reversed.

    The two share their first sentence and the words of their second, so no word and no overlap tells the label.
    """
    lexicon = grammar()["lexicon"]
    first: list[str] = []
    second: list[str] = []
    while len(first) < n_rows:
        a, b = rng.choice(len(lexicon["person"]), 2, replace=False)
        v, t = (int(rng.integers(len(lexicon[slot]))) for slot in ("act", "time"))
        words = [
            {
                "a": lexicon["person"][a][i],
                "b": lexicon["person"][b][i],
                "v": lexicon["act"][v][i],
                "t": lexicon["time"][t][i],
            }
            for i in rng.permutation(2)
        ]
        frames = [FRAMES[int(f)] for f in rng.choice(len(FRAMES), 2, replace=False)]
        reversed_roles = words[1] | {"a": words[1]["b"], "b": words[1]["a"]}
        texts = [_sentence(frames[0], words[0]), _sentence(frames[1], words[1]), _sentence(frames[1], reversed_roles)]
        if seen.intersection(texts):
            continue
        seen.update(texts)
        first += [texts[0], texts[0]]
        second += [texts[1], texts[2]]
    labels = np.tile([1, 0], n_rows // 2).astype(np.int64)
    return Split(name, tuple(first), tuple(second), labels, tuple(f"{name}/{i}" for i in range(n_rows)))


def load(name: str = "controlled", *, train_rows: int = 1500, validation_rows: int = 600, seed: int = 0) -> Task:
    """Write a controlled task; the same arguments give the same task on every machine.

    Parameters
    ----------
    name : {"controlled"}
        Paraphrases (label 1) against role reversals (label 0).
    train_rows, validation_rows : int
        Even numbers of pairs; no sentence occurs in both splits.
    seed : int

    Raises
    ------
    UsageError
        If a number of rows is odd, below 2 or more than the grammar can fill.
    """
    for rows in (train_rows, validation_rows):
        if rows < 2 or rows % 2 or rows > 20_000:
            raise UsageError(f"{rows} rows cannot be written.", "Give an even number of rows from 2 to 20,000.")
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    validation = _paraphrase_split("validation", validation_rows, seen, rng)
    train = _paraphrase_split("train", train_rows, seen, rng)
    return Task(
        name,
        "classification",
        train,
        validation,
        ("not equivalent", "equivalent"),
        "accuracy",
        positive_label=1,
        source=f"geomprobe controlled suite, seed {seed}",
    )
