"""One number of two models on the same rows: its difference, from contributions or from per-example scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import UsageError, unknown_name
from geomprobe.comparison.records import known, sibling
from geomprobe.inference import Estimate, Interval, intervals, number_clusters, probe_tests
from geomprobe.inference.estimate import FUNCTION
from geomprobe.inference.refits import SAID, with_refits
from geomprobe.metrics import REGISTRY
from geomprobe.probes.refits import WITHOUT
from geomprobe.results import Results

CELL = ("task", "depth", "pooling")
NUMBER = ("view", "metric", "definition")
PLACE = (*CELL, *NUMBER)

Row = Mapping[Any, Any]


class ModelResults:
    """What a comparison needs of one model: its numbers, influences and per-example scores, found by cell."""

    def __init__(self, results: Results, name: str):
        depth = {entry["name"]: entry["n_layers"] for entry in results.run["models"]}
        if name not in depth:
            raise unknown_name("model", name, list(depth))
        self.name = name

        def mine(frame: pd.DataFrame) -> pd.DataFrame:
            frame = frame[frame["model"] == name]
            return frame.assign(depth=(frame["layer"].astype(float) / max(depth[name], 1)).round(6))

        rows, equal = mine(results.results), copies(results.run)
        rows = rows[[cell not in equal for cell in zip(rows["task"], rows["pooling"], strict=True)]]
        self.records = known(results.definitions)
        compared = rows["metric"].map(lambda metric: self.records.get(metric, {}).get("compared", True)).astype(bool)
        rows = rows[rows["control"].isna() & compared]
        self.rows = rows[rows["status"] == "ok"]
        self.task_hash = self.rows.groupby("task")["task_hash"].first().to_dict()
        self._influences = by_key(mine(results.influences), PLACE)
        self.numbers = by_key(self.rows, PLACE)
        self.without = by_key(rows[rows["status"] != "ok"], PLACE)
        self._refits = by_key(mine(results.refits), PLACE)
        self._examples: dict[tuple, pd.DataFrame] = {
            tuple(key): part.sort_values("row_id", kind="stable").reset_index(drop=True)
            for key, part in filled(mine(results.examples), CELL).groupby([*CELL, "probe"], sort=False)
        }

    def influence(self, row: Row) -> Row | None:
        """Row of the influence table that belongs to a number, or None."""
        return self._influences.get(key_of(row, PLACE))

    def refits(self, row: Row) -> np.ndarray | None:
        """What refits say of a number of a probe, as `inference.refits` takes it; None where there are none."""
        found = self._refits.get(key_of(row, PLACE))
        return None if found is None else np.asarray(found["differences"], float).reshape(int(found["refits"]) // 2, -1)

    def estimate(self, row: Row) -> Estimate:
        """One of `numbers` with the contribution of each cluster, from influences, else per-example scores."""
        value = float(row["value"])
        if str(row["ci_method"]) == WITHOUT:
            return Estimate(value, None, method=WITHOUT)
        if (found := self.influence(row)) is not None:
            return estimate_of(value, found, str(row["ci_method"]))
        examples = self.examples(row)
        rows = None if examples is None else probe_influence(self.score(row), examples, self.value(row))
        if examples is None or rows is None:
            return estimate_of(value, None, str(row["ci_method"]))
        return Estimate(value, np.bincount(clusters_of(examples), rows) / len(rows))

    def score(self, row: Row) -> str | None:
        """Which of its probe's scores a number is, None where it is none that the kept ones tell."""
        return self.records.get(str(row["metric"]), {}).get("score")

    def value(self, row: Row) -> Callable[[str], float | None]:
        """A function from a score of the same probe to its value in the same cell."""

        def of(score: str) -> float | None:
            name = sibling(self.records, str(row["metric"]), score)
            found = self.numbers.get(key_of({**row, "metric": name}, PLACE))
            return None if found is None else float(found["value"])

        return of

    def examples(self, row: Row) -> pd.DataFrame | None:
        """Per-example scores of a number's probe, None where none are kept."""
        probe = self.records.get(str(row["metric"]), {}).get("probe")
        return self._examples.get((*(row[c] for c in CELL), probe))


