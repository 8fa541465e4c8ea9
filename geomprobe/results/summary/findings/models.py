"""Findings on the models: size and training."""

from __future__ import annotations

from geomprobe.common.text import amount, count, listed, power
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.findings.rules import Found, Severity, compared_models, rule

MATCHED = 0.01  # relative; a run matched by FLOPs ends at a whole step


@rule("unequal-models", "provenance")
def unequal_models(facts: Facts) -> Found | None:
    """The models differ in more than their objective."""
    sides = compared_models(facts)
    if len(sides) < 2:
        return None
    unequal = []
    for key, label, shown in (
        ("parameters", "parameters", amount),
        ("dim", "dimension", count),
        ("n_layers", "layers", count),
        ("dtype", "dtype", str),
        ("vocabulary", "vocabulary", count),
        ("max_length", "longest input", count),
    ):
        values = [m.get(key) for m in sides]
        if len({v for v in values if v is not None}) > 1:
            unequal.append(f"{label} ({' / '.join(shown(v) for v in values)})")
    if unequal:
        return Found("issue", f"The models differ in {listed(unequal)}.")
    return Found("passed", "The models have the same size and type.")


@rule("unequal-training", "training")
def unequal_training(facts: Facts) -> Found | None:
    """The models were not trained on the same budget, or not on the same text."""
    runs = [m.get("training") or {} for m in compared_models(facts)]
    if len(runs) < 2 or not all(runs):
        return None
    equal, unequal = [], []
    for key, label, shown in (("steps", "steps", count), ("tokens", "tokens", amount), ("flops", "FLOPs", power)):
        values = [r[key] for r in runs if r.get(key) is not None]
        if len(values) < len(runs):
            continue
        if max(values) - min(values) <= MATCHED * max(values):
            equal.append(label)
        else:
            unequal.append(f"{label} ({' / '.join(shown(v) for v in values)})")
    at = f"at equal {listed(equal)}" if equal else "with different budgets"
    texts = {r.get("corpus_fingerprint") for r in runs} - {None}
    same_text = ", on the same text" if len(texts) == 1 else ", on different text" if texts else ""
    if unequal:
        text = f"The models were compared {at}{same_text}, not at equal {listed(unequal)}."
        return Found("issue", text)
    severity: Severity = "issue" if len(texts) > 1 else "passed"
    return Found(severity, f"The models were trained {at}{same_text}.")
