"""Geometry in trainings by sentence-transformers: callback and evaluator give the model's own vectors."""

from __future__ import annotations

import json
import math

import pytest
import torch

import geomprobe as gp
from tests.geomprobe.conftest import WORDS

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("accelerate", reason="its trainer needs accelerate")
TEXTS = [f"the {a} {b} {c}" for a in WORDS[2:8] for b in ("saw", "sat on") for c in ("a bird", "the tree", "a mat")]


def trainer_of(model, folder, **options):
    """Return a trainer of pairs of texts."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    pairs = Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]})
    chosen = {"max_steps": 6, "logging_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    chosen |= {"save_strategy": "no", "per_device_train_batch_size": 8, "learning_rate": 1e-3}
    given = {name: options.pop(name) for name in ("callbacks", "evaluator") if name in options}
    args = SentenceTransformerTrainingArguments(str(folder), **chosen | options)
    loss = MultipleNegativesRankingLoss(model)
    return SentenceTransformerTrainer(model, args, train_dataset=pairs, eval_dataset=pairs, loss=loss, **given)


def dense(built):
    """Return a model with a Dense layer, which training changes, too."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    torch.manual_seed(0)
    return built(modes="mean", steps=[modules.Dense(16, 8), modules.Normalize()])


def test_the_callback_measures_what_encode_gives(built, tmp_path):
    from geomprobe.integrations.sentence_transformers import GeometryCallback

    model = dense(built)
    trainer_of(model, tmp_path, callbacks=[GeometryCallback(TEXTS, every=3)]).train()
    lines = [json.loads(line) for line in (tmp_path / "geometry.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3, 6]
    rank = gp.measure(model.encode(TEXTS), metrics=["effective_rank"], views=["raw"])["value"][0]
    assert lines[-1]["geometry/effective_rank"] == pytest.approx(rank, rel=1e-4)
    assert abs(lines[0]["geometry/effective_rank"] - rank) > 1e-3


def test_the_evaluator_chooses_the_best_model(built, tmp_path):
    from geomprobe.integrations.sentence_transformers import GeometryEvaluator

    model, evaluator = dense(built), GeometryEvaluator(TEXTS, primary_metric="uniformity", greater_is_better=False)
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    options |= {"metric_for_best_model": "geometry/uniformity", "load_best_model_at_end": True}
    trainer = trainer_of(model, tmp_path, evaluator=evaluator, greater_is_better=False, **options)
    trainer.train()
    found = [line["eval_geometry/uniformity"] for line in trainer.state.log_history if "eval_loss" in line]
    assert len(found) == 3
    assert trainer.state.best_metric == min(found)
    kept = [json.loads(line) for line in (tmp_path / "eval" / "geometry.jsonl").read_text().splitlines()]
    assert [line["step"] for line in kept] == [2, 4, 6]
    alone = evaluator(trainer.model)
    uniformity = gp.measure(trainer.model.encode(TEXTS), metrics=["uniformity"], views=["raw"])["value"][0]
    assert alone[evaluator.primary_metric] == pytest.approx(uniformity, rel=1e-4)


def test_two_evaluators_keep_their_names(built):
    from sentence_transformers.base.evaluation import SequentialEvaluator

    from geomprobe.integrations.sentence_transformers import GeometryEvaluator

    both = SequentialEvaluator([GeometryEvaluator(TEXTS, name="mine"), GeometryEvaluator("controlled", name="suite")])
    found = both(dense(built))
    assert {"mine_geometry/effective_rank", "suite_geometry/effective_rank"} <= set(found)


def test_two_evaluators_are_apart_in_one_log(built, tmp_path):
    from geomprobe.integrations.sentence_transformers import GeometryEvaluator

    model = dense(built)
    for name in ("mine", "suite"):
        GeometryEvaluator(TEXTS, name=name)(model, str(tmp_path), steps=2)
    mine, suite = (json.loads(line) for line in (tmp_path / "geometry.jsonl").read_text().splitlines())
    assert "mine_geometry/effective_rank" in mine
    assert "mine_geometry/effective_rank" in mine["intervals"]
    assert "suite_geometry/effective_rank" in suite


def test_a_model_that_diverged_has_a_primary_metric_of_nan(built, caplog):
    from geomprobe.integrations.sentence_transformers import GeometryEvaluator

    model, evaluator = dense(built), GeometryEvaluator(TEXTS)
    for weights in model.parameters():
        torch.nn.init.constant_(weights, float("nan"))
    found = evaluator(model)
    assert math.isnan(found[evaluator.primary_metric])
    assert "NaN" in caplog.text