def copies(run: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(task, pooling) whose vectors are another's by definition: they would count evidence twice.

    Untrained, `weighted` equals `mean` bit for bit, and so does `model` where no model declares more.
    """
    entries = {entry["name"]: entry for entry in run.get("poolings", ())}
    if "mean" not in entries:
        return set()
    tasks = [entry["name"] for entry in run.get("tasks", ())]
    own = {(task, "model") for task in tasks if entries.get("model", {}).get("equals") == "mean"}
    if "weighted" not in entries:
        return own
    untrained = tasks if entries["weighted"]["trained"] is False else entries["weighted"].get("untrained_on", {})
    return own | {(task, "weighted") for task in untrained}


def check_rows(sides: Sequence[ModelResults]) -> None:
    """Refuse sides that did not see the same rows of a task that they share."""
    for side in sides[1:]:
        for task, fingerprint in side.task_hash.items():
            if sides[0].task_hash.get(task, fingerprint) != fingerprint:
                raise UsageError(
                    f"{sides[0].name} and {side.name} did not see the same rows of {task}.",
                    "Analyse both in one command.",
                )


def paired(first: ModelResults, second: ModelResults, row: Row) -> Interval:
    """Paired difference of a number of two models: from influences, else from per-example scores."""
    diff = float(row["value_b"]) - float(row["value_a"])
    hashes = [row["model_hash_a"], row["model_hash_b"]]
    if diff == 0 and isinstance(hashes[0], str) and hashes[0] == hashes[1] and row["layer_a"] == row["layer_b"]:
        return Interval(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, "equal weights give equal vectors")
    left, right = first.influence(row), second.influence(row)
    if row["metric"] not in REGISTRY:
        found = _probe(row, first, second)
        if found.p is not None or left is None or right is None:
            return found
    return geometry(row, left, right, refits_of_difference([first], [second], row)).interval()


def paired_estimate(first: ModelResults, second: ModelResults, row: Row) -> Estimate:
    """Paired difference of a number that two models have, with the contribution of each cluster."""
    place = key_of(row, PLACE)
    found = second.estimate(second.numbers[place]).minus(first.estimate(first.numbers[place]))
    refits = refits_of_difference([first], [second], row)
    return found if refits is None else with_refits(replace(found, method=SAID.sub("", found.method)), refits)


def refits_of_difference(first: Sequence[ModelResults], second: Sequence[ModelResults], row: Row) -> np.ndarray | None:
    """What refits say of a difference, of means over models of either side; None where a model has none, or others."""
    sides = [[model.refits(row) for model in side] for side in (first, second)]
    known = [found for side in sides for found in side if found is not None]
    if len(known) < len(first) + len(second) or len({found.shape for found in known}) > 1:
        return None
    of_first, of_second = (np.mean(np.stack([each for each in side if each is not None]), axis=0) for side in sides)
    return of_second - of_first


def estimate_of(value: float, influence: Row | None, method: str = FUNCTION) -> Estimate:
    """A number from its row of the table of influences, if it has one, and the words of its interval."""
    if influence is None and method.startswith("no valid interval"):
        return Estimate(value, None, method=method)
    if influence is None:
        return Estimate.refused(value, "no contributions are kept")
    contributions = np.asarray(influence["contributions"], np.float64)
    method = FUNCTION if method.startswith("no valid interval") else method  # a difference may have one
    pairs = influence.get("together")
    together = np.asarray(pairs, np.float64) if isinstance(pairs, (list, np.ndarray)) else None
    record = REGISTRY.built_in.get(str(influence["metric"]))
    pairs_only = record is not None and record.of_spectrum is None
    return Estimate(
        value, contributions, float(influence["extra"]), method=method, together=together, pairs_only=pairs_only
    )


def geometry(row: Row, first: Row | None, second: Row | None, refits: np.ndarray | None = None) -> Estimate:
    """Paired difference of a number from the rows of the two tables of influences, and what refits say of it."""
    a, b = (
        estimate_of(float(row[f"value_{side}"]), influence, SAID.sub("", str(row[f"ci_method_{side}"])))
        for side, influence in (("a", first), ("b", second))
    )
    if a.contributions is not None and b.contributions is not None and len(a.contributions) != len(b.contributions):
        raise UsageError(f"{row['metric']}: the two models do not have the same clusters of rows.")
    found = b.minus(a)
    return found if refits is None else with_refits(found, refits)


def clusters_of(examples: pd.DataFrame) -> np.ndarray:
    """Number of each example's cluster; one without a cluster is its own."""
    own = pd.Series(np.arange(len(examples)), index=examples.index)
    return number_clusters(examples["cluster"].astype("Int64").fillna(-1 - own).to_numpy(np.int64), len(own))


MOVES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": lambda label, predicted, loss: probe_tests.mean_influence((label == predicted).astype(float)),
    "macro_f1": lambda label, predicted, loss: probe_tests.macro_f1_influence(label, predicted),
    "mcc": lambda label, predicted, loss: probe_tests.mcc_influence(label, predicted),
    "log_loss": lambda label, predicted, loss: probe_tests.mean_influence(loss),
    # the class shares' loss is the same for every encoder
    "usable_bits": lambda label, predicted, loss: -probe_tests.mean_influence(loss),
}
"""Score -> influence of each example, from its label, prediction and log loss."""


