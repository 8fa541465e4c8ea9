"""Metrics of isotropy: whether directions, coordinates or neighbours are favoured.

Pure functions first, then their records; the mean cosine stands with the other means over pairs, in
`alignment_uniformity.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

import geomprobe.metrics.spectrum_derivatives as derivatives
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import (
    BOTH,
    OF_DIRECTIONS,
    OF_SPREAD,
    ROTATION,
    ROW_SCALE,
    SCALE,
    SPECTRAL,
    Metric,
    Statistic,
    Value,
    of_directions,
)
from geomprobe.metrics.spectrum import participation_ratio_of, unbiased_participation_ratio
from geomprobe.metrics.spectrum_derivatives import OfSpectrum
from geomprobe.metrics.undefined import NotApplicable
from geomprobe.results.record import ODDS, RATIO

HUBNESS_K = 10


def isoscore(participation_ratio: float, d: int) -> float:
    """(PR − 1)/(d − 1), for d > 1. Rudman et al. (2022), "IsoScore", Findings of ACL, in closed form."""
    return (participation_ratio - 1) / (d - 1)


def partition_isotropy(log_partition: np.ndarray) -> float:
    """Min Z(c)/max Z(c) from log Z(c) = logsumexp_i c·x_i over the directions c, shape (m,).

    Mu & Viswanath (2018), "All-but-the-top", ICLR, eq. 5.
    """
    return float(np.exp(log_partition.min() - log_partition.max()))


def rogue_share(contributions: np.ndarray, k: int) -> float:
    """Share of the mean cosine that the k coordinates with the largest contributions carry.

    Parameters
    ----------
    contributions : float64 ndarray of shape (d,)
        Mean over pairs of z_i[c]·z_j[c] for each coordinate c; they sum to the mean cosine.

    Notes
    -----
    Timkey & van Schijndel (2021), "All bark and no bite", EMNLP, section 3.1, over all pairs instead of sampled ones.
    """
    return float(np.sort(contributions)[::-1][:k].sum() / contributions.sum())


def skewness(x: np.ndarray) -> float:
    """Mean((x − x̄)³)/sd³ with 1/n, for x of shape (n,) that is not constant."""
    y = x - x.mean()
    return float((y**3).mean() / (y**2).mean() ** 1.5)


def _isoscore(embeddings: Embeddings, ratio: Callable[[Embeddings], Value] = participation_ratio_of) -> Value:
    if embeddings.d < 2:
        raise NotApplicable("one dimension only")
    found = ratio(embeddings)
    return replace(found, value=isoscore(found.value, embeddings.d))


def cosine_contributions(embeddings: Embeddings) -> np.ndarray:
    """What each coordinate contributes to the mean cosine (see `rogue_share`)."""
    n, mean = embeddings.paired_directions(), embeddings.direction_sums[1]
    return (n * mean**2 - np.diag(embeddings.direction_second_moment)) / (n - 1)


def _rogue_share(embeddings: Embeddings, k: int) -> Value:
    contributions = cosine_contributions(embeddings)
    if contributions.sum() <= 0:
        raise NotApplicable("the mean cosine is not positive, so there is nothing to share")
    return of_directions(embeddings, rogue_share(contributions, k))


def _norm_cv(embeddings: Embeddings) -> float:
    if embeddings.name == "raw":
        norm_sum, scatter = embeddings.state.norm_sum, embeddings.state.norm_scatter
    else:
        norms = embeddings.lengths()
        norm_sum = sum(embeddings.processes.exchange(float(norms.sum())))
        scatter = sum(embeddings.processes.exchange(float(((norms - norm_sum / embeddings.n) ** 2).sum())))
    if norm_sum == 0:
        raise NotApplicable("all rows are zero")
    return float(np.sqrt(scatter / embeddings.n) / (norm_sum / embeddings.n))


def _hubness_skew(embeddings: Embeddings) -> Value:
    found = embeddings.neighbours(HUBNESS_K).cpu().numpy()
    n = len(found)
    occurrences = np.bincount(found.ravel(), minlength=n).astype(np.float64)
    if occurrences.min() == occurrences.max():
        raise NotApplicable("every row is a neighbour equally often")
    if embeddings.reads_all_pairs:
        return of_directions(embeddings, skewness(occurrences))
    return Value(skewness(occurrences), n, f"seeded sample of {n:,} rows")


_metric = partial(Metric, family="isotropy")


def _rogue(k: int) -> Metric:
    return _metric(
        name=f"rogue_share_{k}",
        compute=lambda c: _rogue_share(c, k),
        formula=f"share of the mean cosine that the {k} largest coordinate contributions carry",
        range="[0, ∞)",
        direction="larger: a few coordinates decide the cosines; above 1 where others pull the other way",
        invariances=(SCALE, ROW_SCALE),
        source="Timkey & van Schijndel 2021, EMNLP, section 3.1, over all pairs",
        margin=RATIO,
        statistic=Statistic("leading share", k),
    )


METRICS = (
    _metric(
        name="isoscore",
        compute=_isoscore,
        formula="(PR − 1)/(D − 1), PR the participation ratio",
        range="[0, 1]",
        direction="larger: variance is spread more evenly over all D dimensions",
        invariances=OF_SPREAD,
        source="Rudman et al. 2022, Findings of ACL, in closed form",
        views=SPECTRAL,
        margin=ODDS,
        order=170,
        tail="lengths",
        of_spectrum=OfSpectrum(
            derivatives.isoscore,
            left_out=lambda sums, r, d: (derivatives.left_out_of_squares(sums, r, d) - 1) / (d - 1),
            column=3,
        ),
        others={
            "unbiased": (lambda c: _isoscore(c, unbiased_participation_ratio), "with the unbiased participation ratio")
        },
    ),
    _metric(
        name="partition_isotropy",
        compute=lambda c: partition_isotropy(c.log_partition),
        formula="min_c Z(c)/max_c Z(c), Z(c) = Σ exp(c·x), c = ± the eigenvectors of Σ x xᵀ",
        range="(0, 1]",
        direction="larger: no direction is favoured; depends on the scale of the vectors",
        invariances=(ROTATION,),
        source="Mu & Viswanath 2018, ICLR, eq. 5, with both signs of each eigenvector",
        needs="rows",
        views=SPECTRAL,
        default_views=BOTH,
        margin=ODDS,
        statistic=Statistic("partition"),
        order=180,
    ),
    _rogue(1),
    _rogue(3),
    _metric(
        name="norm_cv",
        compute=_norm_cv,
        formula="standard deviation of ‖x‖ (1/N) over its mean",
        range="[0, √(N−1)]",
        direction="larger: lengths vary more",
        invariances=(ROTATION, SCALE),
        source="coefficient of variation of the norms",
        margin=RATIO,
        tail="lengths",
        of_lengths=True,
        statistic=Statistic("lengths"),
    ),
    _metric(
        name="hubness_skew",
        compute=_hubness_skew,
        formula="skewness of how often each row is among the 10 nearest neighbours (by cosine) of others",
        range="(−∞, ∞)",
        direction="larger: a few rows are neighbours of many (hubs)",
        invariances=OF_DIRECTIONS,
        source="Radovanović et al. 2010, JMLR 11, k = 10",
        needs="rows",
        of_neighbours=True,
        without_interval="a few hubs decide the skewness, and how it would vary",
    ),
)
