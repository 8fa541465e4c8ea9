"""Influence functions of pair statistics of directions: from row means, so that no pair is looked at one by one.

For a mean over pairs of k_ij, row i has the influence 2(h_i − mean), h_i = mean over j of k_ij (Hoeffding 1948). Where
directions are taken from the mean vector (the centred view), a row also moves that centre; this is the term "centring".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import squareform

from geomprobe.inference.left_out import NUMBERS, PAIRS, members_of, of_like_size
from geomprobe.metrics import alignment_uniformity, isotropy
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.vectors import unit_rows

CHECKED_CLUSTERS = 256
CHECKED_ROWS = 512
"""Most clusters, and most rows of these, whose pairs are looked at one by one for what they hold beyond row means."""
SAMPLED_COLUMNS = 2048
OWN_ROWS = 1024
"""Most rows of a cluster whose own pairs are looked at; of a larger one these seeded rows stand for all."""

Kernel = Callable[[torch.Tensor], torch.Tensor]


def mean_distance(
    embeddings: Embeddings, checked: Checked, distances: np.ndarray, turn: torch.Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """Influence of each row on the mean squared distance over pairs, and what pairs of clusters add (see `together`).

    From the mean squared distance of each direction to the others; the distances are those of the checked rows, `turn`
    is that of the centred view.
    """
    m, mean, spread = embeddings.direction_sums
    means = np.zeros(embeddings.n)  # of rows without a direction
    for rows, w in embeddings.directions():
        centre = torch.from_numpy(mean).to(w.device) - embeddings.pilot
        means[rows] = (((w - centre) ** 2).sum(1).cpu().numpy() + spread / m) * (m / (m - 1))
    out = np.where(means > 0, 2 * (means - embeddings.distance_mean), 0.0) * (embeddings.n / m)
    if turn is None:
        return out, together(distances, checked, means[checked.rows], embeddings.distance_mean)
    moves = direction_moves(embeddings, turn, checked.rows)[1]
    pairs = together(-2 * (moves @ moves.T).cpu().numpy(), checked, np.zeros(len(moves)), 0.0)
    return out + _distance_centring(embeddings), pairs


def without_own_pairs(
    embeddings: Embeddings,
    rows: np.ndarray,
    clusters: np.ndarray,
    mean: float,
    kernel: Kernel,
    slope: float,
    turn: torch.Tensor | None,
) -> np.ndarray:
    """Influences on a mean over pairs whose sums over clusters count the pairs within a cluster once, float64 (n,).

    Row means count a pair for each of its rows. That is right for a pair of two clusters, each of which moves it; a
    cluster moves its own pairs alone.

    Parameters
    ----------
    rows : float64 ndarray of shape (n,)
        Influences from row means, in units of k.
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    mean : float
        k̄ over all pairs.
    kernel : callable
        k of the cosines of two directions.
    slope : float
        Of k by the cosine, by which it moves as the rows of a cluster move the centre together.
    turn : float64 tensor of shape (d, d) or None
        Of `centre_turn`, in the centred view.
    """
    n, sizes = len(rows), np.bincount(clusters)
    if len(sizes) == n:
        return rows
    own = np.zeros(len(sizes))
    for places, members in of_like_size(members_of(clusters)):
        size = members.shape[1]
        if size > OWN_ROWS:
            members = np.random.default_rng(embeddings.seed).permuted(members, axis=1)[:, :OWN_ROWS]
        s = members.shape[1]
        batch = max(1, NUMBERS // (s * (s + embeddings.d)))
        for part in range(0, len(places) if s > 1 else 0, batch):
            near = members[part : part + batch]
            z = unit_rows(embeddings.take(near.ravel())).reshape(len(near), s, -1)
            k = kernel(z @ z.mT)
            if turn is not None:
                off, moves = (each.reshape(z.shape) for each in direction_moves(embeddings, turn, near.ravel()))
                k = k + slope * (moves @ moves.mT - off @ off.mT)
            k.diagonal(dim1=1, dim2=2).fill_(mean)
            found = (k - mean).sum((1, 2)).cpu().numpy() * (size * (size - 1) / (s * (s - 1)))
            own[places[part : part + batch]] = found / (n - 1)
    own -= sizes * (own.sum() / n)
    return rows - (own / sizes)[clusters]


def centre_turn(embeddings: Embeddings) -> torch.Tensor:
    """J of the centred view, mean of (I − zzᵀ)/‖y‖, (d, d): how far the mean direction turns as the centre moves."""
    turn, inverses, m = torch.zeros(embeddings.d, embeddings.d, dtype=torch.float64), 0.0, embeddings.direction_sums[0]
    for _, y, z in embeddings.directed():
        inverse = 1 / torch.linalg.vector_norm(y, dim=1)
        turn -= (z.T @ (inverse[:, None] * z)).cpu()
        inverses += float(inverse.sum())
    return (turn + inverses * torch.eye(embeddings.d, dtype=torch.float64)) / m


def direction_moves(embeddings: Embeddings, turn: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """How far rows move the mean direction, without and with the centre that they move, float64 (m, d) each.

    z − z̄, and z − z̄ − J·y in the centred view, J that of `centre_turn`: the centre moves by y/n where a row gains
    weight. In terms of the second order the products of these stand in place of those; for rows of one length the
    centre undoes all that the rows do.
    """
    y = embeddings.take(rows)
    off = unit_rows(y) - torch.from_numpy(embeddings.direction_sums[1]).to(y.device)
    return off, off - y @ turn.to(y.device)


def _distance_centring(embeddings: Embeddings) -> np.ndarray:
    m, mean, _ = embeddings.direction_sums
    total = torch.from_numpy(m * mean)
    slope, inverses = torch.zeros(embeddings.d, dtype=torch.float64), 0.0
    for _, y, z in embeddings.directed():
        inverse = 1 / torch.linalg.vector_norm(y, dim=1)
        slope -= ((inverse * (z @ total.to(z.device))) @ z).cpu()
        inverses += float(inverse.sum())
    return embeddings.along(4 / (m * (m - 1)) * (slope + total * inverses))


def log_mean_kernel(embeddings: Embeddings, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Influence of each row on the log mean kernel, and the kernel's row means over its mean (1 without a direction).

    log Ū moves by 2(h_i/Ū − 1); SE = 2·sd(h)/(√N·Ū).
    """
    if not embeddings.reads_all_pairs:
        rows, means, slope = _sampled_kernel(embeddings, t)
    elif embeddings.name == "centred":
        rows, means, slope = _centred_kernel(embeddings, t)
    else:
        rows, means = embeddings.sphere[0], embeddings.kernel(t).row_means
    scaled = np.ones(embeddings.n)
    scaled[rows] = means / means.mean()
    out = 2 * (scaled - 1) * (embeddings.n / len(rows))
    return out + embeddings.along(slope) if embeddings.name == "centred" else out, scaled