def probe_influence(
    score: str | None, examples: pd.DataFrame, value: Callable[[str], float | None], unit: float | None = None
) -> np.ndarray | None:
    """Influence of each example on a probe's score, None where it is not known.

    Parameters
    ----------
    score : str or None
        Which score (see `geomprobe.results.record.Record`).
    examples : DataFrame
        Columns label, prediction, log_loss.
    value : callable
        Other scores of the same probe, for those that differ by a factor only.
    unit : float, optional
        Of skill, where a model on the same rows shows it and this one may not (see `skill_unit`).
    """
    label, predicted, loss = (examples[c].to_numpy(float, na_value=np.nan) for c in ("label", "prediction", "log_loss"))
    if score == "skill":
        unit = skill_unit(value) if unit is None else unit
        return None if unit is None else MOVES["accuracy"](label, predicted, loss) * unit
    if score == "usable_share":
        bits, share = value("usable_bits"), value("usable_share")
        return None if not bits or share is None else MOVES["usable_bits"](label, predicted, loss) * (share / bits)
    if score in probe_tests.CORRELATIONS:
        varies = np.ptp(label) and np.ptp(predicted)
        return probe_tests.CORRELATIONS[score](predicted, label) if varies else None
    return MOVES[score](label, predicted, loss) if score in MOVES else None


def skill_unit(value: Callable[[str], float | None]) -> float | None:
    """By how much skill moves where accuracy moves by one: 1/(1 − majority), None where it is not known."""
    accuracy, skill = value("accuracy"), value("skill")
    return None if accuracy is None or skill is None or accuracy == 1 else (1 - skill) / (1 - accuracy)


