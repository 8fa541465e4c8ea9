"""`gp.summary`: a flat dictionary whose names stay, with the numbers of the single metrics."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import geomprobe as gp

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "log-geometry.md"


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(3).normal(size=(60, 12)) * np.linspace(1, 3, 12) + 0.5


@pytest.fixture(scope="module")
def found(vectors):
    return gp.summary(vectors)


def test_every_value_is_that_of_its_metric_alone(vectors, found):
    assert all(type(value) is float for value in found.values())
    assert (found["n"], found["d"]) == (60, 12)
    for name in list(found)[2:]:
        metric, _, view = name.rpartition("_")
        alone = gp.measure(vectors, metrics=[metric], views=[view], intervals=False).loc[0]
        assert found[name] == alone.value if alone.status == "ok" else math.isnan(found[name])


def test_values_by_hand(vectors, found):
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (directions @ directions.T)[np.triu_indices(60, 1)]
    assert found["mean_cosine_raw"] == pytest.approx(cosines.mean())
    assert found["uniformity_raw"] == pytest.approx(np.log(np.exp(-4 * (1 - cosines)).mean()))
    singular = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    shares = singular / singular.sum()
    assert found["effective_rank_raw"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_the_page_names_every_key_and_no_other(found):
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(found)


def test_names_stay_whatever_the_vectors_are_and_what_else_is_registered(vectors, found, monkeypatch):
    from geomprobe.metrics import REGISTRY

    monkeypatch.setattr(REGISTRY, "_registered", {})
    gp.register_metric(
        gp.Metric(
            name="mine", family="mine", compute=lambda seen: 1.0, needs="rows", formula="1", range="1",
            direction="none", invariances=(), source="test",
        )
    )  # fmt: skip
    equal = gp.summary(np.ones((5, 3)))
    assert list(equal) == list(found)
    assert math.isnan(equal["effective_rank_raw"])
    of_moments = gp.summary(gp.Moments().update(vectors))
    assert list(of_moments) == list(found)
    assert math.isnan(of_moments["uniformity_raw"])
    assert of_moments["effective_rank_raw"] == pytest.approx(found["effective_rank_raw"])
    with pytest.raises(ValueError, match="at least two rows"):
        gp.summary(np.ones((1, 3)))
