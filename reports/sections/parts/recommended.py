"""The pooling and the layer that a report recommends, by fixed rules, with the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from geomprobe.common.text import listed
from geomprobe.results.summary.facts import Facts, Row, judgement
from geomprobe.results.summary.words import title

RULE = (
    "Of the poolings that have nothing to train or were trained, the one is recommended whose score on the labels is "
    "the best, or within the 95 % interval of the best, for most models and tasks; of several such, the one whose "
    "verdicts are the verdict over all cells most often. Where that leaves several, none is recommended. The layer is "
    "chosen in the same way, under that pooling."
)


class Recommendation(NamedTuple):
    """The pooling and the layer that are recommended ("" and None where the data support none), and the evidence."""

    pooling: str
    layer: int | None
    evidence: str

    @property
    def short(self) -> str:
        """The recommendation alone."""
        if not self.pooling:
            return "No pooling is recommended"
        return f"Recommended: {self.pooling} pooling{'' if self.layer is None else f', layer {self.layer}'}"


def recommended(facts: Facts, verdicts: Sequence[tuple[str, str, str]]) -> Recommendation:
    """The pooling and layer that the rule gives.

    Parameters
    ----------
    facts : Facts
    verdicts : sequence of (metric, view, judgement)
        The verdict over all cells on each headline metric.
    """
    candidates = [pooling for pooling in facts.poolings if pooling not in facts.untrained]
    if not candidates:
        return Recommendation("", None, "No pooling is recommended: none that was measured is trained.")
    metric = next((each for each in facts.headline if facts.part_of(each[0]) == "semantic"), None)
    pooling, said = _pooling(facts, candidates, metric, verdicts)
    if not pooling:
        return Recommendation("", None, said)
    layer, more = _layer(facts, pooling, metric)
    return Recommendation(pooling, layer, f"{said} {more}")


def _pooling(
    facts: Facts, candidates: list[str], metric: tuple[str, str] | None, verdicts: Sequence[tuple[str, str, str]]
) -> tuple[str, str]:
    if len(candidates) == 1:
        return (
            "",
            f"No pooling is recommended: {candidates[0]} is the only candidate, so nothing was chosen.",
        )
    best, total = Counter[str](), 0
    if metric:

        def scores(model: str, task: str) -> dict[str, Row | None]:
            return {pooling: facts.cell(model, task, pooling, *metric) for pooling in candidates}

        best, total = _best(facts, scores)
    name = title(facts, *metric) if metric else ""
    first = [p for p in candidates if best[p] == max(best[c] for c in candidates)]
    agreed, of = _agreement(facts, candidates, verdicts)
    if total and len(first) == 1:
        where = f"in {best[first[0]]} of {total} cases of a model and a task"
        said = f"its {name} is the best, or within the interval of the best, {where}"
        others = listed([f"{p} in {best[p]}" for p in candidates if p != first[0]])
        also = f"; its verdict is the one over all cells in {agreed[first[0]]} of {of}" if of else ""
        return first[0], f"Recommended: {first[0]} pooling, for {said} ({others}){also}."
    most = [p for p in first if agreed[p] == max(agreed[c] for c in first)]
    if of and len(most) == 1:
        tied = f"{listed(first)} are equally good by {name}, and " if total else ""
        others = listed([f"{p} in {agreed[p]}" for p in first if p != most[0]])
        return most[0], (
            f"Recommended: {most[0]} pooling, for {tied}its verdict is the one over all cells in {agreed[most[0]]} of "
            f"{of} ({others})."
        )
    why = f"{listed(most)} are equally good by these numbers" if total or of else "no label and no verdict to choose by"
    return "", f"No pooling is recommended: {why}."


def _layer(facts: Facts, pooling: str, metric: tuple[str, str] | None) -> tuple[int | None, str]:
    layers = sorted({row["layer"] for row in facts.rows if row["model"] in facts.own})
    if len(layers) == 1:
        return layers[0], f"Layer: {layers[0]}, the only one that was measured."
    if metric is None or len({facts.depth[m] for m in facts.own}) > 1:
        why = "no label was probed" if metric is None else "the models differ in depth"
        return None, f"No layer is recommended: {why}."

    def scores(model: str, task: str) -> dict[int, Row | None]:
        return {layer: facts.cell(model, task, pooling, *metric, layer) for layer in layers}

    best, total = _best(facts, scores)
    first = [layer for layer in layers if best[layer] == max(best.values(), default=0)]
    if not total or len(first) > 1:
        equal = f"layers {listed([str(layer) for layer in first])} are equally good by these numbers"
        return None, f"No layer is recommended: {equal if total else 'no label was probed'}."
    return first[0], (
        f"Layer: {first[0]}, whose {title(facts, *metric)} is the best, or within the interval of the best, in "
        f"{best[first[0]]} of {total} cases under {pooling} pooling."
    )


def _best(facts: Facts, scores: Callable[[str, str], dict]) -> tuple[Counter, int]:
    """How often each option is the best, or within the interval of the best, over models and tasks; of how many."""
    best: Counter = Counter()
    total = 0
    for model in facts.own:
        for task in facts.tasks:
            known = {option: row for option, row in scores(model, task).items() if row and row["value"] is not None}
            if len(known) < 2:
                continue
            top = max(known.values(), key=lambda row: row["value"])
            least = top["value"] if top["ci_low"] is None else top["ci_low"]
            best.update(option for option, row in known.items() if row["value"] >= least)
            total += 1
    return best, total


def _agreement(
    facts: Facts, poolings: Iterable[str], verdicts: Sequence[tuple[str, str, str]]
) -> tuple[Counter[str], int]:
    """In how many cells of each pooling the verdict is the one over all cells; of how many in one pooling."""
    agreed: Counter[str] = Counter()
    of = 0
    for metric, view, overall in verdicts:
        for task in facts.tasks:
            rows = {p: facts.difference(task, p, metric, view) for p in poolings}
            if not all(rows.values()):
                continue
            agreed.update(p for p, row in rows.items() if row and judgement(row) == overall)
            of += 1
    return agreed, of
