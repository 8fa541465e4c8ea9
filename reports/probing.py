"""Sections on probes: the labels of the tasks, and wording against meaning, beside their controls."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.blocks import Block, Figure, Line, Section, cell, figure, line, table
from geomprobe.reports.facts import Facts
from geomprobe.reports.failed import absent, unmeasured
from geomprobe.reports.formats import listed, number
from geomprobe.reports.tables import by_pooling, forest, legend, value_table
from geomprobe.reports.wording import slug, title


def downstream(facts: Facts) -> Section:
    """Scores on the tasks' own labels."""
    metrics = facts.part("semantic")
    blocks: list[Block] = []
    if metrics:

        def make(pooling: str) -> list[Block]:
            made: list[Block] = []
            if facts.pair and (plot := forest(facts, "downstream", metrics, pooling)):
                made.append(plot)
            if plot := _controls(facts, "downstream", metrics, pooling):
                made.append(plot)
            made.append(
                value_table(
                    facts,
                    slug("downstream", pooling),
                    f"Scores on the labels of the tasks, {pooling} pooling.",
                    metrics,
                    pooling,
                )
            )
            return made

        blocks += by_pooling(facts, make)
    else:
        blocks.append(unmeasured(facts, "No probe of the tasks' labels was run."))
    lead = "How well the labels of each task can be read from the embeddings, beside what needs no encoder at all."
    return {"id": "downstream", "title": "Downstream tasks", "lead": lead, "blocks": blocks}


WORDING = (
    "lexical_word_content_skill", "lexical_bow_r2", "lexical_top_word_skill", "lexical_top_token_skill",
    "lexical_length_spearman", "lexical_overlap_spearman", "lexical_word_content_accuracy", "lexical_top_word_accuracy",
    "lexical_top_token_accuracy",
)  # fmt: skip
BEYOND = (
    "semantic_skill", "semantic_usable_bits", "semantic_conditional_bits", "semantic_selectivity",
    "partial_spearman_gold", "partial_spearman_overlap", "semantic_lexical_balance", "semantic_lexical_skill_gap",
)  # fmt: skip
CROSSED = (
    "meaning_share", "words_share", "syntax_share", "triplet_accuracy", "triplet_margin", "meaning_words_share",
    "meaning_syntax_share", "words_syntax_share", "meaning_words_syntax_share",
)  # fmt: skip
"""What each part of the section holds, the first ones first; the figures draw no more than six."""


def lexical(facts: Facts) -> Section:
    """Probes of wording, of meaning beside them, and the crossed design, each beside its controls."""
    found = facts.part("lexical")
    lead = "How much of the wording, and how much of the meaning beyond it, can be read from the embeddings."
    if not found:
        return {
            "id": "lexical",
            "title": "Lexical against semantic",
            "lead": lead,
            "blocks": [unmeasured(facts, "No probe of wording was run.")],
        }
    crossed = [mv for mv in found if mv[0] in CROSSED]
    beyond = [mv for mv in facts.metrics if mv[0] in BEYOND]
    wording = [mv for mv in found if mv not in crossed and mv not in beyond]
    parts = (
        ("wording", "Wording in the embeddings", _first(WORDING, wording)),
        ("meaning", "Meaning, and meaning beyond wording", _first(BEYOND, beyond)),
        ("crossed", "Meaning, words and syntax in the crossed design", _first(CROSSED, crossed)),
    )

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        for name, heading, metrics in parts:
            id = slug("lexical", name)
            if not metrics:
                continue
            if plot := _controls(facts, id, metrics, pooling, heading):
                made.append(plot)
            if facts.pair and (plot := forest(facts, id, metrics, pooling)):
                made.append(plot)
            made.append(value_table(facts, slug(id, pooling), f"{heading}, {pooling} pooling.", metrics, pooling))
        return made

    return {"id": "lexical", "title": "Lexical against semantic", "lead": lead, "blocks": by_pooling(facts, make)}


def _first(wanted: tuple[str, ...], found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the (metric, view) found, the wanted ones first and in their order, the raw view before others."""
    place = {name: i for i, name in enumerate(wanted)}
    return sorted(found, key=lambda mv: (mv[1] not in ("", "raw"), place.get(mv[0], len(place))))


def _controls(
    facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str, heading: str = "Scores"
) -> Figure | None:
    levels: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in facts.rows:
        shared = row["control"] and row["control"] != "control_task" and row["model"] in facts.own
        if shared and row["pooling"] == pooling and row["value"] is not None:  # the control task is each encoder's own
            levels.setdefault((row["task"], row["metric"], row["view"]), {})[row["control"]] = row["value"]
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        scores: list[dict[str, Any]] = []
        for task in facts.tasks:
            points = []
            for name in facts.models:
                found = facts.cell(name, task, pooling, metric, view)
                if found and found["value"] is not None:
                    ends = {"low": found["ci_low"], "high": found["ci_high"]}
                    points.append({"series": facts.series.get(name, 0), "value": found["value"]} | ends)
            held = [{"name": c, "value": v} for c, v in levels.get((task, metric, view), {}).items()]
            if points:
                scores.append({"name": task, "points": points, "controls": held})
        if any(r["controls"] for r in scores):
            panels.append({"title": title(facts, metric, view), "rows": scores})
    if not panels:
        return None
    panels = panels[:6]
    names = list(dict.fromkeys(c["name"] for p in panels for r in p["rows"] for c in r["controls"]))
    rows: list[Line] = [
        line([cell(r["name"]), cell(p["title"]), cell(c["name"]), cell(number(c["value"]), c["value"])], r["name"])
        for p in panels for r in p["rows"] for c in r["controls"]
    ]  # fmt: skip
    heads = [("task", False), ("metric", False), ("control", False), ("value", True)]
    side = table(slug("controls", id, pooling, "table"), "The controls behind the figure.", heads, rows, folded=True)
    where = listed([r["name"] for r in panels[0]["rows"]])
    alt = f"Scores of {listed(facts.models)} on {where} beside the controls {listed(names)}, {pooling} pooling."
    caption = f"Scores beside their controls ({listed(names)}): only what lies beyond the controls is the encoder's."
    caption += absent(facts, pooling)
    data = {"panels": panels, "legend": legend(facts, facts.models), "controls": names}
    return figure(
        slug("controls", id, pooling), "controls", f"{heading}, beside what needs no encoder", caption, alt, data, side
    )
