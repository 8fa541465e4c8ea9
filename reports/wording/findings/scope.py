"""Findings on collapse, and on what was not measured: layers, training."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import number
from geomprobe.reports.document.model import Finding
from geomprobe.reports.wording.findings.rules import finding, rule


@rule("near-collapse")
def near_collapse(facts: Facts) -> Finding | None:
    """All vectors point nearly the same way."""
    rows = [r for r in facts.by_cell.values() if r["metric"] == "mean_cosine" and r["value"] is not None]
    high = [r for r in rows if r["value"] >= 0.95 and r["layer"] == facts.last_layer[r["model"]]]
    if not rows:
        return None
    if not high:
        return finding(
            "near-collapse", "passed", "No encoder is close to collapse (mean cosine below 0.95).", "geometry"
        )
    worst = max(high, key=lambda r: r["value"])
    text = (
        f"Vectors of {worst['model']} on {worst['task']} ({worst['pooling']}) all point in nearly the same direction."
    )
    return finding("near-collapse", "issue", text, "geometry", f"mean cosine {number(worst['value'], 3)}")


@rule("one-layer")
def one_layer(facts: Facts) -> Finding | None:
    """Only one layer was measured."""
    layers = {r["layer"] for r in facts.rows}
    if len(layers) > 1:
        return None
    return finding("one-layer", "not applicable", "Layer profiles need more than one layer (--layer all).", "layers")


@rule("no-training-log")
def no_training_log(facts: Facts) -> Finding | None:
    """No checkpoint brought its training log along."""
    if facts.training:
        return None
    return finding("no-training-log", "not applicable", "No model has a training log.", "training")
