"""Each rule finds what was planted and nothing else, and the known flaws of the published file."""

import json

import numpy as np
import pytest

from geomprobe.common import InputError
from geomprobe.predict_reconstruct.published import audit_published, read_published


def spectrum(seed, k=6):
    values = np.sort(np.random.default_rng(seed).uniform(1, 9, k))[::-1]
    return {
        "singular_vals": values.tolist(),
        "eigenvalues": (values**2).tolist(),
        "explained_var": (values**2 / (values**2).sum()).tolist(),
        "stable_rank": float((values**2).sum() / values[0] ** 2),
    }


def cell(seed, **numbers):
    return {"spectrum": spectrum(seed), "metrics": {"erank": 5.0 + seed / 100, "uniformity_se": 0.01} | numbers}


def found(tmp_path, cells, rule):
    path = tmp_path / "published.json"
    path.write_text(json.dumps(cells))
    return [finding for finding in audit_published(read_published(path)) if finding.rule == rule]


def test_nothing_planted_nothing_found(tmp_path):
    names = ["sst2/a/mean", "sst2/a/max", "sst2/b/mean", "sst2/b/max"]
    good = {"token_probe_acc": 0.9, "semantic_probe_acc": 0.9}
    cells = {name: cell(i, **good) for i, name in enumerate(names)}
    for name in ("sst2/a/mean", "sst2/a/max"):
        cells[name]["metrics"] |= {"token_probe_acc": 0.7, "semantic_probe_acc": 0.7}
    path = tmp_path / "published.json"
    path.write_text(json.dumps(cells))
    assert audit_published(read_published(path)) == []


def test_cells_that_coincide(tmp_path):
    cells = {"sst2/a/mean": cell(1), "sst2/a/weighted": cell(1), "sst2/b/mean": cell(2), "sst2/b/weighted": cell(3)}
    (finding,) = found(tmp_path, cells, "cells coincide")
    assert finding.found == "weighted = mean: the same spectrum in 1 of 2 pairs of cells"
    assert finding.cells == ("sst2, a, weighted",)


def test_cells_of_two_models_or_with_another_rank_do_not_coincide(tmp_path):
    assert not found(tmp_path, {"sst2/a/mean": cell(1), "sst2/b/weighted": cell(1)}, "cells coincide")
    assert not found(tmp_path, {"sst2/a/mean": cell(1), "sst2/a/max": cell(1, erank=7.0)}, "cells coincide")


@pytest.mark.parametrize(
    ("name", "word"), [("uniformity", "subsample"), ("token_probe_acc", "unseeded"), ("alignment", "chance")]
)
def test_same_vectors_with_other_numbers(tmp_path, name, word):
    cells = {"mnli/a/mean": cell(1, **{name: 0.1}), "mnli/a/weighted": cell(1, **{name: 0.12})}
    (finding,) = found(tmp_path, cells, "same vectors, other numbers")
    assert "0.1000" in finding.found
    assert "0.1200" in finding.found
    assert word in finding.meaning
    cells["mnli/a/weighted"] = cell(1, **{name: 0.1 + 1e-6})
    assert not found(tmp_path, cells, "same vectors, other numbers")


def test_probe_at_the_majority_class(tmp_path):
    cells = {"cola/a/mean": cell(1, semantic_probe_acc=0.6912), "cola/b/mean": cell(2, semantic_probe_acc=0.6913)}
    (finding,) = found(tmp_path, cells, "probe below the majority class")
    assert finding.cells == ("cola, a, mean",)
    unknown = {"mine/a/mean": cell(1, semantic_probe_acc=0.1)}
    assert not found(tmp_path, unknown, "probe below the majority class")


def test_differences_within_their_uncertainty(tmp_path):
    # 872 rows: the 95 % reach of a difference of two proportions near 0.6 is 0.046
    cells = {"sst2/a/mean": cell(1, token_probe_acc=0.62), "sst2/b/mean": cell(2, token_probe_acc=0.60)}
    (finding,) = found(tmp_path, cells, "difference within its uncertainty")
    assert "1 of 1" in finding.found
    assert "+0.0200 ± 0.0458" in finding.found
    cells["sst2/a/mean"] = cell(1, token_probe_acc=0.65)
    assert not found(tmp_path, cells, "difference within its uncertainty")
    scores = {"stsb/a/mean": cell(1, semantic_probe_acc=0.2), "stsb/b/mean": cell(2, semantic_probe_acc=0.2)}
    assert not found(tmp_path, scores, "difference within its uncertainty")


def test_ranks_of_unequal_samples(tmp_path):
    (finding,) = found(tmp_path, {"mrpc/a/mean": cell(1), "mnli/a/mean": cell(2)}, "ranks of unequal samples")
    assert "407" in finding.meaning
    assert not found(tmp_path, {"mrpc/a/mean": cell(1), "mrpc/a/max": cell(2)}, "ranks of unequal samples")


def test_a_spectrum_that_contradicts_its_numbers(tmp_path):
    broken = cell(1)
    broken["spectrum"]["stable_rank"] *= 1.01
    (finding,) = found(tmp_path, {"sst2/a/mean": broken, "sst2/a/max": cell(2)}, "spectrum contradicts")
    assert finding.cells == ("sst2, a, mean",)


