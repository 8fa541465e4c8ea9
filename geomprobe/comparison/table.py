"""Differences between two encoders, or two groups of seeds, measured on the same rows, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import inference
from geomprobe.common import InputError, UsageError, unknown_name
from geomprobe.inference import Difference, intervals, probe_tests
from geomprobe.inference.margins import Margin, margin
from geomprobe.metrics import registry, sample_size
from geomprobe.metrics.registry import REGISTRY
from geomprobe.results import COMPARISON_COLUMNS, Results, table

CELL = ("task", "depth", "pooling")
NUMBER = ("view", "metric", "definition")
PROBES = {"sts_probe": "semantic", "sts_cosine": "cosine"}
"""Where the per-example scores of a metric lie, if not under its own first words."""
CONSTANTS = ("uniformity_reference", "trained_pooling_loss", *sample_size.DEFINITIONS)
MIN_SEEDS = 3

Row = Mapping[Any, Any]


def compare(
    vectors: Mapping[str, Any],
    rows: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    *,
    metrics: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    positives: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    margins: Mapping[str, Margin] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the differences between two sets of embeddings of the same rows.

    Parameters
    ----------
    vectors : mapping of two names to array-like of shape (n_rows, dim)
        Row i of both belongs to the same text. The dimensions may differ.
    rows : sequence of length n_rows, or a mapping of the two names to such, optional
        Row ids, one per row and none twice. Given for both sides, they must be the same in the same order.
    metrics : sequence of str, optional
        Names from the registry; all that apply by default.
    labels : ndarray of shape (n_rows,), optional
    positives : ndarray of shape (n_pairs, 2), optional
    clusters : ndarray of shape (n_rows,), optional
        Rows with the same number share a source and are not independent.
    margins : mapping of metric to (size, relative), optional
        Equivalence margins in place of `inference.margins.MARGINS`.

    Returns
    -------
    DataFrame
        Columns of `results.COMPARISON_COLUMNS`; `diff` is second minus first.

    Raises
    ------
    UsageError
        There are not two sets, or they do not have the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> Z = np.random.default_rng(0).normal(size=(500, 8))
    >>> stretched = Z * [4, 1, 1, 1, 1, 1, 1, 1]
    >>> found = gp.compare({"a": Z, "b": stretched}, metrics=["effective_rank"]).loc[0]
    >>> f"{found.value_a:.2f} and {found.value_b:.2f}: {found.verdict}"
    '7.98 and 6.78: lower'
    """
    if len(vectors) != 2:
        raise UsageError(f"compare takes two sets of embeddings, not {len(vectors)}.")
    (a, first), (b, second) = vectors.items()
    if len(first) != len(second):
        raise UsageError(
            f"{a!r} has {len(first)} rows and {b!r} has {len(second)}.", "Embed the same texts, in the same order."
        )
    for ids in rows.values() if isinstance(rows, Mapping) else [] if rows is None else [rows]:
        if len(ids) != len(first) or len(set(ids)) < len(ids):
            raise UsageError("`rows` must hold one id a row, none of them twice.")
    if isinstance(rows, Mapping) and list(rows[a]) != list(rows[b]):
        raise UsageError(f"{a!r} and {b!r} do not have the same row ids.", "Embed the same texts, in the same order.")
    options: dict[str, Any] = {
        "metrics": metrics,
        "labels": labels,
        "positives": positives,
        "clusters": clusters,
        "seed": seed,
    }
    sides = []
    for Z in (first, second):
        frame, influences = inference.measure(Z, **options)
        sides.append((frame[frame["status"] == "ok"], inference.influence_table(frame, influences, clusters)))
    pairs = joined(sides[0][0], sides[1][0], NUMBER)
    moved = [_by_key(side[1], NUMBER) for side in sides]
    found = [_geometry(row, *(side.get(_key(row, NUMBER)) for side in moved)) for row in pairs]
    return decided(pairs, found, registry.definitions(), a, b, "checkpoint", margins)


