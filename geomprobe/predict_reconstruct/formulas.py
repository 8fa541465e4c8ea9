"""The published formulas of geometry, number for number, and what definitions.json says of every published metric.

Arrays in, numbers out; float64. What the published code leaves to chance is seeded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from geomprobe.probes.definitions import ACCURACY, SKILL
from geomprobe.results.record import Record

DEFINITION = "paper"
T = 2.0
SCORE_EDGES = (1, 2, 3, 4)  # STS-B scores become five classes for alignment and class distances
BLOCK = 1024

SOURCE = "arXiv 2606.05173 (2026), its analysis code"
_distance = partial(Record, family="hypersphere", invariances="rotation and scale of the vectors", source=SOURCE)
_lexical = partial(
    Record,
    family="lexical",
    invariances="rotation, shift and scale of the vectors, up to the regularisation",
    source=SOURCE,
)
_wording = partial(_lexical, direction="higher: more of the wording is linearly readable")
_balance = partial(_lexical, range="(−∞, ∞)", direction="higher: the label is read better against the wording")
_TOP = (
    "mean over 3 folds of the validation rows of the accuracy for the most frequent {0} of a row ({1} of at least 5 "
    "rows); scaled on all rows, logistic regression by saga, C = 1, 500 iterations"
)
_TOP_SKILL = "(accuracy − majority) / (1 − majority), majority: share of the most frequent {0}"
RECORDS = {
    record.name: record
    for record in (
        _distance(
            name="class_distance_within",
            formula="mean ‖z_i−z_j‖ over all pairs of rows of one class, pooled over classes",
            range="[0, 2]",
            direction="larger: rows of a class lie further apart",
        ),
        _distance(
            name="class_distance_between",
            formula="mean ‖z_i−z_j‖ over all pairs of rows of two classes",
            range="[0, 2]",
            direction="larger: rows of two classes lie further apart",
        ),
        _distance(
            name="class_distance_ratio",
            formula="class_distance_within / class_distance_between",
            range="[0, ∞)",
            direction="smaller: classes are more compact",
        ),
        _wording(
            name="lexical_top_token_accuracy",
            formula=_TOP.format("token", "special tokens left out, tokens"),
            range="[0, 1]",
            margin=ACCURACY,
            headline=(110, ("",)),
            against=("wording", 8),
            score="accuracy",
        ),
        _wording(
            name="lexical_top_token_skill",
            formula=_TOP_SKILL.format("token"),
            range="(−∞, 1], 0 for the most frequent token",
            margin=SKILL,
            against=("wording", 3),
            score="skill",
        ),
        _balance(
            name="semantic_lexical_balance",
            formula="task probe / token probe: semantic_accuracy (STS-B: sts_probe_spearman) / "
            "lexical_top_token_accuracy (token_target=word: lexical_top_word_accuracy)",
            against=("meaning", 6),
        ),
        _balance(
            name="semantic_lexical_skill_gap",
            formula="semantic_skill (STS-B: sts_probe_spearman) − lexical_top_token_skill (token_target=word: "
            "lexical_top_word_skill; in the corrected column of an audit lexical_word_content_skill, or "
            "lexical_top_word_skill where a task is too small)",
            against=("meaning", 7),
        ),
    )
}
"""Metrics that only this analysis has."""
FORMULAS = {
    "effective_rank": "exp H(σ/Σσ), σ the singular values of the centred matrix",
    "spectral_entropy": "H(p)/log min(N, D), p = σ²/Σσ², σ the singular values of the centred matrix",
    "stable_rank": "Σσ²/σ_1²",
    "rank_90": "smallest k whose leading k of σ² hold 90 % of their sum",
    "uniformity": "log mean_{i<j} exp(−2‖z_i−z_j‖²) over a seeded random 1,000 rows where there are more, else all",
    "alignment": "unweighted mean over classes of mean_{i<j} (‖z_i−z_j‖²)²; STS-B classes: score cut at 1, 2, 3, 4",
    "lexical_top_word_accuracy": _TOP.format("word", "words"),
    "lexical_top_word_skill": _TOP_SKILL.format("word"),
    "semantic_accuracy": "mean over 5 folds of the validation rows of the accuracy for the label; "
    "scaled on all rows, logistic regression by saga, C = 1, 500 iterations",
    "semantic_macro_f1": "mean over the same 5 folds of the unweighted mean of F1 over classes",
    "semantic_skill": "(accuracy − majority) / (1 − majority), majority: share of the most frequent label",
    "sts_probe_spearman": "Spearman correlation of the score with the predictions of ridge regression (penalty 1) in 5 "
    "folds of the validation rows, scaled on all rows",
} | {name: record.formula for name, record in RECORDS.items()}
"""Of every published metric; those without a record here share name and family with a metric of the registry or of the
probes."""


def singular_values(Z: np.ndarray) -> np.ndarray:
    """The min(n, d) singular values of the centred matrix, largest first; Z of shape (n, d)."""
    Z = np.asarray(Z, np.float64)
    return np.linalg.svd(Z - Z.mean(0), compute_uv=False)


def entropy(p: np.ndarray) -> float:
    """Entropy −Σ p log p in nats, with 0 log 0 = 0."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def spectral_entropy(sigma: np.ndarray, bound: int) -> float:
    """Spectral entropy H(σ²/Σσ²)/log bound; NaN for a bound of one."""
    p = sigma**2 / (sigma**2).sum()
    return entropy(p) / float(np.log(bound)) if bound > 1 else float("nan")


