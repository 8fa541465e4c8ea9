"""The registry of metrics: every name, formula, range, direction, invariances, source and needs in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import geomprobe.metrics.dimension as dimension
import geomprobe.metrics.hypersphere as hypersphere
import geomprobe.metrics.isotropy as isotropy
import geomprobe.metrics.spectrum as spectrum
from geomprobe.common import unknown_name
from geomprobe.metrics.cloud import (
    EXACT_ROWS,
    VIEWS,
    Cloud,
    NotApplicable,
    TooFewRows,
    added,
    spectrum_of,
    too_few,
    undefined,
)
from geomprobe.vectors import unit_rows
from geomprobe.vectors.moments import Moments

STANDARD = "standard"
ALL = tuple(VIEWS)
RAW = ("raw",)
BOTH = ("raw", "centred")
# after whitening all eigenvalues are equal, and the eigenvectors arbitrary
SPECTRAL = ("raw", "centred", "standardised", "all-but-top-k")
ROTATION, SCALE, SHIFT, ROW_SCALE = "rotation", "scale", "shift", "row scale"
"""Invariances: x → xR with R orthogonal; x → cx with c > 0; x → x + v; each row by its own positive factor.

Row order never matters and is not listed. They hold in the raw view."""


@dataclass(frozen=True)
class Value:
    """A metric's value, where it differs from the cloud: the rows it used, and a note for the reader."""

    value: float
    n: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric and its contract.

    Attributes
    ----------
    name : str
    family : {"spectrum", "hypersphere", "isotropy", "dimension"}
    formula, source : str
        In the notation of the definitions page; paper, year, equation.
    range : str
        Values it can take, in interval notation.
    direction : str
        What a larger value means.
    invariances : tuple of str
        Transformations of the vectors that leave it unchanged.
    needs : {"moments", "rows", "labels", "positives"}
        What it is computed from; all but moments read the rows.
    views : tuple of str
        Views in which it makes sense.
    default_views : tuple of str
        Views in which `measure` gives it unless asked otherwise; empty: only where it is asked for by name.
    variants : dict
        Definition name -> function of a cloud; "standard" is the one that `measure` uses unless asked otherwise.
    variant_notes : dict
        Definition name -> what differs, for definitions other than "standard".
    """

    name: str
    family: str
    formula: str
    range: str
    direction: str
    invariances: tuple[str, ...]
    source: str
    needs: str
    views: tuple[str, ...]
    default_views: tuple[str, ...]
    variants: dict[str, Callable[[Cloud], float | Value]] = field(repr=False)
    variant_notes: dict[str, str] = field(default_factory=dict)

    @property
    def of_directions(self) -> bool:
        """Whether it is a function of the directions alone: what no change of the rows' lengths moves."""
        return ROW_SCALE in self.invariances

    def entry(self) -> dict[str, Any]:
        """Return the JSON-ready description that goes to definitions.json."""
        return {
            "family": self.family,
            "formula": self.formula,
            "range": self.range,
            "direction": self.direction,
            "invariances": list(self.invariances),
            "source": self.source,
            "needs": self.needs,
            "views": list(self.views),
            "definitions": {STANDARD: self.formula, **self.variant_notes},
        }


REGISTRY: dict[str, Metric] = {}


def register(
    name: str,
    family: str,
    compute: Callable[[Cloud], float | Value],
    *,
    formula: str,
    range: str,
    direction: str,
    invariances: tuple[str, ...],
    source: str,
    needs: str = "moments",
    views: tuple[str, ...] = ALL,
    default_views: tuple[str, ...] = RAW,
) -> None:
    """Add a metric to the registry."""
    REGISTRY[name] = Metric(
        name,
        family,
        formula,
        range,
        direction,
        invariances,
        source,
        needs,
        views,
        default_views,
        {STANDARD: compute},
    )


def metric(name: str) -> Metric:
    """Return a metric by name; raises UsageError with the nearest name where it is unknown."""
    if name not in REGISTRY:
        raise unknown_name("metric", name, list(REGISTRY))
    return REGISTRY[name]


