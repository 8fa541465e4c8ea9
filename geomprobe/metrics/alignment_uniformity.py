"""Alignment and uniformity: how directions spread over the hypersphere, and how near those lie that should be near.

Pure functions first, then their records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import torch
from scipy.special import hyp0f1

from geomprobe.metrics.embeddings import Embeddings, added
from geomprobe.metrics.records import (
    BOTH,
    OF_DIRECTIONS,
    OF_SPREAD,
    RAW,
    ROW_SCALE,
    Metric,
    Statistic,
    Value,
    joined,
    of_directions,
)
from geomprobe.metrics.undefined import NotApplicable, TooFewRows
from geomprobe.results.record import RATIO, Margin

T = 2.0


def uniformity_reference(d: int, t: float = T) -> float:
    """Uniformity of the uniform distribution on the sphere in d dimensions: −2t + log ₀F₁(; d/2; t²).

    It is not a minimum: n <= d + 1 points can go to −2tn/(n − 1).
    """
    return float(-2 * t + np.log(hyp0f1(d / 2, t * t)))


def uniformity_jensen(distance_mean: float, t: float = T) -> float:
    """Return −t·mean ‖z_i − z_j‖² = −2t(1 − mean cosine), by Jensen's inequality a lower bound of uniformity."""
    return -t * distance_mean


def alignment(first: np.ndarray, second: np.ndarray, power: float = 2.0) -> float:
    """Mean of ‖z_i − z_i⁺‖^power over pairs of unit rows, float64 of shape (m, d) each.

    Wang & Isola (2020), "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML, eq. 1.
    """
    return float((((first - second) ** 2).sum(1) ** (power / 2)).mean())