def add_comparisons(results: Results, a: str, b: str, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add the differences b − a of every cell that both models have; layers are matched by relative depth.

    Parameters
    ----------
    results : Results
    a, b : str
        Names of models.
    margins : mapping of metric to (size, relative), optional
        Equivalence margins in place of `inference.margins.MARGINS` (see `inference.margins.parse_margins`).

    Raises
    ------
    UsageError
        A name is unknown, or the two models did not see the same rows of a task.
    """
    first, second = (Side(results, name) for name in (a, b))
    check_rows([first, second])
    pairs = joined(first.rows, second.rows, (*CELL, *NUMBER))
    found = [paired(first, second, row) for row in pairs]
    own = decided(pairs, found, results.definitions, a, b, "checkpoint", margins)
    of_variants = results.comparisons[results.comparisons["b"].isin(variants_of(results))]
    results.comparisons = table(pd.concat([own, of_variants]), COMPARISON_COLUMNS)
    results.run["compared"] = [a, b]
    results.run["claims"] = claims(own)
    return results


def variants_of(results: Results) -> dict[str, str]:
    """Return the quantised and truncated variants of models, and the model that each is of."""
    return {entry["name"]: entry["of"] for entry in results.run["models"] if entry.get("of")}


def add_variants(results: Results, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add the paired differences of every quantised or truncated variant from its full vectors, variant minus full.

    The p-values of all variants of a model are adjusted together: the claim is that storing its vectors so changes
    nothing. Differences between models are adjusted apart, so they do not depend on the variants that were measured.

    Parameters
    ----------
    results : Results
    margins : mapping of metric to (size, relative), optional
    """
    named = variants_of(results)
    added = [results.comparisons[~results.comparisons["b"].isin(named)]]
    for of in dict.fromkeys(named.values()):
        full, frames = Side(results, of), []
        for name in (name for name, whose in named.items() if whose == of):
            side = Side(results, name)
            check_rows([full, side])
            pairs = joined(full.rows, side.rows, (*CELL, *NUMBER))
            found = [paired(full, side, row) for row in pairs]
            frames.append(differences(pairs, found, of, name, "checkpoint", margins))
        added.append(adjusted(table(pd.concat(frames), COMPARISON_COLUMNS), results.definitions))
    results.comparisons = table(pd.concat(added, ignore_index=True), COMPARISON_COLUMNS)
    return results


def compare_groups(
    results: Results, groups: Mapping[str, Sequence[str]], margins: Mapping[str, Margin] | None = None
) -> Results:
    """Add the differences between two groups of seeds, second group minus first, at the level of objectives.

    SE² = s_A²/k_A + s_B²/k_B + Var_rows(mean influence B − mean influence A)/N, Student's t with Satterthwaite's
    degrees of freedom. With fewer than three seeds in a group no verdict is given.

    Parameters
    ----------
    results : Results
    groups : mapping of two names to model names
    margins : mapping of metric to (size, relative), optional

    Raises
    ------
    UsageError
        There are not two groups, a model is unknown or in both, or the models did not see the same rows.
    """
    if len(groups) != 2:
        raise UsageError(f"{len(groups)} groups were given.", "Give two: --group NAME=MODEL,… --group NAME=MODEL,…")
    members = [name for group in groups.values() for name in group]
    if len(set(members)) < len(members):
        raise UsageError("A model is in the groups twice.")
    sides = {name: Side(results, name) for name in members}
    check_rows(list(sides.values()))
    (a, first), (b, second) = groups.items()
    names = [f"value_{i}" for i in range(len(members))]
    wide = None
    for name, column in zip(members, names, strict=True):
        side = sides[name].rows
        part = _filled(side, (*CELL, *NUMBER))[[*CELL, *NUMBER, "value", "layer", "n"]].rename(
            columns={"value": column}
        )
        keep = part if wide is None else part.drop(columns=["layer", "n"])
        wide = keep if wide is None else wide.merge(keep, on=[*CELL, *NUMBER], validate="one_to_one")
    assert wide is not None
    pairs, found = [], []
    for row in wide.to_dict("records"):
        values = np.array([row[column] for column in names], float)
        split = values[: len(first)], values[len(first) :]
        moved = [sides[name].contributions(row) for name in members]
        extra = float(np.mean([sides[name].extra(row) for name in members]))
        pairs.append(row | {"value_a": split[0].mean(), "value_b": split[1].mean()})
        found.append(group_difference(*split, moved[: len(first)], moved[len(first) :], extra))
    seeds = min(len(first), len(second))
    added = decided(pairs, found, results.definitions, a, b, "objective", margins, seeds=seeds)
    results.comparisons = table(pd.concat([results.comparisons, added]), COMPARISON_COLUMNS)
    results.run["groups"] = {name: list(group) for name, group in groups.items()}
    results.run["claims"] = claims(added)
    return results


def group_difference(
    first: np.ndarray,
    second: np.ndarray,
    moved_first: Sequence[np.ndarray | None],
    moved_second: Sequence[np.ndarray | None],
    extra: float = 0.0,
) -> Difference:
    """Return the difference of the means of two groups of seeds, over seeds and rows.

    Parameters
    ----------
    first, second : float64 ndarray of shape (k_A,), (k_B,)
        Values, a number per seed.
    moved_first, moved_second : sequences of float64 ndarray of shape (g,)
        Contributions of each cluster of rows to each value; None where there is no valid interval.
    extra : float
        Variance of one value that no row answers for. Seeds may share it (as they do the rounding of a rank that all
        of them have), so it counts once a group and is not divided by the number of seeds.
    """
    diff = float(second.mean() - first.mean())
    if min(len(first), len(second)) < MIN_SEEDS:
        reason = f"a group has fewer than {MIN_SEEDS} seeds"
        return Difference(diff, None, None, None, 0.0, None, f"no valid interval: {reason}")
    known = [m for m in (*moved_first, *moved_second) if m is not None]
    if len(known) < len(first) + len(second):
        return Difference(diff, None, None, None, 0.0, None, "no valid interval: a seed has no interval of its own")
    rows = np.mean(known[len(first) :], axis=0) - np.mean(known[: len(first)], axis=0)
    parts = [
        (float(first.var(ddof=1)) / len(first), len(first) - 1.0),
        (float(second.var(ddof=1)) / len(second), len(second) - 1.0),
        (intervals.standard_error(rows) ** 2 if rows.any() else 0.0, intervals.degrees(rows)),
    ]
    variance = sum(v for v, _ in parts)
    if rows.any() and parts[2][1] < intervals.MIN_DEGREES and parts[2][0] > variance / 2:
        reason = "a few rows decide the standard error"
        return Difference(diff, None, None, None, parts[2][1], None, f"no valid interval: {reason}")
    if extra and (variance > 0 or diff != 0):
        parts.append((2 * extra, np.inf))  # known, not estimated
        variance += 2 * extra
    if variance == 0:
        return Difference(diff, 0.0, diff, diff, parts[2][1], intervals.p_two_sided(diff, 0.0, 1.0), "seeds and rows")
    dof = variance**2 / sum(v**2 / max(f, 1.0) for v, f in parts)
    se = float(np.sqrt(variance))
    half = intervals.t_quantile((1 + intervals.LEVEL) / 2, dof) * se
    return Difference(
        diff, se, diff - half, diff + half, dof, intervals.p_two_sided(diff, se, dof), "seeds and rows, Satterthwaite t"
    )


class Side:
    """What a comparison needs of one model: its numbers, influences and per-example scores, found by cell."""

    def __init__(self, results: Results, name: str):
        depth = {entry["name"]: entry["n_layers"] for entry in results.run["models"]}
        if name not in depth:
            raise unknown_name("model", name, list(depth))
        self.name = name

        def mine(frame: pd.DataFrame) -> pd.DataFrame:
            frame = frame[frame["model"] == name]
            return frame.assign(depth=(frame["layer"].astype(float) / max(depth[name], 1)).round(6))

        rows = mine(results.results)
        rows = rows[[cell not in copies(results.run) for cell in zip(rows["task"], rows["pooling"], strict=True)]]
        self.rows = rows[(rows["status"] == "ok") & rows["control"].isna() & ~rows["metric"].isin(CONSTANTS)]
        self.task_hash = self.rows.groupby("task")["task_hash"].first().to_dict()
        self._influences = _by_key(mine(results.influences), (*CELL, *NUMBER))
        self._values = _by_key(self.rows, (*CELL, *NUMBER))
        self._examples: dict[tuple, pd.DataFrame] = {
            tuple(key): part.sort_values("row_id", kind="stable").reset_index(drop=True)
            for key, part in _filled(mine(results.examples), CELL).groupby([*CELL, "probe"], sort=False)
        }

    def influence(self, row: Row) -> Row | None:
        """Return the row of the influence table that belongs to a number, or None."""
        return self._influences.get(_key(row, (*CELL, *NUMBER)))

    def contributions(self, row: Row) -> np.ndarray | None:
        """Return the contribution of each cluster to a number, or None where it has no interval."""
        if (found := self.influence(row)) is not None:
            return np.asarray(found["contributions"], np.float64)
        examples = self.examples(row)
        moved = None if examples is None else probe_influence(str(row["metric"]), examples, self.value(row))
        if examples is None or moved is None:
            return None
        clusters = _clusters(examples)
        return np.bincount(clusters, moved) / len(moved)

    def extra(self, row: Row) -> float:
        """Return the variance of a number that no row answers for."""
        found = self.influence(row)
        return 0.0 if found is None else float(found["extra"])

    def value(self, row: Row) -> Callable[[str], float | None]:
        """Return a function from the last word of a metric's name to its value in the same cell."""
        stem = str(row["metric"]).partition("_usable")[0]
        stem = stem.rsplit("_", 1)[0] if stem == row["metric"] else stem

        def of(word: str) -> float | None:
            found = self._values.get(_key({**row, "metric": f"{stem}_{word}"}, (*CELL, *NUMBER)))
            return None if found is None else float(found["value"])

        return of

    def examples(self, row: Row) -> pd.DataFrame | None:
        """Return the per-example scores of the probe that a metric's name starts with, None where none are kept."""
        metric, cell = str(row["metric"]), tuple(row[c] for c in CELL)
        stem = next((to for start, to in PROBES.items() if metric.startswith(start)), metric)
        names = sorted((str(key[-1]) for key in self._examples if key[:-1] == cell), key=len, reverse=True)
        return next((self._examples[(*cell, name)] for name in names if f"{stem}_".startswith(f"{name}_")), None)


def copies(run: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the (task, pooling) whose vectors are another's by definition: they would count evidence twice.

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


def check_rows(sides: Sequence[Side]) -> None:
    """Refuse sides that did not see the same rows of a task that they share."""
    for side in sides[1:]:
        for task, fingerprint in side.task_hash.items():
            if sides[0].task_hash.get(task, fingerprint) != fingerprint:
                raise UsageError(
                    f"{sides[0].name} and {side.name} did not see the same rows of {task}.",
                    "Analyse both in one command.",
                )


def paired(first: Side, second: Side, row: Row) -> Difference:
    """Return the paired difference of a number of two models: from influences, else from per-example scores."""
    diff = float(row["value_b"]) - float(row["value_a"])
    hashes = [row["model_hash_a"], row["model_hash_b"]]
    if diff == 0 and isinstance(hashes[0], str) and hashes[0] == hashes[1] and row["layer_a"] == row["layer_b"]:
        return Difference(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, "equal weights give equal vectors")
    left, right = first.influence(row), second.influence(row)
    if row["metric"] not in REGISTRY:
        found = _probe(row, first, second)
        if found.p is not None or left is None or right is None:
            return found
    return _geometry(row, left, right)


def _geometry(row: Row, first: Row | None, second: Row | None) -> Difference:
    diff = float(row["value_b"]) - float(row["value_a"])
    if first is None or second is None:
        method = row["ci_method_a"] if first is None else row["ci_method_b"]
        return Difference(diff, None, None, None, 0.0, None, str(method))
    left, right = (np.asarray(side["contributions"], np.float64) for side in (first, second))
    if len(left) != len(right):
        raise UsageError(f"{row['metric']}: the two models do not have the same clusters of rows.")
    extras = float(first["extra"]), float(second["extra"])
    methods = [str(row["ci_method_a"]), str(row["ci_method_b"])]
    method = max(methods, key=lambda text: "conservative" in text)  # so is the difference where one side is
    size = max(abs(float(row["value_a"])), abs(float(row["value_b"])))
    return inference.difference(diff, right - left, extras, method, size)


def _clusters(examples: pd.DataFrame) -> np.ndarray:
    own = pd.Series(np.arange(len(examples)), index=examples.index)
    return inference.number_clusters(examples["cluster"].astype("Int64").fillna(-1 - own).to_numpy(np.int64), len(own))


def probe_influence(
    metric: str, examples: pd.DataFrame, value: Callable[[str], float | None], unit: float | None = None
) -> np.ndarray | None:
    """Return the influence of each example on a probe's score, None where it is not known.

    Parameters
    ----------
    metric : str
        Its last words decide.
    examples : DataFrame
        Columns label, prediction, log_loss.
    value : callable
        Other scores of the same probe by their last words, for those that differ by a factor only.
    unit : float, optional
        Of skill, where a model on the same rows shows it and this one may not (see `skill_unit`).
    """
    label, said = (examples[c].to_numpy(float, na_value=np.nan) for c in ("label", "prediction"))
    loss = examples["log_loss"].to_numpy(float, na_value=np.nan)
    right = probe_tests.mean_influence((label == said).astype(float))
    if metric.endswith("_accuracy"):
        return right
    if metric.endswith("_skill"):
        unit = skill_unit(value) if unit is None else unit
        return None if unit is None else right * unit
    if metric.endswith("_macro_f1"):
        return probe_tests.macro_f1_influence(label, said)
    if metric.endswith("_mcc"):
        return probe_tests.mcc_influence(label, said)
    if metric.endswith("_log_loss"):
        return probe_tests.mean_influence(loss)
    if metric.endswith("_usable_bits"):  # the class shares' loss is the same for every encoder
        return -probe_tests.mean_influence(loss)
    if metric.endswith("_usable_share"):
        bits, share = value("usable_bits"), value("usable_share")
        return None if not bits or share is None else -probe_tests.mean_influence(loss) * (share / bits)
    kind = metric.rsplit("_", 1)[-1]
    if kind in probe_tests.CORRELATIONS and np.ptp(label) and np.ptp(said):
        return probe_tests.CORRELATIONS[kind](said, label)
    return None


def skill_unit(value: Callable[[str], float | None]) -> float | None:
    """Return by how much skill moves where accuracy moves by one: 1/(1 − majority), None where it is not known."""
    accuracy, skill = value("accuracy"), value("skill")
    return None if accuracy is None or skill is None or accuracy == 1 else (1 - skill) / (1 - accuracy)


def _probe(row: Row, first: Side, second: Side) -> Difference:
    metric = str(row["metric"])
    diff = float(row["value_b"]) - float(row["value_a"])
    left, right = first.examples(row), second.examples(row)
    if left is None or right is None:
        return Difference(diff, None, None, None, 0.0, None, "no valid interval: no per-example scores are kept")
    if not left["row_id"].equals(right["row_id"]) or not left["label"].equals(right["label"]):
        raise UsageError(f"{metric}: {first.name} and {second.name} were not scored on the same rows.")
    # the same for both, but it cannot be seen where accuracy is 1
    unit = next((u for who in (first, second) if (u := skill_unit(who.value(row))) is not None), None)
    moved = [probe_influence(metric, side, who.value(row), unit) for side, who in ((left, first), (right, second))]
    if moved[0] is None or moved[1] is None:
        return Difference(diff, None, None, None, 0.0, None, "no valid interval: not a function of the kept scores")
    clusters = _clusters(left)
    contributions = np.bincount(clusters, moved[1] - moved[0]) / len(clusters)
    found = inference.difference(diff, contributions, (0.0, 0.0), "influence function")
    clustered = len(contributions) < len(clusters)
    if metric.endswith(("_accuracy", "_skill")):  # which differ by a factor that both models share
        hits = [(side["label"] == side["prediction"]).to_numpy(bool) for side in (left, right)]
        scale = 1.0 if metric.endswith("_accuracy") or unit is None else unit
        if found.p is None or found.se == 0:
            return few_discordant(diff, hits[0], hits[1], clusters, scale)
        if not clustered:
            method = f"{found.method}; p: McNemar, exact"
            told = probe_tests.Discordant.of(hits[0], hits[1], scale)
            return replace(found, p=probe_tests.mcnemar(*hits), method=method, discordant=told)
    if clustered:
        return replace(found, method=f"{found.method}, {len(contributions)} clusters")
    if found.p is None:
        return found
    if metric.rsplit("_", 1)[-1] in probe_tests.CORRELATIONS:
        of = {"spearman": pd.Series.rank}.get(metric.rsplit("_", 1)[-1], lambda s: s)
        said = [of(side["prediction"].astype(float)) for side in (left, right)]
        p = probe_tests.williams(float(row["value_a"]), float(row["value_b"]), float(said[0].corr(said[1])), len(left))
        return replace(found, p=p, method=f"{found.method}; p: Williams")
    return found


def few_discordant(diff: float, first: np.ndarray, second: np.ndarray, clusters: np.ndarray, unit: float) -> Difference:
    """Return the difference of the accuracies of two classifiers that few rows tell apart, too few for a t interval.

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
    told = int((np.bincount(clusters, first != second) > 0).sum())
    grouped = (told, len(sizes), int(sizes.max())) if len(sizes) < len(clusters) else None
    found = probe_tests.Discordant.of(first, second, unit, grouped)
    low, high = found.interval(intervals.LEVEL)
    how = f", {len(sizes)} clusters of up to {sizes.max()}; p: score test" if grouped else "; p: McNemar, exact"
    method = f"score interval, {found.first + found.second} discordant rows{how}"
    p = found.p_no_difference() if grouped else probe_tests.mcnemar(first, second)
    return Difference(diff, None, low, high, 0.0, p, method, found)


def _filled(frame: pd.DataFrame, keys: Iterable[str]) -> pd.DataFrame:
    """Return the frame with missing keys (a metric without variants, a probe without a view) as empty text."""
    texts = [key for key in keys if key != "depth"]
    return frame.assign(**{key: frame[key].astype("string").fillna("").astype(object) for key in texts})


def _key(row: Row, keys: Iterable[str]) -> tuple:
    return tuple(row[key] for key in keys)


def _by_key(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple, Row]:
    rows: list[Row] = list(_filled(frame, keys).to_dict("records"))
    return {_key(row, keys): row for row in rows}


def joined(first: pd.DataFrame, second: pd.DataFrame, keys: Sequence[str]) -> list[Row]:
    """Return a row for each number that both frames have, with the columns of both (suffixes _a and _b)."""
    both = _filled(first, keys).merge(
        _filled(second, keys), on=list(keys), suffixes=("_a", "_b"), validate="one_to_one"
    )
    kept = both[~both["metric"].isin(CONSTANTS)]
    return list(kept.to_dict("records"))


def families_of(metrics: Iterable[str], definitions: Mapping[str, Any]) -> list[str]:
    """Family of claims of each metric, as its definition declares it.

    Raises
    ------
    InputError
        A metric has no record: what it is to be adjusted with is not known.
    """
    known = {name: entry["family"] for name, entry in definitions.items() if "family" in entry}
    names = list(metrics)
    if unknown := sorted(set(names) - set(known)):
        raise InputError(
            f"No family of claims is declared for {', '.join(map(repr, unknown[:3]))}"
            f"{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}, so p-values cannot be adjusted.",
            "geomprobe ls metrics lists what can be compared; results of another version are to be analysed anew.",
        )
    return [known[name] for name in names]


def decided(
    pairs: Sequence[Row],
    found: Sequence[Difference],
    definitions: Mapping[str, Any],
    a: str,
    b: str,
    level: str,
    margins: Mapping[str, Margin] | None,
    seeds: int | None = None,
) -> pd.DataFrame:
    """Return the comparison table: equivalence, detectable difference, and what `adjusted` adds."""
    return adjusted(differences(pairs, found, a, b, level, margins), definitions, seeds=seeds)


def differences(
    pairs: Sequence[Row],
    found: Sequence[Difference],
    a: str,
    b: str,
    level: str,
    margins: Mapping[str, Margin] | None,
) -> pd.DataFrame:
    """Return the comparison table before `adjusted`: equivalence and detectable difference."""
    rows = []
    for row, one in zip(pairs, found, strict=True):
        metric, value = str(row["metric"]), float(row["value_a"])
        size = margin(metric, value, margins)
        p_tost = 0.0 if one.se == 0 and one.diff == 0 else np.nan  # equal is equivalent, whatever the margin
        if one.discordant is not None:
            few = one.se is None
            p_tost = np.nan if size is None else one.discordant.p_equivalence(size, exact=few)
        elif one.se is not None and size is not None:
            p_tost = intervals.p_equivalence(one.diff, one.se, one.dof, size)
        rows.append(
            {
                **{column: row.get(column) or pd.NA for column in ("task", "pooling", "view", "metric", "definition")},
                "a": a,
                "b": b,
                "level": level,
                "layer": row.get("layer_a", row.get("layer", pd.NA)),
                "value_a": value,
                "value_b": float(row["value_b"]),
                "diff": one.diff,
                "se": one.se,
                "ci_low": one.low,
                "ci_high": one.high,
                "ci_method": one.method,
                "p": one.p,
                "margin": size,
                "p_tost": p_tost,
                "mdd": intervals.detectable(one.se, one.dof) if one.se is not None else np.nan,
                "n": row.get("n_a", row.get("n", pd.NA)),
            }
        )
    return table(rows, COMPARISON_COLUMNS)


def adjusted(
    frame: pd.DataFrame, definitions: Mapping[str, Any], *, seeds: int | None = None, equivalence: bool = True
) -> pd.DataFrame:
    """Return a comparison table with families, adjusted p-values and verdicts.

    A family holds the claims about the metrics of one kind over all tasks, layers, poolings and views. Both the
    p-values of "no difference" and those of equivalence (p_tost) are adjusted by Holm within it.

    Parameters
    ----------
    frame : DataFrame
        Columns of `results.COMPARISON_COLUMNS` of one comparison: p and p_tost as the tests give them.
    definitions : mapping of metric to definition
        Each with its family.
    seeds : int, optional
        Seeds of the smaller group, for claims about objectives.
    equivalence : bool
        False where p_tost is adjusted already, and rows were added that have none.
    """
    families = np.array(families_of(frame["metric"], definitions))
    # a copy, for without missing values it is the column itself, and p is not to be adjusted in place
    p_values = {c: frame[c].to_numpy(float, na_value=np.nan, copy=True) for c in ("p", "p_tost")}
    for name in dict.fromkeys(families):
        for column, p in p_values.items():
            if column == "p" or equivalence:
                p[families == name] = intervals.holm(p[families == name])
    numbers = zip(frame["diff"].to_numpy(float, na_value=np.nan), p_values["p"], p_values["p_tost"], strict=True)
    verdicts = [intervals.verdict(diff, p, p_tost, seeds=seeds) for diff, p, p_tost in numbers]
    frame = frame.assign(
        family=families,
        verdict=verdicts,
        p_holm=pd.array(p_values["p"]).astype("Float64"),
        p_tost=pd.array(p_values["p_tost"]).astype("Float64"),
    )
    return table(frame, COMPARISON_COLUMNS)


def claims(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, for each metric and view, in how many task × pooling cells each verdict holds, and the sentence.

    Returns
    -------
    list of dict
        Keys metric, view, level, cells, counts (verdict -> number of cells) and sentence; JSON-ready.
    """
    found = []
    for (metric, view), part in _filled(comparisons, ("view",)).groupby(["metric", "view"], sort=False):
        counts = {str(verdict): int(count) for verdict, count in part["verdict"].value_counts().items()}
        first = part.iloc[0]
        entry = {
            "metric": str(metric),
            "view": str(view),
            "level": str(first["level"]),
            "cells": len(part),
            "counts": counts,
        }
        found.append(entry | {"sentence": sentence(entry, str(first["a"]), str(first["b"]))})
    return found


def sentence(claim: Mapping[str, Any], a: str, b: str) -> str:
    """Return a claim in fixed words: what holds, in how many cells, at which level, and what the data cannot tell."""
    counts, cells = claim["counts"], claim["cells"]
    who = ("checkpoint", "checkpoints") if claim["level"] == "checkpoint" else ("objective", "objectives")
    name = str(claim["metric"]).replace("_", " ") + (f" ({claim['view']})" if claim["view"] not in ("", "raw") else "")
    higher, lower = counts.get(intervals.HIGHER, 0), counts.get(intervals.LOWER, 0)
    same = sum(
        count for verdict, count in counts.items() if verdict == intervals.NO_DIFFERENCE or "equivalent" in verdict
    )
    unclear = counts.get(intervals.UNCLEAR, 0)
    silent = cells - higher - lower - same - unclear
    parts = []
    for count, word in ((higher, "higher"), (lower, "lower")):
        if count:
            parts.append(f"{who[0]} {b} is {word} than {a} in {count} of {cells} cells")
    if same:
        parts.append(f"the {who[1]} are equivalent in {same} of {cells}")
    if unclear:
        parts.append(f"the data cannot tell in {unclear} of {cells}")
    if silent:
        parts.append(f"no verdict in {silent} of {cells}")
    return f"{name}: {'; '.join(parts)}."