def definitions(names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the registry's entries of the given metrics (default: all), JSON-ready; names outside it are left out."""
    return {name: REGISTRY[name].entry() for name in (REGISTRY if names is None else names) if name in REGISTRY}


def _left_out(cloud: Cloud, n: int) -> str | None:
    gone = cloud.n - n
    return f"{gone} row{'s' if gone > 1 else ''} without a direction left out" if gone else None


def _join(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


# Spectrum. Centred by definition, so the raw and the centred view agree (but for rankme).

_UNRESOLVED = "eigenvalues below 1e-6 of the largest are not resolved by float32 blocks"


def _noted(cloud: Cloud, value: float, n: int | None = None) -> Value:
    """Return the value with a note where the spectrum rests on float32 products and nothing better is at hand."""
    values = cloud.spectrum.values
    unresolved = cloud.rows is None and cloud.state.work_eps > 1e-10 and values[-1] < 1e-6 * values[0]
    return Value(value, n, _UNRESOLVED if unresolved else None)


def _few_values(cloud: Cloud, needed: int, reason: str) -> NotApplicable:
    """Return the exception for a spectrum of too few eigenvalues: n rows have n - 1 at most, d dimensions d."""
    needed += cloud.leading if cloud.name == "all-but-top-k" else 0
    return undefined(cloud.n, needed + 1 if cloud.d >= needed else 0, reason)


def _spectral_entropy(cloud: Cloud, largest: int | None = None) -> Value:
    """Entropy of the variance shares over its maximum, log of `largest` (default: the number of eigenvalues)."""
    values = cloud.spectrum.values
    largest = largest or len(values)
    if largest < 2:
        raise _few_values(cloud, 2, "one eigenvalue only, so its entropy has no scale (log 1 = 0)")
    return _noted(cloud, spectrum.spectral_entropy(values, largest))


def _alpha_req(cloud: Cloud, first: int = spectrum.ALPHA_RANGE[0], last: int = spectrum.ALPHA_RANGE[1]) -> Value:
    try:
        return _noted(cloud, spectrum.alpha_req(cloud.spectrum.values, first, last))
    except NotApplicable:
        raise
    except ValueError as error:
        raise _few_values(cloud, first + 2, str(error)) from None


def _rankme(cloud: Cloud) -> Value:
    values = cloud.uncentred_spectrum.values
    if cloud.name != "raw" and cloud.n <= cloud.d:
        values = np.append(
            values, 0.0
        )  # centring makes one of the min(N, D) singular values zero; ε is added to it, too
    return _noted(cloud, spectrum.rankme(values))


register(
    "effective_rank",
    "spectrum",
    lambda c: _noted(c, spectrum.effective_rank(c.spectrum.values)),
    formula="exp H(σ/Σσ), σ the singular values of the centred matrix, H(p) = −Σ p log p",
    range="[1, min(N−1, D)]",
    direction="larger: more dimensions are used",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Roy & Vetterli 2007, EUSIPCO, eq. 3",
    views=SPECTRAL,
)
register(
    "rankme",
    "spectrum",
    _rankme,
    formula="exp(−Σ p log p), p = σ/Σσ + 1e-7, σ the min(N, D) singular values of the matrix, not centred",
    range="[1, min(N, D)] (up to the added 1e-7)",
    direction="larger: more dimensions are used",
    invariances=(ROTATION, SCALE),
    source="Garrido et al. 2023, ICML, eq. 2",
    views=SPECTRAL,
)
register(
    "spectral_entropy",
    "spectrum",
    _spectral_entropy,
    formula="H(λ/Σλ)/log min(N−1, D)",
    range="[0, 1]",
    direction="larger: variance is spread more evenly",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Shannon entropy of the variance shares, normalised",
    views=SPECTRAL,
)
register(
    "participation_ratio",
    "spectrum",
    lambda c: _noted(c, spectrum.participation_ratio(c.spectrum.values)),
    formula="(Σλ)²/Σλ²",
    range="[1, min(N−1, D)]",
    direction="larger: variance is spread over more dimensions",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Gao et al. 2017, bioRxiv 214262",
    views=SPECTRAL,
)
register(
    "stable_rank",
    "spectrum",
    lambda c: _noted(c, spectrum.stable_rank(c.spectrum.values)),
    formula="Σλ/λ_1, centred",
    range="[1, min(N−1, D)]",
    direction="larger: the first principal component dominates less",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Rudelson & Vershynin 2007, J. ACM 54(4)",
    views=SPECTRAL,
)
for _share in (90, 99):
    register(
        f"rank_{_share}",
        "spectrum",
        lambda c, share=_share / 100: _noted(c, spectrum.rank_at(c.spectrum.values, share)),  # type: ignore[misc]
        formula=f"smallest k with Σ_(i≤k) λ_i ≥ {_share / 100} Σλ",
        range="{1, …, min(N−1, D)}",
        direction="larger: variance is spread over more dimensions",
        invariances=(ROTATION, SCALE, SHIFT),
        source="cumulative variance of principal components",
        views=SPECTRAL,
    )
register(
    "alpha_req",
    "spectrum",
    lambda c: _alpha_req(c),
    formula="α of λ_k ∝ k^−α for 11 ≤ k ≤ min(500, N−1, D): least squares of log λ on log k with weights 1/k",
    range="(−∞, ∞), positive where eigenvalues fall",
    direction="larger: the spectrum falls faster",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Agrawal et al. 2022, NeurIPS; range and weights of Stringer et al. 2019, Nature 571",
    views=SPECTRAL,
)


# Dimension


def _vendi_score(cloud: Cloud) -> Value:
    n = cloud.direction_sums[0]
    if not n:
        raise NotApplicable("no row has a direction")
    values = cloud.direction_spectrum.values
    return Value(dimension.vendi_score(values), n, _left_out(cloud, n))


def lidar_objects(cloud: Cloud) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the objects of LiDAR: the connected rows of the declared positive pairs, whose rows are their views.

    Returns
    -------
    rows : int64 ndarray of shape (m,)
        Rows in any pair.
    member : int64 ndarray of shape (m,)
        Object of each.
    outside : float64 ndarray of shape (objects, d)
        Mean of each object, less the mean of these means.
    inside : float64 ndarray of shape (m, d)
        Each row less its object's mean.
    """
    assert cloud.positives is not None
    used, compact = np.unique(cloud.positives, return_inverse=True)
    first, second = compact.reshape(-1, 2).T
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(used), len(used)))
    objects, member = connected_components(links, directed=False)
    if objects < 2:
        if len(cloud.positives) < 2:
            raise TooFewRows("1 positive pair; at least 2 that share no row are needed")
        raise NotApplicable("the positive pairs make one object only")
    x = cloud.take(used).cpu().numpy()
    means = np.zeros((objects, cloud.d))
    np.add.at(means, member, x)
    means /= np.bincount(member)[:, None]
    outside = means - means.mean(0)
    if not outside.any():
        raise NotApplicable("all objects have the same mean")
    return used, member, outside, x - means[member]


def _lidar(cloud: Cloud) -> Value:
    rows, member, outside, inside = lidar_objects(cloud)
    try:
        value = dimension.lidar(*dimension.scatters(member, outside, inside))
    except np.linalg.LinAlgError:
        raise NotApplicable("views differ so much in size that float64 does not resolve their spread") from None
    return Value(value, len(rows), f"{len(outside)} objects")


def _neighbour_dimension(cloud: Cloud, k: int, estimate: Callable[[np.ndarray], float]) -> Value:
    found = cloud.point_neighbours(k)
    if np.median(found.distances[:, -1] / found.distances[:, 0]) < 1 + 1e-9:
        raise NotApplicable(f"the {k} nearest rows of most rows are equally far")
    note = f"seeded sample of {EXACT_ROWS:,} rows" if cloud.sampled_rows() is not None else None
    duplicates = f"{found.dropped} duplicated row{'s' if found.dropped > 1 else ''} dropped" if found.dropped else None
    return Value(estimate(found.distances), len(found.distances), _join(note, duplicates))


register(
    "vendi_score",
    "dimension",
    _vendi_score,
    formula="exp H(eigenvalues of ZZᵀ/N), Z the unit rows",
    range="[1, min(N, D)]",
    direction="larger: more different directions",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Friedman & Dieng 2023, TMLR, eq. 2, cosine kernel",
)
register(
    "lidar",
    "dimension",
    _lidar,
    formula="exp(−Σ p log p), p = λ/Σλ + 1e-7, λ the eigenvalues of W^(−1/2) B W^(−1/2), W with 1e-4·I added; "
    "objects are the connected rows of the positive pairs",
    range="[1, min(objects − 1, D)] (up to the added 1e-7)",
    direction="larger: objects differ in more dimensions than their views do",
    invariances=(ROTATION, SHIFT),
    source="Thilak et al. 2024, ICLR, eq. 5",
    needs="positives",
    default_views=(),
)
register(
    "intrinsic_dimension",
    "dimension",
    lambda c: _neighbour_dimension(c, 2, dimension.two_nn),
    formula="TwoNN: slope through 0 of −log(1 − F(μ)) on log μ, μ = r_2/r_1 (Euclidean), largest 10 % left out, "
    "duplicated rows dropped",
    range="(0, ∞)",
    direction="larger: the cloud has more dimensions nearby",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Facco et al. 2017, Scientific Reports 7",
    needs="rows",
    default_views=(),
)


# Hypersphere


def _uniformity(cloud: Cloud) -> Value:
    value, sampled = cloud.kernel_log_mean(hypersphere.T)
    n = cloud.direction_sums[0]
    note = None
    if sampled is not None:
        error = sampled.se / sampled.mean
        how = f"control variates (variance cut {sampled.gain:,.0f} times)"
        note = f"{sampled.pairs:,} sampled pairs with {how}, sampling standard error {error:.1e}"
    return Value(value, n, _join(note, _left_out(cloud, n)))


def _mean_cosine(cloud: Cloud) -> Value:
    n = cloud.direction_sums[0]
    if n < 2:
        raise NotApplicable(f"{n} of {cloud.n} rows have a direction; pairs need two")
    return Value(cloud.cosine_mean, n, _left_out(cloud, n))


def _jensen(cloud: Cloud) -> Value:
    value = hypersphere.uniformity_jensen(cloud.distance_mean)
    n = cloud.direction_sums[0]
    return Value(value, n, _left_out(cloud, n))


def _alignment(cloud: Cloud) -> Value:
    assert cloud.positives is not None
    total, used = 0.0, 0
    step = max(1, 2**22 // cloud.d)
    for start in range(0, len(cloud.positives), step):
        pairs = cloud.positives[start : start + step]
        a, b = cloud.take(pairs[:, 0]), cloud.take(pairs[:, 1])
        both = (a.abs().amax(1) > 0) & (b.abs().amax(1) > 0)
        if count := int(both.sum()):
            first, second = unit_rows(a[both]).cpu().numpy(), unit_rows(b[both]).cpu().numpy()
            total, used = total + count * hypersphere.alignment(first, second), used + count
    if not used:
        raise NotApplicable("no declared pair has two rows with a direction")
    gone = len(cloud.positives) - used
    note = f"{gone} pairs with a row without a direction left out" if gone else None
    return Value(total / used, None, _join(f"{used} pairs", note))


def class_sums(cloud: Cloud) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, Σw and Σ‖w‖² of the directions (relative to the pilot) of each class that has any."""
    assert cloud.labels is not None
    codes = np.unique(cloud.labels, return_inverse=True)[1]
    classes = int(codes.max()) + 1
    counts, sums, squares = np.zeros(classes, np.int64), np.zeros((classes, cloud.d)), np.zeros(classes)
    for rows, w in cloud.directions():
        code = torch.from_numpy(codes[rows]).to(w.device)
        block = torch.zeros(classes, cloud.d, dtype=torch.float64, device=w.device).index_add_(0, code, w)
        sums += block.cpu().numpy()
        counts += np.bincount(codes[rows], minlength=classes)
        squares += np.bincount(codes[rows], (w * w).sum(1).cpu().numpy(), minlength=classes)
    counts, sums, squares = cloud.ranks.reduce((counts, sums, squares), added)
    some = counts > 0
    return counts[some], sums[some], squares[some]


def _class_alignment(cloud: Cloud) -> Value:
    counts, sums, squares = class_sums(cloud)
    if not (counts > 1).any():
        raise TooFewRows(f"{len(counts)} rows of {len(counts)} classes; at least 2 rows of a class are needed")
    return Value(hypersphere.class_alignment(counts, sums, squares), int(counts.sum()))


def _class_separation(cloud: Cloud) -> Value:
    counts, sums, squares = class_sums(cloud)
    if len(counts) < 2:
        raise NotApplicable("one class only")
    return Value(hypersphere.class_separation(counts, sums, squares), int(counts.sum()))


register(
    "uniformity",
    "hypersphere",
    _uniformity,
    formula="log mean_(i<j) exp(−2‖z_i−z_j‖²), z = x/‖x‖, all pairs",
    range="[−4N/(N−1), 0]",
    direction="smaller: directions are spread more evenly; raw, it mostly follows the common mean vector",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Wang & Isola 2020, ICML, eq. 2, t = 2",
    needs="rows",
    default_views=BOTH,
)
register(
    "uniformity_jensen",
    "hypersphere",
    _jensen,
    formula="−4(1 − mean cosine), a lower bound of uniformity that the mean cosine alone sets",
    range="[−4N/(N−1), 0]",
    direction="smaller: directions have less in common",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Jensen's inequality on uniformity, t = 2",
    default_views=BOTH,
)
register(
    "uniformity_reference",
    "hypersphere",
    lambda c: hypersphere.uniformity_reference(c.d),
    formula="−4 + log ₀F₁(; D/2; 4): uniformity of the uniform distribution on the sphere, not a minimum",
    range="[−4, 0)",
    direction="depends on D only",
    invariances=(ROTATION, SCALE, SHIFT, ROW_SCALE),
    source="mean of exp(2t·cosine) over the sphere, t = 2",
    views=RAW,
)
register(
    "mean_cosine",
    "isotropy",
    _mean_cosine,
    formula="(‖Σz‖² − N)/(N(N−1)): mean over all pairs of the cosine",
    range="[−1/(N−1), 1]",
    direction="larger: directions share a common mean (a narrow cone)",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Ethayarajh 2019, EMNLP, over all pairs",
    default_views=BOTH,
)
register(
    "alignment",
    "hypersphere",
    _alignment,
    formula="mean over declared positive pairs of ‖z_i − z_i⁺‖²",
    range="[0, 4]",
    direction="smaller: pairs that should be near are nearer",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Wang & Isola 2020, ICML, eq. 1, α = 2",
    needs="positives",
)
register(
    "class_alignment",
    "hypersphere",
    _class_alignment,
    formula="mean over classes of the mean of ‖z_i−z_j‖² over pairs in the class: 2n/(n−1)·(1 − ‖z̄_c‖²)",
    range="[0, 4]",
    direction="smaller: classes are tighter",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="closed form of the mean squared distance within classes",
    needs="labels",
)
register(
    "class_separation",
    "hypersphere",
    _class_separation,
    formula="mean over pairs of classes of 2(1 − z̄_a·z̄_b)",
    range="[0, 4]",
    direction="larger: classes lie further apart",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="closed form of the mean squared distance between classes",
    needs="labels",
)


# Isotropy


def _isoscore(cloud: Cloud) -> Value:
    if cloud.d < 2:
        raise NotApplicable("one dimension only")
    return _noted(cloud, isotropy.isoscore(spectrum.participation_ratio(cloud.spectrum.values), cloud.d))


def _partition_isotropy(cloud: Cloud) -> float:
    return isotropy.partition_isotropy(cloud.log_partition)


def _rogue_share(cloud: Cloud, k: int) -> Value:
    n, mean, _ = cloud.direction_sums
    if n < 2:
        raise NotApplicable(f"{n} of {cloud.n} rows have a direction; pairs need two")
    contributions = (n * mean**2 - np.diag(cloud.direction_second_moment)) / (n - 1)
    if contributions.sum() <= 0:
        raise NotApplicable("the mean cosine is not positive, so there is nothing to share")
    return Value(isotropy.rogue_share(contributions, k), n, _left_out(cloud, n))


def _norm_cv(cloud: Cloud) -> float:
    if cloud.name == "raw":
        norm_sum, scatter = cloud.state.norm_sum, cloud.state.norm_scatter
    else:
        norms = np.concatenate([torch.linalg.vector_norm(x, dim=1).cpu().numpy() for _, x, _ in cloud.blocks()])
        norm_sum = sum(cloud.ranks.exchange(float(norms.sum())))
        scatter = sum(cloud.ranks.exchange(float(((norms - norm_sum / cloud.n) ** 2).sum())))
    if norm_sum == 0:
        raise NotApplicable("all rows are zero")
    return float(np.sqrt(scatter / cloud.n) / (norm_sum / cloud.n))


def _hubness_skew(cloud: Cloud) -> Value:
    found = cloud.neighbours(isotropy.HUBNESS_K).cpu().numpy()
    n = len(found)
    occurrences = np.bincount(found.ravel(), minlength=n).astype(np.float64)
    if occurrences.min() == occurrences.max():
        raise NotApplicable("every row is a neighbour equally often")
    note = f"seeded sample of {n:,} rows" if cloud.sampled_rows() is not None else _left_out(cloud, n)
    return Value(isotropy.skewness(occurrences), n, note)


register(
    "isoscore",
    "isotropy",
    _isoscore,
    formula="(PR − 1)/(D − 1), PR the participation ratio",
    range="[0, 1]",
    direction="larger: variance is spread more evenly over all D dimensions",
    invariances=(ROTATION, SCALE, SHIFT),
    source="Rudman et al. 2022, Findings of ACL, in closed form",
    views=SPECTRAL,
)
register(
    "partition_isotropy",
    "isotropy",
    _partition_isotropy,
    formula="min_c Z(c)/max_c Z(c), Z(c) = Σ exp(c·x), c = ± the eigenvectors of Σ x xᵀ",
    range="(0, 1]",
    direction="larger: no direction is favoured; depends on the scale of the vectors",
    invariances=(ROTATION,),
    source="Mu & Viswanath 2018, ICLR, eq. 5, with both signs of each eigenvector",
    needs="rows",
    views=SPECTRAL,
    default_views=BOTH,
)
for _k in (1, 3):
    register(
        f"rogue_share_{_k}",
        "isotropy",
        lambda c, k=_k: _rogue_share(c, k),  # type: ignore[misc]
        formula=f"share of the mean cosine that the {_k} largest coordinate contributions carry",
        range="[0, ∞)",
        direction="larger: a few coordinates decide the cosines; above 1 where others pull the other way",
        invariances=(SCALE, ROW_SCALE),
        source="Timkey & van Schijndel 2021, EMNLP, section 3.1, over all pairs",
    )
register(
    "norm_cv",
    "isotropy",
    _norm_cv,
    formula="standard deviation of ‖x‖ (1/N) over its mean",
    range="[0, √(N−1)]",
    direction="larger: lengths vary more",
    invariances=(ROTATION, SCALE),
    source="coefficient of variation of the norms",
)
register(
    "hubness_skew",
    "isotropy",
    _hubness_skew,
    formula="skewness of how often each row is among the 10 nearest neighbours (by cosine) of others",
    range="(−∞, ∞)",
    direction="larger: a few rows are neighbours of many (hubs)",
    invariances=(ROTATION, SCALE, ROW_SCALE),
    source="Radovanović et al. 2010, JMLR 11, k = 10",
    needs="rows",
)


# Other definitions under the same name: what other packages print, and what papers did.


def add_definition(name: str, definition: str, compute: Callable[[Cloud], float | Value], note: str) -> None:
    """Add another definition of a registered metric, to be asked for as "name:definition"."""
    REGISTRY[name].variants[definition] = compute
    REGISTRY[name].variant_notes[definition] = note


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(max(0, length - len(values)))])