def _probe(row: Row, first: ModelResults, second: ModelResults) -> Interval:
    score = first.score(row)
    diff = float(row["value_b"]) - float(row["value_a"])
    if unfitted := next((m for m in (row["ci_method_a"], row["ci_method_b"]) if str(m) == WITHOUT), None):
        return Interval(diff, None, None, None, 0.0, None, str(unfitted))
    left, right = first.examples(row), second.examples(row)
    if left is None or right is None:
        return Estimate.refused(diff, "no per-example scores are kept").interval()
    if not left["row_id"].equals(right["row_id"]) or not left["label"].equals(right["label"]):
        raise UsageError(f"{row['metric']}: {first.name} and {second.name} were not scored on the same rows.")
    # the same for both, but it cannot be seen where accuracy is 1
    unit = next((u for who in (first, second) if (u := skill_unit(who.value(row))) is not None), None)
    moved = [probe_influence(score, side, who.value(row), unit) for side, who in ((left, first), (right, second))]
    if moved[0] is None or moved[1] is None:
        return Estimate.refused(diff, "not a function of the kept scores").interval()
    clusters = clusters_of(left)
    contributions = np.bincount(clusters, moved[1] - moved[0]) / len(clusters)
    clustered = len(contributions) < len(clusters)
    if (refits := refits_of_difference([first], [second], row)) is not None:
        found = with_refits(Estimate.paired(diff, contributions, 0.0, FUNCTION), refits).interval()
        return replace(found, method=f"{found.method}, {len(contributions)} clusters") if clustered else found
    found = Estimate.paired(diff, contributions, 0.0, FUNCTION).interval()
    units = {"accuracy": 1.0, "skill": 1.0 if unit is None else unit}  # which differ by a factor that both models share
    if score in units:
        hits = [(side["label"] == side["prediction"]).to_numpy(bool) for side in (left, right)]
        if found.p is None or found.se == 0:
            return few_discordant(diff, hits[0], hits[1], clusters, units[score])
        if not clustered:
            discordant = probe_tests.Discordant.of(hits[0], hits[1], units[score])
            method = f"{found.method}; p: McNemar, exact"
            return replace(found, p=discordant.p_exact(), method=method, discordant=discordant)
    if clustered:
        return replace(found, method=f"{found.method}, {len(contributions)} clusters")
    if found.p is None or score not in probe_tests.CORRELATIONS:
        return found
    correlated = {"spearman": pd.Series.rank}.get(score, lambda values: values)
    predicted = [correlated(side["prediction"].astype(float)) for side in (left, right)]
    between = float(predicted[0].corr(predicted[1]))
    p = probe_tests.williams(float(row["value_a"]), float(row["value_b"]), between, len(left))
    return replace(found, p=p, method=f"{found.method}; p: Williams")


def few_discordant(diff: float, first: np.ndarray, second: np.ndarray, clusters: np.ndarray, unit: float) -> Interval:
    """Difference of the accuracies of two classifiers that few rows tell apart, too few for a t interval.

    Parameters
    ----------
    diff : float
        Second less first.
    first, second : bool ndarray of shape (n,)
        Whether each row was classified rightly.
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    unit : float
        By how much the score moves where accuracy moves by one.
    """
    sizes = np.bincount(clusters)
    differing = int((np.bincount(clusters, first != second) > 0).sum())
    grouped = (differing, len(sizes), int(sizes.max())) if len(sizes) < len(clusters) else None
    found = probe_tests.Discordant.of(first, second, unit, grouped)
    low, high = found.interval(intervals.LEVEL)
    how = f", {len(sizes)} clusters of up to {sizes.max()}; p: score test" if grouped else "; p: McNemar, exact"
    method = f"score interval, {found.first + found.second} discordant rows{how}"
    p = found.p_no_difference() if grouped else found.p_exact()
    return Interval(diff, None, low, high, 0.0, p, method, found)


def filled(frame: pd.DataFrame, keys: Iterable[str]) -> pd.DataFrame:
    """Frame with missing keys (a metric without variants, a probe without a view) as empty text."""
    texts = [key for key in keys if key != "depth"]
    return frame.assign(**{key: frame[key].astype("string").fillna("").astype(object) for key in texts})


def key_of(row: Row, keys: Iterable[str]) -> tuple:
    return tuple(row[key] for key in keys)


def by_key(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple, Row]:
    rows: list[Row] = list(filled(frame, keys).to_dict("records"))
    return {key_of(row, keys): row for row in rows}


def joined(first: pd.DataFrame, second: pd.DataFrame, keys: Sequence[str]) -> list[Row]:
    """A row for each number that both frames have, with the columns of both (suffixes _a and _b)."""
    both = filled(first, keys).merge(filled(second, keys), on=list(keys), suffixes=("_a", "_b"), validate="one_to_one")
    return list(both.to_dict("records"))
