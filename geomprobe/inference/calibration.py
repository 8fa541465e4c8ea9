"""How far the intervals of a metric hold in a user's own population: many draws of its rows, each with an interval."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from geomprobe.common import UsageError
from geomprobe.common.progress import Progress, shown
from geomprobe.inference.estimate import Estimate
from geomprobe.inference.influence import Workspace, estimate_of, number_clusters
from geomprobe.metrics import check_names, embeddings_of, value_row
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import STANDARD, Metric
from geomprobe.metrics.registry import REGISTRY
from geomprobe.metrics.transforms import transform
from geomprobe.results import table
from geomprobe.results.record import WIDE
from geomprobe.vectors import VectorSource
from geomprobe.vectors.groups import connected

LOWEST, HIGHEST = 0.93, 0.97
"""Coverage of a 95 % interval below which it is too narrow, and above which it is too wide without a label."""
FALSE_POSITIVES = 0.06
"""Share of paired tests without a difference that may have p < 0.05."""
SELECTED = 0.8
"""Share of draws without an interval from which the others are too few of a kind to be judged by their coverage."""
JUDGED = 20
"""Fewest intervals or tests that are judged."""
SHOWN = 0.90
"""Coverage that draws have to show, by the low end of the 99 % interval, before intervals are said to hold."""
MOST, MANY = 1 / 4, 1 / 10
"""Share of the population that a draw may be, and from which a note says that the correction counts."""
REFUSED = "no valid interval: "
DRAWN = ("status", "note", "value", "se", "ci_low", "ci_high", "ci_method", "p_null")
"""Columns of the draws that are judged."""
COLUMNS = {
    **dict.fromkeys(("metric", "definition", "view"), "string"),
    **dict.fromkeys(("n", "rows", "draws", "intervals"), "Int64"),
    **dict.fromkeys(("truth", "sd", "se_ratio", "coverage", "coverage_low", "coverage_high"), "Float64"),
    **dict.fromkeys(("refused", "labelled"), "Float64"),
    "reason": "string",
    "tests": "Int64",
    "false_positives": "Float64",
    **dict.fromkeys(("verdict", "note"), "string"),
}


def binomial_interval(hits: int, count: int, level: float = 0.99) -> tuple[float, float]:
    """Exact interval of a share (Clopper & Pearson 1934, "The use of confidence or fiducial limits", Biometrika 26)."""
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    return low, float(stats.beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0


@dataclass
class Population:
    """All rows of a user, and which of them are drawn together.

    Attributes
    ----------
    embeddings : Embeddings
        With the labels and pairs that were declared.
    clusters : ndarray of shape (M,) or None
        As declared.
    """

    embeddings: Embeddings
    clusters: np.ndarray | None

    def __post_init__(self) -> None:
        m, pairs = self.embeddings.n, self.embeddings.positives
        self.numbers = number_clusters(self.clusters, m)
        ends = np.zeros((0, 2), np.int64) if pairs is None else self.numbers[pairs]
        self.units = connected(ends, int(self.numbers.max()) + 1)[1][self.numbers]

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of n rows: whole clusters and pairs at random, the last one cut so that all draws have n rows."""
        place = rng.permutation(int(self.units.max()) + 1)[self.units]
        return np.lexsort((rng.random(len(place)), place))[:n]

    def sides(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Two sides of about n rows without a difference: numbers of their rows, and the cluster of each pair of rows.

        Of 2n drawn rows, neighbours of one cluster and class make a pair, and chance says which of the two goes to
        which side. So exchanging the sides changes no probability: a difference has mean 0 exactly, and a row of one
        side is as correlated with its partner as rows of a cluster are. What is left over in a cluster is paired with
        what is left in the next; these two then count as one cluster.
        """
        drawn = self.draw(2 * n, rng)
        classes = np.zeros(len(drawn), np.int64)
        if self.embeddings.labels is not None:
            classes = np.unique(self.embeddings.labels[drawn], return_inverse=True)[1].ravel()
        order = np.argsort(classes, kind="stable")
        drawn, classes = drawn[order], classes[order]
        place = np.arange(len(drawn)) - np.searchsorted(classes, classes)  # within the class
        at = np.flatnonzero((place[:-1] % 2 == 0) & (classes[:-1] == classes[1:]))
        pairs = np.stack([drawn[at], drawn[at + 1]], axis=1)
        pairs = np.where(rng.random(len(pairs))[:, None] < 0.5, pairs, pairs[:, ::-1])
        clusters = None
        if self.clusters is not None:
            of_rows = self.numbers[pairs]
            clusters = connected(of_rows, int(self.numbers.max()) + 1)[1][of_rows[:, 0]]
        return pairs[:, 0], pairs[:, 1], clusters

    def measure(
        self, rows: np.ndarray, clusters: np.ndarray | None, metric: Metric, definition: str, views: Sequence[str]
    ) -> list[tuple[dict[str, Any], Estimate | None]]:
        """Row of `measure` without interval, and the estimate behind it, of some rows in this order, view by view."""
        whole = self.embeddings
        labels, positives = (None if whole.labels is None else whole.labels[rows]), whole.positives
        if positives is not None:
            number = np.full(whole.n, -1)
            number[rows] = np.arange(len(rows))
            positives = number[positives]
            positives = positives[(positives >= 0).all(1)]
        source, numbers = VectorSource(whole.source.take(rows)), number_clusters(clusters, len(rows))
        directions = metric.of_directions
        part = embeddings_of(source, labels, positives, seed=whole.seed, directions=directions, influences=True)
        found = []
        for view in views:
            seen = transform(part, view)
            row = value_row(metric, definition, seen)
            known = row["status"] == "ok"
            estimate = estimate_of(metric, definition, Workspace(seen, numbers), row["value"]) if known else None
            found.append((row, estimate))
        return found


def calibrate(
    metric: str | Metric,
    data: Any,
    *,
    n: int,
    draws: int = 400,
    views: Sequence[str] | None = None,
    clusters: Any = None,
    labels: Any = None,
    positives: Any = None,
    seed: int = 0,
    progress: Progress | str | None = "auto",
) -> pd.DataFrame:
    """How far the intervals of a metric hold in your own population, from many draws of its rows.

    Parameters
    ----------
    metric : str or Metric
        A name, "name:definition", or a metric of your own, registered or not.
    data : array-like of shape (M, d)
        The population, as `measure` takes rows.
    n : int
        Rows of a draw, at most a quarter of M: as many as you will measure.
    draws : int
        400 tell a coverage of 95 % from one of 90 %.
    views : sequence of str, optional
        Default: the metric's own.
    clusters, labels, positives
        Of all M rows, as `measure` takes them. Whole clusters and pairs are drawn.
    seed : int
        The same seed draws the same rows.
    progress : "auto", None, or callable (done, total)
        As in `measure`.

    Returns
    -------
    DataFrame
        A row a view: metric, definition, view, n, rows (M), draws, and

        - intervals: how many draws have one. refused: the share of draws that have none, and reason, the most frequent.
          labelled: the share of intervals that say that their standard error is probably too large.
        - truth: the mean of the value over draws, which is what an interval at n rows is for. sd: the spread of the
          value over draws of an infinite population like this one. se_ratio: the mean standard error over sd.
        - coverage: the share of 95 % intervals that hold truth, with its 99 % binomial interval (coverage_low,
          coverage_high).
        - false_positives: the share of paired tests with p < 0.05 where nothing differs, of so many tests. Not for
          metrics of positive pairs.
        - verdict: "holds"; "too narrow: multiply the standard error by …"; "too wide by a factor …"; "too few draws to
          tell"; "no valid interval in … of draws". note: what else to know.

    Raises
    ------
    UsageError
        n is not 2 to M/4, or draws not at least 2; an unknown metric, definition or view; labels or pairs that the
        metric needs are not given.
    ValueError
        As `measure` does, for data or what is declared of it.

    Notes
    -----
    Draws are without replacement, so that no row counts twice. The mean of n of M rows varies by 1 − n/M less than one
    of new rows, and a draw is part of the mean over D draws: deviations from truth are divided by
    √((1 − n/M)(1 − 1/D)). This is exact for means and first-order for other metrics, hence the limit M/4. Two
    disjoint draws differ as two samples of an infinite population do, so the tests need no correction.

    Each test compares two sides of n rows between which nothing differs: rows are paired within their cluster and class
    (at random without these), and chance says which one goes to which side.

    Rows that are not declared to share a cluster are drawn alone, so dependence that is not declared is not seen.

    Too narrow is a coverage whose 99 % interval lies below 93 %, too wide one whose interval lies above 97 %. The
    factor is the one that makes 95 % of the intervals of these draws hold.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> Z = np.random.default_rng(0).normal(size=(5000, 8))
    >>> half = gp.Metric(
    ...     name="first_mean", family="means", compute=lambda e: e.state.mean[0], formula="mean x₁", range="(-∞, ∞)",
    ...     direction="larger: further along the first axis", invariances=(), source="this example",
    ...     influence=lambda e: (e.vectors[:, 0] - e.state.mean[0]) / 2,  # half of what it has to be
    ... )
    >>> gp.calibrate(half, Z, n=100, draws=100)["verdict"][0]
    'too narrow: multiply the standard error by 1.8; 29 % of paired tests are false positives'
    """
    found, definition = _chosen(metric)
    chosen = [views] if isinstance(views, str) else list(views or found.default_views or found.views[:1])
    check_names((), chosen)
    whole = embeddings_of(data, labels, positives, clusters, seed, directions=False)
    if whole.rows is None:
        raise UsageError("Draws need the rows, and these are moments.", "Give the vectors.")
    if found.needs in ("labels", "positives") and getattr(whole, found.needs) is None:
        raise UsageError(f"{found.name} needs {found.needs}, and none were given.", f"Give {found.needs}=….")
    try:
        n, draws = operator.index(n), operator.index(draws)
    except TypeError:
        raise UsageError(f"n and draws are whole numbers, not {n!r} and {draws!r}.") from None
    most = int(MOST * whole.n)
    if most < 2:
        raise UsageError(f"There are {whole.n:,} rows, and a draw of 2 is at most a quarter: 8 are the fewest.")
    if not 2 <= n <= most:
        why = "Beyond a quarter, draws are too much alike to stand for new rows." if n > most else "A draw needs two."
        raise UsageError(f"n is {n:,} of {whole.n:,} rows. {why}", f"Give an n of 2 to {most:,}, or more rows.")
    if draws < 2:
        raise UsageError(f"draws is {draws}: the spread over draws needs two.", "400 are the default.")
    population = Population(whole, None if clusters is None else np.asarray(clusters))
    drawn = []
    with shown(progress, "calibrating") as show:
        for i in range(draws):
            drawn += _one_draw(population, n, np.random.default_rng([seed, i]), found, definition, chosen)
            if show:
                show(i + 1, draws)
    of_views = pd.DataFrame(drawn).groupby("view", sort=False)
    place = {"metric": found.name, "definition": definition, "n": n, "rows": whole.n}
    return table([place | {"view": view} | _judged(part, n / whole.n) for view, part in of_views], COLUMNS)


def _chosen(metric: str | Metric) -> tuple[Metric, str]:
    if isinstance(metric, Metric):
        return metric, STANDARD
    if not isinstance(metric, str):
        raise UsageError(f"A metric is a name or a geomprobe.Metric, not of type {type(metric).__name__}.")
    check_names([metric], ())
    name, _, definition = metric.partition(":")
    return REGISTRY.choose(name), definition or STANDARD


def _one_draw(
    population: Population, n: int, rng: np.random.Generator, metric: Metric, definition: str, views: Sequence[str]
) -> list[dict[str, Any]]:
    """A row a view: value, interval and its label of one draw, and p of a paired test where nothing differs."""
    rows = population.draw(n, rng)
    clusters = None if population.clusters is None else population.numbers[rows]
    measured = population.measure(rows, clusters, metric, definition, views)
    found = [row | (one.interval().to_row() if one else {}) for row, one in measured]
    if metric.needs != "positives":
        first, second, clusters = population.sides(n, rng)
        sides = (population.measure(side, clusters, metric, definition, views) for side in (first, second))
        for row, (_, a), (_, b) in zip(found, *sides, strict=True):
            row["p_null"] = b.minus(a).interval().p if a and b else None
    return found


def _judged(drawn: pd.DataFrame, share: float) -> dict[str, Any]:
    """Columns of `calibrate` from the draws of one view, each `share` of the population."""
    drawn = drawn.reindex(columns=DRAWN)
    draws, valued = len(drawn), drawn[drawn["status"] == "ok"]
    given = valued[valued["se"].notna()]
    tests = drawn["p_null"].dropna().astype(float)
    found: dict[str, Any] = {"draws": draws, "intervals": len(given), "refused": 1 - len(given) / draws}
    found |= {"tests": len(tests), "note": _note(share)}
    without = [*drawn["note"][drawn["status"] != "ok"], *valued["ci_method"][valued["se"].isna()]]
    if without:
        found["reason"] = pd.Series(without).mode()[0].removeprefix(REFUSED)
    if len(tests):
        found["false_positives"] = float((tests < 0.05).mean())
    if len(valued) < 2:
        return found | {"verdict": f"no value in {100 - 100 * len(valued) / draws:.0f} % of draws"}
    values = valued["value"].to_numpy(float)
    found["truth"] = truth = values.mean()
    found["sd"] = sd = values.std(ddof=1) / np.sqrt(1 - share)
    factor = 1.0
    if len(given):
        value, se, low, high = (given[column].to_numpy(float) for column in ("value", "se", "ci_low", "ci_high"))
        error = (value - truth) / np.sqrt((1 - share) * (1 - 1 / len(values)))
        half = np.where(error > 0, value - low, high - value)
        covered = int((np.abs(error) <= half).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = float(np.quantile(np.where(error == 0, 0.0, np.abs(error) / half), 0.95))
            found["se_ratio"] = se.mean() / sd
        found["coverage"] = covered / len(given)
        found["coverage_low"], found["coverage_high"] = binomial_interval(covered, len(given))
        found["labelled"] = given["ci_method"].str.contains(WIDE, regex=False).mean()
    return found | {"verdict": _verdict(found, factor)}


def _verdict(found: dict[str, Any], factor: float) -> str:
    """What the draws say, by the 99 % binomial interval; `factor` makes 95 % of the intervals hold."""
    said = _of_coverage(found, factor)
    false, tests = found.get("false_positives", 0.0), found["tests"]
    if tests >= JUDGED and binomial_interval(round(false * tests), tests)[0] > FALSE_POSITIVES:
        said += f"; {100 * false:.0f} % of paired tests are false positives"
    return said


def _of_coverage(found: dict[str, Any], factor: float) -> str:
    given, draws = found["intervals"], found["draws"]
    if draws >= JUDGED and found["refused"] > SELECTED:
        # the draws that have one are not like the others: judged is how often an interval is given and misses
        missed = round((1 - found.get("coverage", 1.0)) * given)
        worse = "; those given miss too often" if binomial_interval(missed, draws)[0] > 1 - LOWEST else ""
        return f"no valid interval in {100 * found['refused']:.0f} % of draws{worse}"
    if given < JUDGED:
        return "too few draws to tell"
    if found["coverage_high"] < LOWEST:
        wrong = f"multiply the standard error by {factor:.2g}" if np.isfinite(factor) else "the standard error is 0"
        return f"too narrow: {wrong}"
    if found["coverage_low"] > HIGHEST:
        wide = f"too wide by a factor {1 / factor:.2g}" if factor else "too wide: all draws have one value"
        return f"{wide}, as its label says" if found["labelled"] >= 0.5 else wide
    return "holds" if found["coverage_low"] >= SHOWN else "too few draws to tell"


def _note(share: float) -> str | None:
    if share <= MANY:
        return None
    return f"a draw is {100 * share:.0f} % of the rows: the correction for this is exact for means only"