def test_no_uncertainty(tmp_path):
    plain = cell(1)
    del plain["metrics"]["uniformity_se"]
    assert found(tmp_path, {"sst2/a/mean": plain}, "no uncertainty")
    assert not found(tmp_path, {"sst2/a/mean": cell(1)}, "no uncertainty")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1, 2]", "no cells"),
        ("{}", "no cells"),
        ('{"uniformity": 1}', "names no task"),
        ('{"a/b/c": 3}', "names no task"),
        ("{\"__import__('os').system('true')\": {}}", "names no task"),
        ("[" * 100_000, "not JSON"),
        ('{"a/b/c": {"uniformity": 1' + 400 * "0" + "}}", "too large a number"),
        ('{"a/b/c": {"uniformity": NaN}}', "the cell holds no numbers"),
        ('{"a/b/c": {"uniformity": -Infinity}}', "'uniformity' holds '-inf', expected a finite number"),
        ('{"a/b/c": {"uniformity": 1e999}}', "'uniformity' holds 'inf', expected a finite number"),
        ('{"a/b/c": {"uniformity": "-0.16"}}', "'uniformity' holds '-0.16', expected"),
        ('{"a/b/c": {"uniformity": true}}', "'uniformity' holds 'True', expected"),
        ('{"a/b/c": {"eigenvalues": [3, -1]}}', "'eigenvalues' holds -1, expected no negative"),
        ('{"a/b/c": {"eigenvalues": [-3, -1]}}', "'eigenvalues' holds -3, expected no negative"),
        ('{"a/b/c": {"eigenvalues": [3, "1"]}}', "'eigenvalues' holds '1', expected"),
        ('{"a/b/c": {"eigenvalues": [3, false]}}', "'eigenvalues' holds 'False', expected"),
        ('{"a/b/c": {"eigenvalues": [3, 1e999]}}', "'eigenvalues' holds 'inf', expected"),
        ('{"a/b/c": {"eigenvalues": [3, NaN]}}', "'eigenvalues' holds 'nan', expected"),
        ('{"a/b/c": {"eigenvalues": [[3], [1]]}}', "'eigenvalues' holds"),
        ('{"a/b/c": {"eigenvalues": []}}', "'eigenvalues' is an empty list"),
        ('{"a/b/c": {"token_probe_acc": 61.5}}', "'token_probe_acc' is 61.5, expected 0 to 1"),
        ('{"a/b/c": {}}', "the cell holds no numbers"),
        ('{"a/b/c": {"erank": null}}', "the cell holds no numbers"),
        ('{"a/b/c": {"erank": 1, "erank": 2}}', "'erank' occurs twice in one record"),
        ('{"a/b/c": {"x": {"erank": 1}, "y": {"effective_rank": 2}}}', "'effective_rank' occurs twice in the cell"),
        ('{"a/b/c": {"erank": 1}, "a/b/c": {"erank": 2}}', "'a/b/c' occurs twice in one record"),
        ("""{"a/b/c": {"erank": 1}, "('a', 'b', 'c')": {"erank": 2}}""", "the cell a, b, c occurs twice"),
        ('{"a/b/c": {"erank": 1' + "0" * 4300 + "}}", r"published\.json: a whole number of over 4,300 digits\.$"),
        ('{"a/b/c": ' + 2000 * '{"a": ' + "1" + 2001 * "}", "nested too deeply|not JSON"),
    ],
)
def test_files_of_another_form(tmp_path, text, message):
    path = tmp_path / "published.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_published(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_published(tmp_path / "absent.json")


def test_null_and_nan_are_no_values_and_rounding_may_leave_an_eigenvalue_below_zero(tmp_path):
    path = tmp_path / "published.json"
    path.write_text('\ufeff{"a/b/c": {"erank": 2, "uniformity": null, "alignment": NaN, "eigenvalues": [3, 1, -1e-9]}}')
    (cell,) = read_published(path).values()
    assert cell.numbers == {"effective_rank": 2.0}
    assert cell.absent == ("uniformity", "alignment")
    assert cell.spectra["eigenvalues"].tolist() == [3, 1, -1e-9]


def test_the_published_file(data_dir):
    """What any audit of the paper's own file must find."""
    cells = read_published(data_dir / "paper" / "results_summary.json")
    findings = audit_published(cells)
    by_rule = {rule: [f for f in findings if f.rule == rule] for rule in {f.rule for f in findings}}
    (same,) = by_rule["cells coincide"]
    assert same.found == "weighted = mean: the same spectrum in 10 of 10 pairs of cells"
    uniformity = next(f for f in by_rule["same vectors, other numbers"] if f.found.startswith("uniformity "))
    assert "most in mnli, hybrid: mean -0.1686, weighted -0.1634" in uniformity.found
    below = {f.cells[0].split(",")[0]: len(f.cells) for f in by_rule["probe below the majority class"]}
    assert below == {"mrpc": 8, "cola": 8, "mnli": 4}
    assert by_rule["ranks of unequal samples"]
    assert "spectrum contradicts" not in by_rule


def test_the_published_majorities_are_those_of_glue(data_dir):
    import pandas as pd

    from geomprobe.predict_reconstruct import published

    for task, majority in published.MAJORITY.items():
        name = "validation_matched" if task == "mnli" else "validation"
        labels = pd.read_parquet(data_dir / "glue" / task / f"{name}.parquet")["label"].head(2000)
        assert len(labels) == published.ROWS[task]
        assert labels.value_counts(normalize=True).max() == pytest.approx(majority)