def effective_rank(sigma: np.ndarray) -> float:
    """Effective rank exp H(σ/Σσ)."""
    return float(np.exp(entropy(sigma / sigma.sum())))


def stable_rank(sigma: np.ndarray) -> float:
    """Stable rank Σσ²/σ_1²."""
    return float((sigma**2).sum() / sigma[0] ** 2)


def rank_90(sigma: np.ndarray) -> int:
    """Smallest k whose leading k of σ² hold 90 % of their sum."""
    return int(np.searchsorted(np.cumsum(sigma**2) / (sigma**2).sum(), 0.9)) + 1


def directions(Z: np.ndarray, centre: bool = False) -> np.ndarray:
    """Rows divided by their norm, centred first if asked, (n, d) float64; zero rows stay zero."""
    Z = np.asarray(Z, np.float64)
    Z = Z - Z.mean(0) if centre else Z
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(norms == 0, 1.0, norms)


def pair_blocks(z: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Squared distances of all pairs of rows i < j, as (i, j, distances) in blocks of rows; z of shape (n, d)."""
    w = z - z.mean(0)  # distances stay, and near directions keep their digits
    squares = (w**2).sum(1)
    for start in range(0, len(w), BLOCK):
        part = w[start : start + BLOCK]
        distances = squares[start : start + BLOCK, None] + squares[None, start:] - 2 * part @ w[start:].T
        i, j = np.nonzero(np.arange(len(part))[:, None] < np.arange(len(w) - start)[None, :])
        yield i + start, j + start, np.maximum(distances[i, j], 0)


def uniformity(z: np.ndarray, t: float = T) -> float:
    """Uniformity log mean_{i<j} exp(−t‖z_i−z_j‖²) over the rows of z, shape (n, d)."""
    total = sum(float(np.exp(-t * squared).sum()) for _, _, squared in pair_blocks(z))
    return float(np.log(total / (len(z) * (len(z) - 1) / 2)))


def alignment(z: np.ndarray, classes: np.ndarray, power: int = 4) -> float:
    """Unweighted mean over classes of mean_{i<j} ‖z_i−z_j‖^power; classes of one row are left out."""
    means = []
    for label in np.unique(classes):
        rows = z[classes == label]
        if len(rows) > 1:
            total = sum(float((squared ** (power / 2)).sum()) for _, _, squared in pair_blocks(rows))
            means.append(total / (len(rows) * (len(rows) - 1) / 2))
    return float(np.mean(means)) if means else float("nan")


def class_distances(z: np.ndarray, classes: np.ndarray, squared: bool = False) -> tuple[float, float]:
    """Mean distance of two rows of one class, and of two rows of different classes, each pooled over all pairs."""
    sums, counts = np.zeros(2), np.zeros(2)
    for i, j, square in pair_blocks(z):
        same = classes[i] == classes[j]
        distance = square if squared else np.sqrt(square)
        sums += distance[same].sum(), distance[~same].sum()
        counts += same.sum(), (~same).sum()
    within, between = (float(s / c) if c else float("nan") for s, c in zip(sums, counts, strict=True))
    return within, between


def score_classes(labels: np.ndarray) -> np.ndarray:
    """Classes of labels: the labels themselves, or for scores their interval between 1, 2, 3 and 4."""
    return np.digitize(labels, SCORE_EDGES) if np.issubdtype(labels.dtype, np.floating) else labels
