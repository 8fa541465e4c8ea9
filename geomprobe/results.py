"""The results folder: schema, reading, writing. A row a number, and never a number without its definition."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from geomprobe import earlier
from geomprobe.common import InputError, atomic_path, hash_bytes, read_json, write_json, write_text

SCHEMA_VERSION = 1

# A row a number. `definition` names the variant where a metric has several; `control` is set on a probe's control.
RESULT_COLUMNS: dict[str, str] = {
    "model": "string",
    "model_hash": "string",
    "task": "string",
    "task_hash": "string",
    "split": "string",
    "layer": "Int64",
    "pooling": "string",
    "view": "string",
    "protocol": "string",
    "metric": "string",
    "definition": "string",
    "value": "Float64",
    "se": "Float64",
    "ci_low": "Float64",
    "ci_high": "Float64",
    "ci_method": "string",
    "n": "Int64",
    "d": "Int64",
    "seed": "Int64",
    "control": "string",
    "status": "string",
    "note": "string",
}

# A row a difference, value(b) - value(a).
COMPARISON_COLUMNS: dict[str, str] = {
    "a": "string",
    "b": "string",
    "level": "string",
    "task": "string",
    "layer": "Int64",
    "pooling": "string",
    "view": "string",
    "metric": "string",
    "definition": "string",
    "value_a": "Float64",
    "value_b": "Float64",
    "diff": "Float64",
    "se": "Float64",
    "ci_low": "Float64",
    "ci_high": "Float64",
    "ci_method": "string",
    "p": "Float64",
    "p_holm": "Float64",
    "family": "string",
    "margin": "Float64",
    "p_tost": "Float64",
    "mdd": "Float64",
    "n": "Int64",
    "verdict": "string",
}

# What figures are drawn from: points of a curve, in order. `curve` is one of CURVES.
CURVE_COLUMNS: dict[str, str] = {
    "model": "string",
    "task": "string",
    "layer": "Int64",
    "pooling": "string",
    "view": "string",
    "curve": "string",
    "x": "Float64",
    "y": "Float64",
    "label": "string",
}
# A curve NAME may come with NAME_low and NAME_high, its band: of rarefaction, a standard deviation between subsamples.
CURVES = {
    "spectrum": "x: rank k from 1; y: share of the variance, lambda_k / sum(lambda), centred",
    "cosine_histogram": "x: bin centre of the cosine of two different rows, 100 bins over [-1, 1]; y: density",
    "rarefaction_effective_rank": "x: rows; y: effective rank, mean over subsamples without replacement",
    "rarefaction_rankme": "x: rows; y: RankMe, mean over subsamples without replacement",
    "rarefaction_participation_ratio": "x: rows; y: participation ratio, mean over subsamples without replacement",
    "pooling_position_weight": "x: token position from 0; y: mean trained weight there, 1 is that of mean pooling",
    "pooling_token_weight": "x: rank from 1, heaviest first; y: mean trained weight of the token `label`, 1 is that of "
    "mean pooling",
}

# Per-example scores of a probe, so that paired tests can be redone. Rows that share a sentence share a `cluster`.
EXAMPLE_COLUMNS: dict[str, str] = {
    "model": "string",
    "task": "string",
    "layer": "Int64",
    "pooling": "string",
    "probe": "string",
    "row_id": "string",
    "cluster": "Int64",
    "label": "Float64",
    "prediction": "Float64",
    "log_loss": "Float64",
}

# How much each cluster of rows moves a metric, so that paired differences can be redone: `contributions` is a list
# with a number per cluster, in the order of the cluster numbers; `extra` is variance that no row answers for. What has
# no row here has no interval.
INFLUENCE_COLUMNS: dict[str, str] = {
    "model": "string",
    "task": "string",
    "layer": "Int64",
    "pooling": "string",
    "view": "string",
    "metric": "string",
    "definition": "string",
    "contributions": "object",
    "extra": "Float64",
}

# How alike two encoders or layers are on the same rows, with the interval as in RESULT_COLUMNS; `null_mean`, `null_sd`
# and `p` are those of the permutation null, where one was drawn. At level "objective" a and b are groups: a mean over
# pairs of seeds, and where a is b the most that a similarity of two groups can reach.
SIMILARITY_COLUMNS: dict[str, str] = {
    "a": "string",
    "b": "string",
    "level": "string",
    "task": "string",
    "pooling": "string",
    "layer_a": "Int64",
    "layer_b": "Int64",
    "metric": "string",
    "value": "Float64",
    "se": "Float64",
    "ci_low": "Float64",
    "ci_high": "Float64",
    "ci_method": "string",
    "null_mean": "Float64",
    "null_sd": "Float64",
    "p": "Float64",
    "n": "Int64",
    "status": "string",
    "note": "string",
}

STATUSES = ("ok", "failed", "not applicable", "needs rows")


def table(rows: Iterable[Mapping[str, Any]] | pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return rows as a data frame with exactly the given columns and types; a key outside them is an error."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if unknown := set(frame.columns) - set(columns):
        raise ValueError(f"columns outside the schema: {sorted(unknown)}")
    return frame.reindex(columns=list(columns)).astype(dict(columns))


@dataclass
class Results:
    """Everything that a results folder holds, in memory.

    Attributes
    ----------
    results, comparisons, curves, examples, influences, similarities : DataFrame
        Tables with the columns of RESULT_COLUMNS, COMPARISON_COLUMNS, CURVE_COLUMNS, EXAMPLE_COLUMNS,
        INFLUENCE_COLUMNS and SIMILARITY_COLUMNS.
    definitions : dict
        Metric name -> the registry's entry: formula, range, direction, invariances, source.
    run : dict
        Provenance: models, tasks, versions, hardware, command, wall time.
    training : dict
        Model name -> list of training log records (the lines of metrics.jsonl).
    """

    results: pd.DataFrame
    comparisons: pd.DataFrame = field(default_factory=lambda: table([], COMPARISON_COLUMNS))
    curves: pd.DataFrame = field(default_factory=lambda: table([], CURVE_COLUMNS))
    examples: pd.DataFrame = field(default_factory=lambda: table([], EXAMPLE_COLUMNS))
    definitions: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    training: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    influences: pd.DataFrame = field(default_factory=lambda: table([], INFLUENCE_COLUMNS))
    similarities: pd.DataFrame = field(default_factory=lambda: table([], SIMILARITY_COLUMNS))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a data frame atomically as zstd-compressed parquet."""
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a table written by `write_table`; raises InputError where it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Is this a results folder? geomprobe analyze writes one.")
    try:
        return table(pd.read_parquet(path), columns)
    except Exception as error:  # pyarrow raises many kinds; for the reader they mean one thing
        raise InputError(f"{path} is damaged or not a results table: {error}") from None


