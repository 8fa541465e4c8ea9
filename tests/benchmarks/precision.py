"""What bfloat16 and float16 do to the metrics: the same texts through the same weights, float32 as the reference.

    python tests/benchmarks/precision.py MODEL [--task sst2] [--data DIR] [--limit 872]

Prints a Markdown table: the value in float32, its standard error, and the change by each format in standard errors.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from geomprobe.api import measure
from geomprobe.embedding.embed import embed
from geomprobe.encoders import load_encoder
from geomprobe.tasks import load_task


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--task", default="controlled")
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--formats", default="bfloat16,float16")
    options = parser.parse_args()
    texts = load_task(options.task, data_dir=options.data).geometry_rows.texts[: options.limit]
    vectors = {
        form: embed(load_encoder(options.model, dtype=form), texts) for form in ("float32", *options.formats.split(","))
    }
    keys = ["metric", "definition", "view"]
    tables = {form: measure(Z, views=["raw", "centred"]).set_index(keys) for form, Z in vectors.items()}
    reference = tables.pop("float32")
    print(f"{len(texts)} texts of {options.task}\n")
    for form in tables:
        error = np.linalg.norm(vectors[form] - vectors["float32"], axis=1) / np.linalg.norm(vectors["float32"], axis=1)
        print(f"{form}: median relative error of a vector {np.median(error):.1e}")
    print("\n| metric | view | float32 | se | " + " | ".join(f"{form}: change | in se" for form in tables) + " |")
    print("|---" * (4 + 2 * len(tables)) + "|")
    for key, row in reference.iterrows():
        if row["status"] != "ok" or not np.isfinite(row["value"]):
            continue
        cells, known = [], pd.notna(row["se"]) and row["se"] > 0
        for table in tables.values():
            change = table.loc[key, "value"] - row["value"]
            cells += [f"{change:+.2g}", f"{change / row['se']:+.2f}" if known else ""]
        name = f"{key[0]} ({key[1]})" if isinstance(key[1], str) and key[1] else key[0]
        print(
            f"| {name} | {key[2]} | {row['value']:.5g} | {format(row['se'], '.2g') if known else ''} | "
            + " | ".join(cells)
            + " |"
        )


if __name__ == "__main__":
    main()
