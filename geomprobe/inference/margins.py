"""Equivalence margins: how small a difference must be to be called none, for every metric, declared beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from geomprobe.common import UsageError, unknown_name

Margin = tuple[float, bool]
"""A number, and whether it is a share of the value of A."""

MARGINS: dict[str, Margin] = {
    # ranks and dimensions: 5 % of the value of A
    **dict.fromkeys(("effective_rank", "rankme", "participation_ratio", "stable_rank", "vendi_score"), (0.05, True)),
    **dict.fromkeys(("rank_90", "rank_99", "intrinsic_dimension", "lidar"), (0.05, True)),
    "spectral_entropy": (0.02, False),
    "alpha_req": (0.05, False),
    # log of a mean kernel: 0.1 is 10 % of the mean
    "uniformity": (0.1, False),
    "uniformity_jensen": (0.1, False),
    "alignment": (0.05, False),
    "class_alignment": (0.05, False),
    "class_separation": (0.05, False),
    "mean_cosine": (0.025, False),
    "isoscore": (0.02, False),
    "partition_isotropy": (0.05, False),
    "rogue_share_1": (0.05, False),
    "rogue_share_3": (0.05, False),
    "norm_cv": (0.02, False),
    "partial_spearman_gold": (0.02, False),
    "partial_spearman_overlap": (0.02, False),
}
SUFFIXES: dict[str, Margin] = {
    "accuracy": (0.02, False),
    "skill": (0.04, False),
    "macro_f1": (0.02, False),
    "mcc": (0.04, False),
    "log_loss": (0.05, False),
    "bits": (0.05, False),
    "code_length": (0.05, False),
    "compression": (0.05, True),
    "share": (0.05, False),
    "selectivity": (0.04, False),
    "spearman": (0.02, False),
    "pearson": (0.02, False),
    "r2": (0.02, False),
}
"""For probes, by the last words of the metric's name; losses and information are in bits."""


def margin(metric: str, value: float, chosen: Mapping[str, Margin] | None = None) -> float | None:
    """Return the margin of a metric in its own units, None where none is declared.

    Parameters
    ----------
    metric : str
    value : float
        Of A, for margins that are a share of it.
    chosen : mapping, optional
        Margins that replace the defaults (see `parse_margins`).
    """
    found = (chosen or {}).get(metric) or MARGINS.get(metric)
    if found is None:
        found = next((size for end, size in SUFFIXES.items() if metric.endswith(f"_{end}")), None)
    if found is None:
        return None
    size, relative = found
    # whole ranks: half a step each way is rounding, so nothing below one and a half can be told from it
    least = 1.5 if metric.startswith("rank_") else 0.0
    return max(size * abs(value), least) if relative else size


def parse_margins(texts: Sequence[str], known: Collection[str]) -> dict[str, Margin]:
    """Return margins from "METRIC=0.05" or "METRIC=5%" (a share of the value of A), of metrics that are known.

    Raises
    ------
    UsageError
        A text is something else, no metric has that name, a margin is given twice or is not positive.
    """
    found: dict[str, Margin] = {}
    for text in texts:
        metric, _, number = (part.strip() for part in text.partition("="))
        relative = number.endswith("%")
        try:
            size = float(number.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            size = 0.0
        if not metric or not 0 < size < float("inf"):
            raise UsageError(
                f"{text[:80]!r} is not a margin: a positive number is needed.",
                "Write METRIC=0.05, or METRIC=5% for a share of A's value.",
            )
        if metric not in known:
            raise unknown_name("metric", metric, list(known))
        if metric in found:
            raise UsageError(f"The margin of {metric} is given twice.")
        found[metric] = (size, relative)
    return found
