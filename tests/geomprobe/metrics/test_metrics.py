"""measure and curves: what they return, and what they do with input that has no answer."""

import numpy as np
import pytest
import torch

from geomprobe.api import measure
from geomprobe.common import UsageError
from geomprobe.metrics import VIEWS, curves
from geomprobe.metrics.embeddings import EXACT_ROWS
from geomprobe.results import CURVE_COLUMNS, CURVES, RESULT_COLUMNS, STATUSES
from geomprobe.vectors.moments import Moments


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 24)) * np.arange(1, 25) ** -0.7 + 0.3 * rng.normal(size=24)).astype(np.float32)


def values(frame):
    return frame.set_index(["metric", "view"])["value"].astype(float)


def test_returns_a_row_per_metric_and_view(x):
    frame = measure(x)
    assert not frame.duplicated(["metric", "definition", "view"]).any()
    assert (frame["status"] == "ok").all()
    assert frame["value"].notna().all()
    assert (frame["n"] == 400).all()
    assert (frame["d"] == 24).all()
    assert {"effective_rank", "uniformity", "mean_cosine", "hubness_skew"} <= set(frame["metric"])
    assert not {"alignment", "class_alignment", "class_separation"} & set(frame["metric"])
    assert set(frame.columns) <= set(RESULT_COLUMNS)
    for column in frame:
        assert str(frame[column].dtype) == str(RESULT_COLUMNS[column]).replace("Int64", "Int64")


def test_labels_and_positives_bring_their_metrics(x):
    y = np.arange(400) % 3
    frame = measure(x, labels=y, positives=np.array([[0, 1], [2, 3]]))
    assert {"alignment", "class_alignment", "class_separation"} <= set(frame["metric"])


def test_asked_by_name_without_needs_says_so(x):
    frame = measure(x, metrics=["alignment", "class_alignment"])
    assert (frame["status"] == "not applicable").all()
    assert frame["note"].str.contains("were given").all()


def test_moments_give_the_same_and_name_what_needs_rows(x):
    from_rows, from_state = values(measure(x)), measure(Moments().update(x[:150]).update(x[150:]))
    assert set(from_state["status"]) == {"ok", "needs rows"}
    ok = values(from_state[from_state["status"] == "ok"])
    assert "effective_rank" in ok.index.get_level_values(0)
    np.testing.assert_allclose(ok, from_rows[ok.index], rtol=1e-5)
    missing = from_state[from_state["status"] == "needs rows"]
    assert missing["value"].isna().all()
    assert "uniformity" in set(missing["metric"])


def test_metrics_asked_for_alone_are_the_same_as_among_all(x):
    """Directions are left out of the moments where no metric is a function of them, and read after all if one is."""
    together = values(measure(x, intervals=False))
    for name in ("effective_rank", "norm_cv", "vendi_score"):
        assert values(measure(x, metrics=[name], intervals=False))[name, "raw"] == together[name, "raw"]
    both = measure(x, metrics=["effective_rank:vecscope", "mean_cosine"], views=["raw"], intervals=False)
    alone = measure(x, metrics=["effective_rank:vecscope"], views=["raw"], intervals=False)
    assert alone["value"].iloc[0] == both["value"].iloc[0]


