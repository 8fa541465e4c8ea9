"""The page docs/reference/definitions.md, from the metrics' records: it is what this prints."""

from __future__ import annotations

from typing import Any

from geomprobe.api import every_metric
from geomprobe.metrics import REGISTRY, VIEWS
from geomprobe.metrics.embeddings import EXACT_ROWS, SAMPLED_PAIRS
from geomprobe.metrics.similarity import RSA_ROWS
from geomprobe.predict_reconstruct import formulas
from geomprobe.results.record import FAMILIES

INTRODUCTION = f"""# Definitions

Every metric that can occur in results, by family (p-values are adjusted within a family, see
[inference](inference.md)). Other packages [add metrics](../how-to/add-your-own.md). Written from the records by
`python docs/write_definitions.py`; do not edit by hand.

Rows x_i, i = 1…N, in D dimensions; x̄ their mean; Σ = (1/N) Σ (x_i−x̄)(x_i−x̄)ᵀ with eigenvalues λ_1 ≥ λ_2 ≥ …, of
which min(N−1, D) are kept (min(N, D) where the matrix is not centred); σ_k = √λ_k; z_i = x_i/‖x_i‖; H(p) = −Σ p log p
in nats.

Every number names the metric, the definition and the view. `measure(x, metrics=["effective_rank:ssrlib"])` asks for a
definition other than the standard one. Row order never matters. Invariances hold in the raw view: rotation x → xR with
R orthogonal, scale x → cx with c > 0, shift x → x + v, row scale: each row by a positive factor of its own.

All pairs of rows are read up to {EXACT_ROWS:,} rows (and beyond with `exact=True`). Past that, uniformity comes from
{SAMPLED_PAIRS:,} seeded pairs with the exact means of cosine and cosine² as control variates, and its note gives the
sampling standard error; neighbour metrics read a seeded sample of {EXACT_ROWS:,} rows and say so in `n`.

## Input without an answer

| input | what happens |
|---|---|
| NaN or infinity | `ValueError` with the row numbers |
| fewer than two rows | `ValueError` |
| magnitudes beyond 1e70, or all below 1e-70 | `ValueError`: rescale |
| rows equal up to the rounding of their number format | spectra: `not applicable`; raw uniformity 0, mean cosine 1 |
| zero rows (centred: rows equal to the mean) | left out of metrics of directions; `n` and the note say so |
| one eigenvalue (N = 2 or D = 1) | spectral_entropy: `not applicable` (`paper`: 0 where D > 1); ranks are 1 |
| D = 1 | isoscore, too: `not applicable` |
| no variance outside the first k components | all metrics in the view all-but-top-k: `not applicable` |
| rows of rank N − 1 (N ≤ D + 1), whitened | equally far apart: hubness_skew, intrinsic_dimension: `not applicable` |
| moments without rows | metrics that read rows: `needs rows` |
| too few rows | `too few rows`, with the rows there and the rows needed |

No value is ever a silent NaN: where there is none, `status` says so and `note` says why.

## Views
"""

SIMILARITY = (
    "`geomprobe.similarity(x, y)`, with 95 % intervals for the expected value at this number of "
    "rows ([inference](inference.md)), and a null distribution from random orders of y's rows. "
    f"RSA reads a seeded sample of at most {RSA_ROWS:,} rows. `geomprobe.similarity_difference((x, y), (x, z))` says "
    "whether z is more like x than y is."
)


def definitions_page() -> str:
    """Return the page as Markdown."""
    lines = [INTRODUCTION, *(f"- **{name}**: {what}" for name, what in VIEWS.items())]
    entries = every_metric()
    for family, about in FAMILIES.items():
        lines += ["", f"## {family.capitalize()}", "", f"{about[0].upper()}{about[1:]}."]
        if family == "similarity":
            lines += ["", SIMILARITY]
        for name, entry in entries.items():
            if entry["family"] == family:
                lines += _metric(name, entry)
    return "\n".join(lines) + "\n"


def _metric(name: str, entry: dict[str, Any]) -> list[str]:
    paper_only = name in formulas.RECORDS
    lines = ["", f"### {name}", "", entry["formula"], ""]
    lines += _contract(entry)
    if "needs" in entry:
        lines += [f"- needs: {entry['needs']}", f"- views: {', '.join(entry['views'])}"]
    if name in REGISTRY and not REGISTRY[name].default_views:
        lines += ["- only where asked for by name"]
    variants = REGISTRY[name].variant_notes if name in REGISTRY else {}
    lines += [f"- definition `{name}:{variant}`: {note}" for variant, note in variants.items()]
    if paper_only:
        lines += ["- under `--protocol paper` only"]
    elif name in formulas.FORMULAS:
        lines += [f"- under `--protocol paper`: {formulas.FORMULAS[name]}"]
    return lines


def _contract(entry: dict[str, Any]) -> list[str]:
    unchanged = entry["invariances"]
    unchanged = unchanged if isinstance(unchanged, str) else ", ".join(unchanged)
    return [
        f"- range: {entry['range']}",
        f"- {entry['direction']}",
        f"- unchanged by: {unchanged or 'nothing but row order'}",
        f"- source: {entry['source']}",
    ]


if __name__ == "__main__":
    print(definitions_page(), end="")
