"""Paired tests of two probes on the same rows: classifications, losses, correlations, folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats


@dataclass(frozen=True)
class Discordant:
    """Rows that only one of two classifiers gets right.

    Attributes
    ----------
    first, second : int
        Rows that only the first, only the second classifier gets right.
    n : int
        All rows.
    unit : float
        By how much a score moves where the share of right rows moves by one: 1 for accuracy.
    clusters : tuple of int, optional
        Clusters with such rows, all clusters, and rows of the largest; rows are independent without it. Few rows do not
        show how far those of a cluster go together, so all of them are taken to.
    """

    first: int
    second: int
    n: int
    unit: float = 1.0
    clusters: tuple[int, int, int] | None = None

    @classmethod
    def of(
        cls, first: np.ndarray, second: np.ndarray, unit: float = 1.0, clusters: tuple[int, int, int] | None = None
    ) -> Discordant:
        """Count them, from whether each row was classified rightly by either, bool ndarrays of shape (n,)."""
        return cls(int((first & ~second).sum()), int((~first & second).sum()), len(first), unit, clusters)

    def interval(self, level: float) -> tuple[float, float]:
        """Score interval of the difference of two paired proportions, second less first, times `unit`.

        Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design", Statistics in Medicine 17, eqs. 9-12: all differences that the score test does not reject. Unlike that
        of a normal distribution it has a width where no row tells the two apart. Counts are divided by the size of the
        largest cluster, the most that clusters can multiply the variance by.
        """
        z = float(stats.norm.ppf((1 + level) / 2))
        estimate = (self.second - self.first) / self.n
        low = optimize.brentq(lambda delta: self._score(delta) - z, -1, estimate) if estimate > -1 else -1.0
        high = optimize.brentq(lambda delta: self._score(delta) + z, estimate, 1) if estimate < 1 else 1.0
        return float(low) * self.unit, float(high) * self.unit

    def p_exact(self) -> float:
        """Exact p-value that both are right equally often.

        McNemar (1947), "Note on the sampling error of the difference between correlated proportions", Psychometrika 12;
        the binomial form over the rows that only one of them gets right.
        """
        both = self.first + self.second
        return float(stats.binomtest(self.first, both).pvalue) if both else 1.0

    def p_no_difference(self) -> float:
        """P-value of "the difference is 0" by the score test that the interval belongs to."""
        return float(2 * stats.norm.sf(abs(self._score(0.0))))

    def _score(self, delta: float) -> float:
        """Statistic of the score test that the difference is delta, standard normal if it is."""
        largest = 1 if self.clusters is None else self.clusters[2]
        b, c, n = (count / largest for count in (self.second, self.first, self.n))
        linear = (2 * n - b + c) * delta - b - c
        only_first = (np.sqrt(max(linear**2 + 8 * n * c * delta * (1 - delta), 0.0)) - linear) / (4 * n)
        variance = n * (2 * max(only_first, 0.0) + delta * (1 - delta))
        off = b - c - n * delta
        return off / np.sqrt(variance) if variance > 0 else np.inf * np.sign(off) if off else 0.0

    def p_equivalence(self, margin: float, *, exact: bool) -> float:
        """A p-value of "the difference is at least the margin", by two one-sided score tests (Tango 1998).

        Exact, it needs no more than that few rows tell the two apart: classifiers so far apart are told apart by at
        least that share of all rows, and so by at least that share, times the mean size over the largest, of all
        clusters; so few of them have at most this binomial probability.
        """
        delta = margin / self.unit
        if exact:
            differing, of, largest = self.clusters or (self.first + self.second, self.n, 1)
            return float(stats.binom.cdf(differing, of, min(delta * self.n / (of * largest), 1.0)))
        if delta >= 1:
            return 0.0
        return float(max(stats.norm.sf(self._score(-delta)), stats.norm.cdf(self._score(delta))))


def williams(r_a: float, r_b: float, r_ab: float, n: int) -> float:
    """P-value that two correlations with the same variable are equal.

    Williams (1959), "The comparison of regression variables", J. Royal Statistical Society B 21; Steiger (1980), "Tests
    for comparing elements of a correlation matrix", Psychological Bulletin 87, eq. 7: t with n − 3 degrees of freedom.

    Parameters
    ----------
    r_a, r_b : float
        Correlation of each prediction with the score.
    r_ab : float
        Correlation of the two predictions.
    n : int
        Rows.
    """
    if r_a == r_b:
        return 1.0
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    mean = (r_a + r_b) / 2
    spread = 2 * determinant * (n - 1) / (n - 3) + mean**2 * (1 - r_ab) ** 3
    if spread <= 0:
        return 0.0
    t = (r_a - r_b) * np.sqrt((n - 1) * (1 + r_ab) / spread)
    return float(2 * stats.t.sf(abs(t), n - 3))


def corrected_resampled_t(differences: np.ndarray, n_train: int, n_test: int) -> tuple[float, float]:
    """(standard error, p-value) of the mean difference over folds or random splits.

    Nadeau & Bengio (2003), "Inference for the generalization error", Machine Learning 52: the variance over splits is
    multiplied by 1/k + n_test/n_train, since training sets overlap; t with k − 1 degrees of freedom.

    Parameters
    ----------
    differences : float64 ndarray of shape (k,)
        Second minus first, a number per split, k >= 2.
    n_train, n_test : int
        Rows of each split.
    """
    k = len(differences)
    if k < 2:
        raise ValueError("the corrected resampled t test needs two splits")
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    se = float(np.sqrt((1 / k + n_test / n_train) * variance))
    if se == 0:
        return 0.0, 1.0 if mean == 0 else 0.0
    return se, float(2 * stats.t.sf(abs(mean) / se, k - 1))


def mean_influence(x: np.ndarray) -> np.ndarray:
    """Influence of each row on the mean, float64 (n,)."""
    return x - x.mean()


def macro_f1_influence(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Influence of each row on macro F1: the mean over classes of 2·TP/(2·TP + FP + FN)."""
    classes = np.unique(np.concatenate([label, prediction]))
    out = np.zeros(len(label))
    for c in classes:
        true, predicted = label == c, prediction == c
        hit, size = (true & predicted).astype(float), true.astype(float) + predicted
        top, bottom = 2 * hit.mean(), size.mean()
        out += (2 * hit - top / bottom * size) / bottom
    return out / len(classes)