def _unbiased_participation_ratio(cloud: Cloud) -> Value:
    if cloud.n < 4:
        raise TooFewRows(too_few(cloud.n, 4))
    state = cloud.state
    if cloud.name not in ("raw", "centred"):
        state = Moments("float64")
        for _, block, _ in cloud.blocks():
            state.update(block)
        state = cloud.ranks.reduce(state, Moments.merge)
    value = spectrum.participation_ratio_unbiased(cloud.spectrum.values, state.quartic, cloud.n)
    if not value > 0:
        raise NotApplicable("the unbiased estimate of tr Σ² is not positive at this N")
    return _noted(cloud, value)


def _unbiased_isoscore(cloud: Cloud) -> Value:
    if cloud.d < 2:
        raise NotApplicable("one dimension only")
    found = _unbiased_participation_ratio(cloud)
    return Value(isotropy.isoscore(found.value, cloud.d), found.n, found.note)


def _reptrix_rankme(cloud: Cloud) -> float:
    shares = cloud.spectrum.values / cloud.spectrum.values.sum()
    return float(np.exp(spectrum.entropy(_padded(shares, min(cloud.n, cloud.d)) + 1e-7)))


def _vecscope_effective_rank(cloud: Cloud) -> float:
    n, mean, _ = cloud.direction_sums
    moment = cloud.direction_second_moment - np.outer(mean, mean)
    values = spectrum_of(moment, min(n - 1, cloud.d)).values
    if not values[0] > 0:
        raise NotApplicable("all rows have the same direction")
    return spectrum.participation_ratio(values)


