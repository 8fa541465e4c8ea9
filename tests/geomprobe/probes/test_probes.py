"""Probes: every row with its controls, in the schema, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geomprobe.probes import RECORDS, PairVectors, cap_train, run_probes
from geomprobe.results import EXAMPLE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.tasks import controlled


@pytest.fixture(scope="module")
def task():
    whole = controlled.load("controlled-paraphrase")
    return replace(whole, train=whole.train.take(np.arange(300)), validation=whole.validation.take(np.arange(120)))


def random_vectors(task, d=16, seed=0):
    rng = np.random.default_rng(seed)
    return [PairVectors(*(rng.standard_normal((len(s), d)) for _ in range(2))) for s in (task.train, task.validation)]


def test_rows_follow_the_schema_and_carry_their_controls(task):
    result = run_probes(task, *random_vectors(task))
    frame = table(result.rows, RESULT_COLUMNS)
    examples = table(result.examples, EXAMPLE_COLUMNS)
    sizes = examples.groupby("probe").size().to_dict()
    assert (sizes.pop("cosine"), sizes.pop("semantic")) == (120, 120)
    for probe, size in sizes.items():  # lexical probes that have enough sentences
        score = frame[(frame["metric"] == f"{probe}_accuracy") & frame["control"].isna()].iloc[0]
        mine = examples[examples["probe"] == probe]
        assert (mine["label"] == mine["prediction"]).mean() == pytest.approx(score["value"])
        assert size == score["n"]
        assert mine["row_id"].is_unique
        assert mine["cluster"].notna().all()
    assert set(frame["metric"]) <= set(RECORDS)
    of = frame[frame["metric"] == "semantic_accuracy"]
    assert set(of["control"].dropna()) == {"majority", "stratified", "bow", "bow_projection", "length", "control_task"}
    assert of["control"].isna().sum() == 1


def test_same_seed_same_rows(task):
    vectors = random_vectors(task)
    assert run_probes(task, *vectors, seed=1).rows == run_probes(task, *vectors, seed=1).rows


def test_cap_train_keeps_order_and_is_repeatable(task):
    capped = cap_train(task.train, 100)
    rows = [int(row_id.split("/")[1]) for row_id in capped.row_ids]
    assert len(capped) == 100
    assert rows == sorted(rows)
    assert capped.fingerprint == cap_train(task.train, 100).fingerprint
    assert cap_train(capped, 100) is capped


def test_vectors_that_do_not_fit_the_rows_are_refused(task):
    train, validation = random_vectors(task)
    with pytest.raises(ValueError, match="rows"):
        run_probes(task, train, PairVectors(validation.first[:-1], validation.second[:-1]))
    validation.first[5, 0] = np.nan
    with pytest.raises(ValueError, match="5"):
        run_probes(task, train, validation)
