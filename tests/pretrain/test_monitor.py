"""Monitors say collapse when it is provoked, and keep silent when it is not."""

import json

import pytest
import torch

from geomprobe.cli.pretrain import _geometry
from geomprobe.common.training_log import CLOCKS, QUANTITIES, in_order, label
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.monitor import collapse_warnings, measure
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.objectives.jepa import cosine_loss
from geomprobe.pretrain.optimizer import make_optimizer
from geomprobe.pretrain.runlog import EARLIER


@pytest.fixture
def setting(tiny, corpus):
    def make(**changes):
        config = tiny(**changes)
        data = BatchSource(config, corpus)
        batches = data.held_out(torch.arange(16).numpy(), 0), data.evaluation(16)
        return config, build_objective(config, corpus), data, batches

    return make


def test_healthy(setting):
    _, objective, _, batches = setting(objective="hybrid")
    record = measure(objective, *batches)
    assert collapse_warnings(record | {"lambda": 0.5, "step": 0}) == []
    assert record["ema_distance"] == 0
    assert record["target_std"] > 0.3
    assert abs(record["skill_context"]) < 0.2
    assert record["gradient_mlm"] > 0
    assert record["gradient_jepa"] > 0


def test_collapse_without_stop_gradient(setting):
    """With the encoder as its own target, and gradient through it, all states become one vector."""
    config, objective, data, batches = setting(objective="jepa", **EARLIER)
    objective.target = objective.model.model
    objective.target.requires_grad_(True)
    optimizer = make_optimizer(config, objective, torch.device("cpu"))
    for group in optimizer.param_groups:
        group["lr"] = 0.01
        group["weight_decay"] = 0.0
    unguarded = type(objective).target_states.__wrapped__  # without its no_grad
    for step in range(200):
        some = data.batch(step, 0)
        predicted = objective.predict(some.ids, some.context, some.targets)
        optimizer.zero_grad()
        cosine_loss(predicted, unguarded(objective, some.ids, some.targets)).backward()
        optimizer.step()
    record = measure(objective, *batches)
    found = " ".join(collapse_warnings(record | {"step": 200}))
    assert "target_std" in found or "encoder_rank" in found or "encoder_top_share" in found, record


def test_targets_without_variance(setting):
    _, objective, _, batches = setting(objective="hybrid")
    objective.target_states = lambda ids, targets: torch.ones(*targets.shape, 32)
    assert any("targets hardly differ" in text for text in collapse_warnings(measure(objective, *batches)))


def test_lambda_near_one(tiny):
    """A balance that has drifted to the JEPA loss alone is named."""
    warnings = []
    config = tiny(objective="hybrid", balance="fixed", jepa_weight=1.0, monitor_every=4)
    train(config, progress=lambda record: warnings.append(record.get("warning")))
    assert any("lambda" in text and "switched MLM off" in text for text in warnings if text)


def test_one_vector_for_all_texts(setting):
    _, objective, _, batches = setting(objective="mlm")
    with torch.no_grad():
        for parameter in objective.model.model.parameters():
            parameter.zero_()
        objective.model.model.final_norm.weight.fill_(1.0)
    record = measure(objective, *batches)
    assert record["encoder_rank"] < 2
    assert any("fewer than two dimensions" in text for text in collapse_warnings(record))


def test_a_callbacks_numbers_are_logged(tiny):
    def geometry(given):
        assert given["ids"].shape[1] == 32
        return {"geometry_rank": float(given["model"](given["ids"]).last_hidden_state.shape[-1])}

    out = train(tiny(objective="mlm", monitor_every=6), on_monitor=geometry)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "geometry_rank" in line] == [6, 12]
    assert all("encoder_rank" in line and "gradient_mlm" in line for line in lines if "geometry_rank" in line)


def test_every_logged_quantity_has_a_label(tiny):
    out = train(tiny(objective="hybrid", monitor_every=6), on_monitor=_geometry)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    logged = {key for line in lines for key in line}
    assert {"held_out_jepa", "skill_context", "effective_rank_raw"} <= logged
    too_long = {"skill_span_8", "skill_span_16"}  # for rows of 32 tokens
    assert logged - set(CLOCKS) == set(QUANTITIES) - too_long


def test_other_quantities_follow_by_name_in_words():
    assert in_order({"step", "lr", "train_loss", "loss", "accuracy"}) == ["loss", "lr", "accuracy", "train_loss"]
    assert [label(key) for key in ("lambda", "train_loss")] == ["λ (weight of JEPA)", "train loss"]


def test_one_held_out_row_has_no_geometry():
    assert _geometry({"model": None, "ids": torch.zeros(1, 8, dtype=torch.int64)}) == {}