def _centred_kernel(embeddings: Embeddings, t: float) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Rows, kernel row means, and the slope of log Ū as the centre moves.

    −4t/(m(m−1)Ū)·[Σ_j z_j Σ_i k_ij/‖y_i‖ − Σ_i (z_i/‖y_i‖) Σ_j k_ij cos_ij], for the centre
    moves by (x_i − x̄)/n where row i gains weight, and directions turn by −(I − zzᵀ)/‖y‖ of it.
    """
    kernel = embeddings.kernel(t, turning=True)
    assert kernel.weighted is not None
    assert kernel.turned is not None
    pull = kernel.weighted - embeddings.inverse_lengths * kernel.turned
    slope, start = torch.zeros(embeddings.d, dtype=torch.float64), 0
    for _, _, z in embeddings.directed():
        slope += (pull[start : start + len(z)] @ z).cpu()
        start += len(z)
    means = kernel.row_means
    return embeddings.sphere[0], means, -4 * t / float(means.sum() * (len(means) - 1)) * slope


def _sampled_kernel(embeddings: Embeddings, t: float) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """What `_centred_kernel` does from seeded columns: past the exact limit no one reads all pairs."""
    rng = np.random.default_rng(embeddings.seed)
    chosen = np.sort(rng.choice(embeddings.n, SAMPLED_COLUMNS, replace=False))
    sample = embeddings.take(chosen)
    kept = sample.abs().amax(1) > 0
    columns, points = torch.from_numpy(chosen)[kept.cpu()], unit_rows(sample[kept])
    near = (points - embeddings.pilot).float()
    square = (near * near).sum(1)
    rows, means, total = [], [], 0.0
    pulled = torch.zeros(len(points), dtype=torch.float64)
    slope = torch.zeros(embeddings.d, dtype=torch.float64)
    for found, y, z in embeddings.directed():
        block = (z - embeddings.pilot).float()
        distance = ((block * block).sum(1)[:, None] + square - 2 * (block @ near.T)).clamp_min(0)
        other = (torch.from_numpy(found)[:, None] != columns).to(distance.device)  # no row is a pair with itself
        kernel = torch.exp(-t * distance).double() * other
        inverse = 1 / torch.linalg.vector_norm(y, dim=1).double()
        pulled += (inverse @ kernel).cpu()
        slope -= ((inverse * (kernel * (1 - distance / 2)).sum(1)) @ z.double()).cpu()
        total += float(kernel.sum())
        rows.append(found)
        means.append((kernel.sum(1) / other.sum(1)).cpu().numpy())
    slope = -4 * t / total * (slope + pulled @ points.double().cpu())
    return np.concatenate(rows), np.concatenate(means), slope


@dataclass(frozen=True)
class Checked:
    """Some rows whose pairs are looked at one by one, and what they stand for.

    Attributes
    ----------
    rows : int64 ndarray of shape (m,)
        Their numbers, ascending.
    homes : int64 ndarray of shape (m,)
        Number of each one's cluster, from 0.
    whole : bool
        Whether all rows of these clusters are among them; else clusters are too large, and rows were taken singly.
    n, groups : int
        Of all rows, and of all clusters.
    """

    rows: np.ndarray
    homes: np.ndarray
    whole: bool
    n: int
    groups: int

    def keep(self, kept: np.ndarray, n: int) -> Checked:
        """Those of the rows that are kept, for a statistic of n rows in all."""
        homes = np.unique(self.homes[kept], return_inverse=True)[1]
        share = len(np.unique(homes)) / max(len(np.unique(self.homes)), 1)
        return Checked(self.rows[kept], homes, self.whole, n, max(1, round(self.groups * share)))


def checked_rows(clusters: np.ndarray, usable: np.ndarray, seed: int, most: int = CHECKED_ROWS) -> Checked:
    """Usable rows of some seeded clusters: of CHECKED_CLUSTERS, and `most` rows, at most.

    Clusters of over most/32 rows are passed over. Where they hold most of the rows, single seeded rows are taken.

    Parameters
    ----------
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    usable : bool ndarray of shape (n,)
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(clusters[usable], minlength=int(clusters.max()) + 1)
    groups, n = int((sizes > 0).sum()), int(usable.sum())
    small = np.flatnonzero((sizes > 0) & (sizes <= most // 32))
    whole = bool(sizes[small].sum() >= n / 2)
    if whole:
        small = small[rng.permutation(len(small))[:CHECKED_CLUSTERS]]
        chosen = np.zeros(len(sizes), bool)
        chosen[small[np.cumsum(sizes[small]) <= most]] = True
        rows = np.flatnonzero(chosen[clusters] & usable)
    else:
        rows = np.sort(rng.permutation(np.flatnonzero(usable))[:CHECKED_CLUSTERS])
    return Checked(rows, np.unique(clusters[rows], return_inverse=True)[1].ravel(), whole, n, groups)


def checked_distances(embeddings: Embeddings, clusters: np.ndarray) -> tuple[Checked, np.ndarray]:
    """Some rows that have a direction (see `checked_rows`), and the squared distances of all pairs of these."""
    checked = checked_rows(clusters, np.ones(embeddings.n, bool), embeddings.seed)
    x = embeddings.take(checked.rows)
    has = x.abs().amax(1) > 0
    pairs = torch.nn.functional.pdist(unit_rows(x[has])).square().cpu().numpy()
    distances = squareform(pairs) if len(pairs) else np.zeros((int(has.sum()),) * 2)
    return checked.keep(has.cpu().numpy(), embeddings.direction_sums[0]), distances


def second_order(terms: np.ndarray, checked: Checked, row_means: np.ndarray, mean: float) -> float:
    """Variance of the second-order term of a mean over pairs of n rows in G clusters of like sizes.

    2·G(G − 1)/n⁴ times the mean square, over pairs of clusters, of the sum of k_ij − h_i − h_j + h̄ over their rows; or
    2·ζ₂/n², ζ₂ the mean square of this over pairs of rows of two clusters, if that is larger. Where every row is its
    own cluster both are the same, ζ₂ = Var k − 2·Var h.

    Parameters
    ----------
    terms : float64 ndarray of shape (m, m)
        k of the pairs of the checked rows.
    checked : Checked
    row_means : float64 ndarray of shape (m,)
        h of these rows, over their pairs with all rows; what its in-sample variance holds of ζ₂ is taken out.
    mean : float
        h̄, over all pairs.
    """
    homes, n, groups = checked.homes, checked.n, checked.groups
    apart = homes[:, None] != homes
    if not apart.any():
        return 0.0
    beyond = _beyond(terms, row_means, mean)
    found = 2 * float((beyond[apart] ** 2).mean()) / n**2
    if checked.whole:
        of_clusters = _summed(beyond, homes)
        sums = of_clusters[np.triu_indices(len(of_clusters), 1)]
        found = max(found, 2 * groups * (groups - 1) / n**4 * float((sums**2).mean()))
    return found / max(1 - 2 / groups, 0.1)


def together(terms: np.ndarray, checked: Checked, row_means: np.ndarray, mean: float) -> np.ndarray:
    """What seeded pairs of clusters add to the contributions to a mean over pairs of n rows, float64 (m,).

    The sum of k_ij − h_i − h_j + h̄ over the rows of two clusters, times √(2·G(G − 1))/n², so that the mean square is
    the variance of the second-order term. Where clusters are too large to be looked at whole, single rows of two
    clusters.

    Parameters
    ----------
    As for `second_order`.
    """
    homes, n, groups = checked.homes, checked.n, checked.groups
    if not len(homes):
        return np.zeros(0)
    beyond, scale = _beyond(terms, row_means, mean), np.sqrt(2) / n
    if checked.whole:
        beyond, scale = _summed(beyond, homes), np.sqrt(2 * groups * (groups - 1)) / n**2
        homes = np.arange(len(beyond))
    a, b = np.triu_indices(len(homes), 1)
    apart = np.flatnonzero(homes[a] != homes[b])
    chosen = np.random.default_rng(len(apart)).permutation(apart)[:PAIRS]
    return beyond[a[chosen], b[chosen]] * scale / np.sqrt(max(1 - 2 / groups, 0.1))


def _beyond(terms: np.ndarray, row_means: np.ndarray, mean: float) -> np.ndarray:
    """k_ij − h_i − h_j + h̄: what pairs hold beyond their row means."""
    return terms - (row_means - mean / 2)[:, None] - (row_means - mean / 2)


def _summed(terms: np.ndarray, homes: np.ndarray) -> np.ndarray:
    """Terms of pairs of rows, summed over the rows of two clusters."""
    home = np.eye(int(homes.max()) + 1)[homes]
    return home.T @ terms @ home


def leading_share(embeddings: Embeddings, k: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Influences on the share of the k leading coordinates (these held fixed), and on the whole.

    The third value says whether coordinate k + 1 is within two standard errors of coordinate k.
    """
    m, mean, _ = embeddings.direction_sums
    share = isotropy.cosine_contributions(embeddings)
    order, total = np.argsort(share)[::-1], share.sum()
    leading = order[: k + 1]
    moved, whole = np.zeros((embeddings.n, len(leading))), np.zeros(embeddings.n)
    for rows, _, z in embeddings.directed():
        points = z.cpu().numpy()
        near = points[:, leading]
        moved[rows] = 2 * (m * mean[leading] * near - near**2) / (m - 1) - 2 * share[leading]
        whole[rows] = 2 * (m * (points @ mean) - 1) / (m - 1) - 2 * total  # a direction's squares sum to one
    out = (moved[:, :k].sum(1) - share[order[:k]].sum() / total * whole) / total
    tied = False
    if k < embeddings.d:
        edge = float(np.std(moved[:, k - 1] - moved[:, k])) / np.sqrt(m)
        tied = bool(share[order[k - 1]] - share[order[k]] < 2 * edge)
    return out * (embeddings.n / m), whole * (embeddings.n / m), tied


def alignment(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose rows both have a direction, int64 (p, 2), and each pair's squared distance less the mean."""
    found = [
        (pairs, ((a - b) ** 2).sum(1).cpu().numpy()) for pairs, a, b in alignment_uniformity.declared_pairs(embeddings)
    ]
    pairs, values = (np.concatenate(part) for part in zip(*found, strict=True))
    return pairs, values - values.mean()


def norm_cv(embeddings: Embeddings) -> np.ndarray:
    """Influence of each row on the coefficient of variation of the norms, in the raw view.

    To first order, or (N − 1)·(cv − cv without row i), whichever has the larger variance: left out, a row that lies far
    off counts too little.
    """
    norms = embeddings.lengths()
    n, mean = len(norms), norms.mean()
    off = norms - mean
    variance = float((off**2).mean())
    if variance == 0 or n < 3:
        return np.zeros(n)
    cv = np.sqrt(variance) / mean
    slope = cv * ((off**2 / variance - 1) / 2 - off / mean)
    without = np.sqrt(np.maximum(variance - off**2 / (n - 1), 0) * n / (n - 1)) / (mean - off / (n - 1))
    left = (n - 1) * (cv - without)
    left = left - left.mean()
    return left if left.var() > slope.var() else slope
