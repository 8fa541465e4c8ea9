"""Metrics of the spectrum: how many dimensions embeddings use. Pure functions of eigenvalues first, then their records.

Centred by definition, so the raw and the centred view agree (but for rankme).
"""

from __future__ import annotations

from functools import partial

import numpy as np

import geomprobe.metrics.spectrum_derivatives as derivatives
from geomprobe.metrics.eigenvalues import spectrum_of
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import OF_SPREAD, ROTATION, SCALE, SPECTRAL, Metric, Value
from geomprobe.metrics.spectrum_derivatives import ALPHA_RANGE, RANKME_EPSILON, OfSpectrum
from geomprobe.metrics.undefined import NotApplicable, TooFewRows, too_few, undefined
from geomprobe.results.record import ODDS, RATIO, Margin
from geomprobe.vectors.moments import Moments

"""Of ranks and dimensions: 5 % of the value of A."""
_UNRESOLVED = "eigenvalues below 1e-6 of the largest are not resolved by float32 blocks"


def entropy(p: np.ndarray) -> float:
    """Shannon entropy −Σ p log p in nats, with 0 log 0 = 0; p of shape (k,) need not sum to one."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum()) + 0.0  # not −0 for a single p


def effective_rank(eigenvalues: np.ndarray) -> float:
    """Exp H(σ/Σσ) with σ the square roots of the covariance eigenvalues, shape (k,).

    Roy & Vetterli (2007), "The effective rank: a measure of effective dimensionality", EUSIPCO, eq. 3.
    """
    sigma = np.sqrt(eigenvalues / eigenvalues[0])
    return float(np.exp(entropy(sigma / sigma.sum())))


def rankme(uncentred_eigenvalues: np.ndarray, epsilon: float = RANKME_EPSILON) -> float:
    """Exp(−Σ p log p), p = σ/Σσ + ε, with σ the singular values of the uncentred matrix, min(n, d) of them.

    Garrido et al. (2023), "RankMe", ICML, eq. 2. With ε the terms sum to slightly more than one, as published.
    """
    sigma = np.sqrt(uncentred_eigenvalues / uncentred_eigenvalues[0])
    return float(np.exp(entropy(sigma / sigma.sum() + epsilon)))


def spectral_entropy(eigenvalues: np.ndarray, largest: int) -> float:
    """Return H(p)/log largest with p = λ/Σλ, for the most equal eigenvalues that there could be, at least two."""
    return entropy(eigenvalues / eigenvalues.sum()) / float(np.log(largest))


def participation_ratio(eigenvalues: np.ndarray) -> float:
    """(Σλ)²/Σλ². Gao et al. (2017), "A theory of multineuronal dimensionality", bioRxiv 214262."""
    x = eigenvalues / eigenvalues[0]
    return float(x.sum() ** 2 / (x**2).sum())


def participation_ratio_unbiased(eigenvalues: np.ndarray, quartic: float, n: int) -> float:
    """Ratio of unbiased estimates of (tr Σ)² and tr Σ², for n >= 4 rows.

    Parameters
    ----------
    eigenvalues : float64 ndarray of shape (k,)
        Of the covariance with 1/n.
    quartic : float
        Σ ‖x − x̄‖⁴ over the rows.
    n : int

    Notes
    -----
    With S the covariance with 1/(n − 1) and Q = quartic/(n − 1):
    tr Σ² ← (n−1)/(n(n−2)(n−3)) · [(n−1)(n−2) tr S² + (tr S)² − nQ],
    (tr Σ)² ← (n−1)/(n(n−2)(n−3)) · [2 tr S² + (n²−3n+1)(tr S)² − nQ].
    Himeno & Yamada (2014), "Estimations for some functions of covariance matrix in high dimension under
    non-normality and its applications", J. Multivariate Analysis 130, eq. 2.2.
    """
    trace = float(eigenvalues.sum()) * n / (n - 1)
    x = eigenvalues / eigenvalues.sum() * trace  # = eigenvalues of S
    square = float((x**2).sum())
    q = quartic / (n - 1)
    numerator = 2 * square + (n * n - 3 * n + 1) * trace**2 - n * q
    denominator = (n - 1) * (n - 2) * square + trace**2 - n * q
    return numerator / denominator


def stable_rank(eigenvalues: np.ndarray) -> float:
    """Return Σλ/λ_1. Rudelson & Vershynin (2007), "Sampling from large matrices", J. ACM 54(4)."""
    return float((eigenvalues / eigenvalues[0]).sum())


def rank_at(eigenvalues: np.ndarray, share: float) -> int:
    """Smallest k whose leading k eigenvalues hold at least `share` of the variance."""
    cumulative = np.cumsum(eigenvalues / eigenvalues.sum())
    # the last sum may end at 1 − 1e-16
    return int(np.searchsorted(cumulative, share - 1e-12)) + 1


def alpha_req(eigenvalues: np.ndarray, first: int = ALPHA_RANGE[0], last: int = ALPHA_RANGE[1]) -> float:
    """Decay exponent α of λ_k ∝ k^−α, by weighted least squares of log λ on log k over first <= k <= last.

    The weights 1/k give each stretch of log k the same say. Eigenvalues that are zero are left out; at least three are
    needed, else ValueError. Agrawal et al. (2022), "α-ReQ", NeurIPS; the fit of Stringer et al. (2019), Nature 571.
    """
    k = np.arange(first, min(last, len(eigenvalues)) + 1)
    values = eigenvalues[first - 1 : last]
    k, values = k[values > 0], values[values > 0]
    if len(k) < 3:
        raise ValueError(f"fewer than three positive eigenvalues with {first} <= k <= {last}")
    x, y, weight = np.log(k), np.log(values), 1 / k
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    return float(-(weight * x * y).sum() / (weight * x * x).sum())


def noted(embeddings: Embeddings, value: float, n: int | None = None) -> Value:
    """Value with a note where the spectrum rests on float32 products and nothing better is at hand."""
    values = embeddings.spectrum.values
    unresolved = embeddings.rows is None and embeddings.state.work_eps > 1e-10 and values[-1] < 1e-6 * values[0]
    return Value(value, n, _UNRESOLVED if unresolved else None)


def _few_values(embeddings: Embeddings, needed: int, reason: str) -> NotApplicable:
    """Exception for a spectrum of too few eigenvalues: n rows have n - 1 at most, d dimensions d."""
    needed += embeddings.leading if embeddings.name == "all-but-top-k" else 0
    return undefined(embeddings.n, needed + 1 if embeddings.d >= needed else 0, reason)


def _spectral_entropy(embeddings: Embeddings, largest: int | None = None) -> Value:
    """Entropy of the variance shares over its maximum, log of `largest` (default: the number of eigenvalues)."""
    values = embeddings.spectrum.values
    largest = largest or len(values)
    if largest < 2:
        raise _few_values(embeddings, 2, "one eigenvalue only, so its entropy has no scale (log 1 = 0)")
    return noted(embeddings, spectral_entropy(values, largest))


def _alpha_req(embeddings: Embeddings, first: int = ALPHA_RANGE[0], last: int = ALPHA_RANGE[1]) -> Value:
    try:
        return noted(embeddings, alpha_req(embeddings.spectrum.values, first, last))
    except NotApplicable:
        raise
    except ValueError as error:
        raise _few_values(embeddings, first + 2, str(error)) from None


def _rankme(embeddings: Embeddings) -> Value:
    values = embeddings.uncentred_spectrum.values
    if embeddings.name != "raw" and embeddings.n <= embeddings.d:
        # centring makes one of the min(N, D) singular values zero; ε is added to it, too
        values = np.append(values, 0.0)
    return noted(embeddings, rankme(values))


def participation_ratio_of(embeddings: Embeddings) -> Value:
    """Participation ratio in any view."""
    return noted(embeddings, participation_ratio(embeddings.spectrum.values))


def unbiased_participation_ratio(embeddings: Embeddings) -> Value:
    """Participation ratio from unbiased estimates, in any view."""
    if embeddings.n < 4:
        raise TooFewRows(too_few(embeddings.n, 4))
    state = embeddings.state
    if embeddings.name not in ("raw", "centred"):
        state = Moments("float64")
        for _, block, _ in embeddings.blocks():
            state.update(block)
        state = embeddings.processes.reduce(state, Moments.merge)
    value = participation_ratio_unbiased(embeddings.spectrum.values, state.quartic, embeddings.n)
    if not value > 0:
        raise NotApplicable("the unbiased estimate of tr Σ² is not positive at this N")
    return noted(embeddings, value)


def _reptrix_rankme(embeddings: Embeddings) -> float:
    shares = embeddings.spectrum.values / embeddings.spectrum.values.sum()
    padded = np.pad(shares, (0, max(0, min(embeddings.n, embeddings.d) - len(shares))))
    return float(np.exp(entropy(padded + 1e-7)))


def _vecscope_effective_rank(embeddings: Embeddings) -> float:
    n, mean, _ = embeddings.direction_sums
    moment = embeddings.direction_second_moment - np.outer(mean, mean)
    values = spectrum_of(moment, min(n - 1, embeddings.d)).values
    if not values[0] > 0:
        raise NotApplicable("all rows have the same direction")
    return participation_ratio(values)


_metric = partial(Metric, family="spectrum", invariances=OF_SPREAD, views=SPECTRAL)


def _rank(percent: int, order: int, column: int) -> Metric:
    share = percent / 100
    return _metric(
        name=f"rank_{percent}",
        compute=lambda c: noted(c, rank_at(c.spectrum.values, share)),
        formula=f"smallest k with Σ_(i≤k) λ_i ≥ {share} Σλ",
        range="{1, …, min(N−1, D)}",
        direction="larger: variance is spread over more dimensions",
        source="cumulative variance of principal components",
        # whole ranks: half a step each way is rounding, so nothing below one and a half can be told from it
        margin=Margin(0.05, "relative", whole=True),
        rank=True,
        order=order,
        integer=True,
        tail="steady",
        of_spectrum=OfSpectrum(lambda values, d: derivatives.rank_crossing(values, share), column=column),
    )


METRICS = (
    _metric(
        name="effective_rank",
        compute=lambda c: noted(c, effective_rank(c.spectrum.values)),
        formula="exp H(σ/Σσ), σ the singular values of the centred matrix, H(p) = −Σ p log p",
        range="[1, min(N−1, D)]",
        direction="larger: more dimensions are used",
        source="Roy & Vetterli 2007, EUSIPCO, eq. 3",
        margin=RATIO,
        rank=True,
        order=80,
        headline=(40, ("raw",)),
        phrases=("uses fewer directions", "uses more directions"),
        tail="lengths",
        of_spectrum=OfSpectrum(derivatives.effective_rank, left_out=derivatives.left_out_of_roots, column=0),
        others={
            "ssrlib": (
                lambda c: noted(c, float(np.exp(entropy(c.spectrum.values / c.spectrum.values.sum())))),
                "exp H(λ/Σλ): eigenvalues in place of singular values, centred (ssrlib)",
            ),
            "vecscope": (_vecscope_effective_rank, "participation ratio of the centred unit rows (vecscope)"),
        },
    ),
    _metric(
        name="rankme",
        compute=_rankme,
        formula="exp(−Σ p log p), p = σ/Σσ + 1e-7, σ the min(N, D) singular values of the matrix, not centred",
        range="[1, min(N, D)] (up to the added 1e-7)",
        direction="larger: more dimensions are used",
        invariances=(ROTATION, SCALE),
        source="Garrido et al. 2023, ICML, eq. 2",
        margin=RATIO,
        rank=True,
        order=90,
        tail="lengths",
        of_spectrum=OfSpectrum(derivatives.rankme, "uncentred", derivatives.left_out_of_roots),
        others={
            "reptrix": (
                _reptrix_rankme,
                "exp(−Σ p log p), p = λ/Σλ + 1e-7: eigenvalues of the centred matrix (reptrix)",
            )
        },
    ),
    _metric(
        name="spectral_entropy",
        compute=_spectral_entropy,
        formula="H(λ/Σλ)/log min(N−1, D)",
        range="[0, 1]",
        direction="larger: variance is spread more evenly",
        source="Shannon entropy of the variance shares, normalised",
        margin=ODDS,
        order=140,
        tail="lengths",
        of_spectrum=OfSpectrum(
            derivatives.spectral_entropy,
            left_out=lambda sums, r, d: derivatives.left_out_of_shares(sums, r, d) / np.log(r),
            column=1,
        ),
        others={
            "paper": (
                lambda c: _spectral_entropy(c, min(c.n, c.d)),
                "divided by log min(N, D) in place of log min(N−1, D)",
            )
        },
    ),
    _metric(
        name="participation_ratio",
        compute=participation_ratio_of,
        formula="(Σλ)²/Σλ²",
        range="[1, min(N−1, D)]",
        direction="larger: variance is spread over more dimensions",
        source="Gao et al. 2017, bioRxiv 214262",
        margin=RATIO,
        rank=True,
        order=100,
        tail="lengths",
        of_spectrum=OfSpectrum(derivatives.participation_ratio, left_out=derivatives.left_out_of_squares, column=2),
        others={
            "unbiased": (unbiased_participation_ratio, "unbiased estimates of (tr Σ)² and tr Σ² (Himeno & Yamada 2014)")
        },
    ),
    _metric(
        name="stable_rank",
        compute=lambda c: noted(c, stable_rank(c.spectrum.values)),
        formula="Σλ/λ_1, centred",
        range="[1, min(N−1, D)]",
        direction="larger: the first principal component dominates less",
        source="Rudelson & Vershynin 2007, J. ACM 54(4)",
        margin=RATIO,
        rank=True,
        order=110,
        tail="lengths",
        of_spectrum=OfSpectrum(derivatives.stable_rank, left_out=derivatives.left_out_of_first, column=4),
        others={
            "embedding-quality": (
                lambda c: stable_rank(c.uncentred_spectrum.values),
                "‖X‖_F²/‖X‖₂² of the matrix that is not centred "
                "(embedding-quality Stable_rank; its NESum is the standard one)",
            )
        },
    ),
    _rank(90, order=120, column=6),
    _rank(99, order=130, column=7),
    _metric(
        name="alpha_req",
        compute=_alpha_req,
        formula="α of λ_k ∝ k^−α for 11 ≤ k ≤ min(500, N−1, D): least squares of log λ on log k with weights 1/k",
        range="(−∞, ∞), positive where eigenvalues fall",
        direction="larger: the spectrum falls faster",
        source="Agrawal et al. 2022, NeurIPS; range and weights of Stringer et al. 2019, Nature 571",
        margin=Margin(0.05),
        order=160,
        tail="steady",
        of_spectrum=OfSpectrum(derivatives.alpha_req, column=5),
        others={"reptrix": (lambda c: _alpha_req(c, 11, 100), "fit over 11 ≤ k ≤ 100 (reptrix; Agrawal et al. 2022)")},
    ),
)
