"""What an earlier version wrote under other names, read as this version writes it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from geomprobe.results import Results

TOKENS, WORDS = "lexical_top_token", "lexical_top_word"


def current(results: Results) -> Results:
    """Return results with the names and families of this version; those of this version come back as they are.

    - The probe of the most frequent word was called `lexical_top_token`, as that of the most frequent token still is.
      Which of the two it is, the protocol says: words unless it is the published analysis with tokens.
    - Definitions of probes had no family.
    """
    results = replace(results, definitions=_with_families(results.definitions))
    protocol = str(results.run.get("protocol", "strict"))
    if protocol.startswith("paper") and "token_target=word" not in protocol:
        return results

    def renamed(frame: pd.DataFrame, column: str) -> pd.DataFrame:
        # whole names only: a column may hold any text of a user's
        return frame.assign(**{column: frame[column].str.replace(rf"^{TOKENS}(?=_|$)", WORDS, regex=True)})

    def named(name: str) -> str:
        return WORDS + name.removeprefix(TOKENS) if name.startswith(TOKENS) else name

    old, new = (stem.replace("_", " ") for stem in (TOKENS, WORDS))
    claims = [
        claim | {"metric": named(claim["metric"]), "sentence": claim["sentence"].replace(old, new)}
        for claim in results.run.get("claims") or []
    ]
    return replace(
        results,
        results=renamed(results.results, "metric"),
        comparisons=renamed(results.comparisons, "metric"),
        influences=renamed(results.influences, "metric"),
        examples=renamed(results.examples, "probe"),
        definitions={named(name): _renamed(entry, named(name)) for name, entry in results.definitions.items()},
        run=results.run | ({"claims": claims} if claims else {}),
    )


def _renamed(entry: Any, name: str) -> Any:
    return entry | {"name": name} if isinstance(entry, dict) and "name" in entry else entry


def _with_families(entries: dict[str, Any]) -> dict[str, Any]:
    without = [name for name, entry in entries.items() if isinstance(entry, dict) and "family" not in entry]
    if not without:
        return entries
    from geomprobe.analysis.definitions import families  # heavy, and needed for earlier versions only

    known = families()
    return entries | {name: entries[name] | {"family": known[name]} for name in without if name in known}
