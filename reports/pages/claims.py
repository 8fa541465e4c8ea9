"""An audit's claims as a table and in Markdown. Selecting and formatting only: no number is computed here."""

from __future__ import annotations

from typing import Any

from geomprobe.common.text import markdown, markdown_table
from geomprobe.results.summary.words import ALONE


def claim_rows(claim: dict[str, Any]) -> list[dict[str, str]]:
    """A line for each task: B − A as published, by its protocol, corrected, and what moves it most."""

    def shown(number: dict[str, Any] | None) -> str:
        if number is None or number["diff"] is None:
            return "–"
        text = f"{number['diff']:+.4g}"
        return text if number.get("ci_low") is None else f"{text} [{number['ci_low']:.4g}, {number['ci_high']:.4g}]"

    rows = []
    for line in claim["tasks"]:
        row = {
            "claim": claim["name"],
            "task": line["task"],
            "published": shown(line["published"]),
            "its protocol": shown(line["paper"]),
            "corrected": shown(line["checkpoint"]),
            "verdict": line["checkpoint"]["verdict"] if line["checkpoint"] else "–",
        }
        if "objective" in claim["verdicts"]:
            row["objectives"] = shown(line["objective"])
            row["their verdict"] = line["objective"]["verdict"] if line["objective"] else "–"
        most = line["largest"]
        moved = most and {"diff": most["moved"], "ci_low": most["moved_low"], "ci_high": most["moved_high"]}
        rows.append(row | {"moved most by": most["label"] if most else "–", "by": shown(moved)})
    return rows


def claims_page(document: dict[str, Any]) -> str:
    """The claims as Markdown: the verdicts in words, and a table of them all."""
    sentences = [verdict["sentence"] for claim in document["claims"] for verdict in claim["verdicts"].values()]
    rows = [row for claim in document["claims"] for row in claim_rows(claim)]
    table = markdown_table(list(rows[0]), [list((row | {"task": markdown(row["task"])}).values()) for row in rows])
    a, b = map(markdown, document["sides"])
    head = f"B − A with 95 % intervals; A is {a}, B is {b}. {ALONE}"
    where = "objectives" if document["level"] == "objective" else "the first pair of checkpoints"
    head += f" Its protocol and what moves it: {where}. Corrected: the first pair of checkpoints."
    if document["grouped"]:
        head += " Objectives: corrected, all seeds."
    return "\n".join([*(f"- {sentence}" for sentence in sentences), "", head, "", table])
