"""The overview of a replication: what was trained, and how the arms differ. Selecting and formatting only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from geomprobe.common import read_json
from geomprobe.common.text import (
    NONE,
    TEXT_LIMIT,
    clean,
    decimals,
    finite,
    interval,
    markdown,
    markdown_table,
    number,
    power,
)
from geomprobe.common.training_log import label
from geomprobe.reports.data.files import AUDIT_FILE
from geomprobe.reports.data.load import load
from geomprobe.reports.render.figures import render
from geomprobe.results.summary.facts import Facts, Row, half_width, judgement
from geomprobe.results.summary.words import in_cells, tally, title

MARKS = {"higher": "▲", "lower": "▼", "equivalent": "=", "unclear": "?", "none": NONE}
LEGEND = (
    "▲ higher, ▼ lower, = equivalent, ≈ different, but within the margin, ? no clear difference, "
    "– no verdict, each after adjustment for the number of claims. Brackets are 95 % intervals of single differences."
)
LAST = (
    "held_out_mlm", "held_out_jepa", "lambda", "skill_context", "uniformity_raw", "uniformity_centred",
    "effective_rank_centred",
)  # fmt: skip
DRAWN = (
    "held_out_mlm", "skill_context", "uniformity_raw", "uniformity_centred", "mean_cosine_raw",
    "effective_rank_centred",
)  # fmt: skip
COMPARED: dict[str, tuple[str, ...]] = {
    "uniformity": ("centred",),
    **dict.fromkeys(("effective_rank", "lexical_bow_r2", "lexical_word_content_skill"), ()),
    **dict.fromkeys(("semantic_skill", "sts_cosine_spearman"), ()),
}
"""Metrics of the tables, with the views that are shown next to raw."""
TRAINED = (
    "At the end of training: losses on held-out rows in nat, geometry of the mean-pooled held-out rows. "
    "JEPA skill is relative to another row's context. `training.csv` has all monitored steps."
)


def training_figure(training: Sequence[Mapping[str, Any]]) -> str:
    """Losses and geometry along training as an ``<svg>`` element: a colour an arm, a line a seed."""
    arms = list(dict.fromkeys(record["arm"] for record in training))
    runs = dict.fromkeys((record["arm"], record["seed"]) for record in training)
    panels = []
    for key in DRAWN:
        lines: list[dict[str, Any]] = []
        for run in runs:
            points = [(finite(r["tokens"]), finite(r.get(key))) for r in training if (r["arm"], r["seed"]) == run]
            known = [(x, y) for x, y in points if x is not None and y is not None]
            if known:
                lines.append({"series": arms.index(run[0]), "x": [x for x, _ in known], "y": [y for _, y in known]})
        if lines:
            panels.append({"title": label(key), "lines": lines})
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
    parts = [("What was trained", _trained(training))]
    parts += [(markdown(name), _compared(load(folder), folder)) for name, folder in comparisons.items()]
    parts += [(markdown(name), _audited(folder)) for name, folder in audits.items()]
    return "# Replication\n\n" + "".join(f"## {head}\n\n{text}\n" for head, text in parts)


def _trained(training: Sequence[Mapping[str, Any]]) -> str:
    runs: dict[tuple[Any, Any], dict[str, Any]] = defaultdict(dict)
    for record in training:
        known = {key: value for key, value in record.items() if finite(value) is not None}
        runs[record["arm"], record["seed"]] |= known
    rows = [
        [markdown(arm), str(seed), number(last.get("step"), 0), power(last.get("flops"))]
        + [number(last.get(key)) for key in LAST]
        for (arm, seed), last in runs.items()
    ]
    heads = ["arm", "seed", "steps", "FLOPs", *map(label, LAST)]
    return f"{TRAINED}\n\n![Along training](training.svg)\n\n{markdown_table(heads, rows)}"


def _compared(facts: Facts, folder: Path) -> str:
    if facts.pair is None:
        return "Nothing was compared.\n"
    a, b = map(markdown, facts.pair)
    shown = [(m, v) for m, v in facts.metrics if m in COMPARED and v in ("", "raw", *COMPARED[m])]
    heads = ["task, pooling", *(title(facts, m, v) for m, v in shown)]
    rows = []
    for task, pooling in product(facts.tasks, facts.poolings):
        differences = [_difference(facts.difference(task, pooling, *number)) for number in shown]
        rows.append([f"{markdown(task)}, {markdown(pooling)}", *differences])
    lead = f"{b} − {a}, at the level of {facts.level}s; all numbers: [report]({folder.name}/report.html)."
    told = [{"sentence": f"{title(facts, *each)}: {in_cells(tally(facts, *each))}."} for each in shown]
    return f"{lead}\n\n{_bullets(told)}\n\n{markdown_table(heads, rows)}\n{LEGEND}\n"


def _difference(row: Row | None) -> str:
    if row is None or row["diff"] is None:
        return NONE
    places = decimals([row["diff"]], half_width(row))
    mark = "≈" if "but equivalent" in (row["verdict"] or "") else MARKS[judgement(row)]
    shown = interval(row["ci_low"], row["ci_high"], places)
    return " ".join(filter(None, (number(row["diff"], places, signed=True), shown, mark)))


def _audited(folder: Path) -> str:
    claims = read_json(folder / AUDIT_FILE)["claims"]
    links = f"[report]({folder.name}/report.html), [table of claims]({folder.name}/claims.md)"
    verdicts = [verdict for claim in claims for verdict in claim["verdicts"].values()]
    return f"The paper's claims: {links}.\n\n{_bullets(verdicts, 1200)}\n"


def _bullets(parts: Iterable[Mapping[str, Any]], limit: int = TEXT_LIMIT) -> str:
    """The sentences of claims or verdicts as a list."""
    return "\n".join(f"- {markdown(part['sentence'], limit)}" for part in parts)