def mcc_influence(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Influence of each row on the Matthews correlation, that of class indicators (Gorodkin 2004)."""
    classes = np.unique(np.concatenate([label, prediction]))
    x, y = ((side[:, None] == classes).astype(float) for side in (label, prediction))
    x, y = x - x.mean(0), y - y.mean(0)
    both, own, other = (x * y).sum(1), (x * x).sum(1), (y * y).sum(1)
    scale = np.sqrt(own.mean() * other.mean())
    if scale == 0:
        return np.zeros(len(label))
    r = both.mean() / scale
    return both / scale - r / 2 * (own / own.mean() + other / other.mean())


def pearson_influence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Influence of each row on Pearson's correlation: uv − r(u² + v²)/2, u and v standardised."""
    u, v = ((x - x.mean()) / x.std() for x in (a, b))
    r = float((u * v).mean())
    return u * v - r * (u**2 + v**2) / 2


def rank_influence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Influence of each row on Spearman's correlation, from twice the mid-ranks of either variable.

    A row also moves the ranks of all others; leaving that out, as for Pearson of the ranks, understates the error.

    Parameters
    ----------
    a, b : int64 ndarray of shape (n,)
        Twice the mid-ranks from 1, which are whole numbers.
    """
    f, g = ((x - 1) / (2 * len(x)) - 0.5 for x in (a, b))
    both, own, other = (float((p * q).mean()) for p, q in ((f, g), (f, f), (g, g)))

    def moved(doubled: np.ndarray, weight: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        # E_j[(1[x_i < x_j] + ½·1[x_i = x_j] − F(x_j))·w_j]
        at = np.bincount(doubled, weight)
        upto = np.cumsum(at)
        return (upto[-1] - upto + at / 2)[doubled] / len(doubled) - float(((ranks + 0.5) * weight).mean())

    d_both = f * g - both + moved(a, g, f) + moved(b, f, g)
    d_own = f * f - own + 2 * moved(a, f, f)
    d_other = g * g - other + 2 * moved(b, g, g)
    scale = np.sqrt(own * other)
    return d_both / scale - both / scale / 2 * (d_own / own + d_other / other)


def spearman_influence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Influence of each row on Spearman's correlation, mid-ranks for ties (see `rank_influence`)."""
    return rank_influence(*(np.rint(2 * stats.rankdata(x)).astype(np.int64) for x in (a, b)))


CORRELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "spearman": spearman_influence,
    "pearson": pearson_influence,
}