def _uniformity_with_itself(cloud: Cloud) -> Value:
    found = _uniformity(cloud)
    n = found.n or cloud.n
    return Value(float(np.log(((n - 1) * np.exp(found.value) + 1) / n)), n, found.note)


def _pooled_class_alignment(cloud: Cloud) -> Value:
    counts, sums, squares = class_sums(cloud)
    if not (counts > 1).any():
        raise TooFewRows(f"{len(counts)} rows of {len(counts)} classes; at least 2 rows of a class are needed")
    pairs = counts * (counts - 1) / 2
    within = counts * squares - (sums**2).sum(1)  # Σ over pairs i<j of ‖w_i − w_j‖²
    return Value(float(within.sum() / pairs.sum()), int(counts.sum()))


add_definition(
    "effective_rank",
    "ssrlib",
    lambda c: _noted(c, float(np.exp(spectrum.entropy(c.spectrum.values / c.spectrum.values.sum())))),
    "exp H(λ/Σλ): eigenvalues in place of singular values, centred (ssrlib)",
)
add_definition(
    "effective_rank",
    "vecscope",
    _vecscope_effective_rank,
    "participation ratio of the centred unit rows (vecscope)",
)
add_definition(
    "rankme",
    "reptrix",
    _reptrix_rankme,
    "exp(−Σ p log p), p = λ/Σλ + 1e-7: eigenvalues of the centred matrix (reptrix)",
)
add_definition(
    "stable_rank",
    "embedding-quality",
    lambda c: spectrum.stable_rank(c.uncentred_spectrum.values),
    "‖X‖_F²/‖X‖₂² of the matrix that is not centred (embedding-quality Stable_rank; its NESum is the standard one)",
)
add_definition(
    "participation_ratio",
    "unbiased",
    _unbiased_participation_ratio,
    "unbiased estimates of (tr Σ)² and tr Σ² (Himeno & Yamada 2014)",
)
add_definition("isoscore", "unbiased", _unbiased_isoscore, "with the unbiased participation ratio")
add_definition(
    "alpha_req",
    "reptrix",
    lambda c: _alpha_req(c, 11, 100),
    "fit over 11 ≤ k ≤ 100 (reptrix; Agrawal et al. 2022)",
)
add_definition(
    "intrinsic_dimension",
    "mle",
    lambda c: _neighbour_dimension(c, dimension.MLE_K, dimension.levina_bickel),
    "maximum likelihood over 20 neighbours, harmonic mean over rows (Levina & Bickel 2004; MacKay & Ghahramani 2005)",
)
add_definition(
    "spectral_entropy",
    "paper",
    lambda c: _spectral_entropy(c, min(c.n, c.d)),
    "divided by log min(N, D) in place of log min(N−1, D)",
)
add_definition(
    "class_alignment",
    "pooled",
    _pooled_class_alignment,
    "mean over all pairs of rows of the same class, so that large classes weigh more",
)
add_definition(
    "uniformity",
    "all pairs",
    _uniformity_with_itself,
    "mean over all N² pairs, each row with itself included (k = 1 on the diagonal), as many scripts compute it",
)
