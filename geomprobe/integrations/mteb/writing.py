"""Our numbers in the format of mteb."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, write_json
from geomprobe.common.text import slug
from geomprobe.integrations.cards import Measured
from geomprobe.integrations.mteb.score_files import MAIN
from geomprobe.results import Results


def write(results: Results, folder: str | Path, name: str, *, model: str) -> list[Path]:
    """Write the headline numbers of a model as results of mteb, a task a file, and return the files.

    The tasks are called ``geomprobe-TASK``: their scores are ours, and not those of mteb's own tasks.

    Parameters
    ----------
    folder : path
        The cache of mteb (``mteb.ResultCache(folder)``).
    name : str
        The model in `results`.
    model : str
        Its name for mteb, with a slash; the revision is the content hash.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"mteb knows models as owner/name, not as {model[:80]!r}.", "For example model='me/encoder'.")
    of = Measured.of(results, name)
    revision = str(of.entry.get("hash") or "no_revision_available")
    place = Path(folder) / "results" / model.replace("/", "__") / revision
    written = []
    for entry in of.facts.task_entries:
        rows = {number: row for number in of.numbers if (row := of.row(entry["name"], *number))}
        if not rows:
            continue
        scores: dict[str, Any] = {}
        for number, row in rows.items():
            key = "_".join(filter(None, number)).replace("-", "_")
            scores |= {key: row["value"], f"{key}_ci_low": row["ci_low"], f"{key}_ci_high": row["ci_high"]}
        of_task = [number for number in rows if of.facts.part_of(number[0]) == "semantic"]
        main = rows[(of_task or list(rows))[0]]
        scores |= {
            MAIN: main["value"],
            "hf_subset": "default",
            "languages": ["und-Zyyy"],
            "layer": of.layer,
            "pooling": of.pooling,
        }
        document = {
            "dataset_revision": str(entry.get("fingerprint") or entry.get("revision") or "unknown"),
            "task_name": f"geomprobe-{slug(entry['name'])}",
            "mteb_version": None,
            "scores": {main.get("split") or "validation": [scores]},
            "evaluation_time": None,
            "kg_co2_emissions": None,
        }
        written.append(place / f"{document['task_name']}.json")
        write_json(written[-1], document)
    write_json(place / "model_meta.json", {"name": model, "revision": revision, "loader": None, "modalities": ["text"]})
    return written
