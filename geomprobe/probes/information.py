"""What a probe says in bits: beyond the bag of words, and as the length of a code."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from geomprobe.probes.estimators import Classified, Folds, classifier, classify

Sides = tuple[np.ndarray, np.ndarray]  # of the fitted rows, and held out
# Voita & Titov 2020, section 3.2: the label of each block is coded by a probe that has seen the blocks before it.
FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
BOW_WEIGHT = 10.0  # the bag of words enters unshrunk, in effect: the penalty on it is a hundredth


def log_odds(scored: Classified, x: Any) -> np.ndarray:
    """Class scores that a probe gives to rows, (n, 1) for two classes, (n, n_classes) else."""
    return np.asarray(scored.model.decision_function(x)).reshape(x.shape[0], -1)


def standardised(sides: Sides, weight: float = 1.0) -> list[np.ndarray]:
    """Columns of both sides, centred and divided by their spread in the first one, times the weight."""
    mean, spread = sides[0].mean(axis=0), sides[0].std(axis=0)
    return [weight * (side - mean) / np.where(spread == 0, 1.0, spread) for side in sides]


def given_bow(
    bow: Sides, vectors: Sides | None, y: np.ndarray, y_held_out: np.ndarray, folds: Folds | None
) -> Classified:
    """Predictions of a probe that sees the bag of words' log odds, and the vectors where they are given.

    The difference of the log loss without and with the vectors is I(Y; Z | BoW) (Hewitt et al. 2021). The rows must be
    others than those on which the bag-of-words probe was fitted: from its errors on its own rows, or from scores out of
    fold, vectors that hold the words could work out the labels.
    """
    seen = standardised(bow, BOW_WEIGHT)
    if vectors is not None:
        both = zip(seen, standardised(vectors), strict=True)
        seen = [np.hstack([odds.astype(side.dtype), side]) for odds, side in both]
    return classify(seen[0], y, seen[1], y_held_out, folds, scale=False)


def code_lengths(x: np.ndarray, y: np.ndarray, c: float, seed: int) -> np.ndarray:
    """Bits that each label takes in the online code (Voita & Titov 2020, equation 3), float64 (n,).

    Rows are shuffled by the seed. The first block is coded uniformly; each next one by a probe fitted with the given C
    to all blocks before it, whose probabilities are mixed with the uniform ones by 1/(rows seen + 1), so that a class
    not yet seen has a finite code.
    """
    n, classes = len(y), np.unique(y)
    k = len(classes)
    order = np.random.default_rng(seed).permutation(n)
    x, codes = x[order], np.searchsorted(classes, y[order])
    ends = sorted({max(int(np.ceil(fraction * n)), min(2 * k, n)) for fraction in FRACTIONS})
    bits = np.full(n, np.log2(k))
    for start, end in pairwise(ends):
        p = np.full((end - start, k), 1.0 / k)
        if len(np.unique(codes[:start])) > 1:
            model = classifier(x[:start]).set_params(fit__C=c)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x[:start], codes[:start])
            seen = np.zeros_like(p)
            seen[:, model.classes_] = model.predict_proba(x[start:end])
            p = (start * seen + p) / (start + 1)
        bits[start:end] = -np.log2(p[np.arange(end - start), codes[start:end]])
    return bits[np.argsort(order)]
