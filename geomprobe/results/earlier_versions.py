"""What an earlier version wrote under other names, read as this version writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.common import read_json
from geomprobe.results.tables import Results

TOKENS, WORDS = "lexical_top_token", "lexical_top_word"
PLACES = {"order", "headline", "against"}
"""Fields that say where a number stands in a report; earlier versions kept that in the report."""
LATER = {"family", "phrases", "rank"}
"""Fields that results with places may lack, too."""


def current(results: Results) -> Results:
    """Results with the names and families of this version; those of this version come back as they are.

    - The probe of the most frequent word was called `lexical_top_token`, as that of the most frequent token still is.
      Which of the two it is, the protocol says: words unless it is the published analysis with tokens.
    - Definitions of probes had no family, and none said where a number stands in a report.
    - Intervals whose standard error is probably too large were called conservative.
    - A margin was `relative` or not, to the value of A, and at least `least`; now it has a scale.
    """
    results = replace(results, definitions=_with_fields(results.definitions))
    results = replace(
        results,
        results=_labelled(results.results),
        comparisons=_labelled(results.comparisons),
        changes=_labelled(results.changes),
        similarities=_labelled(results.similarities),
    )
    protocol = str(results.run.get("protocol", "strict"))
    if protocol.startswith("paper") and "token_target=word" not in protocol:
        return results

    def renamed(frame: pd.DataFrame, column: str) -> pd.DataFrame:
        # whole names only: a column may hold any text of a user's
        return frame.assign(**{column: frame[column].str.replace(rf"^{TOKENS}(?=_|$)", WORDS, regex=True)})

    def named(name: str) -> str:
        return WORDS + name.removeprefix(TOKENS) if name.startswith(TOKENS) else name

    definitions = {
        named(name): entry | ({"name": named(name)} if "name" in entry else {})
        for name, entry in results.definitions.items()
    }
    return replace(
        results,
        results=renamed(results.results, "metric"),
        comparisons=renamed(results.comparisons, "metric"),
        influences=renamed(results.influences, "metric"),
        examples=renamed(results.examples, "probe"),
        definitions=definitions,
    )


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    method = frame["ci_method"].str.replace(r", conservative\b", ", standard error probably too large", regex=True)
    return frame.assign(ci_method=method)


def _with_fields(entries: dict[str, Any]) -> dict[str, Any]:
    """Entries with the fields of earlier_versions.json; a family alone where they have their places already."""
    known = read_json(Path(__file__).with_name("earlier_versions.json"))
    if any(PLACES & entry.keys() for entry in entries.values()):
        known = {name: {key: fields[key] for key in LATER & fields.keys()} for name, fields in known.items()}
    entries = {name: known.get(name, {}) | entry for name, entry in entries.items()}
    return {
        name: entry | {"margin": _scaled(entry["margin"])} if "least" in entry.get("margin", {}) else entry
        for name, entry in entries.items()
    }


def _scaled(margin: dict[str, Any]) -> dict[str, Any]:
    scale = "relative" if margin.get("relative") else "absolute"
    return {"size": margin["size"], "scale": scale, "whole": margin["least"] > 0}  # ranks alone had a least margin
