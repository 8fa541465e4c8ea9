"""The common checks, over every metric and definition of the registry; and that they find what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import geomprobe as gp
from geomprobe.inference.checks import CHECKS, OF_STANDARD, Subject, moved
from geomprobe.metrics import REGISTRY, VIEWS
from geomprobe.metrics.records import ROTATION, ROW_SCALE, SCALE, SHIFT

OTHERS = [(name, other) for name, metric in REGISTRY.built_in.items() for other in metric.others]
WITHOUT = {("effective_rank", "vecscope"), ("stable_rank", "embedding-quality")}
"""Definitions of other packages that do not centre, unlike the standard one."""


@pytest.mark.parametrize("name", REGISTRY.built_in)
def test_every_metric_does_what_its_record_says(name):
    metric = REGISTRY[name]
    run = {f"{definition}, {check}" for definition in metric.variants for check in CHECKS}
    run |= {f"standard, {invariance}" for invariance in metric.invariances}
    assert set(gp.check_metric(metric)) - {"standard, influence"} == run
    assert metric.name == name
    assert set(metric.views) <= set(VIEWS)


@pytest.mark.parametrize(("name", "definition"), OTHERS)
def test_other_definitions_have_the_invariances_of_the_standard_one_but_for_two(name, definition):
    for invariance in (ROTATION, SCALE, ROW_SCALE, *([] if (name, definition) in WITHOUT else [SHIFT])):
        OF_STANDARD[invariance](Subject(REGISTRY[name], definition))


@pytest.mark.parametrize("name", [name for name in REGISTRY.built_in if name not in ("rank_90", "rank_99")])
def test_what_is_no_declared_invariance_moves_the_value(name):
    subject = Subject(REGISTRY[name])
    for invariance in {ROTATION, SCALE, SHIFT, ROW_SCALE} - set(subject.metric.invariances):
        assert subject.value(moved(subject.x, invariance)) != pytest.approx(subject.value(subject.x), rel=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_with_their_numbers(bad):
    x = Subject(REGISTRY["norm_cv"]).x
    x[11, 3] = bad
    for data in (x, torch.from_numpy(x)):
        with pytest.raises(ValueError, match="NaN or infinity: 11"):
            gp.measure(data)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_rows_are_refused(n):
    with pytest.raises(ValueError, match="two rows"):
        gp.measure(np.ones((n, 4)))


def lengths(embeddings):
    return np.linalg.norm(embeddings.vectors, axis=1)


def centred_lengths(embeddings):
    return lengths(embeddings) - lengths(embeddings).mean()


SOUND = gp.Metric(
    name="mean_length",
    family="own",
    compute=lambda embeddings: lengths(embeddings).mean(),
    influence=centred_lengths,
    needs="rows",
    formula="mean ‖x‖",
    range="[0, ∞)",
    direction="larger: longer",
    invariances=(ROTATION,),
    source="here",
)


def writes_to_the_spectrum(embeddings):
    embeddings.spectrum.values[0] = 1
    return lengths(embeddings).mean()


def writes_to_the_mean(embeddings):
    embeddings.state.mean[0] += 1
    return lengths(embeddings).mean()


def writes(embeddings):
    for _, block in embeddings.rows.blocks():
        block.mul_(2)
    return lengths(embeddings).mean()


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("texts", {"formula": ""}),
        ("texts", {"others": {"twice": (lambda e: 2 * lengths(e).mean(), " ")}}),
        ("finite", {"compute": lambda e: np.float32(lengths(e).mean())}),
        ("finite", {"compute": lambda e: np.inf}),
        ("finite", {"compute": lambda e: lengths(e).mean() + 1e-9 * np.random.default_rng().normal()}),
        ("finite", {"compute": writes}),
        ("finite", {"compute": writes_to_the_spectrum}),
        ("finite", {"compute": writes_to_the_mean}),
        ("finite", {"compute": lambda e: lengths(e).mean() if e.name == "raw" else 1 / 0}),
        ("row order", {"compute": lambda e: lengths(e)[0]}),
        ("scale", {"invariances": (SCALE,)}),
        ("shift", {"invariances": (SHIFT,)}),
        ("number formats", {"compute": lambda e: float(e.rows.work.itemsize)}),
        ("magnitudes", {"compute": lambda e: 1 / 0 if lengths(e).mean() > 1e20 else lengths(e).mean()}),
        ("degenerate rows", {"compute": lambda e: np.linalg.inv(np.cov(e.vectors.T))[0, 0]}),
        ("blocks", {"compute": lambda e: max(start for start, *_ in e.blocks()) + lengths(e).mean()}),
        ("merged moments", {"needs": "moments"}),
        ("merged moments", {"compute": lambda e: float(np.trace(e.state.covariance))}),
        ("stated range", {"range": "[0, 1]"}),
        ("stated range", {"range": "[0,1]"}),
        ("stated range", {"range": "between 0 and 1"}),
        ("shift", {"invariances": (SHIFT,), "views": ("centred", "raw"), "default_views": ()}),
        ("influence", {"influence": lambda e: 3 * centred_lengths(e), "default_views": ("centred",)}),
        ("stated range", {"range": "[2N/(N−1), ∞)", "compute": lambda e: 2.0}),
        ("interval", {"influence": lambda e: e.nothing}),
        ("influence", {"influence": lambda e: 3 * centred_lengths(e)}),
        ("influence", {"influence": lambda e: -centred_lengths(e)}),
    ],
)
def test_each_fault_is_found_by_the_check_of_its_name(check, fault):
    assert gp.check_metric(SOUND) == [f"standard, {name}" for name in (*CHECKS, "rotation", "influence")]
    with pytest.raises(AssertionError, match=rf"^mean_length fails (.|\n)*\n\w+, {check}: "):
        gp.check_metric(replace(SOUND, **fault))


@pytest.mark.parametrize("fault", [{"needs": "positives"}, {"integer": True}, {"left_out_overstates": True}])
def test_a_derivative_that_is_not_checked_is_not_among_the_checks_passed(fault):
    assert "standard, influence" not in gp.check_metric(replace(SOUND, **fault))


def test_a_record_that_contradicts_itself_is_refused():
    for fault, said in (
        ({"needs": "row"}, "needs is one of moments, rows, labels, positives, not 'row'"),
        ({"views": ("raw",), "default_views": ("centred",)}, "default_views is a tuple of some of its views"),
        ({"views": ("rotated",)}, "views is a tuple of some of raw"),
        ({"invariances": ("translation",)}, r"rotation, scale, shift, row scale.* not \('translation',\)"),
        ({"invariances": "rotation"}, "invariances is a tuple of some of rotation.* not 'rotation'"),
        ({"margin": 0.05}, r"margin is a geomprobe\.Margin or None, not 0\.05"),
        ({"headline": "x"}, "headline is "),
        ({"against": ("wording", "x")}, "against is "),
        ({"others": {"x": lengths}}, "others is a dict of name"),
        ({"compute": None}, "compute is a function of embeddings, not None"),
        ({"influence": 0}, "influence is a function"),
        ({"family": None}, "family is a text, not None"),
        ({"formula": None}, "formula is a text"),
        ({"stage": "foo"}, "stage is one of embedding"),
        ({"views": ("centred",), "default_views": ()}, "influence is a function of embeddings in the raw view"),
        ({"views": ("centred",), "default_views": (), "influence": None}, "invariances .* empty without the raw view"),
        ({"tail": "foo"}, "tail is lengths, steady or None"),
        ({"order": "z"}, "order is a whole number or None, not 'z'"),
        ({"compared": "no"}, "compared is True or False"),
    ):
        with pytest.raises(ValueError, match=f"^mean_length: .*{said}"):
            replace(SOUND, **fault)


@pytest.mark.parametrize(
    ("size", "scale", "said"),
    [
        ("x", "absolute", "'x' is not the size"),
        (np.nan, "absolute", "nan is not the size"),
        (0.0, "relative", "0.0 is not the size"),
        (0.05, "log", "no scale 'log'"),
        (0.7, "relative", "a doubling would count as none"),
        (0.7, "logit", "a doubling would count as none"),
    ],
)
def test_a_margin_that_is_none_is_refused(size, scale, said):
    with pytest.raises(gp.common.UsageError, match=said):
        gp.Margin(size, scale)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"family": "spectrum"}, "its family 'spectrum' is one of geomprobe's, .* a family of its own"),
        ({"statistic": REGISTRY["uniformity"].statistic}, "of_spectrum and statistic are for built-in metrics"),
    ],
)
def test_a_record_that_cannot_stand_with_the_built_in_ones_is_not_registered(install, fault, said):
    with pytest.raises(gp.common.UsageError, match=f"The metric 'mean_length' is refused: {said}"):
        gp.register_metric(replace(SOUND, **fault))
    assert "mean_length" not in REGISTRY


def ends(embeddings):
    raise SystemExit(1)


@pytest.mark.parametrize(
    "compute",
    [
        *(lambda e, given=given: given for given in (None, "x", np.ones(3), 1 + 2j, np.complex64(1))),
        *(lambda e, given=given: gp.Value(given) for given in (None, "x", 1 + 2j)),
        *(lambda e, n=n: gp.Value(1.0, n) for n in ("x", 2.5)),
        ends,
    ],
)
def test_a_metric_that_gives_no_number_is_a_failed_row_and_no_more(install, compute):
    gp.register_metric(replace(SOUND, compute=compute, influence=None))
    frame = gp.measure(Subject(SOUND).x, metrics=["mean_length", "effective_rank"])
    assert frame["status"].tolist() == ["failed", "ok"]
    assert frame.loc[0, "note"].startswith("mean_length of this process: ")


def test_a_derivative_that_ends_the_process_is_no_interval_and_no_more(install):
    gp.register_metric(replace(SOUND, influence=ends))
    assert gp.measure(Subject(SOUND).x, metrics=["mean_length"]).loc[0, "ci_method"].endswith("SystemExit: 1")


def test_a_metric_without_a_derivative_has_the_interval_of_the_jackknife(install):
    Z = Subject(SOUND).x
    rows = {}
    for name, metric in (("given", SOUND), ("left", replace(SOUND, influence=None))):
        gp.register_metric(replace(metric, name=name))
        rows[name] = gp.measure(Z, metrics=[name]).loc[0]
    assert rows["given"]["ci_method"] == "influence function"
    assert rows["given"]["se"] == pytest.approx(lengths_of(Z).std(ddof=1) / np.sqrt(len(Z)))
    assert rows["left"]["ci_method"] == "delete-a-shard jackknife"
    assert rows["left"]["se"] == pytest.approx(rows["given"]["se"], rel=0.5)


def lengths_of(Z):
    return np.linalg.norm(Z, axis=1)


def test_other_metrics_keep_their_numbers_to_the_bit(install):
    Z = Subject(SOUND).x
    before = gp.measure(Z)
    gp.register_metric(replace(REGISTRY["participation_ratio"], name="again", family="own", of_spectrum=None))
    after = gp.measure(Z)
    (again,) = after[after["metric"] == "again"].to_dict("records")
    assert again["ci_method"] == "delete-a-shard jackknife"
    assert after[after["metric"] != "again"].reset_index(drop=True).equals(before)


def test_names_that_are_taken_are_refused_with_both_owners(install):
    gp.register_metric(SOUND)
    for name, owner in (("uniformity", "geomprobe"), ("meaning_share", "geomprobe"), ("mean_length", "this process")):
        with pytest.raises(gp.common.UsageError, match=f"{name}' of this process is refused: {owner}.* has one of"):
            gp.register_metric(replace(SOUND, name=name))
    gp.register_metric(replace(SOUND, range="[0, 9]"), replace=True)
    assert REGISTRY["mean_length"].range == "[0, 9]"
    with pytest.raises(gp.common.UsageError, match=r"'mean length' .* a name is of letters"):
        gp.register_metric(replace(SOUND, name="mean length"))
    with pytest.raises(TypeError, match=r"is a geomprobe\.Metric, not of type function"):
        gp.register_metric(lengths)


def test_a_registered_metric_is_compared_defined_and_reported(install, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    gp.register_metric(SOUND)
    Z = Subject(SOUND).x
    found = gp.compare({"a": Z, "b": 2 * Z}, metrics=["mean_length"]).loc[0]
    assert (found["verdict"], found["family"]) == ("higher", "own")
    results = gp.analyze([model_folder("bert")], ["controlled"], ["mean"], limit=60, out=tmp_path / "out")
    (row,) = results.results.query("metric == 'mean_length'").to_dict("records")
    assert row["ci_method"].startswith("influence function")
    assert results.definitions["mean_length"]["formula"] == "mean ‖x‖"
    assert [(entry["name"], entry["package"]) for entry in results.run["plugins"]] == [("mean_length", "this process")]
    gp.write_report(tmp_path / "out", tmp_path / "report.html")
    assert "mean ‖x‖" in (tmp_path / "report.html").read_text(encoding="utf-8")
