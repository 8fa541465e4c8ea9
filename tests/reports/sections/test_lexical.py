"""Wording, meaning and the crossed design in one section."""

from __future__ import annotations

import json

from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk
from geomprobe.results.summary.words import ALONE

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}


def test_wording_meaning_and_the_crossed_design_stand_side_by_side(make_results):
    import pandas as pd

    from geomprobe.api import every_metric

    results = make_results(**SMALL, intervals=True)
    names = ("semantic_conditional_bits", "meaning_share", "words_share", "triplet_accuracy", "partial_spearman_gold")

    def more(frame):
        like = frame[frame["metric"] == "semantic_skill"]
        return pd.concat([frame, *(like.assign(metric=name) for name in names)])

    results.results, results.comparisons = more(results.results), more(results.comparisons)
    results.definitions |= {name: every_metric()[name] for name in names}
    results.results = pd.concat(
        [results.results, results.results[results.results["metric"] == "semantic_skill"].assign(control="control_task")]
    )
    view = build_view(results)
    (section,) = [s for s in view["sections"] if s["id"] == "lexical"]
    made = {b["id"]: b for b in walk({"sections": [section]}) if "id" in b}
    for part, wanted in (
        ("wording", ["lexical word content"]),
        ("meaning", ["semantic skill", "semantic conditional bits", "partial spearman gold"]),
        ("crossed", ["meaning share", "words share", "triplet accuracy"]),
    ):
        table = made[f"lexical-{part}-mean"]
        said = list(dict.fromkeys(row["cells"][1]["text"] for row in table["rows"]))
        assert [name for name in said if name in wanted] == wanted
        heads = [column["name"] for column in table["columns"]]
        assert "95 % interval" in heads
        assert table["caption"].count(ALONE) == 1
        assert "verdict" in heads or "verdict" in table["caption"]  # where all rows have one, it is in the caption
        interval = table["rows"][0]["cells"][heads.index("95 % interval")]["text"]
        assert interval not in ("", "none")
        if part == "meaning":  # the control task is each encoder's own: its level is no common mark
            assert "control_task" not in json.dumps(made[f"controls-lexical-{part}-mean"])
