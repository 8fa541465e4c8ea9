"""The overview of a replication says what is in its folders, and nothing that it is told can break its tables."""

import json

import pytest

from geomprobe.reports.data.load import load
from geomprobe.reports.pages.replication import MARKS, summary, training_figure
from geomprobe.results import write_results
from geomprobe.results.summary.facts import judgement
from tests.synthetic import make_results

LOG = [
    {"arm": arm, "seed": seed, "step": step, "tokens": 1000.0 * step, "flops": 1e12 * step, "held_out_mlm": loss,
     "held_out_jepa": None, "lambda": None, "skill_context": None, "uniformity_raw": -0.1 * step,
     "uniformity_centred": -3.0, "mean_cosine_raw": 0.9, "effective_rank_centred": 80.0}
    for arm in ("mlm", "a|b<script>") for seed in ("0", "1") for step, loss in ((1, 6.5), (2, 6.25), (3, None))
]  # fmt: skip


def test_a_training_is_shown_by_the_last_value_of_each_number():
    text = summary(LOG, {}, {})
    rows = [line for line in text.splitlines() if line.startswith("| mlm")]
    assert rows[0].startswith("| mlm | 0 | 3 | 3.00 × 10¹² | 6.25 | – | – | – | −0.300 | −3.00 | 80.0 |")
    assert len(rows) == 2
    assert "<script" not in text.replace("\\<script", "")
    assert "a\\|b" in text


def test_differences_are_those_of_the_comparison(tmp_path):
    folder = write_results(tmp_path / "equal", make_results(tasks=("sst2",), poolings=("mean",), intervals=True))
    facts = load(folder)
    text = summary(LOG, {"equal": folder}, {})
    line = next(line for line in text.splitlines() if line.startswith("| sst2, mean"))
    row = facts.difference("sst2", "mean", "uniformity", "raw")
    shown = line.split(" | ")[1].replace("−", "-").replace("[", "").replace("]", "").replace(",", "").split()
    assert float(shown[0]) == round(row["diff"], len(shown[0].split(".")[1]))
    assert abs(float(shown[1]) - row["ci_low"]) < 0.01
    assert abs(float(shown[2]) - row["ci_high"]) < 0.01
    assert shown[3] == MARKS[judgement(row)] != "–"


@pytest.mark.parametrize(
    ("verdict", "diff", "mark"),
    [
        ("higher", 0.1, "▲"),
        ("lower", -0.1, "▼"),
        ("no difference", 0.1, "="),
        ("higher, but equivalent within the margin", 0.1, "≈"),
        ("no clear difference", 0.1, "?"),
        ("no valid interval, no verdict", 0.1, "–"),
    ],
)
def test_a_mark_is_that_of_the_verdict(tmp_path, verdict, diff, mark):
    results = make_results(tasks=("sst2",), poolings=("mean",), intervals=True)
    results.comparisons["verdict"], results.comparisons["diff"] = verdict, diff
    text = summary(LOG, {"equal": write_results(tmp_path / "equal", results)}, {})
    cells = next(line for line in text.splitlines() if line.startswith("| sst2, mean")).strip("| ").split(" | ")[1:]
    assert all(cell.endswith(mark) for cell in cells)
    assert "\n- uniformity (raw): " in text


def test_an_audit_is_shown_by_its_sentences(tmp_path):
    document = {"claims": [{"verdicts": {"checkpoint": {"sentence": "B is *more* uniform: not shown."}}}]}
    (tmp_path / "audit.json").write_text(json.dumps(document))
    assert "- B is \\*more\\* uniform: not shown." in summary(LOG, {}, {"claims": tmp_path})


def test_the_picture_has_a_line_for_every_seed():
    svg = training_figure(LOG)
    assert svg.startswith("<svg ")
    assert "uniformity, raw" in svg
    assert "JEPA skill" not in svg
