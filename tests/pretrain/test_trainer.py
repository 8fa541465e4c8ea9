"""Runs end to end: what they write loads anywhere, and going on after a stop changes no bit."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geomprobe.common import GeomprobeError, InputError, UsageError
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.runlog import EARLIER

OBJECTIVES = ["mlm", "jepa", "hybrid"]


def weights(out, name="model*.safetensors"):
    """Return the weights in the files of a pattern."""
    return {key: value for file in out.glob(name) for key, value in load_file(file).items()}


def assert_same_run(a, b):
    """Assert that two folders hold bit-equal encoders, states and losses."""
    files = ["model*.safetensors"] + (["ema/model.safetensors"] if (a / "ema").exists() else [])
    state = sorted((a / "trainer").glob("step-*"))[-1].name
    for name in [*files, f"trainer/{state}/model.safetensors", f"trainer/{state}/optimizer.safetensors"]:
        x, y = weights(a, name), weights(b, name)
        assert x.keys() == y.keys()
        assert x
        for key in x:
            assert torch.equal(x[key], y[key]), f"{name}: {key}"
    assert [losses(line) for line in metrics(a)] == [losses(line) for line in metrics(b)]


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(line):
    return {
        key: value for key, value in line.items() if key not in ("tokens_per_s", "eta_s", "data_wait", "peak_memory_gb")
    }


def stop_at(step):
    def progress(record):
        if record.get("step") == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("objective", "how"), [("mlm", {}), ("jepa", {}), ("hybrid", {}), ("jepa", EARLIER), ("hybrid", EARLIER)]
)
def test_resume_changes_no_bit(tiny, tmp_path, objective, how, precision):
    settings = {"objective": objective, "precision": precision, **how}
    whole = train(tiny(**settings, out=str(tmp_path / "whole")))
    config = tiny(**settings, out=str(tmp_path / "parts"), log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=stop_at(5))
    with pytest.raises(KeyboardInterrupt):
        train(config, resume=True, progress=stop_at(9))
    parts = train(config, resume=True)
    for name in ["model*.safetensors", "trainer/step-12/model.safetensors", "trainer/step-12/optimizer.safetensors"]:
        x, y = weights(whole, name), weights(parts, name)
        assert x.keys() == y.keys()
        assert x
        assert all(torch.equal(x[key], y[key]) for key in x), name
    assert metrics(parts)[-1]["held_out_mlm" if objective != "jepa" else "held_out_jepa"] == pytest.approx(
        metrics(whole)[-1]["held_out_mlm" if objective != "jepa" else "held_out_jepa"], abs=0
    )


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "1_Pooling/config.json"])
def test_a_folder_in_place_of_a_file_is_refused_before_any_step(tiny, name):
    config = tiny(objective="mlm", log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=stop_at(5))
    out = Path(config.out)
    (out / name).unlink()
    (out / name).mkdir()
    logged = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=f"{re.escape(name)} is a folder"):
        train(config, resume=True)
    assert (out / "metrics.jsonl").read_bytes() == logged


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_checkpoints_load_with_no_custom_code(tiny, objective):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoModelForMaskedLM

    out = train(tiny(objective=objective))
    saved = weights(out)
    folders = [out] if objective == "mlm" else [out, out / "ema"]
    for folder in folders:
        _, info = AutoModel.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["mismatched_keys"]
        encoder = SentenceTransformer(str(folder), device="cpu")
        assert encoder.encode(["the cat sees a bird", "old"]).shape == (2, 32)
        assert encoder.max_seq_length == 64
    if objective != "jepa":
        model, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        state = model.state_dict()
        assert all(torch.equal(state[key], saved[key]) for key in saved)
    else:
        assert not [key for key in saved if key.startswith(("head", "decoder"))]


def test_run_says_what_was_done(tiny):
    out = train(tiny(objective="hybrid"))
    run = json.loads((out / "run.json").read_text())
    assert run["finished"] is True
    assert run["config"]["objective"] == "hybrid"
    assert run["corpus"]["fingerprint"]
    assert run["final"]["step"] == 12
    assert run["final"]["held_out_mlm"] > 0
    assert 0 < run["final"]["unigram_entropy"] < 5


def test_training_learns(tiny):
    """The words are drawn independently, so the best loss is near their entropy, far below a uniform guess."""
    out = train(tiny(objective="mlm", budget="150-steps", lr=0.01, eval_every=150, save_every="150"))
    final = metrics(out)[-1]
    assert final["held_out_mlm"] < final["unigram_entropy"] + 0.1


def test_a_run_is_not_overwritten(tiny):
    config = tiny(objective="mlm")
    train(config)
    with pytest.raises(UsageError, match="already holds a run"):
        train(config)
    with pytest.raises(UsageError, match="other settings: lr"):
        train(tiny(objective="mlm", lr=0.5), resume=True)


@pytest.mark.parametrize("wrong", [{"save_every": "soon"}, {"budget": "5M"}, {"match": "nowhere"}])
def test_a_wrong_setting_leaves_no_folder(tiny, wrong):
    config = tiny(objective="mlm", **wrong)
    with pytest.raises(GeomprobeError):
        train(config)
    assert not Path(config.out).exists()


def test_a_results_folder_is_no_run_to_match(tiny, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="holds no run of geomprobe pretrain"):
        train(tiny(objective="mlm", match=str(tmp_path)))


def test_damaged_newest_state_falls_back(tiny, tmp_path):
    whole = train(tiny(objective="hybrid", out=str(tmp_path / "whole")))
    config = tiny(objective="hybrid", out=str(tmp_path / "damaged"))
    out = train(config)
    newest = out / "trainer" / "step-12" / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-3] ^= 1
    newest.write_bytes(data)
    warnings = []
    train(config, resume=True, progress=lambda record: warnings.append(record.get("warning")))
    assert any("step-12" in text and "damaged" in text for text in warnings if text)
    assert_same_run(whole, out)


def test_loss_that_is_not_finite_stops_the_run(tiny):
    with pytest.raises(GeomprobeError, match="not finite") as caught:
        train(tiny(objective="mlm", lr=1e30, warmup_steps=1, log_every=1, clip=1e30))
    assert "lr=" in caught.value.hint


def test_without_a_compiler_it_runs_uncompiled(tiny, tmp_path, monkeypatch):
    """Only the compiler fails, at the first call, as torch.compile does; the losses are those of an eager run."""
    from geomprobe.pretrain.objectives import base

    def broken(self, **options):
        def call(*args, **kwargs):
            raise RuntimeError("no C++ compiler found")

        self._compiled_call_impl = call

    monkeypatch.setattr(base.Objective, "compile", broken)
    told = []
    compiled = train(tiny(objective="mlm", compile="yes", out=str(tmp_path / "compiled")), progress=told.append)
    eager = train(tiny(objective="mlm", compile="no", out=str(tmp_path / "eager")))
    warnings = [record["warning"] for record in told if "warning" in record]
    assert any("running uncompiled: no C++ compiler found" in text for text in warnings)
    ours, theirs = (json.loads((out / "run.json").read_text())["final"]["held_out_mlm"] for out in (compiled, eager))
    assert ours == pytest.approx(theirs, rel=1e-5)
