"""Two checkpoints with equal weights, analysed and compared as the command does it."""

from __future__ import annotations

import shutil

from geomprobe.comparison import add_comparisons
from geomprobe.grid import analyze


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
