"""Two checkpoints with equal weights, analysed and compared as the command does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geomprobe.analysis.analyze import analyze
from geomprobe.comparison.table import add_comparisons


def test_a_copy_of_a_checkpoint_differs_by_nothing(model_folder, tmp_path):
    first = model_folder("bert")
    second = tmp_path / "copy"
    shutil.copytree(first, second)
    results = analyze([first, second], tasks=["controlled"], poolings=["mean"], limit=60, out=tmp_path / "out")
    names = [entry["name"] for entry in results.run["models"]]
    found = add_comparisons(results, *names).comparisons
    assert len(found) > 20
    assert set(found["verdict"]) == {"no difference"}, found[found["verdict"] != "no difference"].to_string()
    declared = found["margin"].notna()
    assert (found.loc[declared, "p_tost"] < 0.05).all()


def rounded_copy(first: Path, second: Path) -> Path:
    """Return the second folder: a copy of a checkpoint with its weights rounded to bfloat16."""
    shutil.copytree(first, second)
    weights = load_file(second / "model.safetensors")
    rounded = {name: w.bfloat16().to(w.dtype) if w.is_floating_point() else w for name, w in weights.items()}
    assert any(not torch.equal(weights[name], rounded[name]) for name in weights)
    save_file(rounded, second / "model.safetensors", metadata={"format": "pt"})
    return second


def test_a_model_against_itself_differs_by_nothing_even_without_intervals(model_folder, tmp_path):
    folder = model_folder("bert")
    results = analyze([folder, folder], tasks=["controlled"], poolings=["mean"], limit=12, out=tmp_path / "out")
    names = [entry["name"] for entry in results.run["models"]]
    assert len(set(names)) == 2
    found = add_comparisons(results, *names).comparisons
    own = results.results[results.results["ci_method"].fillna("").str.startswith("no valid interval")]
    assert set(own["metric"]) & set(found["metric"])  # so few rows leave some numbers without one
    assert set(found["verdict"]) == {"no difference"}
    assert (found["p_tost"] == 0).all()


def test_weights_rounded_to_bfloat16_are_equivalent(model_folder, tmp_path):
    first = model_folder("modernbert")
    second = rounded_copy(first, tmp_path / "rounded")
    results = analyze([first, second], tasks=["controlled"], poolings=["mean"], limit=200, out=tmp_path / "out")
    names = [entry["name"] for entry in results.run["models"]]
    found = add_comparisons(results, *names).comparisons
    geometry = found[found["family"].isin(["spectrum", "hypersphere", "isotropy", "dimension"])]
    # a slope through six eigenvalues of 200 rows; ranks of 4 and 7, where a step would be more than the margin
    geometry = geometry[~geometry["metric"].isin(["alpha_req", "rank_90", "rank_99"])]
    judged = geometry[geometry["se"].notna() & geometry["margin"].notna()]
    assert len(judged) > 10
    same = judged["verdict"].str.contains("no difference|equivalent")
    assert same.all(), judged.loc[~same, ["metric", "view", "value_a", "diff", "se", "margin", "verdict"]].to_string()


@pytest.mark.slow
def test_a_real_checkpoint_rounded_to_bfloat16_is_equivalent_in_every_cell_with_an_interval(minilm, data_dir, tmp_path):
    second = rounded_copy(minilm, tmp_path / "rounded")
    results = analyze([minilm, second], tasks=["sst2"], poolings=["mean"], data_dir=data_dir, out=tmp_path / "out")
    found = add_comparisons(results, *(entry["name"] for entry in results.run["models"])).comparisons
    known = found[found["ci_low"].notna()]
    assert len(known) > 35
    same = known["verdict"].str.contains("no difference|equivalent")
    assert same.all(), known.loc[~same, ["metric", "view", "value_a", "diff", "se", "verdict"]].to_string()
