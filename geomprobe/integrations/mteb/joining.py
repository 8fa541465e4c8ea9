"""Our results and the scores of mteb together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from geomprobe.common import UsageError, listed
from geomprobe.integrations.mteb.reading import POOLING, POOLING_ENTRY
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, Results, table


def join(results: Results, theirs: Results, models: Mapping[str, str] | None = None) -> Results:
    """Our results of some models with mteb's scores of the same models, as numbers of the last layer.

    Parameters
    ----------
    results : Results
        Of `gp.analyze` or `gp.compare`.
    theirs : Results
        Of `read`.
    models : mapping of str to str, optional
        Name in `theirs` -> name in `results`. Default: the models of equal content hash (given to mteb as the
        revision), or of equal hub id and revision.

    Raises
    ------
    UsageError
        No model is in both.
    """
    ours = {entry["name"]: entry for entry in results.run["models"] if not entry.get("of")}
    chosen = dict(models) if models is not None else _same(ours, theirs)
    if wrong := [name for name in chosen.values() if name not in ours]:
        raise UsageError(f"The results have no model {wrong[0]!r}.", f"They have {listed(list(ours))}.")
    known = theirs.results[theirs.results["model"].isin(chosen)]
    if known.empty:
        raise UsageError(
            f"No model is in both: {listed(list(ours))}; {listed([e['name'] for e in theirs.run['models']])}.",
            "Give models={name in mteb: name in the results}, or score by docs/how-to/share-a-checkpoint.md.",
        )
    taken = {entry["name"]: entry["fingerprint"] for entry in results.run["tasks"]}
    renamed = {
        entry["name"]: entry["name"] if taken.get(entry["name"], entry["fingerprint"]) == entry["fingerprint"] else
        f"{entry['name']} (mteb)"
        for entry in theirs.run["tasks"]
    }  # fmt: skip
    depth = {name: int(entry.get("n_layers") or 1) for name, entry in ours.items()}
    tables: dict[str, Any] = {}
    for kind, columns in (("results", RESULT_COLUMNS), ("influences", INFLUENCE_COLUMNS)):
        added = getattr(theirs, kind)
        added = added[added["model"].isin(chosen)].copy()
        added["model"] = added["model"].map(chosen)
        added["layer"] = added["model"].map(depth)
        added["task"] = added["task"].map(renamed)
        if kind == "results":
            added["model_hash"] = added["model"].map({name: entry.get("hash") for name, entry in ours.items()})
        tables[kind] = table(pd.concat([getattr(results, kind), added], ignore_index=True), columns)
    scored = set(known["task"])
    new_tasks = [e | {"name": renamed[e["name"]]} for e in theirs.run["tasks"] if e["name"] in scored]
    run = results.run
    left = [entry["name"] for entry in theirs.run["models"] if entry["name"] not in chosen]
    notes = [f"mteb: {note}" for note in theirs.run.get("notes", ())]
    notes += [f"mteb's scores of other models left out: {listed(left)}"] if left else []
    poolings = run["poolings"]
    return replace(
        results,
        **tables,
        definitions=results.definitions | theirs.definitions,
        run=run
        | {
            "tasks": [*run["tasks"], *(entry for entry in new_tasks if entry["name"] not in taken)],
            "poolings": [*poolings, *([POOLING_ENTRY] if POOLING not in [p["name"] for p in poolings] else [])],
            "notes": [*run.get("notes", ()), *notes],
        },
    )


def _same(ours: Mapping[str, Any], theirs: Results) -> dict[str, str]:
    """Name in theirs -> name in ours of the models that are the same."""
    found = {}
    for entry in theirs.run["models"]:
        for name, own in ours.items():
            pinned = own.get("revision") and (str(own.get("source")).partition("@")[0], own["revision"])
            if own.get("hash") == entry["hash"] or pinned == (entry["source"], entry["revision"]):
                found[entry["name"]] = name
    return found
