"""`geomprobe measure`: the geometry of vectors made elsewhere."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.options import Format, Full, Json, Seed, expanded, option
from geomprobe.cli.output import Output, split_list
from geomprobe.cli.values import LIST, PATH, TEXT
from geomprobe.common import InputError, UsageError, check_output_file, first_to_last

if TYPE_CHECKING:
    import pandas as pd

    from geomprobe.distributed import Processes
    from geomprobe.vectors import VectorFile, VectorSource
    from geomprobe.vectors.moments import Moments

INTERVAL_ROWS = 1_000_000
LONG_ROWS = 100_000  # past which all pairs take more than some minutes


@dataclass(frozen=True)
class MeasureOptions:
    """What is read of the files, what is measured, and where it is written: the options of `measure`."""

    metric: list[str] | None = option("--metric", "Names of metrics, or NAME:DEFINITION. [default: all]", **LIST)
    view: list[str] | None = option(
        "--view", "raw, centred, standardised, all-but-top-k, whitened. [default: each metric's own]", **LIST
    )
    tensor: str | None = option("--tensor", "Array to read from a .npz or .safetensors file.", **TEXT)
    columns: str | None = option(
        "--columns",
        "Columns of a table: names or patterns ('e*'), with commas; without names, numbers from 1 ('2-').",
        **TEXT,
    )
    header: bool | None = option(
        "--header/--no-header", "Whether line 1 of a text file holds names. [default: decided by all lines]"
    )
    exact: bool = option("--exact", "Read all pairs, also past 20,000 rows.", default=False)
    intervals: bool | None = option(
        "--intervals/--no-intervals", "Compute standard errors. [default: up to a million rows]"
    )
    seed: Seed = 0
    save_moments: Path | None = option(
        "--save-moments", "Write the mergeable moments to this .safetensors file.", **PATH
    )
    out: Path | None = option("--out", "Write the table to this .csv file.", **PATH)

    @property
    def metrics(self) -> list[str] | None:
        """Names of metrics, each once; None for all."""
        return list(dict.fromkeys(split_list(self.metric))) or None

    @property
    def views(self) -> list[str] | None:
        """Names of views, each once; None where each metric has its own."""
        return list(dict.fromkeys(split_list(self.view))) or None

    def check(self, files: Sequence[str]) -> None:
        """Raise UsageError for a name that is not known, and for a file that must not or cannot be written."""
        from geomprobe.metrics import check_names

        check_names(self.metrics or (), self.views or ())
        if self.out:
            check_output_file(self.out, [".csv", ""], files)
        if self.save_moments:
            check_output_file(self.save_moments, [".safetensors", ""], files, "--save-moments")
        if self.out and self.save_moments and self.out.resolve() == self.save_moments.resolve():
            raise UsageError(f"--out and --save-moments are both {self.out}.", "Give them two different files.")


@expanded()
def measure(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Vectors: .npy, .npz, .safetensors, .parquet, .arrow, .csv, .txt, .jsonl, word2vec, .fbin, …; "
            "several are shards of one matrix. Also URLs (s3://, gs://, hf://) and folders of .parquet files.",
        ),
    ],
    options: MeasureOptions,
    as_json: Json = False,
    full: Full = False,
    form: Format = "text",
) -> None:
    """Measure the geometry of vectors made elsewhere.

    Files are streamed, so they may be larger than memory. The command says what it read and what it left out. A file
    that can be read in two ways is refused. Under torchrun --no-python the processes share the rows; each reads all
    files.
    """
    from geomprobe.common import write_text
    from geomprobe.distributed import join
    from geomprobe.metrics.registry import REGISTRY, definitions
    from geomprobe.vectors import ReadOptions, VectorSource, joined, read_files

    output = Output.of(as_json, full, form)
    options.check(files)
    read = read_files(files, ReadOptions(options.columns, options.header, options.tensor))
    with _in_its_file(read):
        rows = VectorSource(joined(read))
    intervals = rows.n <= INTERVAL_ROWS if options.intervals is None else options.intervals
    with join() as processes, output.progress("reading the rows", quiet=not processes.first) as progress:
        if processes.first:
            _say(output, rows, read)
            _say_how(output, options, rows.n, processes.world, intervals)
        rows.progress = progress
        with _in_its_file(read):
            frame, state = _measured(rows, options, intervals, processes)
        if not processes.first:
            return
    if options.metrics is None:
        output.also_measured(REGISTRY.added(frame["metric"]))
    if state and (share := state.duplicate_share):
        output.warning(f"{share:.2%} of the rows repeat an earlier one")
    if state and options.save_moments:
        state.save(options.save_moments)
    if options.out:
        write_text(options.out, frame.to_csv(index=False))
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    source, defined = [file.as_json() for file in read], definitions(frame["metric"].unique())
    document = {"n": rows.n, "d": rows.d, "source": source, "results": records, "definitions": defined}
    if output.full:
        output.result(document, rows=[{name: _shown(record[name]) for name in SHOWN} for record in records])
    else:
        output.result(document, _in_short(records, defined, output.markdown))


def _measured(
    rows: VectorSource, options: MeasureOptions, intervals: bool, processes: Processes
) -> tuple[pd.DataFrame, Moments | None]:
    """Frame of the metrics, on rank 0 with intervals where they are wanted, and the moments (None of too few rows)."""
    from geomprobe.inference import with_intervals
    from geomprobe.metrics import embeddings_of, measure_embeddings, reads_directions, unmeasured
    from geomprobe.metrics.transforms import transform

    if rows.n < 2 and not options.save_moments:
        return unmeasured(rows.n, rows.d, options.metrics, options.views), None
    embeddings = embeddings_of(
        rows,
        seed=options.seed,
        exact=options.exact,
        directions=options.save_moments is not None or reads_directions(options.metrics),
        influences=intervals and processes.world == 1,
        processes=processes,
    )
    frame, measured = measure_embeddings(embeddings, options.metrics, options.views)
    if intervals and processes.first:
        if processes.world > 1:
            whole = embeddings.alone()
            measured = [(metric, definition, transform(whole, seen.name)) for metric, definition, seen in measured]
        frame, _ = with_intervals(frame, measured, None)
    return frame, embeddings.state


@contextmanager
def _in_its_file(read: Sequence[VectorFile]) -> Iterator[None]:
    """Name the file of a fault of the vectors, and the rows in that file."""
    from geomprobe.vectors import NonFiniteError

    try:
        yield
    except NonFiniteError as error:
        ends = list(itertools.accumulate(file.matrix.shape[0] for file in read))
        number = bisect.bisect(ends, error.rows[0])
        start = ends[number - 1] if number else 0
        within = NonFiniteError([row - start for row in error.rows if row < ends[number]])
        raise InputError(f"{read[number].path}: {within}") from None
    except ValueError as error:
        raise InputError(f"{_names(read)}: {error}") from None


def _names(read: Sequence[VectorFile]) -> str:
    return first_to_last([str(file.path) for file in read], "files")


def _say(output: Output, rows: VectorSource, read: Sequence[VectorFile]) -> None:
    """Print what was read: a file in full, of several the first ones."""
    output.note(f"{rows.n:,} row{'s' * (rows.n != 1)} of {rows.d} number{'s' * (rows.d != 1)} from {_names(read)}")
    for file in read[:4]:
        for line in file.lines():
            output.note(f"  {line}")
    for warning in [warning for file in read for warning in file.warnings][:4]:
        output.warning(warning)


def _say_how(output: Output, options: MeasureOptions, n: int, world: int, intervals: bool) -> None:
    """Print what is left out, sampled or shared among processes."""
    from geomprobe.metrics.embeddings import SAMPLED_PAIRS

    if options.intervals is None and not intervals:
        output.note(f"no intervals past {INTERVAL_ROWS:,} rows unless --intervals is given")
    if options.exact and n > LONG_ROWS:
        pairs = n * (n - 1) // 2
        output.note(f"--exact reads {pairs:,} pairs, more than once; without it {SAMPLED_PAIRS:,} are sampled")
    if world > 1:
        alone = "; the first alone computes standard errors" if intervals else ""
        output.note(f"{world} processes share the rows{alone}")


def _in_short(records: Sequence[Mapping[Any, Any]], defined: Mapping[str, Any], as_table: bool) -> str:
    """The numbers that come first in a report, with their intervals, at most LINES lines; all of them as Markdown."""
    from geomprobe.common.text import markdown_table
    from geomprobe.results.summary.model import Cell
    from geomprobe.results.summary.printed import LINES, WIDTH

    def place(record: Mapping[Any, Any]) -> tuple[bool, float]:
        entry = defined[record["metric"]]
        return "headline" not in entry, entry.get("headline", entry).get("order", math.inf)

    known = sorted((record for record in records if record["status"] == "ok"), key=place)
    told = [
        (r["metric"], r["view"] or "", Cell("", "", r["value"], r["ci_low"], r["ci_high"]).text(False), r["note"] or "")
        for r in known
    ]
    told += [(r["metric"], r["view"] or "", r["status"], r["note"] or "") for r in records if r["status"] != "ok"]
    heads = ("metric", "view", "value, 95 % interval", "note")
    if as_table:
        return markdown_table(heads, told)
    lines = [f"{name:<26} {view:<12} {value:<24} {note}".rstrip()[:WIDTH] for name, view, value, note in [heads, *told]]
    hidden = len(lines) - LINES + 1
    return "\n".join(lines if hidden <= 1 else [*lines[: LINES - 1], f"and {hidden} more: --full prints every number"])


SHOWN = ("metric", "view", "value", "se", "ci_low", "ci_high", "n", "status", "note")


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
