"""`geomprobe measure`: the geometry of vectors made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomprobe.cli.options import Json, Seed
from geomprobe.cli.output import Output, split_list
from geomprobe.cli.values import LIST, PATH, TEXT
from geomprobe.common import InputError, UsageError, check_output_file, first_to_last

if TYPE_CHECKING:
    from geomprobe.vectors import VectorFile, VectorSource

INTERVAL_ROWS = 1_000_000
LONG_ROWS = 100_000  # past which all pairs take more than some minutes


def measure(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Vectors: .npy, .npz, .safetensors, .parquet, .arrow, .csv, .txt, .jsonl, word2vec, .fbin, …; "
            "several are shards of one matrix.",
        ),
    ],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", **LIST, help="Names of metrics, or NAME:DEFINITION. [default: all]")
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view", **LIST, help="raw, centred, standardised, all-but-top-k, whitened. [default: each metric's own]"
        ),
    ] = None,
    tensor: Annotated[str | None, typer.Option(**TEXT, help="Array to read from a .npz or .safetensors file.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            **TEXT,
            help="Columns of a table: names or patterns ('e*'), with commas; without names, numbers from 1 ('2-').",
        ),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether line 1 of a text file holds names. [default: decided by all lines]"
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Read all pairs, also past 20,000 rows.")] = False,
    intervals: Annotated[
        bool | None,
        typer.Option("--intervals/--no-intervals", help="Compute standard errors. [default: up to a million rows]"),
    ] = None,
    seed: Seed = 0,
    save_moments: Annotated[
        Path | None, typer.Option(**PATH, help="Write the mergeable moments to this .safetensors file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", **PATH, help="Write the table to this .csv file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the geometry of vectors made elsewhere.

    Files are streamed, so they may be larger than memory. The command says what it read and what it left out. A file
    that can be read in two ways is refused. Under torchrun --no-python the processes share the rows; each reads all
    files.
    """
    from geomprobe import metrics
    from geomprobe.common import write_text
    from geomprobe.distributed import join
    from geomprobe.inference import with_intervals
    from geomprobe.metrics.embeddings import SAMPLED_PAIRS
    from geomprobe.metrics.transforms import transform as seen_in
    from geomprobe.vectors import Reading, VectorSource, joined, read_files

    names, views = (list(dict.fromkeys(split_list(each))) or None for each in (metric, view))
    metrics.check_names(names or (), views or ())
    if out:
        check_output_file(out, [".csv", ""], files)
    if save_moments:
        check_output_file(save_moments, [".safetensors", ""], files, "--save-moments")
    if out and save_moments and out.resolve() == save_moments.resolve():
        raise UsageError(f"--out and --save-moments are both {out}.", "Give them two different files.")
    read = read_files(files, Reading(columns, header, tensor))
    try:
        rows = VectorSource(joined(read))
    except ValueError as error:
        raise InputError(_in_its_file(error, read)) from None
    wanted = rows.n <= INTERVAL_ROWS if intervals is None else intervals
    output = Output(as_json)
    with join() as processes, output.progress("reading", quiet=not processes.first) as progress:
        if processes.first:
            _say(output, rows, read)
            if intervals is None and not wanted:
                output.note(f"no intervals past {INTERVAL_ROWS:,} rows unless --intervals is given")
            if exact and rows.n > LONG_ROWS:
                pairs = rows.n * (rows.n - 1) // 2
                output.note(f"--exact reads {pairs:,} pairs, more than once; without it {SAMPLED_PAIRS:,} are sampled")
            if processes.world > 1:
                alone = "; the first alone computes standard errors" if wanted else ""
                output.note(f"{processes.world} processes share the rows{alone}")
        rows.progress = progress
        try:
            if rows.n < 2 and not save_moments:
                embeddings, frame = None, metrics.unmeasured(rows.n, rows.d, names, views)
            else:
                directions = save_moments is not None or metrics.reads_directions(names)
                embeddings = metrics.embeddings_of(
                    rows,
                    seed=seed,
                    exact=exact,
                    directions=directions,
                    influences=wanted and processes.world == 1,
                    processes=processes,
                )
                frame, measured = metrics.measure_embeddings(embeddings, names, views)
            if not processes.first:
                return
            if wanted and embeddings:
                if processes.world > 1:
                    whole = embeddings.alone()
                    measured = [(found, definition, seen_in(whole, seen.name)) for found, definition, seen in measured]
                frame, _ = with_intervals(frame, measured, None)
        except ValueError as error:
            raise InputError(_in_its_file(error, read)) from None
    if embeddings and (share := embeddings.state.duplicate_share):
        output.warning(f"{share:.2%} of the rows repeat an earlier one")
    if save_moments and embeddings:
        embeddings.state.save(save_moments)
    if out:
        write_text(out, frame.to_csv(index=False))
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    if as_json:
        found = metrics.definitions(frame["metric"].unique())
        source = [file.as_json() for file in read]
        output.result({"n": rows.n, "d": rows.d, "source": source, "results": records, "definitions": found})
        return
    shown = [{**record, **{name: _short(record[name]) for name in NUMBERS}} for record in records]
    output.table(shown, ["metric", "view", *NUMBERS, "n", "status", "note"])


def _in_its_file(error: ValueError, read: Sequence[VectorFile]) -> str:
    """Fault of the vectors, with its file and the rows in that file."""
    from geomprobe.vectors import NonFiniteError

    if not isinstance(error, NonFiniteError):
        return f"{first_to_last([str(file.path) for file in read], 'files')}: {error}"
    start, (first, *_) = 0, error.rows
    file = read[0]
    for file in read:
        n = file.matrix.shape[0]
        if first < start + n:
            break
        start += n
    return f"{file.path}: {NonFiniteError([row - start for row in error.rows if row < start + n])}"


def _say(output: Output, rows: VectorSource, read: Sequence[VectorFile]) -> None:
    """Print what was read: a file in full, of several the first ones."""

    names = first_to_last([str(file.path) for file in read], "files")
    output.note(f"{rows.n:,} row{'s' * (rows.n != 1)} of {rows.d} number{'s' * (rows.d != 1)} from {names}")
    for file in read[:4]:
        for line in file.lines():
            output.note(f"  {line}")
    for warning in [warning for file in read for warning in file.warnings][:4]:
        output.warning(warning)


NUMBERS = ("value", "se", "ci_low", "ci_high")


def _short(number: float | None) -> str | None:
    return None if number is None else f"{number:.6g}"