def test_every_view(x):
    frame = measure(x, views=list(VIEWS), intervals=False)
    assert set(frame["view"]) == set(VIEWS)
    assert set(frame["status"]) <= set(STATUSES)
    assert not frame[frame["status"] == "ok"]["value"].isna().any()
    found = values(frame)
    assert found["mean_cosine", "whitened"] == pytest.approx(-1 / 399, abs=2e-3)
    assert ("effective_rank", "whitened") not in found.index
    assert found["norm_cv", "raw"] != found["norm_cv", "centred"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 4)), "two rows"),
        (np.zeros((0, 4)), "two rows"),
        (np.zeros((4, 0)), "shape"),
        (np.zeros(4), "shape"),
        (np.array([["a", "b"], ["c", "d"]]), "real"),
    ],
)
def test_input_without_an_answer_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        measure(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named(x, value):
    x = x.copy()
    x[17, 3] = x[250, 0] = value
    with pytest.raises(ValueError, match="17, 250"):
        measure(x)
    with pytest.raises(ValueError, match="17, 250"):
        measure(torch.from_numpy(x).to(torch.bfloat16))
    with pytest.raises(ValueError, match="17, 250"):
        curves(x)


def test_unknown_names(x):
    with pytest.raises(UsageError, match="effective_rank"):
        measure(x, metrics=["efective_rank"])
    with pytest.raises(UsageError, match="view"):
        measure(x, views=["centered"])
    with pytest.raises(UsageError, match="definition"):
        measure(x, metrics=["effective_rank:nobody"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": [0, 1]},
        {"labels": np.full(400, 0.5)},
        {"positives": [[0, 400]]},
        {"positives": [[0.5, 1.0]]},
        {"positives": [0, 1]},
        {"clusters": [1]},
    ],
)
def test_companions_that_do_not_fit_are_refused(x, arguments):
    with pytest.raises(ValueError, match=r"must|outside"):
        measure(x, **arguments)


def check_no_silent_nan(frame):
    ok = frame["status"] == "ok"
    assert np.isfinite(frame.loc[ok, "value"].astype(float)).all()
    assert frame.loc[~ok, "value"].isna().all()
    assert frame.loc[~ok, "note"].notna().all()


@pytest.mark.parametrize(
    "embeddings",
    {
        "zero": np.zeros((5, 3)),
        "constant": np.tile([0.1, 0.7, -1 / 3], (6, 1)),
        "constant float16": np.tile([0.1, 0.7, -1 / 3], (6, 1)).astype(np.float16),
        "two rows": np.array([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]]),
        "two opposite rows": np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]]),
        "one dimension": np.arange(6.0)[:, None],
        "a zero row": np.vstack([np.zeros(3), np.eye(3), -np.eye(3)]),
        "one row apart": np.vstack([np.ones((5, 3)), [[1, 1, 2]]]),
        "more dimensions than rows": np.random.default_rng(0).normal(size=(7, 40)),
        "duplicates": np.repeat(np.random.default_rng(0).normal(size=(30, 4)), 2, 0),
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else None,
)
def test_degenerate_clouds_have_documented_answers(embeddings):
    name, x = embeddings
    frame = measure(x, views=list(VIEWS), labels=np.arange(len(x)) % 2, positives=[[0, 1]], intervals=False)
    check_no_silent_nan(frame)
    check_no_silent_nan(measure(Moments().update(x), views=list(VIEWS)))
    status = frame.set_index(["metric", "view"])["status"]
    if name in ("zero", "constant", "constant float16"):
        assert status["effective_rank", "raw"] == "not applicable"
        assert status["uniformity", "centred"] == "not applicable"
    if name.startswith("constant"):
        assert values(frame)["uniformity", "raw"] == 0
        assert values(frame)["mean_cosine", "raw"] == pytest.approx(1, abs=1e-12)
    if name == "two rows":
        assert values(frame)["effective_rank", "raw"] == 1
        assert values(frame)["uniformity", "centred"] == pytest.approx(-8)
        assert status["spectral_entropy", "raw"] == "too few rows"


def test_zero_rows_are_left_out_and_said(x):
    with_zero = np.vstack([x, np.zeros((2, 24), np.float32)])
    frame = measure(with_zero, metrics=["uniformity", "mean_cosine"], views=["raw"])
    assert (frame["n"] == 400).all()
    assert frame["note"].str.contains("2 rows without a direction").all()
    expected = values(measure(x, metrics=["uniformity", "mean_cosine"], views=["raw"]))
    np.testing.assert_allclose(values(frame), expected, rtol=1e-6)


def test_sampled_pairs_agree_with_all_pairs():
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(EXACT_ROWS + 1000, 8)) + 0.5).astype(np.float32)
    sampled = measure(x, metrics=["uniformity", "mean_cosine"], seed=3, intervals=False)
    exact = measure(x, metrics=["uniformity", "mean_cosine"], exact=True, intervals=False)
    assert sampled["note"].iloc[0].startswith("1,048,576 sampled pairs")
    error = float(sampled["note"].iloc[0].split("standard error ")[1])
    difference = (values(sampled) - values(exact))["uniformity"].abs()
    assert (difference < 4 * error).all()
    assert error < 1e-3
    cut = float(sampled["note"].iloc[0].split("variance cut ")[1].split(" times")[0].replace(",", ""))
    assert cut > 10
    again = measure(x, metrics=["uniformity"], seed=3, intervals=False)
    assert values(again)["uniformity", "raw"] == values(sampled)["uniformity", "raw"]


def test_curves(x):
    frame = curves(x)
    assert list(frame.columns) == ["view", "curve", "x", "y"]
    assert set(frame["curve"]) == {"spectrum", "cosine_histogram"} <= set(CURVES)
    assert all(str(frame[c].dtype) == str(CURVE_COLUMNS[c]) for c in frame)
    spectrum = frame[frame["curve"] == "spectrum"]
    assert len(spectrum) == 24
    assert spectrum["y"].sum() == pytest.approx(1)
    for view in ("raw", "centred"):
        histogram = frame[(frame["curve"] == "cosine_histogram") & (frame["view"] == view)]
        assert len(histogram) == 100
        assert histogram["y"].sum() * 0.02 == pytest.approx(1)
        points = x - x.mean(0) if view == "centred" else x
        z = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosine = (z @ z.T)[np.triu_indices(400, 1)]
        expected = np.histogram(cosine, 100, (-1, 1), density=True)[0]
        assert np.abs(histogram["y"].astype(float) - expected).sum() * 0.02 < 1e-3
    assert set(curves(Moments().update(x))["curve"]) == {"spectrum"}
    assert curves(np.ones((4, 3)))["curve"].unique().tolist() == ["cosine_histogram"]