def training_log(model: str) -> str:
    """Return the file name of a model's training log; a name that no file can have is escaped, a long one hashed."""
    name = quote(model, safe=" ()+,=@", errors="backslashreplace")
    return f"{name if len(name) <= 200 else hash_bytes(model)}.jsonl"


def write_results(folder: str | Path, results: Results) -> Path:
    """Write a results folder; run.json comes last, so a folder without it is known to be incomplete."""
    import json

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # what was made from an earlier content of the folder would contradict the new one
    for stale in ("run.json", "report.html", "report.pdf", "report.json"):
        (folder / stale).unlink(missing_ok=True)
    shutil.rmtree(folder / "training", ignore_errors=True)
    write_table(folder / "results.parquet", results.results)
    with atomic_path(folder / "results.csv") as temporary:
        results.results.to_csv(temporary, index=False)
    write_table(folder / "comparisons.parquet", results.comparisons)
    write_table(folder / "curves.parquet", results.curves)
    write_table(folder / "examples.parquet", results.examples)
    write_table(folder / "influences.parquet", results.influences)
    write_table(folder / "similarities.parquet", results.similarities)
    write_json(folder / "definitions.json", results.definitions)
    for model, records in results.training.items():
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        write_text(folder / "training" / training_log(model), lines)
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, **results.run})
    return folder


def read_results(folder: str | Path) -> Results:
    """Read a results folder; raises InputError where it is missing, incomplete or damaged."""
    import json

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Give a results folder, such as runs/analyze/NAME.")
    if not (folder / "run.json").is_file():
        raise InputError(
            f"{folder} holds no finished results (run.json is missing).",
            "Repeat the analyze or compare command that writes it; finished cells are reused.",
        )
    run = read_json(folder / "run.json")
    if (version := run.get("schema_version")) != SCHEMA_VERSION:
        raise InputError(f"{folder} has schema version {version}; this geomprobe reads {SCHEMA_VERSION}.")
    influences, similarities = folder / "influences.parquet", folder / "similarities.parquet"
    training: dict[str, list[dict[str, Any]]] = {}
    for model in (entry["name"] for entry in run.get("models", ())):
        if (log := folder / "training" / training_log(model)).is_file():
            training[model] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    results = Results(
        read_table(folder / "results.parquet", RESULT_COLUMNS),
        read_table(folder / "comparisons.parquet", COMPARISON_COLUMNS),
        read_table(folder / "curves.parquet", CURVE_COLUMNS),
        read_table(folder / "examples.parquet", EXAMPLE_COLUMNS),
        read_json(folder / "definitions.json"),
        run,
        training,
        # left out where a folder is published: it is large, and only needed to compare anew
        read_table(influences, INFLUENCE_COLUMNS) if influences.is_file() else table([], INFLUENCE_COLUMNS),
        # only where encoders were compared
        read_table(similarities, SIMILARITY_COLUMNS) if similarities.is_file() else table([], SIMILARITY_COLUMNS),
    )
    return earlier.current(results)
