"""A series of checkpoints: the same numbers as an analysis of each, paired changes, the checkpoint that is kept."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import geomprobe as gp
from geomprobe.analysis import analyze as analysis
from geomprobe.analysis.track import _place, found_series
from geomprobe.common import UsageError
from geomprobe.comparison.series import KeepRule, add_series, best_of
from geomprobe.comparison.table import add_comparisons
from geomprobe.inference.intervals import holm
from geomprobe.inference.sequences import look_levels
from geomprobe.results import read_results, write_results
from geomprobe.results.summary.facts import judgement
from geomprobe.results.summary.printed import terminal
from geomprobe.results.summary.series import settled, stretches
from geomprobe.tasks import load_file

RANK = "metric == 'effective_rank' and view == 'raw'"


@pytest.fixture(scope="module")
def task(small_task, tmp_path_factory):
    """The texts of the small task without their labels: nothing to probe, so quick."""
    file = tmp_path_factory.mktemp("texts") / "texts.csv"
    file.write_text("".join(line.partition(",")[0] + "\n" for line in small_task.read_text().splitlines()))
    return load_file(file)


@pytest.fixture(scope="module")
def followed(training, task, tmp_path_factory):
    """The series, and the folder that it was written to."""
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("followed")
        environment.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        return gp.track([training], [task], keep="max effective_rank", out=folder / "results"), folder / "results"


def test_numbers_and_changes_are_those_of_analyze_and_compare(followed, training, task, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path))
    both = gp.analyze([training / f"checkpoint-{step}" for step in (10, 20)], [task], maps=False)
    measured = followed[0].results.results.query("model != 'checkpoint-100'").reset_index(drop=True)
    pd.testing.assert_frame_equal(measured, both.results)
    values = followed[0].rows.query(RANK)
    assert values["step"].tolist() == [10, 20, 100]
    assert values["value"].tolist()[:2] == both.results.query(RANK)["value"].tolist()
    compared = add_comparisons(both, "checkpoint-10", "checkpoint-20").comparisons.set_index(["metric", "view"])
    mine = followed[0].changes.query("against == 'previous' and step_b == 20").set_index(["metric", "view"])
    assert len(mine) == 5
    for column in ("diff", "ci_low", "ci_high", "p", "margin", "mdd"):
        expected = compared.loc[mine.index, column]
        np.testing.assert_array_equal(mine[column].to_numpy(float, na_value=0), expected.to_numpy(float, na_value=0))


def test_all_steps_of_a_training_are_adjusted_together(followed):
    changes = followed[0].changes
    for against in ("previous", "first", "last"):
        rows = changes[changes["against"] == against]
        assert len(rows.query(RANK)) == 2
        for _, family in rows.groupby("family"):
            p = family["p"].to_numpy(float, na_value=np.nan)
            np.testing.assert_array_equal(family["p_holm"].to_numpy(float, na_value=np.nan), holm(p))


def test_a_change_point_lies_where_the_weights_moved(followed):
    rank = followed[0].changes.query(f"against == 'previous' and {RANK}")
    assert [judgement(row) in ("higher", "lower") for row in rank.to_dict("records")] == [True, False]
    assert rank["diff"].tolist()[1:] == [0]
    found = stretches(rank.to_dict("records"))
    assert [(each.start, each.end) for each in found] == [(10, 20)]
    course = next(each for each in followed[0].summary().courses if each.metric == "effective_rank")
    assert course.settled == 20
    assert course.moves.endswith("10 → 20; equal to the last from 20 on")


def test_nothing_is_claimed_across_a_checkpoint_without_the_number():
    def row(start, end, verdict="higher"):
        return {"step_a": float(start), "step_b": float(end), "diff": 1.0, "verdict": verdict}

    found = stretches([row(0, 1), row(1, 2), row(3, 4), row(4, 5, "no clear difference"), row(5, 6)])
    assert [(each.start, each.end) for each in found] == [(0, 2), (3, 4), (5, 6)]
    to_last = [row(step, 6, "no difference") for step in (1, 2, 4, 5)]
    assert settled(to_last, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 4
    assert settled(to_last[:2], [1.0, 2.0, 3.0, 6.0]) is None


def ends(frame):
    keys = ["against", "step_a", "step_b", "metric", "view"]
    found = frame.set_index(keys)[["anytime_low", "anytime_high"]]
    return found.astype(float).sort_index()


def test_intervals_for_repeated_looks_depend_on_no_later_checkpoint(followed):
    """What was read after the second checkpoint stays when the third one is saved."""
    results, entry = copy.deepcopy(followed[0].results), followed[0].results.run["series"][0]
    whole = ends(results.changes).drop("best")
    add_series(results, [{**entry, "models": entry["models"][:2], "steps": entry["steps"][:2]}], KeepRule())
    early = ends(results.changes).drop("last")
    assert len(early) == 10
    pd.testing.assert_frame_equal(early, whole.loc[early.index])
    assert whole.loc[["previous", "first"]].notna().all(axis=None)
    assert whole.loc["last"].isna().all(axis=None), "to the last: each new checkpoint changes all of them"


def test_an_interval_for_repeated_looks_is_recomputed_from_contributions(followed):
    """The second look from the first checkpoint: what it may spend, given its correlation with the first look."""
    results = followed[0].results
    (first, second) = results.changes.query(f"against == 'first' and {RANK}").to_dict("records")
    moved = results.influences.query(RANK).set_index("model")["contributions"]
    base = np.asarray(moved["checkpoint-10"])
    rows = np.array([np.asarray(moved[f"checkpoint-{step}"]) - base for step in (20, 100)])
    family = results.changes.query("against == 'first' and step_b == 20")["family"]
    errors = 0.05 / (family == first["family"]).sum() * np.array([1 / 2, 1 / 6])
    levels = look_levels(errors, np.corrcoef(rows))
    for row, level in zip((first, second), levels, strict=True):
        half = stats.t.ppf(1 - level / 2, row["dof"]) * row["se"]
        assert [row["anytime_low"], row["anytime_high"]] == pytest.approx([row["diff"] - half, row["diff"] + half])
        assert row["anytime_low"] < row["ci_low"] < row["ci_high"] < row["anytime_high"]


def test_the_summary_says_where_it_is_told_apart_from_the_first(followed):
    courses = {(each.metric, each.view): each for each in followed[0].summary().courses}
    first = followed[0].changes.query("against == 'first' and step_b == 20")
    rows = {(row["metric"], row["view"]): row for row in first.to_dict("records")}
    for key, each in courses.items():
        outside = rows[key]["anytime_low"] > 0 or rows[key]["anytime_high"] < 0
        assert each.apart == (20 if outside else None)
    assert (
        "told apart from the first checkpoint at step 20, allowing for repeated looks" in followed[0].summary().sentence
    )


def test_a_folder_of_before_has_no_intervals_for_repeated_looks(followed, tmp_path):
    write_results(tmp_path / "r", followed[0].results)
    file = tmp_path / "r" / "changes.parquet"
    pd.read_parquet(file).drop(columns=["anytime_low", "anytime_high"]).to_parquet(file)
    again = read_results(tmp_path / "r")
    assert again.changes["anytime_low"].isna().all()
    assert "repeated looks" not in again.summary().sentence
    assert not any(each.apart for each in again.summary().courses)


def test_the_summary_fits_a_terminal(followed):
    lines = terminal(followed[0].summary(), ["results: r", "html: h", "pdf: p"])
    assert len(lines) <= 20
    assert "keep checkpoint-" in lines[0]


@pytest.mark.parametrize("rule", ["max effective_rank", "min effective_rank raw", "max uniformity centred"])
def test_what_is_kept_follows_from_all_pairs(followed, rule):
    results, entry = followed[0].results, followed[0].results.run["series"][0]
    parsed = KeepRule.parsed(rule, ["effective_rank", "uniformity"])
    add_series(results, [entry], parsed)
    (kept,) = results.run["kept"]
    view = parsed.view or "raw"
    rows = results.results[(results.results["metric"] == parsed.metric) & (results.results["view"] == view)]
    values = dict(zip(rows["model"], rows["value"], strict=True))
    best = (max if parsed.end == "max" else min)(values, key=values.get)
    assert (kept["cells"][0]["best"], kept["cells"][0]["tests"]) == (best, 3)
    pairs = {}
    for a, b in combinations(entry["models"], 2):
        frame = add_comparisons(results, a, b).comparisons
        (pairs[a, b],) = frame[(frame["metric"] == parsed.metric) & (frame["view"] == view)].to_dict("records")
    p = dict(zip(pairs, holm(np.array([float(row["p"]) for row in pairs.values()])), strict=True))
    same = [
        model
        for model in entry["models"]
        if model == best or any({model, best} == set(pair) and adjusted >= 0.05 for pair, adjusted in p.items())
    ]
    assert kept["model"] == same[0]
    assert kept["cells"][0]["indistinguishable"] == len(same)


def test_the_earliest_of_equal_checkpoints_is_the_best():
    assert best_of({"b": 2.0, "a": 2.0, "c": 1.0}, ["a", "b", "c"], "higher") == "a"
    assert best_of({"b": 2.0, "a": 2.0, "c": 1.0}, ["a", "b", "c"], "lower") == "c"


def test_without_the_number_nothing_is_kept(followed):
    results, entry = followed[0].results, followed[0].results.run["series"][0]
    add_series(results, [entry], KeepRule("max", "alignment"))
    (kept,) = results.run["kept"]
    assert (kept["model"], kept["cells"]) == (None, [])
    assert "alignment was not measured" in results.summary().sentence


def test_a_folder_of_a_series_is_read_as_it_was_written(followed):
    again = read_results(followed[1])
    assert again.run["series"][0]["steps"] == [10, 20, 100]
    assert len(again.trajectories) == len(followed[0].rows)
    assert again.summary().kind == "series"


def test_other_results_have_no_tables_of_a_series(followed, make_results, tmp_path):
    write_results(tmp_path / "r", followed[0].results)
    assert (tmp_path / "r" / "changes.parquet").is_file()
    write_results(tmp_path / "r", make_results())
    assert not list((tmp_path / "r").glob("changes.parquet")) + list((tmp_path / "r").glob("trajectories.parquet"))


def test_finished_checkpoints_are_found_again(followed, training, task, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(followed[1].parent / "cache"))
    monkeypatch.setattr(analysis, "embed_cells", lambda *_: pytest.fail("a finished cell was embedded again"))
    told = []
    again = gp.track([training], [task], out=followed[1], progress=lambda done, total: told.append((done, total)))
    pd.testing.assert_frame_equal(again.rows, followed[0].rows)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_band_is_the_mean_over_trainings(followed):
    results, entry = followed[0].results, followed[0].results.run["series"][0]
    first, second, third = entry["models"]  # as if these were of trainings of two steps
    models = ((first, second), (second, first), (first, third))
    trainings = [{"name": f"seed{i}", "models": list(pair), "steps": [1.0, 2.0]} for i, pair in enumerate(models)]
    add_series(results, trainings, KeepRule(), {"recipe": [each["name"] for each in trainings]})
    rows = results.trajectories.query(f"series == 'recipe' and {RANK}").to_dict("records")
    rank = results.results.query(RANK).set_index("model")["value"].astype(float)
    for row, at in zip(rows, zip(*models, strict=True), strict=True):
        values = rank[list(at)].to_numpy()
        low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        np.testing.assert_allclose([row["value"], row["ci_low"], row["ci_high"]], [values.mean(), low, high])
        assert row["n"] == 3
    assert [each["series"] for each in results.run["kept"]] == ["seed0", "seed1", "seed2"]
    add_series(results, trainings[:2], KeepRule(), {"recipe": ["seed0", "seed1"]})
    few = results.trajectories.query(f"series == 'recipe' and {RANK}").iloc[1]
    assert few["ci_method"] == "no valid interval: a group has fewer than 3 seeds"


def test_long_texts_are_divided_and_counted_at_every_checkpoint(training, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path))
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"{'the cat ' * (2 if i % 3 else 40)}{i}\n" for i in range(12)))
    run = gp.track([training], [load_file(tmp_path / "t.csv")], long="chunk").results.run
    assert run["tasks"][0]["chunked"] == {f"checkpoint-{step}": 4 for step in (10, 20, 100)}


def test_trainings_have_names_of_their_own(tmp_path):
    for place in ("a/run", "b/run"):
        for step in (1, 2):
            (tmp_path / place / f"step-{step}").mkdir(parents=True)
            (tmp_path / place / f"step-{step}" / "config.json").write_text("{}")
    sources = [str(tmp_path / "a/run"), str(tmp_path / "b/run")]
    found, bands = found_series([], None, {"g": sources})
    assert bands == {"g": [each.name for each in found]} == {"g": ["a/run", "b/run"]}
    with pytest.raises(UsageError, match="one training"):
        found_series([], None, {"g": sources[:1]})
    with pytest.raises(UsageError, match="given twice"):
        found_series([sources[0], sources[0]], None, {})


def test_places_of_checkpoints_are_made_public(training, tmp_path, monkeypatch):
    monkeypatch.chdir(training.parent)
    (alone,), _ = found_series([training], None, {})
    assert _place(alone) == "mine"
    long = [f"owner/{'long' * 20}{step}@step-{step}" for step in (1, 2, 3, 4)]
    (several,), _ = found_series([training / "checkpoint-10", training / "checkpoint-20", *long], None, {})
    assert _place(several) == ", ".join([*long, "mine/checkpoint-10", "mine/checkpoint-20"])


@pytest.mark.parametrize("text", ["", "max", "best effective_rank", "max effective_rank raw too", "max nonsense"])
def test_a_rule_that_is_none(text):
    with pytest.raises(UsageError, match="--keep"):
        KeepRule.parsed(text, ["effective_rank"])
