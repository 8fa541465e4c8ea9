"""The results folder: reading and writing, both checked by `geomprobe.results.schema`. A row a number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.common import InputError, atomic_path, read_json, refusing, write_json, write_text
from geomprobe.common.files import json_fault
from geomprobe.results.earlier_versions import current
from geomprobe.results.output_folder import check_content, check_folder, folder_and_name, means_results, models_of
from geomprobe.results.schema import (
    CHANGE_COLUMNS,
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    CURVES,
    EXAMPLE_COLUMNS,
    INFLUENCE_COLUMNS,
    MAP_COLUMNS,
    MOVED_COLUMNS,
    NEIGHBOUR_COLUMNS,
    OF_SERIES,
    OPTIONAL,
    OVERLAP_COLUMNS,
    RANKING_COLUMNS,
    REFIT_COLUMNS,
    RESULT_COLUMNS,
    SCHEMA_VERSION,
    SIMILARITY_COLUMNS,
    STAGES,
    STATUSES,
    TABLES,
    TEXT_COLUMNS,
    TRAJECTORY_COLUMNS,
    Definition,
    Run,
    check_definitions,
    check_record,
    check_run,
)
from geomprobe.results.tables import Results, check_statuses, count_failures, table, training_log


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a data frame atomically as zstd-compressed parquet."""
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a table written by `write_table`; raises InputError where it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Is this a results folder? geomprobe analyze writes one.")
    with refusing(f"{path} is damaged or not a results table", "Copy the folder again, or repeat the command."):
        return table(pd.read_parquet(path), columns)


def write_results(folder: str | Path, results: Results) -> Path:
    """Write a results folder; run.json comes last, so a folder without it is known to be incomplete.

    Raises
    ------
    InputError
        The results are not what the schema declares (see `Results.check`); nothing is written then.
    UsageError
        The folder holds a model, or files of other origin that would be replaced.

    Examples
    --------
    >>> import geomprobe as gp
    >>> results = gp.read_results("runs/analyze/mine")
    >>> sorted(path.name for path in gp.write_results("copy", results).glob("*.json"))
    ['definitions.json', 'run.json']
    """
    results.check()
    folder = Path(folder)
    check_content(folder)
    earlier_models = models_of(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # what was made from an earlier content of the folder would contradict the new one
    for stale in ("run.json", "report.html", "report.pdf", "report.json", "gate.json", "gate.md", "gate.xml"):
        (folder / stale).unlink(missing_ok=True)
    for name in [entry["name"] for entry in results.run["models"]] + earlier_models:
        (folder / "training" / training_log(name)).unlink(missing_ok=True)
    for name in TABLES:
        if (name in OF_SERIES and not results.run.get("series")) or (name == "refits" and results.refits.empty):
            (folder / f"{name}.parquet").unlink(missing_ok=True)
            continue
        write_table(folder / f"{name}.parquet", getattr(results, name))
    with atomic_path(folder / "results.csv") as temporary:
        results.results.to_csv(temporary, index=False)
    write_json(folder / "definitions.json", results.definitions)
    for model, records in results.training.items():
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        write_text(folder / "training" / training_log(model), lines)
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, **results.run})
    return folder


def read_results(folder: str | Path) -> Results:
    """Read a results folder.

    Raises
    ------
    InputError
        The folder is missing, incomplete or damaged, or something in it has another type than the schema declares; the
        message names the file and the field.

    Examples
    --------
    >>> import geomprobe as gp
    >>> results = gp.read_results("runs/analyze/mine")
    >>> results.run["models"][0]["name"], results.run["failed_cells"]
    ('my-encoder', 0)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Give a results folder, such as runs/analyze/NAME.")
    if not (folder / "run.json").is_file():
        hint = "Repeat the analyze or compare command that writes it; finished cells are reused."
        if (folder / "audit.json").is_file():
            hint = f"It is an audit; its results are in {folder / 'strict'} and {folder / 'paper'}."
        raise InputError(f"{folder} holds no finished results (run.json is missing).", hint)
    run = check_run(read_json(folder / "run.json"), str(folder / "run.json"))
    if (version := run.get("schema_version")) != SCHEMA_VERSION:
        raise InputError(f"{folder} has schema version {version}; this geomprobe reads {SCHEMA_VERSION}.")
    files = {name: folder / f"{name}.parquet" for name in TABLES}
    absent = {name for name in OPTIONAL if not files[name].is_file()}
    training: dict[str, list[dict[str, Any]]] = {}
    for entry in run.get("models", ()):
        if (log := folder / "training" / training_log(entry["name"])).is_file():
            training[entry["name"]] = read_log(log)
    results = Results(
        **{name: read_table(files[name], columns) for name, columns in TABLES.items() if name not in absent},
        definitions=check_definitions(read_json(folder / "definitions.json"), str(folder / "definitions.json")),
        run=dict(run),
        training=training,
    )
    for name in ("results", "similarities"):
        check_statuses(getattr(results, name), str(files[name]))
    return current(results)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a training log as `write_results` writes it; raises InputError with the line where it is damaged."""
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # JSON or UTF-8
            raise InputError(f"{path}, line {number}: {json_fault(error)}.") from None
        records.append(check_record(record, f"{path}, line {number}"))
    return records