def class_alignment(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """Mean squared distance of two different rows of a class, averaged over classes of at least two rows.

    Parameters
    ----------
    counts : int64 ndarray of shape (c,)
    sums : float64 ndarray of shape (c, d)
        Σ w over the rows of each class, w = z − any common point.
    squares : float64 ndarray of shape (c,)
        Σ ‖w‖² over the rows of each class.

    Notes
    -----
    2n/(n − 1)·(1 − ‖z̄_c‖²) in terms of w: the common point drops out, and digits of near directions are kept.
    """
    many = counts > 1
    n, mean = counts[many], sums[many] / counts[many, None]
    spread = np.maximum(squares[many] / n - (mean**2).sum(1), 0)
    return float((2 * n / (n - 1) * spread).mean())


def class_separation(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """Mean squared distance of rows of two different classes, averaged over pairs of classes.

    2(1 − z̄_a·z̄_b) in the terms of `class_alignment`.
    """
    mean, square = sums / counts[:, None], squares / counts
    pairs = [square[a] + square[b] - 2 * float(mean[a] @ mean[b]) for a, b in combinations(range(len(counts)), 2)]
    return float(np.mean(pairs))


def _uniformity(embeddings: Embeddings) -> Value:
    value, sampled = embeddings.kernel_log_mean(T)
    if sampled is None:
        return of_directions(embeddings, value)
    error = sampled.se / sampled.mean
    how = f"control variates (variance cut {sampled.gain:,.0f} times)"
    note = f"{sampled.pairs:,} sampled pairs with {how}, sampling standard error {error:.1e}"
    return of_directions(embeddings, value, note)


def _uniformity_with_itself(embeddings: Embeddings) -> Value:
    found = _uniformity(embeddings)
    n = embeddings.direction_sums[0]
    return replace(found, value=float(np.log(((n - 1) * np.exp(found.value) + 1) / n)))


def _mean_cosine(embeddings: Embeddings) -> Value:
    embeddings.paired_directions()
    return of_directions(embeddings, embeddings.cosine_mean)


def declared_pairs(embeddings: Embeddings) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Yield blocks of the declared pairs whose rows both have a direction, int64 (m, 2), and both directions."""
    assert embeddings.positives is not None
    step = max(1, 2**22 // embeddings.d)
    for start in range(0, len(embeddings.positives), step):
        pairs = embeddings.positives[start : start + step]
        both, first, second = embeddings.paired(pairs)
        yield pairs[both], first, second


def _alignment(embeddings: Embeddings) -> Value:
    assert embeddings.positives is not None
    total, used = 0.0, 0
    for pairs, first, second in declared_pairs(embeddings):
        if count := len(pairs):
            total += count * alignment(first.cpu().numpy(), second.cpu().numpy())
            used += count
    if not used:
        raise NotApplicable("no declared pair has two rows with a direction")
    gone = len(embeddings.positives) - used
    note = f"{gone} pairs with a row without a direction left out" if gone else None
    return Value(total / used, None, joined(f"{used} pairs", note))


def class_sums(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, Σw and Σ‖w‖² of the directions (relative to the pilot) of each class that has any."""
    assert embeddings.labels is not None
    codes = np.unique(embeddings.labels, return_inverse=True)[1]
    classes = int(codes.max()) + 1
    counts, sums, squares = np.zeros(classes, np.int64), np.zeros((classes, embeddings.d)), np.zeros(classes)
    for rows, w in embeddings.directions():
        code = torch.from_numpy(codes[rows]).to(w.device)
        block = torch.zeros(classes, embeddings.d, dtype=torch.float64, device=w.device).index_add_(0, code, w)
        sums += block.cpu().numpy()
        counts += np.bincount(codes[rows], minlength=classes)
        squares += np.bincount(codes[rows], (w * w).sum(1).cpu().numpy(), minlength=classes)
    counts, sums, squares = embeddings.processes.reduce((counts, sums, squares), added)
    some = counts > 0
    return counts[some], sums[some], squares[some]


def pooled_class_alignment(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """Mean squared distance over all pairs of rows of a class, in the terms of `class_alignment`."""
    within = counts * squares - (sums**2).sum(1)  # Σ over pairs i<j of ‖w_i − w_j‖²
    return float(within.sum() / (counts * (counts - 1) / 2).sum())


def _within_classes(embeddings: Embeddings, mean: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Value:
    counts, sums, squares = class_sums(embeddings)
    if not (counts > 1).any():
        raise TooFewRows(f"{len(counts)} rows of {len(counts)} classes; at least 2 rows of a class are needed")
    return Value(mean(counts, sums, squares), int(counts.sum()))


def _class_separation(embeddings: Embeddings) -> Value:
    counts, sums, squares = class_sums(embeddings)
    if len(counts) < 2:
        raise NotApplicable("one class only")
    return Value(class_separation(counts, sums, squares), int(counts.sum()))


LOG_KERNEL = Margin(0.1)
"""Of the log of a mean kernel: 0.1 is 10 % of the mean."""


_metric = partial(Metric, family="hypersphere", invariances=OF_DIRECTIONS)
METRICS = (
    _metric(
        name="uniformity",
        compute=_uniformity,
        formula="log mean_(i<j) exp(−2‖z_i−z_j‖²), z = x/‖x‖, all pairs",
        range="[−4N/(N−1), 0]",
        direction="smaller: directions are spread more evenly; raw, it mostly follows the common mean vector",
        source="Wang & Isola 2020, ICML, eq. 2, t = 2",
        needs="rows",
        default_views=BOTH,
        margin=LOG_KERNEL,
        statistic=Statistic("log mean kernel", T),
        order=10,
        headline=(10, ("raw", "centred")),
        phrases=("spreads its embeddings more evenly", "spreads its embeddings less evenly"),
        others={
            "all pairs": (
                _uniformity_with_itself,
                "mean over all N² pairs, each row with itself included (k = 1 on the diagonal), as "
                "many scripts compute it",
            )
        },
    ),
    _metric(
        name="uniformity_jensen",
        compute=lambda c: of_directions(c, uniformity_jensen(c.distance_mean)),
        formula="−4(1 − mean cosine), a lower bound of uniformity that the mean cosine alone sets",
        range="[−4N/(N−1), 0]",
        direction="smaller: directions have less in common",
        source="Jensen's inequality on uniformity, t = 2",
        default_views=BOTH,
        margin=LOG_KERNEL,
        order=20,
        reference=True,
        statistic=Statistic("mean distance", -T),
    ),
    _metric(
        name="uniformity_reference",
        compute=lambda c: uniformity_reference(c.d),
        formula="−4 + log ₀F₁(; D/2; 4): uniformity of the uniform distribution on the sphere, not a minimum",
        range="[−4, 0)",
        direction="depends on D only",
        invariances=(*OF_SPREAD, ROW_SCALE),
        source="mean of exp(2t·cosine) over the sphere, t = 2",
        views=RAW,
        compared=False,
        reference=True,
        order=30,
        without_interval="a constant of the dimension",
    ),
    _metric(
        name="mean_cosine",
        family="isotropy",
        compute=_mean_cosine,
        formula="(‖Σz‖² − N)/(N(N−1)): mean over all pairs of the cosine",
        range="[−1/(N−1), 1]",
        direction="larger: directions share a common mean (a narrow cone)",
        source="Ethayarajh 2019, EMNLP, over all pairs",
        default_views=BOTH,
        margin=Margin(0.025),
        order=40,
        headline=(30, ("raw",)),
        phrases=("holds its embeddings in a wider cone", "holds its embeddings in a narrower cone"),
        statistic=Statistic("mean distance", -0.5),
    ),
    _metric(
        name="alignment",
        compute=_alignment,
        formula="mean over declared positive pairs of ‖z_i − z_i⁺‖²",
        range="[0, 4]",
        direction="smaller: pairs that should be near are nearer",
        source="Wang & Isola 2020, ICML, eq. 1, α = 2",
        needs="positives",
        margin=RATIO,
        statistic=Statistic("declared pairs"),
        order=50,
        headline=(50, ("raw",)),
        phrases=("places pairs that belong together closer", "places pairs that belong together farther apart"),
    ),
    _metric(
        name="class_alignment",
        compute=lambda c: _within_classes(c, class_alignment),
        formula="mean over classes of the mean of ‖z_i−z_j‖² over pairs in the class: 2n/(n−1)·(1 − ‖z̄_c‖²)",
        range="[0, 4]",
        direction="smaller: classes are tighter",
        source="closed form of the mean squared distance within classes",
        needs="labels",
        margin=RATIO,
        statistic=Statistic("within classes"),
        order=60,
        others={
            "pooled": (
                lambda c: _within_classes(c, pooled_class_alignment),
                "mean over all pairs of rows of the same class, so that large classes weigh more",
            )
        },
    ),
    _metric(
        name="class_separation",
        compute=_class_separation,
        formula="mean over pairs of classes of 2(1 − z̄_a·z̄_b)",
        range="[0, 4]",
        direction="larger: classes lie further apart",
        source="closed form of the mean squared distance between classes",
        needs="labels",
        margin=RATIO,
        statistic=Statistic("between classes"),
        order=70,
    ),
)
