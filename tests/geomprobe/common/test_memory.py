"""What memory does not hold is refused before any of it is taken, with the figure and what to do."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from torch import nn

import geomprobe as gp
from geomprobe.common import InputError, machine_bytes, refuse_beyond_memory
from geomprobe.encoders.architecture import refuse_large
from geomprobe.vectors.moments import check_memory, state_bytes


def test_the_machine_has_some_memory():
    assert machine_bytes() > 10**8


def test_a_state_is_two_squares_and_those_of_a_block():
    assert state_bytes(100_000) == 320 * 10**9
    assert state_bytes(100_000, directions=False) == 160 * 10**9


@pytest.mark.parametrize(("d", "fits"), [(100, True), (101, False)])
def test_the_largest_state_that_fits(d, fits):
    limit = state_bytes(100)
    if fits:
        check_memory(d, limit=limit)
        return
    with pytest.raises(InputError) as refused:
        check_memory(d, limit=limit)
    assert "101 dimensions need 0.000326 GB of memory; this machine has 0.00032 GB" in refused.value.message
    assert "at most 100" in refused.value.hint


@pytest.mark.parametrize("metrics", [None, ["effective_rank"], ["norm_cv"]])
def test_vectors_too_wide_are_refused_by_measure(metrics):
    wide = np.ones((3, 5_000_000), np.float32)  # a state of 800 TB
    with pytest.raises(InputError, match="5,000,000 dimensions need"):
        gp.measure(wide, metrics=metrics)
    with pytest.raises(InputError, match="5,000,000 dimensions need"):
        gp.Moments().update(wide)


def test_equal_to_the_limit_is_no_refusal():
    refuse_beyond_memory(10, "x", "y", limit=10)
    with pytest.raises(InputError):
        refuse_beyond_memory(11, "x", "y", limit=10)


def changed(model_folder, tmp_path, **values):
    folder = tmp_path / "model"
    shutil.copytree(model_folder("bert"), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 100_000}, "num_hidden_layers is 100,000, but the weights hold"),
        ({"hidden_size": 10**9, "num_attention_heads": 1}, "of memory; this machine has"),
        ({"vocab_size": 10**13}, "of memory; this machine has"),
        ({"max_position_embeddings": 10**13}, "of memory; this machine has"),
        ({"intermediate_size": 10**13}, "of memory; this machine has"),
    ],
)
def test_a_config_of_absurd_size_is_refused(model_folder, tmp_path, values, said):
    with pytest.raises(InputError) as refused:
        gp.load_encoder(changed(model_folder, tmp_path, **values))
    assert said in refused.value.message
    assert "config.json" in refused.value.message


def test_a_model_larger_than_the_limit(tmp_path):
    model = nn.Linear(10, 10, bias=False, device="meta")
    refuse_large(model, tmp_path, limit=400)
    with pytest.raises(InputError, match=r"4e-07 GB|config.json: the weights need"):
        refuse_large(model, tmp_path, limit=399)


def test_all_pairs_of_rows_that_memory_does_not_hold_are_refused():
    rows = np.broadcast_to(np.float32(1), (10**12, 64))
    with pytest.raises(InputError, match=r"All pairs of 1,000,000,000,000 rows need 576,000 GB of memory") as refused:
        gp.measure(rows, exact=True)
    assert "sampled" in refused.value.hint


def shrink(monkeypatch):
    monkeypatch.setattr("geomprobe.common.memory.machine_bytes", lambda: 1000)


def test_vectors_that_memory_does_not_hold_are_refused_before_the_first_forward_pass(monkeypatch, model_folder):
    encoder = gp.load_encoder(model_folder("bert"))
    shrink(monkeypatch)
    with pytest.raises(InputError, match="The vectors of 20 texts under 1 layers and poolings need") as refused:
        gp.embed(encoder, [f"text {i}" for i in range(20)], pooling="mean")
    assert "--limit" in refused.value.hint
