"""Refits on halves of the training rows: what they say of the spread, and that nothing else changes."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import geomprobe as gp
from geomprobe.api import every_metric
from geomprobe.common import UsageError
from geomprobe.comparison.combined import differing_refits
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.pilot import SCORED
from geomprobe.comparison.table import add_comparisons
from geomprobe.inference import Estimate
from geomprobe.inference.estimate import by_count
from geomprobe.inference.intervals import standard_error
from geomprobe.inference.refits import by_refits, refit_variance, with_refits
from geomprobe.probes import PairVectors, run_probes
from geomprobe.probes.refits import REFITTED, WITHOUT, divided
from geomprobe.results import (
    EXAMPLE_COLUMNS,
    INFLUENCE_COLUMNS,
    REFIT_COLUMNS,
    RESULT_COLUMNS,
    Results,
    read_results,
    table,
    write_results,
)
from geomprobe.tasks.base import Split, Task

WORDS = ("good", "bad", "film", "plot", "dull", "fine", "slow", "long")


def split(name, n, seed):
    rng = np.random.default_rng(seed)
    texts = tuple(f"{' '.join(rng.choice(WORDS, 5))} {name} {i}" for i in range(n))
    return Split(name, texts, None, rng.integers(0, 2, n), tuple(f"{name}/{i}" for i in range(n)))


TASK = Task("toy", "classification", split("train", 120, 0), split("validation", 90, 1), ("no", "yes"), "accuracy")


def vectors(seed, task=TASK):
    rng = np.random.default_rng(seed)
    sides = [rng.normal(size=(len(part), 8)) + 0.5 * part.labels[:, None] for part in (task.train, task.validation)]
    return [PairVectors(side) for side in sides]


def results_of(sides, refits=4, task=TASK):
    """Results as the grid makes them, of the probes of these models."""
    kinds = {"rows": RESULT_COLUMNS, "examples": EXAMPLE_COLUMNS, "influences": INFLUENCE_COLUMNS}
    kinds["refits"] = REFIT_COLUMNS
    frames = {kind: [] for kind in kinds}
    for name, both in sides.items():
        found = run_probes(task, *both, refits=refits)
        for kind in kinds:
            frame = pd.DataFrame(getattr(found, kind)).assign(model=name, task="toy", layer=1, pooling="mean")
            frames[kind].append(frame.drop(columns="contributions", errors="ignore") if kind == "rows" else frame)
    tables = {kind: table(pd.concat(found), kinds[kind]) for kind, found in frames.items()}
    run = {"models": [{"name": name, "n_layers": 1} for name in sides], **({"refits": refits} if refits else {})}
    rows = tables.pop("rows").assign(task_hash="same")
    return Results(table(rows, RESULT_COLUMNS), **tables, definitions=every_metric(), run=run)


@pytest.fixture(scope="module")
def compared():
    first, second = vectors(2), vectors(3)
    return add_comparisons(results_of({"a": first, "b": second}), "a", "b")


def test_half_the_difference_of_halves_has_the_variance_of_new_training_rows():
    """Of a number to which each training row adds its share."""
    draws, n = np.random.default_rng(0), 60
    found = []
    for _ in range(400):
        rows = draws.normal(size=n)
        halves = [np.split(rows[draws.permutation(n)], 2) for _ in range(5)]
        found.append([[(a.mean() - b.mean()) / 2 / 4] * 4 for a, b in halves])
    mean = np.mean([refit_variance(np.array(each))[0] for each in found])
    assert mean == pytest.approx(1 / n, rel=0.12)


def test_what_scored_rows_make_of_a_difference_is_not_counted_twice():
    """Probes that are equally good and err on rows of their own differ by chance of the scored rows alone."""
    draws, m = np.random.default_rng(0), 300
    found, naive, rows = [], [], []
    for _ in range(60):
        right = draws.random((11, m)) < 0.8
        differences = (right[1:6].astype(float) - right[6:]) / 2 / m
        found.append(refit_variance(differences)[0])
        naive.append((differences.sum(axis=1) ** 2).mean())
        rows.append(standard_error((right[0] - right[0].mean()) / m) ** 2)
    assert np.mean(naive) > 0.4 * np.mean(rows)
    assert np.mean(found) < 0.2 * np.mean(rows)  # it is never below 0, hence not 0 on average


def test_degrees_of_freedom_are_satterthwaites():
    contributions = np.array([1.0, -1.0] * 20) / 40
    refits = np.full((5, 40), 0.2 / 40) * np.array([1, -1, 1, -1, 1])[:, None]
    se, dof = by_refits(by_count, refits)(contributions, 0.0)
    alone = standard_error(contributions)
    assert se == pytest.approx(np.hypot(alone, 0.2))
    assert dof == pytest.approx(se**4 / (alone**4 / 39 + 0.2**4 / 5))
    assert by_refits(by_count, np.zeros((5, 40)))(contributions, 0.0) == pytest.approx((alone, 39))
    assert by_refits(by_count, refits)(np.zeros(40), 0.0) == pytest.approx((0.2, 5))
    refused = Estimate.refused(0.5, "a reason")
    assert with_refits(refused, refits) == refused


def test_halves_hold_whole_clusters_and_about_as_many_rows():
    part = split("train", 200, 4)
    groups = np.random.default_rng(0).integers(0, 60, 200)
    part = replace(part, groups=groups)
    divisions = divided(part, 0, 5)
    assert len({tuple(first) for first, _ in divisions}) == 5
    for first, second in divisions:
        assert sorted([*first, *second]) == list(range(200))
        assert not {*groups[first]} & {*groups[second]}
        assert abs(len(first) - len(second)) <= np.bincount(groups).max()
    assert all(np.array_equal(*each) for each in zip(divisions[0], divided(part, 0, 5)[0], strict=True))


def test_values_stay_and_intervals_say_how_often_probes_were_refitted():
    plain, again = (run_probes(TASK, *vectors(2), refits=refits) for refits in (0, 4))
    assert not plain.refits
    assert plain.examples == again.examples
    wider = 0
    for before, after in zip(plain.rows, again.rows, strict=True):
        assert before["value"] == after["value"]
        if (se := before.get("se")) is None:
            assert after.get("se") is None
        elif before["metric"] in REFITTED and before["control"] is None:
            assert after["se"] >= se
            assert after["ci_method"] == f"{before['ci_method']}, 4 refits"
            wider += after["se"] > 1.02 * se
        else:
            assert before["se"] == after["se"]
            assert before["ci_method"] == after["ci_method"]
    assert wider >= 3


def test_a_plan_says_where_the_training_rows_decide_and_where_refits_are_not_in_it(compared):
    said = gp.plan(compared, {"semantic_accuracy": 0.005}).loc[0]
    assert pd.isna(said["rows"])
    assert said["note"].startswith("no number of rows suffices: the training rows decide (4 refits)")
    one = results_of({"a": vectors(2)})
    assert set(gp.plan(one, {"semantic_accuracy": 0.005})["note"]) == {SCORED}


def test_folders_with_other_refits_are_said():
    sides = [SimpleNamespace(run=run) for run in ({"refits": 20}, {})]
    assert "(20, none): differences of probes are of these fitted probes" in differing_refits(sides)[0]
    assert not differing_refits(sides[:1] * 2)


def test_differences_have_the_refits_of_both_sides_paired(compared):
    found = compared.comparisons.set_index("metric")
    for metric in ("semantic_accuracy", "semantic_macro_f1", "semantic_log_loss", "semantic_selectivity"):
        refits = compared.refits[compared.refits["metric"] == metric].set_index("model")
        differences = np.reshape(refits.loc["b", "differences"] - refits.loc["a", "differences"], (2, -1))
        plain = add_comparisons(replace(compared, refits=table([], REFIT_COLUMNS)), "a", "b")
        alone = plain.comparisons.set_index("metric").loc[metric]
        assert found.loc[metric, "ci_method"] == f"{alone['ci_method'].partition(';')[0]}, 4 refits"
        assert found.loc[metric, "se"] ** 2 == pytest.approx(
            alone["se"] ** 2 + refit_variance(differences)[0], rel=1e-5
        )
    add_comparisons(compared, "a", "b")


def test_equal_vectors_differ_by_nothing(compared):
    frames = {kind: getattr(compared, kind) for kind in ("results", "examples", "influences", "refits")}
    frames = {
        kind: pd.concat([part, part.assign(model="again")])
        for kind, frame in frames.items()
        for part in (frame[frame["model"] == "a"],)
    }
    run = {**compared.run, "models": [{"name": name, "n_layers": 1} for name in ("a", "again")]}
    again = Results(**frames, definitions=compared.definitions, run=run)
    found = add_comparisons(again, "a", "again").comparisons
    probes = found[found["metric"].isin(REFITTED)]
    assert len(probes) >= 8
    assert (probes["diff"] == 0).all()
    assert (probes["se"] == 0).all()
    assert set(probes["verdict"]) == {"no difference"}


def test_groups_of_seeds_count_what_their_probes_owe_to_the_same_training_rows(compared):
    groups = {side: [f"{side}{seed}" for seed in range(3)] for side in "ab"}
    names = {name: side for side, members in groups.items() for name in members}

    def copied(frame):
        parts = [frame[frame["model"] == side].assign(model=name) for name, side in names.items()]
        return pd.concat(parts, ignore_index=True)

    frames = {kind: copied(getattr(compared, kind)) for kind in ("results", "examples", "influences", "refits")}
    run = {**compared.run, "models": [{"name": name, "n_layers": 1} for name in names]}
    results = Results(**frames, definitions=compared.definitions, run=run)
    found, alone = (
        compare_groups(each, groups).comparisons.set_index("metric").loc["semantic_log_loss"]
        for each in (results, replace(results, refits=table([], REFIT_COLUMNS)))
    )
    of = compared.refits[compared.refits["metric"] == "semantic_log_loss"].set_index("model")["differences"]
    variance = refit_variance(np.reshape(of["b"] - of["a"], (2, -1)))[0]
    assert found["se"] ** 2 == pytest.approx(alone["se"] ** 2 + variance, rel=1e-5)
    assert found["ci_method"] == f"{alone['ci_method']}, 4 refits"


def test_a_folder_has_the_table_only_where_probes_were_refitted(tmp_path, compared):
    folder = write_results(tmp_path / "with", replace(compared, run={**compared.run, "baselines": {}}))
    pd.testing.assert_frame_equal(read_results(folder).comparisons, compared.comparisons)
    assert len(read_results(folder).refits) == len(compared.refits)
    write_results(folder, replace(compared, refits=table([], REFIT_COLUMNS)))
    assert not (folder / "refits.parquet").exists()
    assert read_results(folder).refits.empty


def test_a_class_that_a_half_lacks_is_refused_and_said():
    labels = np.zeros(120, np.int64)
    labels[0] = 1
    task = replace(TASK, train=replace(TASK.train, labels=labels))
    results = results_of({"a": vectors(2), "b": vectors(3)}, task=task)
    compared = add_comparisons(results, "a", "b").comparisons.set_index("metric")
    assert set(compared.loc[["semantic_accuracy", "semantic_macro_f1"], "ci_method"]) == {WITHOUT}
    assert compared.loc["lexical_bow_r2", "ci_method"].endswith(", 4 refits")
    found = run_probes(task, *vectors(2), refits=4)
    assert "semantic_accuracy" not in {row["metric"] for row in found.influences}
    rows = {row["metric"]: row for row in found.rows if row["control"] is None}
    assert rows["semantic_accuracy"]["value"] is not None
    assert rows["semantic_accuracy"]["ci_method"] == WITHOUT
    assert rows["semantic_accuracy"]["se"] is None
    assert "semantic_accuracy" not in {row["metric"] for row in found.refits}


def test_pairs_with_scores_are_refitted():
    rng = np.random.default_rng(0)

    def pairs(name, n):
        first, second = ([" ".join(rng.choice(WORDS, 4)) + f" {name} {side} {i}" for i in range(n)] for side in "uv")
        return Split(name, tuple(first), tuple(second), rng.random(n) * 5, tuple(f"{name}/{i}" for i in range(n)))

    task = Task("toy", "regression", pairs("train", 80), pairs("validation", 60), (), "spearman")
    sides = [
        PairVectors(*(rng.normal(size=(len(part), 4)) for _ in range(2))) for part in (task.train, task.validation)
    ]
    found = {row["metric"] for row in run_probes(task, *sides, refits=4).refits}
    assert {"sts_probe_spearman", "sts_probe_pearson", "lexical_overlap_spearman", "lexical_bow_r2"} <= found


@pytest.mark.parametrize("refits", [1, 2, 5, 1002])
def test_an_odd_number_or_too_few_are_refused(refits):
    from geomprobe.analysis.plan import check_request

    with pytest.raises(UsageError, match="even number from 4"):
        check_request([], refits=refits)
    check_request([], refits=4)


def test_coverage_where_the_training_rows_decide():
    """200 training rows and 3,000 scored ones: over scored rows alone, intervals miss (see tests/calibration)."""
    path = Path(__file__).parents[2] / "calibration" / "refits.py"
    spec = importlib.util.spec_from_file_location("calibration_refits", path)
    simulation = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = simulation
    spec.loader.exec_module(simulation)
    simulation.BOOTSTRAPS = 2
    found = simulation.simulate(simulation.planted, simulation.discriminant, 200, 3000, 40, 10)
    found = found.set_index(["score", "of", "method"])
    for score in ("accuracy", "macro F1"):
        for of in ("number", "difference"):
            with_refits, alone = (found.loc[(score, of, method)] for method in ("10 refits", "none"))
            assert alone["coverage"] < 0.85
            assert with_refits["coverage"] > 0.88
            assert 0.8 < with_refits["se ratio"] < 1.5
