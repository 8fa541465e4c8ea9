"""What an earlier version wrote under other names, read as this version writes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from geomprobe.results.tables import Results

TOKENS, WORDS = "lexical_top_token", "lexical_top_word"
EARLIER_FAMILIES = {
    "spectrum": ("effective_rank_n_matched rankme_n_matched spectral_entropy_n_matched participation_ratio_n_matched"),
    "dimension": ("vendi_score_n_matched"),
    "semantic": (
        "semantic_accuracy semantic_macro_f1 semantic_mcc semantic_skill semantic_log_loss "
        "semantic_usable_bits semantic_usable_share semantic_selectivity semantic_conditional_bits "
        "semantic_code_length semantic_compression sts_probe_spearman sts_probe_pearson sts_cosine_spearman "
        "sts_cosine_pearson"
    ),
    "lexical": (
        "partial_spearman_gold partial_spearman_overlap lexical_word_content_accuracy "
        "lexical_word_content_skill lexical_top_word_accuracy lexical_top_word_skill lexical_bow_r2 "
        "lexical_length_spearman lexical_overlap_spearman meaning_share words_share syntax_share "
        "meaning_words_share meaning_syntax_share words_syntax_share meaning_words_syntax_share "
        "triplet_accuracy triplet_margin lexical_top_token_accuracy lexical_top_token_skill "
        "semantic_lexical_balance semantic_lexical_skill_gap"
    ),
    "hypersphere": ("class_distance_within class_distance_between class_distance_ratio"),
    "similarity": ("linear_cka linear_cka_unbiased procrustes mutual_knn cknna rsa_spearman"),
    "pooling": ("trained_pooling_loss"),
    "isotropy": ("duplicate_share"),
}
"""Families of the metrics whose records had none in earlier versions; it does not change any more."""

EARLIER_ORDER = (
    "uniformity uniformity_jensen uniformity_reference mean_cosine alignment class_alignment class_separation "
    "effective_rank rankme participation_ratio stable_rank rank_90 rank_99 spectral_entropy vendi_score alpha_req "
    "isoscore partition_isotropy semantic_accuracy sts_cosine_spearman sts_probe_spearman semantic_skill "
    "semantic_usable_bits"
)
EARLIER_HEADLINE = (
    "uniformity mean_cosine effective_rank alignment semantic_accuracy sts_cosine_spearman meaning_share "
    "lexical_word_content_accuracy lexical_top_word_accuracy lexical_top_token_accuracy"
)
EARLIER_AGAINST = {
    "wording": "lexical_word_content_skill lexical_bow_r2 lexical_top_word_skill lexical_top_token_skill "
    "lexical_length_spearman lexical_overlap_spearman lexical_word_content_accuracy lexical_top_word_accuracy "
    "lexical_top_token_accuracy",
    "meaning": "semantic_skill semantic_usable_bits semantic_conditional_bits semantic_selectivity "
    "partial_spearman_gold partial_spearman_overlap semantic_lexical_balance semantic_lexical_skill_gap",
    "crossed": "meaning_share words_share syntax_share triplet_accuracy triplet_margin meaning_words_share "
    "meaning_syntax_share words_syntax_share meaning_words_syntax_share",
}
"""Places in a report that earlier versions kept there and not in the records; they do not change any more."""


def current(results: Results) -> Results:
    """Results with the names and families of this version; those of this version come back as they are.

    - The probe of the most frequent word was called `lexical_top_token`, as that of the most frequent token still is.
      Which of the two it is, the protocol says: words unless it is the published analysis with tokens.
    - Definitions of probes had no family, and none said where a number stands in a report.
    """
    results = replace(results, definitions=_with_places(_with_families(results.definitions)))
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
    known = {name: family for family, names in EARLIER_FAMILIES.items() for name in names.split()}
    return entries | {name: entries[name] | {"family": known[name]} for name in without if name in known}


def _with_places(entries: dict[str, Any]) -> dict[str, Any]:
    if any(isinstance(entry, dict) and {"order", "headline", "against"} & entry.keys() for entry in entries.values()):
        return entries  # of this version
    places: dict[str, dict[str, Any]] = {name: {} for name in entries}
    for order, name in enumerate(EARLIER_ORDER.split()):
        places.setdefault(name, {})["order"] = order
    for order, name in enumerate(EARLIER_HEADLINE.split()):
        views = {"uniformity": ["raw", "centred"]}.get(name, ["raw"])
        places.setdefault(name, {})["headline"] = {"order": order, "views": views}
    for part, names in EARLIER_AGAINST.items():
        for order, name in enumerate(names.split()):
            places.setdefault(name, {})["against"] = {"part": part, "order": order}
    for name in ("uniformity_reference", "uniformity_jensen"):
        places.setdefault(name, {})["reference"] = True
    for name, place in places.items():
        if name.endswith("_n_matched"):
            place["stage"] = "sample size"
        if name.endswith("_accuracy"):
            place["score"] = "accuracy"
    return {name: entry | places[name] if isinstance(entry, dict) else entry for name, entry in entries.items()}
