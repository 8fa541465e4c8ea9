"""Populations of real embeddings: distinct sentences under several encoders, layers and poolings, kept in a cache.

The cache is a folder with texts.parquet (columns text and doc) and an array POPULATION.npy for each population, a row a
text. What is missing is made with `geomprobe.embed`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

POPULATIONS = {
    "mini6_mean": ("mini", 6, "mean"),
    "mini3_mean": ("mini", 3, "mean"),
    "mini6_max": ("mini", 6, "max"),
    "mini6_cls": ("mini", 6, "cls"),
    "small2_mean": ("small", 2, "mean"),
    "small2_max": ("small", 2, "max"),
    "small2_cls": ("small", 2, "cls"),
}
"""Name -> encoder, layer and pooling."""


@cache
def texts(folder: Path) -> pd.DataFrame:
    """Return the texts of a cache: text and doc, the article of a sentence of Wikipedia, else the file it is from."""
    return pd.read_parquet(folder / "texts.parquet")


@cache
def vectors(folder: Path, population: str) -> np.ndarray:
    """Return a population's vectors, float32 (texts, dimensions), mapped from the cache."""
    found = np.load(folder / f"{population}.npy", mmap_mode="r")
    if len(found) != len(texts(folder)):
        raise SystemExit(f"{folder / population}.npy has {len(found)} rows, texts.parquet {len(texts(folder))}.")
    return found


@cache
def articles(folder: Path) -> list[np.ndarray]:
    """Return the rows of each article of Wikipedia."""
    doc = texts(folder)["doc"].reset_index(drop=True)
    return [part.index.to_numpy() for _, part in doc[doc.str.fullmatch(r"w\d+")].groupby(doc, sort=False)]


def sentences(data: Path) -> pd.DataFrame:
    """Return distinct sentences of Wikipedia's validation articles (at most 40 each), SST-2, MNLI and CoLA."""
    rows = []
    for i, article in enumerate(pd.read_parquet(data / "wikipedia/validation.parquet")["text"]):
        parts = [part.strip() for part in re.split(r"(?<=[.!?])\s+", article.replace("\n", " "))]
        rows += [(part, f"w{i}") for part in [part for part in parts if 5 <= len(part.split()) <= 40][:40]]
    for name, columns in GLUE.items():
        table = pd.read_parquet(data / "glue" / f"{name}.parquet")
        if name == "sst2/train":
            table = table.sample(14_000, random_state=0)
        for column in columns:
            rows += [(text.strip(), name) for text in table[column] if 3 <= len(text.split()) <= 60]
    return pd.DataFrame(rows, columns=["text", "doc"]).drop_duplicates("text").reset_index(drop=True)


GLUE = {"sst2/train": ["sentence"], "mnli/validation_matched": ["premise", "hypothesis"], "cola/train": ["sentence"]}
"""File -> columns of sentences."""
