"""The order of many models, and the letters that say which are not told apart."""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from geomprobe import inference
from geomprobe.api import every_metric
from geomprobe.comparison import rankings
from geomprobe.comparison.rankings import add_rankings
from geomprobe.comparison.table import compare
from geomprobe.inference.intervals import holm, p_equivalence
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, Results, read_results, table, write_results

N, D = 300, 12
METRICS = ["effective_rank", "uniformity", "stable_rank"]
HEADLINE = {("effective_rank", "raw"), ("uniformity", "raw"), ("uniformity", "centred")}


def cloud(stretch: float = 1.0, seed: int = 0, task: int = 0) -> np.ndarray:
    """Return embeddings whose first coordinate is stretched: the more, the fewer directions are used."""
    Z = np.random.default_rng(task).normal(size=(N, D)) + 0.01 * np.random.default_rng(seed).normal(size=(N, D))
    return Z * np.where(np.arange(D) == 0, stretch, 1.0)


VECTORS = {"round": cloud(1.0, 1), "nearly": cloud(1.002, 2), "long": cloud(2.5, 3), "needle": cloud(6.0, 4)}


@cache
def measured(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame, influences = inference.measure(VECTORS[name], metrics=METRICS)
    return frame, inference.influence_table(frame, influences)


def made(*names: str, depth: dict[str, int] | None = None, baselines: tuple[str, ...] = ()) -> Results:
    """Return results as an analysis makes them, at two layers; those of layer 0 are not to be read."""
    frames, moved = [], []
    for name, task in product(names, ("first", "second")):
        frame, influences = measured(name)
        place = {"model": name, "task": task, "layer": (depth or {}).get(name, 2), "pooling": "mean"}
        frames += [frame.assign(**place | at, task_hash="same", split="validation") for at in ({}, {"layer": 0})]
        frames[-1]["value"] = 1.0
        moved.append(influences.assign(**place))
    models = [{"name": name, "n_layers": (depth or {}).get(name, 2)} for name in names]
    return Results(
        table(pd.concat(frames), RESULT_COLUMNS),
        definitions=every_metric(),
        influences=table(pd.concat(moved), INFLUENCE_COLUMNS),
        run={"models": models, "baselines": dict.fromkeys(baselines, "random-init")},
    )


@pytest.fixture(scope="module")
def ranked() -> pd.DataFrame:
    return add_rankings(made(*VECTORS)).rankings


def letters_of(frame: pd.DataFrame, metric: str, view: str = "raw", task: str = "first") -> dict[str, str]:
    cell = frame[(frame["metric"] == metric) & (frame["view"] == view) & (frame["task"] == task)]
    return dict(cell.sort_values("rank")[["model", "letters"]].itertuples(index=False, name=None))


def test_models_stand_in_the_order_that_the_direction_names(ranked):
    assert set(map(tuple, ranked[["metric", "view"]].drop_duplicates().to_numpy())) == HEADLINE
    assert list(letters_of(ranked, "effective_rank"))[2:] == ["long", "needle"]  # larger: more dimensions are used
    assert list(letters_of(ranked, "uniformity"))[2:] == ["long", "needle"]  # smaller: spread more evenly
    first = ranked[ranked["rank"] == 1].set_index(["metric", "view", "task"])["value"]
    for (metric, view, task), value in first.items():
        cell = ranked[(ranked["metric"] == metric) & (ranked["view"] == view) & (ranked["task"] == task)]["value"]
        assert value == (cell.min() if metric == "uniformity" else cell.max())


def test_the_letters_are_the_verdicts_of_all_pairs_adjusted_together(ranked):
    names = list(VECTORS)
    tests = {}
    for a, b in combinations(names, 2):
        for row in compare({a: VECTORS[a], b: VECTORS[b]}, metrics=METRICS[:2]).to_dict("records"):
            if (row["metric"], row["view"]) in HEADLINE:
                tests[a, b, row["metric"], row["view"]] = row
    for metric in ("effective_rank", "uniformity"):  # each in a family of its own
        mine = [key for key in tests if key[2] == metric]
        rows = [tests[key] for key in mine] * 2  # the same rows stand for both tasks
        differ = holm(np.array([row["p"] for row in rows], float)) < 0.05
        equal = [p_equivalence(*(row[c] for c in ("diff", "se", "dof", "margin"))) for row in rows]
        equal = holm(np.array(equal)) < 0.05
        for (a, b, _, view), apart in zip(mine, differ & ~equal, strict=False):
            found = letters_of(ranked, metric, view)
            assert bool({*found[a]} & {*found[b]}) != apart, (a, b, metric, view)
        assert set(ranked.loc[ranked["metric"] == metric, "tests"]) == {len(rows)}


def test_near_ones_share_a_letter_and_far_ones_do_not(ranked):
    assert letters_of(ranked, "effective_rank") == {"round": "a", "nearly": "a", "long": "b", "needle": "c"}
    assert set(ranked["untested"]) == {0}


def test_models_are_matched_by_their_deepest_layer_however_deep_they_are():
    shallow = add_rankings(made("round", "long", depth={"long": 6})).rankings
    assert set(shallow[["model", "layer"]].itertuples(index=False, name=None)) == {("round", 2), ("long", 6)}
    assert letters_of(shallow, "effective_rank") == {"round": "a", "long": "b"}


def test_a_model_without_a_number_has_no_place():
    results = made("round", "long", "needle")
    results.results.loc[results.results["model"] == "needle", "status"] = "failed"
    assert set(add_rankings(results).rankings["model"]) == {"round", "long"}
    results.results["status"] = "failed"
    assert len(add_rankings(results).rankings) == 0


def test_baselines_are_not_ranked_and_one_model_has_no_order():
    results = add_rankings(made(*VECTORS, baselines=("needle",)))
    assert set(results.rankings["model"]) == {"round", "nearly", "long"}
    assert len(add_rankings(made("round")).rankings) == 0
    results = made("round", "long")
    results.run["models"].append({"name": "not measured", "n_layers": 2})
    assert set(add_rankings(results).rankings["model"]) == {"round", "long"}


def test_of_too_many_pairs_none_is_tested(monkeypatch):
    monkeypatch.setattr(rankings, "MOST_PAIRS", 5)
    frame = add_rankings(made(*VECTORS)).rankings
    assert frame[["letters", "tests"]].isna().all(axis=None)
    assert list(letters_of(frame, "effective_rank"))[2:] == ["long", "needle"]


def test_a_model_without_an_interval_has_no_letters_and_is_counted():
    results = made(*VECTORS)
    kept = results.influences
    gone = (kept["model"] == "needle") & (kept["metric"] == "effective_rank")
    results.influences = kept[~gone].reset_index(drop=True)
    frame = add_rankings(results).rankings
    found = letters_of(frame, "effective_rank")
    assert pd.isna(found.pop("needle"))
    assert found == {"round": "a", "nearly": "a", "long": "b"}
    rank = frame[frame["metric"] == "effective_rank"]
    assert dict(rank.groupby("model")["untested"].max()) == {"round": 1, "nearly": 1, "long": 1, "needle": 3}
    assert set(rank["tests"]) == {6}  # three pairs on two tasks


def test_a_folder_keeps_the_order(tmp_path):
    results = add_rankings(made("round", "long"))
    write_results(tmp_path / "found", results)
    pd.testing.assert_frame_equal(read_results(tmp_path / "found").rankings, results.rankings)
    (tmp_path / "found" / "rankings.parquet").unlink()  # as an earlier version wrote it
    assert len(read_results(tmp_path / "found").rankings) == 0
