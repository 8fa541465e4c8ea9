"""The record of every metric that can occur in results, and the family of claims that each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geomprobe.analysis import variants
from geomprobe.analysis.protocols import Protocol
from geomprobe.embedding import trained_pooling
from geomprobe.metrics import registry, sample_size, similarity
from geomprobe.predict_reconstruct import paper
from geomprobe.probes.definitions import DEFINITIONS as PROBES

FAMILIES = {
    "spectrum": "eigenvalues of the cloud: ranks, entropies, slopes",
    "hypersphere": "directions on the sphere: uniformity, alignment, distances of classes",
    "isotropy": "evenness over dimensions: cosines, coordinates, lengths, hubs",
    "dimension": "numbers of dimensions beyond the spectrum",
    "semantic": "labels and scores of the tasks, as far as vectors show them",
    "lexical": "wording, and meaning weighed against it: partial correlations, shares, triplets, balances",
    "similarity": "how alike two encoders or layers are",
    "pooling": "how well a trained pooling serves its task",
}
"""Families in printing order. p-values are adjusted within one; those of UNTESTED have no comparisons."""
UNTESTED = ("similarity", "pooling")


def every_metric() -> dict[str, dict[str, Any]]:
    """Return the definition of every metric that can occur in results, by name, grouped by family.

    Returns
    -------
    dict
        JSON-ready: family, formula, range, direction, invariances, source. "definitions", where a metric has several,
        maps the name of each to its formula; that of the published analysis is called "paper".

    Examples
    --------
    >>> every_metric()["lexical_bow_r2"]["family"]
    'lexical'
    """
    known = _records()
    for name, formula in paper.FORMULAS.items():
        others = {} if name in paper.DEFINITIONS else {registry.STANDARD: known[name]["formula"]}
        known[name] |= {"definitions": others | known[name].get("definitions", {}) | {paper.DEFINITION: formula}}
    order = list(FAMILIES)
    return dict(sorted(known.items(), key=lambda item: order.index(item[1]["family"])))


def families() -> dict[str, str]:
    """Return the family of claims of every metric, by name."""
    return {name: entry["family"] for name, entry in _records().items()}


def of_results(used: Sequence[str], protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Return the definitions of the metrics that occur in results, as definitions.json holds them.

    Parameters
    ----------
    used : sequence of str
        Metrics; a name that is none (a stage that failed) is left out.
    protocol : Protocol
        The published analysis has other formulas for some.
    """
    known = _records()
    if protocol.published:
        known |= paper.definitions(known, used)
    return {name: known[name] for name in used if name in known}


def _records() -> dict[str, dict[str, Any]]:
    """Return a copy of every record, by name."""
    rooms: tuple[Mapping[str, dict[str, Any]], ...] = (
        registry.definitions(),
        sample_size.DEFINITIONS,
        PROBES,
        paper.DEFINITIONS,
        similarity.DEFINITIONS,
        trained_pooling.DEFINITIONS,
        variants.DEFINITIONS,
    )
    return {name: dict(entry) for room in rooms for name, entry in room.items()}
