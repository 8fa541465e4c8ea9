"""Differences, families, equivalence, verdicts and groups of seeds, on arrays and on results made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from geomprobe import inference
from geomprobe.api import every_metric
from geomprobe.common import UsageError
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.pairs import copies
from geomprobe.comparison.table import add_comparisons, add_untrained, compare
from geomprobe.inference import Estimate, intervals
from geomprobe.inference.estimate import ROUNDING, variance_share
from geomprobe.results import (
    EXAMPLE_COLUMNS,
    INFLUENCE_COLUMNS,
    RESULT_COLUMNS,
    Results,
    read_results,
    table,
    write_results,
)

N, D = 400, 24


def embeddings(seed: int = 0, n: int = N, d: int = D, mean: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5 + mean * rng.normal(size=d)).astype(np.float32)


def example_rows(rng: np.random.Generator, label: np.ndarray, skill: float, scores: bool) -> list[dict]:
    said = (
        np.where(rng.random(len(label)) < skill, label, 1 - label)
        if not scores
        else label + rng.normal(size=len(label))
    )
    rows = [
        {"row_id": f"validation/{i}", "cluster": i, "label": float(x), "prediction": float(y)}
        for i, (x, y) in enumerate(zip(label, said, strict=True))
    ]
    return [{**row, "log_loss": None if scores else float(rng.random())} for row in rows]


def made(vectors: dict[str, np.ndarray], *, same_examples: bool = False, task_hash: dict | None = None) -> Results:
    """Return results as the grid makes them: geometry of given vectors, and made-up probes of two tasks."""
    frames, moved, examples = [], [], []
    for m, (name, Z) in enumerate(vectors.items()):
        for task in ("sst2", "stsb"):
            place = {"model": name, "task": task, "layer": 2, "pooling": "mean"}
            frame, influences = inference.measure(Z, metrics=["effective_rank", "rank_90", "uniformity", "mean_cosine"])
            frames.append(frame.assign(**place, task_hash=(task_hash or {}).get(name, "same"), split="validation"))
            moved.append(inference.influence_table(frame, influences).assign(**place))
            rng = np.random.default_rng(0 if same_examples else m)
            label = (
                np.random.default_rng(9).integers(0, 2, N) if task == "sst2" else np.random.default_rng(8).random(N) * 5
            )
            rows = pd.DataFrame(
                example_rows(rng, label, 0.7 if same_examples else 0.7 + 0.05 * m, task == "stsb")
            ).assign(**place, probe="semantic")
            examples.append(rows)
            right = float((rows["label"] == rows["prediction"]).mean())
            if task == "sst2":
                loss = float(rows["log_loss"].mean())
                values = {"accuracy": right, "skill": (right - 0.6) / 0.4, "log_loss": loss}
                values |= {"usable_bits": 1 - loss, "usable_share": (1 - loss) / 1.0}
                scores = {f"semantic_{key}": value for key, value in values.items()}
            else:
                said = rows["prediction"].astype(float)
                scores = {
                    f"sts_probe_{kind}": float(said.corr(rows["label"], method=kind))
                    for kind in ("spearman", "pearson")
                }
            for metric, value in scores.items():
                row = {"metric": metric, "value": value, "view": "raw", "definition": "", "n": N, "status": "ok"}
                frames.append(pd.DataFrame([row | place | {"task_hash": (task_hash or {}).get(name, "same")}]))
    return Results(
        table(pd.concat(frames), RESULT_COLUMNS),
        definitions=every_metric(),
        examples=table(pd.concat(examples), EXAMPLE_COLUMNS),
        influences=table(pd.concat(moved), INFLUENCE_COLUMNS),
        run={"models": [{"name": name, "n_layers": 2} for name in vectors]},
    )


def test_identical_checkpoints_are_equivalent_in_every_cell():
    Z = embeddings()
    found = add_comparisons(made({"a": Z, "b": Z.copy()}, same_examples=True), "a", "b").comparisons
    assert len(found) == 2 * 6 + 7
    assert set(found["verdict"]) == {"no difference"}
    assert (found["p_tost"] < 0.05).all()
    assert (found["diff"] == 0).all()
    assert (found["p_holm"] == 1).all()


def test_vectors_rounded_to_bfloat16_are_equivalent():
    import torch

    Z = embeddings(n=2000)
    rounded = torch.from_numpy(Z).bfloat16().float().numpy()
    found = compare({"a": Z, "b": rounded})
    known = found[found["se"].notna()]
    assert len(known) > 15
    assert known["verdict"].str.contains("no difference|equivalent").all(), known[
        ["metric", "view", "verdict", "diff", "se"]
    ]


def test_a_real_difference_is_found_with_its_sign():
    first = embeddings(mean=0.2)
    second = first + 0.5
    found = compare({"a": first, "b": second}).set_index(["metric", "view"])
    assert found.loc[("mean_cosine", "raw"), "verdict"] == "higher"
    assert found.loc[("uniformity", "raw"), "verdict"] == "higher"
    # the centred cloud is the same, up to rounding
    for number in (("uniformity", "centred"), ("effective_rank", "raw")):
        assert found.loc[number, "verdict"] in ("no difference", "lower, but equivalent within the margin")


def test_the_difference_has_the_error_of_the_difference_of_influences():
    first, second = embeddings(0), embeddings(0) * np.linspace(1, 1.5, D, dtype=np.float32)
    sides = [inference.measure(Z, metrics=["effective_rank"])[1][0] for Z in (first, second)]
    moved = sides[1].contributions - sides[0].contributions
    share = variance_share(moved, sides[1].together - sides[0].together)
    assert 0.9 < share < 1
    row = compare({"a": first, "b": second}, metrics=["effective_rank"]).iloc[0]
    assert row["se"] == pytest.approx(np.sqrt(N / (N - 1) * share * (moved**2).sum()), rel=1e-5)
    alone = np.hypot(*(side.interval().se for side in sides))
    assert row["se"] < 0.5 * alone
    assert row["mdd"] == pytest.approx((1.966 + 0.8433) * row["se"], rel=1e-2)


def test_other_rows_are_refused():
    Z = embeddings()
    with pytest.raises(UsageError, match="has 300"):
        compare({"a": Z, "b": Z[:300]})
    with pytest.raises(UsageError, match="same row ids"):
        compare({"a": Z, "b": Z}, rows={"a": range(N), "b": range(1, N + 1)})
    with pytest.raises(UsageError, match="one id a row"):
        compare({"a": Z, "b": Z}, rows=[0] * N)
    with pytest.raises(UsageError, match="did not see the same rows"):
        add_comparisons(made({"a": Z, "b": Z}, task_hash={"a": "one", "b": "other"}), "a", "b")
    with pytest.raises(UsageError, match="Unknown model"):
        add_comparisons(made({"a": Z, "b": Z}), "a", "c")
    scored = made({"a": Z, "b": Z})
    scored.examples.loc[scored.examples["model"] == "b", "row_id"] += "x"
    with pytest.raises(UsageError, match="not scored on the same rows"):
        add_comparisons(scored, "a", "b")


def test_probes_are_compared_on_shared_rows():
    found = add_comparisons(made({"a": embeddings(), "b": embeddings(1)}), "a", "b").comparisons.set_index("metric")
    accuracy, skill = found.loc["semantic_accuracy"], found.loc["semantic_skill"]
    assert "McNemar" in accuracy["ci_method"]
    assert skill["diff"] / skill["se"] == pytest.approx(accuracy["diff"] / accuracy["se"])
    assert skill["p"] == accuracy["p"]
    assert found.loc["semantic_usable_bits", "se"] == pytest.approx(found.loc["semantic_log_loss", "se"])
    assert "Williams" in found.loc["sts_probe_spearman", "ci_method"]
    assert set(found["family"]) == {"spectrum", "hypersphere", "isotropy", "semantic"}


def told_apart(gains: int, losses: int, clusters: int | None = None) -> pd.DataFrame:
    """Return the comparison of two models whose probes differ on so many examples of sst2, by metric."""
    results = made({"a": embeddings(), "b": embeddings(1)}, same_examples=True)
    results.examples = examples = results.examples.reset_index(drop=True)
    results.results = results.results.reset_index(drop=True)
    mine = (examples["task"] == "sst2") & (examples["model"] == "b")
    right = examples["label"] == examples["prediction"]
    wrong = examples.index[mine & ~right][:gains].union(examples.index[mine & right][:losses])
    examples.loc[wrong, "prediction"] = 1 - examples.loc[wrong, "prediction"]
    if clusters is not None:
        examples["cluster"] = (examples["row_id"].str.split("/").str[1].astype(int) % clusters).astype("Int64")
    share = (examples["label"] == examples["prediction"])[mine].mean()
    rows = results.results
    for metric, value in (("semantic_accuracy", share), ("semantic_skill", (share - 0.6) / 0.4)):
        rows.loc[(rows["metric"] == metric) & (rows["model"] == "b"), "value"] = float(value)
    return add_comparisons(results, "a", "b").comparisons.set_index("metric")


@pytest.mark.parametrize(
    ("gains", "losses", "verdict"),
    [
        (0, 0, "no difference"),
        (1, 0, "no difference"),
        (1, 1, "no difference"),
        (1, 2, "no clear difference"),  # equivalent at p = 0.04 alone, not over the family
        (0, 3, "no clear difference"),
    ],
)
def test_few_discordant_examples_have_a_verdict(gains, losses, verdict):
    found = told_apart(gains, losses)
    accuracy, skill = found.loc["semantic_accuracy"], found.loc["semantic_skill"]
    assert accuracy["verdict"] == verdict
    assert skill["verdict"] == verdict  # its margin is twice that of accuracy, its unit 2.5
    assert accuracy["diff"] == pytest.approx((gains - losses) / N)
    assert accuracy["ci_low"] < accuracy["diff"] < accuracy["ci_high"]
    assert skill["ci_high"] == pytest.approx(2.5 * accuracy["ci_high"])
    assert accuracy["ci_method"] == f"score interval, {gains + losses} discordant rows; p: McNemar, exact"
    assert pd.isna(accuracy["se"])
    assert accuracy["p"] == pytest.approx(min(1.0, 2 * stats.binom.cdf(min(gains, losses), gains + losses, 0.5)))


def test_more_discordant_examples_have_a_t_interval():
    accuracy = told_apart(0, 8).loc["semantic_accuracy"]
    assert accuracy["ci_method"] == "paired influence function; p: McNemar, exact"
    assert accuracy["p"] == pytest.approx(2 * 0.5**8)


def test_few_discordant_examples_in_clusters_count_as_if_whole_clusters_went_together():
    none = told_apart(0, 0, clusters=200).loc["semantic_accuracy"]
    assert none["ci_high"] == pytest.approx(3.8415 / 203.8415, rel=1e-3)  # clusters count, not their rows
    few = told_apart(1, 1, clusters=200).loc["semantic_accuracy"]
    assert few["ci_method"] == "score interval, 2 discordant rows, 200 clusters of up to 2; p: score test"
    assert few["ci_high"] > told_apart(1, 1).loc["semantic_accuracy", "ci_high"]
    assert few["verdict"] == "no clear difference"


def test_clustered_examples_widen_the_interval():
    results = made({"a": embeddings(), "b": embeddings(1)})
    alone = add_comparisons(results, "a", "b").comparisons.set_index("metric").loc["semantic_log_loss", "se"]
    clusters = {f"validation/{i}": i // 2 for i in range(N)}
    results.examples["cluster"] = results.examples["row_id"].map(clusters).astype("Int64")
    losses = results.examples["log_loss"].to_numpy(float, na_value=np.nan)
    results.examples["log_loss"] = pd.array(np.repeat(losses[::2], 2)).astype("Float64")
    found = add_comparisons(results, "a", "b").comparisons.set_index("metric")
    assert found.loc["semantic_log_loss", "se"] > 1.3 * alone
    assert "200 clusters" in found.loc["semantic_accuracy", "ci_method"]


def test_what_training_gave_is_a_comparison_of_its_own_for_each_model():
    results = made({"a": embeddings(), "b": embeddings(1), "random-init": embeddings(2), "bow": embeddings(3)})
    results.run["baselines"] = {"random-init": "random-init", "bow": "bow"}
    for entry in results.run["models"][2:]:
        entry["baseline_of"] = ["a", "b"]
    own = add_comparisons(results, "a", "b").comparisons
    found = add_untrained(results).comparisons
    sides = found.groupby(["a", "b"], sort=False)
    assert list(sides.groups) == [("a", "b"), ("random-init", "a"), ("random-init", "b")]
    pd.testing.assert_frame_equal(sides.get_group(("a", "b")), own)  # also its adjusted p-values
    for name in ("a", "b"):
        alone = add_comparisons(results, "random-init", name).comparisons
        pd.testing.assert_frame_equal(sides.get_group(("random-init", name)).reset_index(drop=True), alone)


def test_holm_runs_over_the_whole_family():
    found = add_comparisons(made({"a": embeddings(), "b": embeddings(1)}), "a", "b").comparisons
    part = found[found["family"] == "spectrum"]
    assert len(part) == 4  # two metrics on two tasks
    assert part["p_holm"].to_numpy(float) == pytest.approx(intervals.holm(part["p"].to_numpy(float)))


def test_a_number_without_influences_gets_no_verdict():
    results = made({"a": embeddings(), "b": embeddings(1)})
    results.influences = results.influences[results.influences["metric"] != "uniformity"]
    found = add_comparisons(results, "a", "b").comparisons
    rows = found[found["metric"] == "uniformity"]
    assert set(rows["verdict"]) == {"no valid interval, no verdict"}
    assert rows[["se", "ci_low", "p", "p_holm", "p_tost"]].isna().all(axis=None)


def test_comparisons_survive_the_folder(tmp_path):
    results = made({"a": embeddings(), "b": embeddings(1)})
    write_results(tmp_path / "r", results)
    again = add_comparisons(read_results(tmp_path / "r"), "a", "b").comparisons
    pd.testing.assert_frame_equal(again, add_comparisons(results, "a", "b").comparisons)


def seeds(count: int, shift: float = 0.0, spread: float = 0.02) -> dict[str, np.ndarray]:
    base = embeddings()
    return {f"s{shift}-{i}": base * np.linspace(1, 1 + shift + spread * i, D, dtype=np.float32) for i in range(count)}


def test_groups_of_seeds_use_seeds_and_rows():
    first, second = seeds(3), seeds(3, shift=1.0)
    results = made(first | second)
    results = compare_groups(results, {"mlm": list(first), "hybrid": list(second)})
    row = results.comparisons.set_index(["metric", "task"]).loc[("effective_rank", "sst2")]
    assert row["level"] == "objective"
    assert row["a"] == "mlm"
    sides = {name: inference.measure(Z, metrics=["effective_rank"])[1][0] for name, Z in (first | second).items()}
    values = [np.array([sides[name].value for name in group]) for group in (first, second)]
    rows = np.mean([sides[n].contributions for n in second], 0) - np.mean([sides[n].contributions for n in first], 0)
    pairs = np.mean([sides[n].together for n in second], 0) - np.mean([sides[n].together for n in first], 0)
    of_rows = variance_share(rows, pairs) * (rows**2).sum() * N / (N - 1)
    expected = values[0].var(ddof=1) / 3 + values[1].var(ddof=1) / 3 + of_rows
    assert row["se"] == pytest.approx(np.sqrt(expected), rel=1e-4)
    assert row["diff"] == pytest.approx(values[1].mean() - values[0].mean())
    assert row["verdict"] == "higher"
    assert results.run["groups"] == {"mlm": list(first), "hybrid": list(second)}


def test_two_seeds_support_no_claim_about_objectives():
    first, second = seeds(3), seeds(2, shift=1.0)
    found = compare_groups(made(first | second), {"mlm": list(first), "hybrid": list(second)}).comparisons
    assert set(found["verdict"]) == {"too few seeds, no verdict"}
    assert found["p"].isna().all()


def test_group_errors():
    results = made(seeds(2))
    names = [entry["name"] for entry in results.run["models"]]
    with pytest.raises(UsageError, match="1 groups were given"):
        compare_groups(results, {"a": names})
    with pytest.raises(UsageError, match="twice"):
        compare_groups(results, {"a": names, "b": names})
    with pytest.raises(UsageError, match="Unknown model"):
        compare_groups(results, {"a": [names[0]], "b": ["nobody"]})


def group_difference(first, second, contributions, unattributed=0.0):
    """Return the interval of the difference of two groups with these values and contributions of each seed."""
    values = (*first, *second)
    seeds = [Estimate(v, c, unattributed) for v, c in zip(values, contributions, strict=True)]
    return Estimate.grouped(seeds[: len(first)], seeds[len(first) :]).interval()


def test_satterthwaite_lies_between_seeds_and_rows():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=500) * 1e-3 for _ in range(6)]
    wide = group_difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], rows)
    assert wide.dof == pytest.approx(4, rel=0.05)  # seeds dominate: k_A + k_B − 2
    narrow = group_difference([1.0] * 3, [1 + 1e-9] * 3, rows)
    assert narrow.dof > 300  # rows dominate


def test_an_untrained_weighted_pooling_is_no_second_witness_beside_mean():
    def found(mean, **weighted):
        entries = [{"name": "mean", "trained": None}] * mean + [{"name": "weighted"} | weighted]
        return copies({"poolings": entries, "tasks": [{"name": "a"}, {"name": "b"}]})

    assert found(True, trained=False) == {("a", "weighted"), ("b", "weighted")}
    assert found(False, trained=False) == set()
    assert found(True, trained=True, untrained_on={}) == set()
    assert found(True, trained=True, untrained_on={"b": "no train split"}) == {("b", "weighted")}
    assert copies({}) == set()


def test_other_units_make_no_difference():
    Z = embeddings().astype(np.float64)
    found = compare({"a": Z, "b": 3 * Z}, metrics=["effective_rank", "participation_ratio", "uniformity", "rank_90"])
    assert set(found["verdict"]) == {"no difference"}
    assert (found["diff"] == 0).all()
    assert (found["p"] == 1).all()


def test_a_single_cluster_is_no_evidence():
    one = Estimate(1.0, np.zeros(1)).minus(Estimate(0.5, np.zeros(1))).interval()
    assert one.se is None
    assert one.method.startswith("no valid interval")
    two = compare({"a": embeddings(), "b": embeddings(1)}, metrics=["effective_rank"], clusters=np.arange(N) % 2)
    assert set(two["verdict"]) == {"no valid interval, no verdict"}


def test_a_difference_is_conservative_where_one_side_is():
    first, second = embeddings(mean=0.0), embeddings()
    first[0] = second[0] = 0  # without a direction, what pairs add is not made good
    first = first @ np.diag(np.arange(1, D + 1) ** 0.5)  # isotropic: first-order terms vanish
    method = compare({"a": second, "b": first}, metrics=["mean_cosine"], margins=None)["ci_method"]
    assert "too large" in method.iloc[0]


def test_seeds_that_share_a_rank_share_its_rounding():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=500) * 1e-4 for _ in range(6)]
    same = group_difference([20.0] * 3, [21.0] * 3, rows, ROUNDING)
    assert same.se == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert same.p > 0.05  # one step of rounding is no finding
    none = group_difference([20.0] * 3, [20.0] * 3, [np.zeros(9)] * 6, ROUNDING)
    assert (none.se, none.p) == (0.0, 1.0)
    step = group_difference([20.0] * 3, [21.0] * 3, [np.zeros(9)] * 6, ROUNDING)  # no row moves it, and rounding may
    assert step.se == pytest.approx(np.sqrt(0.5))


def test_a_few_rows_that_decide_refuse_a_group_too():
    rows = np.zeros(500)
    rows[:2] = 1.0, -1.0
    found = group_difference([1.0] * 3, [2.0] * 3, [np.zeros(500)] * 3 + [rows] * 3)
    assert found.p is None
    assert "a few rows" in found.method


def test_shares_over_families_and_code_length_have_paired_verdicts():
    rng = np.random.default_rng(0)
    results = made({"a": embeddings(), "b": embeddings(1)})
    shared, place = rng.normal(size=20) * 0.01, {"task": "sst2", "layer": 2, "pooling": "mean", "view": "raw"}
    rows, moved = [], []
    for model, value in (("a", 0.2), ("b", 0.3)):
        for metric in ("meaning_share", "semantic_code_length"):
            entry = {**place, "model": model, "metric": metric, "definition": ""}
            rows.append({**entry, "value": value, "status": "ok", "n": 160, "task_hash": "same"})
            own = shared + rng.normal(size=20) * 1e-4
            moved.append({**entry, "contributions": own - own.mean(), "extra": 0.0})
    results.results = table(pd.concat([results.results, table(rows, RESULT_COLUMNS)]), RESULT_COLUMNS)
    results.influences = table(pd.concat([results.influences, table(moved, INFLUENCE_COLUMNS)]), INFLUENCE_COLUMNS)
    found = add_comparisons(results, "a", "b").comparisons.set_index("metric")
    for metric in ("meaning_share", "semantic_code_length"):
        assert found.loc[metric, "verdict"] == "higher"
        assert found.loc[metric, "se"] < 1e-3  # what families share cancels
