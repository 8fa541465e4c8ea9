"""Every part of h100.sh whole, at a tiny size on the CPU: the files that each leaves."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
target_layers = 1
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


@pytest.mark.parametrize(
    "only", ["hybrid encoder stopped", pytest.param("vectors mlm jepa compiled batches", marks=pytest.mark.slow)]
)
def test_check(place, only):
    run(place, "check", STEPS="3", CHECKS=only)
    checks = figures(place, "check")["checks"]
    assert list(checks) == only.split()
    assert all(each["agrees"] for each in checks.values())
    if "stopped" in checks:
        assert checks["stopped"]["held_out_mlm"] == checks["stopped"]["held_out_mlm_eager"]


# The matmul peak of a processor, which each case measures, takes most of the time.
@pytest.mark.parametrize(
    "cases",
    ["hybrid-eager mlm-trainer", pytest.param("mlm-compiled hybrid-compiled mlm-trainer", marks=pytest.mark.slow)],
)
def test_bench(place, cases):
    printed = run(place, "bench", STEPS="2", CASES=cases)
    found = figures(place, "bench")
    *ours, trainer = found["results"]
    assert [line["case"] for line in found["results"]] == cases.split()
    assert all(line["tokens_per_s"] > 0 and line["share_of_peak"] > 0 for line in ours)
    assert "tokens_per_s" in trainer or "accelerate" in trainer["left out"]
    assert "bench: " in printed.splitlines()[-1]


def test_profile(place):
    printed = run(place, "profile", STEPS="1", CASES="hybrid-eager")
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
    compare = HERE.parents[1] / "docs" / "gallery" / "paper-scale" / "compare.py"
    said = subprocess.run([sys.executable, compare, place], check=True, capture_output=True, text=True).stdout
    assert said == "1 of 3 seeds: seed-3\n"


def test_a_part_without_its_input_says_so(place):
    done = subprocess.run(
        ["bash", HERE / "h100.sh", "analyze", "8"],
        env=os.environ | {"OUT": f"{place}/empty", "DEVICE": "cpu", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "encoder-8-mlm.0 is not there" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("analyze-8: failed")


def test_pieces(tmp_path, monkeypatch):
    """What cannot be compressed comes in several pieces; one that is missing is named."""
    monkeypatch.syspath_prepend(HERE)
    carry = importlib.import_module("carry")
    monkeypatch.setattr(carry, "PIECE", 50_000)
    monkeypatch.setattr(carry, "BLOCK", 10_000)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    content = np.random.default_rng(0).bytes(123_457)
    (tmp_path / "folder" / "inner" / "noise").write_bytes(content)
    pieces = carry.pack(tmp_path / "folder", tmp_path / "stem")
    assert len(pieces) > 2
    assert all(piece.stat().st_size <= 50_000 for piece in pieces)
    carry.unpack(tmp_path / "stem", tmp_path / "again")
    assert (tmp_path / "again" / "inner" / "noise").read_bytes() == content
    pieces[1].unlink()
    with pytest.raises(SystemExit, match=r"there are only stem\.0"):
        carry.unpack(tmp_path / "stem", tmp_path / "again")
    assert (tmp_path / "again" / "inner" / "noise").read_bytes() == content
