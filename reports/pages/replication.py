"""The overview of a replication: what was trained, and how the arms differ. Selecting and formatting only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomprobe.common import read_json
from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.data.files import AUDIT_FILE
from geomprobe.reports.data.load import load
from geomprobe.reports.document.formats import (
    NONE,
    clean,
    decimals,
    finite,
    interval,
    markdown,
    markdown_table,
    number,
    power,
)
from geomprobe.reports.render.figures import render
from geomprobe.reports.wording.words import title

MARKS = {"higher": "▲", "lower": "▼", "equivalent": "=", "unclear": "?", "none": NONE}
LEGEND = (
    "▲ higher, ▼ lower, = equivalent, ≈ different, but within the margin, ? no clear difference, "
    "– no verdict, each after adjustment for the number of claims. Brackets are 95 % intervals of single differences."
)
LAST = (
    ("held_out_mlm", "MLM loss"),
    ("held_out_jepa", "JEPA loss"),
    ("lambda", "λ"),
    ("skill_context", "JEPA skill"),
    ("uniformity_raw", "uniformity, raw"),
    ("uniformity_centred", "centred"),
    ("effective_rank_centred", "effective rank"),
)
DRAWN = (
    *(("held_out_mlm", "held-out MLM loss"), ("skill_context", "JEPA skill")),
    *(("uniformity_raw", "uniformity, raw"), ("uniformity_centred", "uniformity, centred")),
    *(("mean_cosine_raw", "mean cosine"), ("effective_rank_centred", "effective rank, centred")),
)
COMPARED: dict[str, tuple[str, ...]] = {
    "uniformity": ("centred",),
    **dict.fromkeys(("effective_rank", "lexical_bow_r2", "lexical_word_content_skill"), ()),
    **dict.fromkeys(("semantic_skill", "sts_cosine_spearman"), ()),
}
"""Metrics of the tables, with the views that are shown next to raw."""


def training_figure(training: Sequence[Mapping[str, Any]]) -> str:
    """Losses and geometry along training as an ``<svg>`` element: a colour an arm, a line a seed."""
    arms = list(dict.fromkeys(record["arm"] for record in training))
    runs = list(dict.fromkeys((record["arm"], record["seed"]) for record in training))
    panels = []
    for key, caption in DRAWN:
        lines: list[dict[str, Any]] = []
        for run in runs:
            points = [(finite(r["tokens"]), finite(r.get(key))) for r in training if (r["arm"], r["seed"]) == run]
            points = [(x, y) for x, y in points if x is not None and y is not None]
            if points:
                xs, ys = zip(*points, strict=True)
                lines.append({"series": arms.index(run[0]), "x": list(xs), "y": list(ys)})
        if lines:
            panels.append({"title": caption, "lines": lines})
    legend = [{"name": clean(arm, 24), "series": i} for i, arm in enumerate(arms)]
    svg = render("training", {"panels": panels, "legend": legend, "x_label": "tokens"})
    return svg.replace("<svg ", '<svg style="background:#fff" ', 1)  # it stands alone, on pages of any colour


def summary(training: Sequence[Mapping[str, Any]], comparisons: Mapping[str, Path], audits: Mapping[str, Path]) -> str:
    """The overview of a replication in Markdown.

    Parameters
    ----------
    training : sequence of mappings
        Lines of training.csv, as numbers.
    comparisons, audits : mapping of name to Path
        Results folders of comparisons, and folders of audits.
    """
    text = ["# Replication\n\n", _trained(training)]
    text += [_compared(name, load(folder), folder) for name, folder in comparisons.items()]
    text += [_audited(name, folder) for name, folder in audits.items()]
    return "".join(text)


def _trained(training: Sequence[Mapping[str, Any]]) -> str:
    runs: dict[tuple[Any, Any], dict[str, Any]] = {}
    for record in training:
        known = {key: value for key, value in record.items() if finite(value) is not None}
        runs.setdefault((record["arm"], record["seed"]), {}).update(known)
    heads = ["arm", "seed", "steps", "FLOPs", *(title for _, title in LAST)]
    rows = [
        [markdown(arm), str(seed), number(last.get("step"), 0), power(last.get("flops"))]
        + [number(last.get(key)) for key, _ in LAST]
        for (arm, seed), last in runs.items()
    ]
    lead = (
        "At the end of training: losses on held-out rows in nat, geometry of the mean-pooled held-out rows. "
        "JEPA skill is relative to another row's context. "
        "`training.csv` has all monitored steps.\n\n![Along training](training.svg)\n\n"
    )
    return f"## What was trained\n\n{lead}{markdown_table(heads, rows)}\n"


def _compared(name: str, facts: Facts, folder: Path) -> str:
    if facts.pair is None:
        return f"## {markdown(name)}\n\nNothing was compared.\n\n"
    a, b = map(markdown, facts.pair)
    shown = [(m, v) for m, v in facts.metrics if m in COMPARED and v in ("", "raw", *COMPARED[m])]
    heads = ["task, pooling", *(title(facts, m, v) for m, v in shown)]
    cells = [(task, pooling) for task in facts.tasks for pooling in facts.poolings]
    rows = [
        [
            f"{markdown(task)}, {markdown(pooling)}",
            *(_difference(facts.difference(task, pooling, m, v)) for m, v in shown),
        ]
        for task, pooling in cells
    ]
    lead = f"{b} − {a}, at the level of {facts.level}s; all numbers: [report]({folder.name}/report.html)."
    sentences = "\n".join(f"- {markdown(claim['sentence'])}" for claim in facts.run.get("claims") or ()
                     if (claim["metric"], claim["view"] or "") in shown)  # fmt: skip
    return f"## {markdown(name)}\n\n{lead}\n\n{sentences}\n\n{markdown_table(heads, rows)}\n{LEGEND}\n\n"


def _difference(row: Row | None) -> str:
    if row is None or row["diff"] is None:
        return NONE
    low, high = row.get("ci_low"), row.get("ci_high")
    places = decimals([row["diff"]], (high - low) / 2 if low is not None and high is not None else None)
    within = "but equivalent" in (row["verdict"] or "")
    mark = "≈" if within else MARKS[judgement(row)]
    return " ".join(filter(None, (number(row["diff"], places, signed=True), interval(low, high, places), mark)))


def _audited(name: str, folder: Path) -> str:
    document = read_json(folder / AUDIT_FILE)
    verdicts = [verdict for claim in document["claims"] for verdict in claim["verdicts"].values()]
    sentences = "\n".join(f"- {markdown(verdict['sentence'], 1200)}" for verdict in verdicts)
    links = f"[report]({folder.name}/report.html), [table of claims]({folder.name}/claims.md)"
    return f"## {markdown(name)}\n\nThe paper's claims: {links}.\n\n{sentences}\n\n"
