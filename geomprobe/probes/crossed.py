"""The crossed design: how much of the variance of vectors is meaning, how much words, how much syntax.

Each block of the design holds P meanings × L wordings × V frames of one family, a sentence per cell. The three factors
are random (other meanings, words and frames could have stood there), so the variance component of meaning is

    (MS_P − MS_PL − MS_PV + MS_PLV) / (L V)

with mean squares summed over the coordinates, and likewise for the others (Cornfield & Tukey 1956; Searle, Casella &
McCulloch 1992). A share is a component divided by the sum of all seven, both summed over blocks. Numerator and
denominator are unbiased; a share may come out negative and is not clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, TypeVar

import numpy as np

from geomprobe.inference.estimate import Estimate, by_count
from geomprobe.probes.records import PairVectors, missing_row, once_per_task, result_row, stack
from geomprobe.tasks.base import Task
from geomprobe.tasks.controlled import CROSSED, CrossedDesign, crossed_design
from geomprobe.tasks.words import words

T = TypeVar("T")
FACTORS = ("meaning", "words", "syntax")
TIE = 1e-12


def subsets(items: Sequence[T]) -> list[tuple[T, ...]]:
    """All subsets in their order, from the empty one to the whole."""
    return [subset for size in range(len(items) + 1) for subset in combinations(items, size)]


EFFECTS = tuple("_".join(names) for names in subsets(FACTORS)[1:])
AXES = subsets(range(3))[1:]  # of the effects


def mean_squares(cells: np.ndarray) -> dict[tuple[int, ...], float]:
    """Mean square of every effect of a full cross without replicates.

    Parameters
    ----------
    cells : ndarray of shape (P, L, V, d)

    Returns
    -------
    dict
        Effect, a tuple of axes such as (0, 2), -> sum of squares over all coordinates / degrees of freedom.
    """
    y = cells - cells.mean(axis=(0, 1, 2))
    found = {}
    for axes in AXES:
        effect = np.zeros_like(y)
        for inner in subsets(axes):  # inclusion and exclusion of marginal means
            over = tuple(a for a in range(3) if a not in inner)
            effect = effect + (-1) ** (len(axes) - len(inner)) * y.mean(axis=over, keepdims=True)
        freedom = np.prod([cells.shape[a] - 1 for a in axes])
        found[axes] = float((effect**2).sum() / freedom)
    return found


def variance_components(cells: np.ndarray) -> np.ndarray:
    """Seven variance components of a block, in the order of EFFECTS, from cells of shape (P, L, V, d)."""
    ms = mean_squares(cells)
    components = []
    for axes in AXES:
        others = [a for a in range(3) if a not in axes]
        total = sum((-1) ** len(more) * ms[tuple(sorted(axes + more))] for more in subsets(others))
        components.append(total / np.prod([cells.shape[a] for a in others]))
    return np.array(components)


def ratio(numerators: np.ndarray, denominators: np.ndarray, families: np.ndarray) -> Estimate:
    """Sum(numerators) / sum(denominators) over blocks, with contributions of families.

    The standard error is that of the linearised ratio (Cochran 1977, section 6.3), blocks of a family taken together;
    the interval uses Student's t with one degree of freedom less than families.
    """
    total = denominators.sum()
    if total == 0:
        return Estimate.refused(float("nan"), "nothing varies")
    value = numerators.sum() / total
    parts = np.array([(numerators - value * denominators)[families == f].sum() for f in np.unique(families)])
    if len(parts) < 2:
        return Estimate.refused(float(value), "fewer than 2 families")
    return Estimate(float(value), parts / total, rule=by_count, method="linearised ratio over families, t")


def variance_shares(vectors: np.ndarray, design: CrossedDesign) -> dict[str, Estimate]:
    """Share of each effect in the variance within families.

    Parameters
    ----------
    vectors : ndarray of shape (n_sentences, d)
        The stack [first; second] to which the positions in ``design`` point.
    design : CrossedDesign
    """
    components = np.array([variance_components(vectors[rows].astype(np.float64)) for rows in design.rows])
    families = np.array(design.families)
    total = components.sum(axis=1)
    return {effect: ratio(components[:, i], total, families) for i, effect in enumerate(EFFECTS)}


def triplets(vectors: np.ndarray, design: CrossedDesign) -> dict[str, Estimate]:
    """How often, and by how much, the reworded sentence is nearer to its anchor than the one of other meaning.

    Anchor (m, w, s), reworded (m, w', s') and same words (m', w, s') for every m' ≠ m, w' ≠ w and every s'; nearer by
    cosine, ties count a half. Chance is 0.5; a bag of words is always wrong.

    Returns
    -------
    dict
        triplet_accuracy, and triplet_margin: mean of cos(anchor, reworded) − cos(anchor, same words).
    """
    right, margins, trials = [], [], []
    for rows in design.rows:
        z = vectors[rows].astype(np.float64)
        norms = np.linalg.norm(z, axis=-1, keepdims=True)
        z = z / np.where(norms == 0, 1.0, norms)
        cosine = np.einsum("mwsd,nvtd->mwsnvt", z, z)
        gaps = [
            cosine[m, w, s, m, other] - cosine[m, w, s, n, w]
            for m, w, s in np.ndindex(*rows.shape)
            for n in range(rows.shape[0])
            for other in range(rows.shape[1])
            if n != m and other != w
        ]
        gap = np.concatenate(gaps)
        right.append((gap > TIE).sum() + 0.5 * (np.abs(gap) <= TIE).sum())
        margins.append(gap.sum())
        trials.append(gap.size)
    families, count = np.array(design.families), np.array(trials, np.float64)
    return {
        "triplet_accuracy": ratio(np.array(right), count, families),
        "triplet_margin": ratio(np.array(margins), count, families),
    }


def text_baselines(texts: list[str]) -> dict[str, np.ndarray]:
    """Vectors that know no meaning: counts of words, of words with their position, and of pairs of words."""
    from sklearn.feature_extraction.text import CountVectorizer

    def positions(text: str) -> list[str]:
        return [f"{word}@{i}" for i, word in enumerate(words(text))]

    def bigrams(text: str) -> list[str]:
        found = ["<s>", *words(text), "</s>"]
        return [f"{a} {b}" for a, b in pairwise(found)]

    kinds = {"bow": words, "position_bow": positions, "bigram_bow": bigrams}
    return {name: CountVectorizer(analyzer=kind).fit_transform(texts).toarray() for name, kind in kinds.items()}


@once_per_task
def _design(task: Task) -> CrossedDesign | None:
    return crossed_design(task.validation)


@once_per_task
def _baseline_rows(task: Task, seed: int, d: int) -> list[dict[str, Any]]:
    design = _design(task)
    assert design is not None
    texts = list(task.validation.first + (task.validation.second or ()))
    baselines = text_baselines(texts)
    baselines["random"] = np.random.default_rng(seed).standard_normal((len(texts), d))
    return [row for name, vectors in baselines.items() for row in _rows(vectors, design, name, seed, d)]


def _rows(vectors: np.ndarray, design: CrossedDesign, control: str | None, seed: int, d: int) -> Iterator[dict]:
    n = sum(rows.size for rows in design.rows)
    n_families = len(set(design.families))
    used = np.concatenate([rows.ravel() for rows in design.rows])
    spread = vectors[used].std(axis=0)
    views = {"raw": vectors, "standardised": vectors / np.where(spread == 0, 1.0, spread)}
    for view, seen in views.items():
        estimates = {f"{effect}_share": e for effect, e in variance_shares(seen, design).items()}
        if view == "raw":
            estimates |= triplets(seen, design)
        for metric, e in estimates.items():
            row = result_row(metric, e.value, n=n, d=d, seed=seed, control=control, note=f"{n_families} families")
            yield row | ({} if e.contributions is None else e.to_row()) | {"view": view}


def crossed_rows(task: Task, validation: PairVectors, seed: int) -> list[dict[str, Any]]:
    """Variance shares and the triplet accuracy of a crossed task with those of its baselines.

    Empty for a task that is no crossed design; a row that says so where no family is complete.
    """
    if task.name != CROSSED:
        return []
    design = _design(task)
    if design is None:
        reason = f"{len(task.validation):,} rows with no complete family of the crossed design; use all rows"
        return [missing_row("meaning_share", reason, n=len(task.validation), d=validation.d, seed=seed)]
    return [*_rows(stack(validation), design, None, seed, validation.d), *_baseline_rows(task, seed, validation.d)]
