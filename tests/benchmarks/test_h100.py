"""Every part of h100.sh whole, at a tiny size on the CPU: the files that each leaves."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import geomprobe as gp
from geomprobe.pretrain.corpus import build_corpus

HERE = Path(__file__).parent
TINY = """
layers = 1
hidden = 16
heads = 2
intermediate = 16
predictor_layers = 1
predictor_hidden = 16
predictor_heads = 2
row_length = 32
batch_rows = 4
lr = 0.003
warmup_steps = 2
eval_rows = 8
log_every = 2
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a script for machines with NVIDIA GPUs, in bash")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("h100")
    (folder / "tiny.toml").write_text(TINY)
    texts = [
        f"The {a} {b} sees a {c} near the old house."
        for a in ("red", "blue", "small", "old")
        for b in WORDS
        for c in WORDS
    ]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


WORDS = ["cat", "dog", "bird", "tree", "river", "cloud", "stone", "horse", "boat", "door", "wall", "lamp"]


def run(place: Path, *arguments: str, **settings: str) -> str:
    """What a part prints; it must succeed."""
    tiny = {"OUT": f"{place}/out", "DEVICE": "cpu", "PRESET": f"{place}/tiny.toml", "ROWS": "4", "LIMIT": "3000"}
    tiny |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "WARMUP": "1", "HOME": f"{place}/home"}
    tiny |= {"GEOMPROBE_CACHE": f"{place}/cache"}
    done = subprocess.run(
        ["bash", HERE / "h100.sh", *arguments], env=os.environ | tiny | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def figures(place: Path, name: str) -> dict:
    """Figures of a part, all of them finite, with the machine."""
    found = json.loads((place / "out" / f"{name}.json").read_text())

    def numbers(value):
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from numbers(each)
        elif isinstance(value, float):
            yield value

    assert all(map(math.isfinite, numbers(found)))
    assert found["machine"].keys() >= {"date", "device", "processor", "versions"}
    assert found["machine"]["versions"].keys() >= {"python", "torch", "transformers"}
    return found


def test_check(place):
    run(place, "check", STEPS="3", CHECKS="vectors hybrid encoder stopped")
    checks = figures(place, "check")["checks"]
    assert list(checks) == ["vectors", "hybrid", "encoder", "stopped"]
    assert all(each["agrees"] for each in checks.values())
    assert checks["stopped"]["held_out_mlm"] == checks["stopped"]["held_out_mlm_eager"]


def test_bench(place):
    printed = run(place, "bench", STEPS="2", CASES="mlm-eager hybrid-eager mlm-trainer")
    found = figures(place, "bench")
    *ours, trainer = found["results"]
    assert all(line["tokens_per_s"] > 0 and line["share_of_peak"] > 0 for line in ours)
    assert found["ratios"]["hybrid step / mlm step"] > 0
    assert "tokens_per_s" in trainer or "accelerate" in trainer["left out"]
    assert "bench: " in printed.splitlines()[-1]


def test_profile(place):
    printed = run(place, "profile", STEPS="1", CASES="mlm-eager hybrid-eager")
    cases = figures(place, "profile")["cases"]
    for found in cases.values():
        times = [row["us"] for row in found["kernels"]]
        assert times == sorted(times, reverse=True)
        assert math.isclose(sum(row["share"] for row in found["kernels"]), 1)
    assert "aten::addmm" in printed or "aten::mm" in printed


def test_a_seed_from_the_packed_corpus_to_its_results(place):
    corpus = build_corpus(str(place / "text.jsonl"), "train:120", cache=place / "corpora")
    run(place, "pack", str(corpus.path), str(place / "packed"))
    run(place, "train", "3", CORPUS=str(place / "packed"), BUDGET="6-steps", WARMUP_STEPS="2")
    out = place / "out"
    trained = figures(place, "train-3")
    assert {trained[name]["steps"] for name in ("mlm", "hybrid")} == {6}
    assert {trained[name]["corpus"] for name in ("mlm", "hybrid")} == {corpus.info["fingerprint"]}
    run(place, "analyze", "3", TEXTS="60")
    for name in ("mlm", "hybrid"):
        seed = out / "work" / "seed-3"
        was = load_file(seed / "trained" / name / "model-00001-of-00002.safetensors")
        joined = load_file(seed / name / "model.safetensors")
        assert joined.keys() == was.keys()
        assert all(joined[key].equal(was[key].to(torch.bfloat16)) for key in was)
    found = figures(place, "analyze-3")["results"]
    assert found["models"][:2] == ["mlm", "hybrid"]
    assert found["poolings"] == ["mean", "max", "weighted", "attention"]
    assert found["failed_cells"] == 0
    pieces = {**trained["mlm"]["pieces"], **trained["hybrid"]["pieces"], **found["pieces"]}
    assert all((out / name).stat().st_size == size <= 16_000_000 for name, size in pieces.items())
    subprocess.run([sys.executable, HERE / "carry.py", "unpack", out / "results-3", place / "seed-3"], check=True)
    results = gp.read_results(place / "seed-3")
    assert {"mlm", "hybrid"} <= set(results.results["model"])
    assert not (place / "seed-3" / "cells").exists()
    assert (place / "seed-3" / "report.html").is_file()
