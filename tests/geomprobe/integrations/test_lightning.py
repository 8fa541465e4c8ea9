"""GeometryCallback in trainings by Lightning."""

from __future__ import annotations

import json

import pytest
import torch

from geomprobe.common import UsageError
from tests.geomprobe.conftest import WORDS, tiny_model, word_tokenizer

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
TEXTS = [f"the {a} {b} {c}" for a in WORDS[2:8] for b in ("saw", "sat on") for c in ("a bird", "the tree", "a mat")]


class Module(pl.LightningModule):
    """An encoder in training; collapsing draws all vectors to their mean."""

    def __init__(self, *, collapsing: bool = False):
        super().__init__()
        self.encoder, self.collapsing = tiny_model("bert").train(), collapsing
        self.head = torch.nn.Linear(16, 2)

    def training_step(self, batch, _):
        ids, labels = batch
        states = self.encoder(input_ids=ids).last_hidden_state.mean(1)
        if self.collapsing:
            states = torch.nn.functional.normalize(states, dim=-1)
            return ((states - states.mean(0)) ** 2).sum(1).mean()
        return torch.nn.functional.cross_entropy(self.head(states), labels)

    def validation_step(self, batch, _):
        return None

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-2 if self.collapsing else 1e-3)


def fit(folder, module, callbacks, **options):
    """Train on random rows."""
    pl.seed_everything(0)
    rows = torch.utils.data.TensorDataset(torch.randint(5, 20, (64, 8)), torch.randint(0, 2, (64,)))
    chosen = {"max_steps": 12, "accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
    chosen |= {"enable_model_summary": False, "logger": False, "enable_checkpointing": False} | options
    trainer = pl.Trainer(default_root_dir=folder, callbacks=callbacks, **chosen)
    loader = torch.utils.data.DataLoader(rows, batch_size=8, shuffle=True)
    trainer.fit(module, loader, torch.utils.data.DataLoader(rows, batch_size=8))
    return trainer


def lines_of(folder):
    return [json.loads(line) for line in (folder / "geometry.jsonl").read_text().splitlines()]


def test_weights_are_the_same_and_loggers_hear_every_value(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    from geomprobe.integrations.lightning import GeometryCallback

    plain, watched = Module(), Module()
    watched.load_state_dict(plain.state_dict())
    fit(tmp_path / "a", plain, [])
    callback = GeometryCallback(TEXTS, tokenizer=word_tokenizer(), every=5)
    trainer = fit(tmp_path, watched, [callback], logger=CSVLogger(tmp_path))
    assert all(torch.equal(watched.state_dict()[name], value) for name, value in plain.state_dict().items())
    assert [line["step"] for line in lines_of(tmp_path)] == [0, 5, 8, 10, 12]  # 8: a validation
    assert "geometry/effective_rank" in trainer.callback_metrics
    written = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
    assert str(lines_of(tmp_path)[1]["geometry/effective_rank"]) in written
    assert "% of the time)" in callback.summary


def test_a_collapse_stops_the_training(tmp_path):
    from geomprobe.integrations.lightning import GeometryCallback

    callback = GeometryCallback(TEXTS, tokenizer=word_tokenizer(), every=10, on_collapse="stop")
    trainer = fit(tmp_path, Module(collapsing=True), [callback], max_steps=30)
    assert 0 < trainer.global_step < 30
    assert callback.monitor.alarms


def test_a_failed_measurement_leaves_nan_for_who_chooses_checkpoints(tmp_path, monkeypatch):
    from lightning.pytorch.callbacks import ModelCheckpoint

    from geomprobe.integrations.lightning import GeometryCallback

    callback = GeometryCallback(TEXTS, tokenizer=word_tokenizer(), every=100)
    whole, calls = callback.monitor.geometry, []

    def broken(*given):
        calls.append(given)
        return whole(*given) if len(calls) == 1 else 1 / 0

    monkeypatch.setattr(callback.monitor, "geometry", broken)
    best = ModelCheckpoint(tmp_path / "best", monitor="geometry/effective_rank")
    trainer = fit(tmp_path, Module(), [callback, best], max_epochs=1, max_steps=-1, enable_checkpointing=True)
    assert trainer.global_step == 8
    assert trainer.callback_metrics["geometry/effective_rank"].isnan()


def test_two_encoders_need_a_choice():
    from geomprobe.integrations.lightning import only_encoder

    module = Module()
    assert only_encoder(module) is module.encoder
    module.teacher = tiny_model("bert")
    with pytest.raises(UsageError, match=r"2 encoders \(encoder, teacher\)"):
        only_encoder(module)
