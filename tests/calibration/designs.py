"""Cells of the calibration on real embeddings: a population, a number of rows, and how these are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from tests.calibration.populations import POPULATIONS, articles, texts
from tests.calibration.simulate import ALIKE

ROWS = (200, 500, 1000, 2000)
SPECTRAL = (
    *("effective_rank", "rankme", "spectral_entropy", "participation_ratio", "stable_rank", "rank_90", "rank_99"),
    *("isoscore", "vendi_score"),
)
METRICS = (*SPECTRAL, "mean_cosine", "uniformity", "partition_isotropy", "intrinsic_dimension")
PROBE = ("semantic_accuracy", "semantic_macro_f1", "semantic_log_loss")
GROUPS = {"cloud": METRICS, "similarities": ALIKE, "probe": PROBE}
"""Metrics that are drawn together: of one cloud, of a population and another on the same rows, of a probe."""
ALL = [metric for metrics in GROUPS.values() for metric in metrics]
POWERED = {"effective_rank", "rankme", "participation_ratio", "stable_rank"}
POWERED_ROWS = (200, 1000)
"""Metrics and numbers of rows whose power is measured."""
SCALES = (0.8, 1.05, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Design:
    """How rows are drawn, and what is measured.

    Attributes
    ----------
    documents : int or None
        Articles of Wikipedia, each with the same number of its sentences; None draws sentences from all texts.
    declared : bool
        Whether the articles are declared as clusters.
    second : str
        "" measures one cloud. Otherwise the difference of two is measured, whose rows are exchangeable: "sentences" has
        other sentences in the second, of the same articles where articles are drawn; "pooling" has the same sentences,
        and a coin decides for each which side has the population's vector and which has the other population's (see
        `populations.OTHER`), after both have the same mean and mean square.
    scaled : float
        The leading direction of the second cloud is multiplied by this; at 1 "no difference" is exactly true.
    """

    documents: int | None = None
    declared: bool = True
    second: str = ""
    scaled: float = 1.0


DESIGNS = {
    "sentences": Design(),
    "50 documents": Design(50),
    "100 documents": Design(100),
    "50 documents, undeclared": Design(50, declared=False),
    "100 documents, undeclared": Design(100, declared=False),
    "null, sentences": Design(second="sentences"),
    "null, 100 documents": Design(100, second="sentences"),
    "null, same rows": Design(second="pooling"),
    **{f"power, same rows, {scale}": Design(second="pooling", scaled=scale) for scale in SCALES},
}


@dataclass(frozen=True)
class Cell:
    """A population, a number of rows and a design of DESIGNS."""

    population: str
    n: int
    design: str


CELLS = [
    Cell(population, n, name)
    for population, n, (name, design) in product(POPULATIONS, ROWS, DESIGNS.items())
    if design.scaled == 1 or n in POWERED_ROWS
]


def metrics_of(design: Design, metrics: Sequence[str]) -> dict[str, list[str]]:
    """Return those of some metrics that a design is for, by group."""
    groups = {name: [one for one in members if one in metrics] for name, members in GROUPS.items()}
    if design.scaled != 1:
        return {"cloud": [one for one in groups["cloud"] if one in POWERED]}
    if design.second or not design.declared:
        return {"cloud": groups["cloud"]}
    return groups if design.documents is None else {name: groups[name] for name in ("cloud", "similarities")}


def draw(folder: Path, n: int, design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return indices of texts, (1, n) or of two clouds (2, n), and clusters (n,); None where articles are too few.

    Without replacement. Sentences are a simple random sample of all texts: independent, but for the finite population,
    whatever article they come from. Two clouds share the sentences of an article at random.
    """
    sides = 2 if design.second == "sentences" else 1
    if design.documents is None:
        return rng.choice(len(texts(folder)), (sides, n), replace=False), None
    each = n // design.documents
    known = eligible(folder, sides * each)
    if len(known) < 2 * design.documents:
        return None
    chosen = rng.choice(len(known), design.documents, replace=False)
    parts = [rng.choice(known[i], (sides, each), replace=False) for i in chosen]
    clusters = np.repeat(np.arange(design.documents), each)
    return np.concatenate(parts, axis=1), clusters if design.declared else None


def eligible(folder: Path, size: int) -> list[np.ndarray]:
    """Return the rows of the articles with at least so many sentences."""
    return [rows for rows in articles(folder) if len(rows) >= size]
