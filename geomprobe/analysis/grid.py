"""The grid model × task × layer × pooling × metric: every cell measured once, kept, and found again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import geomprobe
from geomprobe import inference, metrics, probes
from geomprobe.analysis import definitions, own_pooling, similarities, variants
from geomprobe.analysis.cells import read_tables, write_tables
from geomprobe.analysis.failures import CELL_ERRORS, check_finite, failed_row, reason
from geomprobe.analysis.protocols import STRICT, Protocol, PublishedAnalysis
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import InputError, UsageError, hash_bytes, unknown_name
from geomprobe.comparison.table import add_variants
from geomprobe.distributed import ALONE, Ranks
from geomprobe.embedding import trained_pooling
from geomprobe.embedding.embed import Cell, EmbeddingGrid, count_cut, embed_grid, has_cell, limited, resolve_layers
from geomprobe.embedding.pooling import POOLINGS, TRAINABLE, Pooler, make_pooler
from geomprobe.embedding.store import Store
from geomprobe.encoders import Encoder, load_encoder
from geomprobe.encoders.baselines import BASELINES, WordTable, make_baseline
from geomprobe.encoders.opening import find_device
from geomprobe.encoders.prompts import with_prompts
from geomprobe.inference.margins import Margin
from geomprobe.metrics import sample_size
from geomprobe.metrics.cloud import TooFewRows, too_few
from geomprobe.results import (
    CURVE_COLUMNS,
    EXAMPLE_COLUMNS,
    INFLUENCE_COLUMNS,
    RESULT_COLUMNS,
    SIMILARITY_COLUMNS,
    Results,
    check_folder,
    check_run,
    count_failures,
    provenance,
    table,
    write_results,
)
from geomprobe.tasks import is_file_task, load_task, task_names
from geomprobe.tasks.base import Task, joined_pairs, sentence_groups
from geomprobe.tasks.controlled import SIZES

Progress = Callable[[int, int], None]
Tables = dict[str, pd.DataFrame]
CELL_COLUMNS = {
    "results": RESULT_COLUMNS,
    "curves": CURVE_COLUMNS,
    "examples": EXAMPLE_COLUMNS,
    "influences": INFLUENCE_COLUMNS,
}
SIZE_DRAWS = 5
RAREFIED = ("effective_rank", "rankme", "participation_ratio")
"""Metrics whose rarefaction curve is kept; the others that grow with the rows follow one of these."""
CELLS = "7"
"""Raised where a change of the code changes numbers within a version, so that cells of before are not found."""
GLUE = ("sst2", "mrpc", "mnli", "cola", "stsb")


def analyze(
    models: Sequence[Any],
    tasks: Sequence[str | Task] = GLUE,
    poolings: Sequence[str] | None = None,
    layers: Sequence[int] | str = (-1,),
    *,
    prompt: str | None = None,
    query_prompt: str | None = None,
    baselines: Sequence[str] = (),
    data_dir: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    cells: str | Path | None = None,
    protocol: Protocol = STRICT,
    seed: int = 0,
    similarity: bool = False,
    precisions: Sequence[str] = (),
    dims: Sequence[int] = (),
    margins: Mapping[str, Margin] | None = None,
    complete: Callable[[Results], Any] | None = None,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Results:
    """Measure every model on every task at every layer under every pooling.

    Parameters
    ----------
    models : sequence of str, Path, model or Encoder
        Anything that `load_encoder` opens.
    tasks : sequence of str or Task
    poolings : sequence of str, optional
        Names from `pooling.POOLINGS`. Default: "model" for all models if one of them declares more than the mean of the
        token states (another pooling, Dense, Normalize, truncate_dim, a prompt), else "mean".
    layers : sequence of int, or "all"
        0 is the embedding layer, -1 the last. The pooling "model" is measured at the last one only.
    prompt, query_prompt : str, optional
        What is put before each text, and before the first text of each pair (see `encoders.prompts.with_prompts`).
    baselines : sequence of str
        Names from `baselines.BASELINES`: encoders that learned nothing or next to nothing, measured like the models.
        Those made of words take them from the train texts of all tasks, or the validation texts where there are none.
    data_dir : path, optional
        Folder of ``glue/<task>/<split>.parquet``; without it tasks come from the Hugging Face hub.
    limit : int, optional
        Most rows of each split, the first ones; for a quick look.
    protocol : Protocol
        Choices of the analysis: `protocols.STRICT`, `protocols.PAPER`, or one of `protocols.choose`.
    out : path, optional
        Results folder. Finished cells are kept there and reused when the same cell is asked for again.
    cells : path, optional
        Folder of finished cells, which several results folders may share; ``out/cells`` by default.
    similarity : bool
        Also say how alike the models are, each two of them; with all layers, map their layers (see `similarities`).
    precisions : sequence of {"float32", "int8", "binary"}
    dims : sequence of int
        Also measure the vectors of the models (not of baselines) quantised and truncated: each precision at the full
        width and at each dim, as it is and renormalised (see `variants.plan`). Each variant is a model of its own,
        after all others, with its paired differences from the full vectors in `comparisons`.
    margins : mapping of metric to (size, relative), optional
        Equivalence margins of these differences, in place of `inference.margins.MARGINS`.
    complete : callable, optional
        What to add to the results, such as comparisons, before they are written; called on the first rank.
    ranks : Ranks
        Processes that share the work (see `geomprobe.distributed.join`); all call this with the same arguments and
        get the same results, and the first alone reads and writes folders.
    progress : callable (done, total), optional

    Returns
    -------
    Results
        A stage of a cell that failed (`results.STAGES`) is a row with status "failed" and the reason in `note`.

    Raises
    ------
    UsageError
        A name is unknown, a task is given twice, or no model has as many dimensions as one of `dims`.
    InputError
        A model or a task cannot be read.
    """
    started = time.perf_counter()
    stored = variants.plan(precisions, dims)
    check_request(tasks, poolings, baselines, limit, device)
    if out is not None and ranks.first:
        named = [each for each in (*models, *tasks, data_dir) if isinstance(each, (str, Path))]
        check_folder(Path(out), named)
    kept = Path(cells) if cells is not None else Path(out) / "cells" if out is not None else None
    loaded = [
        prepare(t if isinstance(t, Task) else load_task(t, data_dir=data_dir), protocol, limit, seed) for t in tasks
    ]
    given = [task.name for task in loaded]
    if repeated := next((name for name in given if given.count(name) > 1), None):
        raise UsageError(f"A task is given twice: two are called {repeated!r}.", "Give each task a name of its own.")
    encoders = [m if isinstance(m, Encoder) else load_encoder(m, device=device) for m in models]
    encoders = with_prompts(encoders, prompt, query_prompt)
    poolings, why = own_pooling.choose_poolings(encoders, poolings, layers, protocol)
    own_pooling.check_prompts(loaded, protocol, poolings, prompt, query_prompt)
    encoders = [configured(e, protocol) for e in encoders]
    made = [(name, configured(e, protocol)) for name, e in baseline_encoders(encoders, baselines, loaded, seed)]
    one_layer = {id(e) for name, e in made if name != "random-init"}
    encoders += [e for _, e in made]

    def layers_of(e: Encoder) -> list[int]:
        return resolve_layers(e, range(e.n_layers + 1) if isinstance(layers, str) else layers)

    wanted = {id(e): resolve_layers(e, [-1]) if id(e) in one_layer else layers_of(e) for e in encoders}
    sizes = {len(task.geometry_rows.texts) for task in loaded}
    matched = min(sizes) if len(sizes) > 1 else None
    every_text = [TaskTexts.of(task, matched, asymmetric=query_prompt is not None) for task in loaded]
    untrained = {id(e) for _, e in made}
    names = unique_names(encoders)
    own = {names[id(e)]: e for e in encoders if id(e) not in untrained}
    if len(dims):
        variants.check_widths(dims, widths({name: (e, wanted[id(e)]) for name, e in own.items()}, poolings))
    called = variants.names(stored, list(own), list(names.values()))
    # all full vectors first: the variants then find them in the store
    measured = [(names[id(e)], e, variants.FULL) for e in encoders]
    measured += [(name, own[of], variant) for (of, variant), name in called.items()]
    grid = [(*each, texts) for each, texts in product(measured, every_text)]
    total = sum(2 * len(texts.texts) for *_, texts in grid)
    done = 0
    frames: dict[str, list[pd.DataFrame]] = {kind: [] for kind in CELL_COLUMNS}
    truncated: dict[str, dict[str, int]] = {}
    for name, encoder, variant, texts in grid:

        def advance(part: int, whole: int, base: int = done, size: int = 2 * len(texts.texts)) -> None:
            if progress:
                progress(base + size * part // whole, total)

        tables, cut = measure_task(
            encoder, texts, wanted[id(encoder)], poolings, protocol, seed, kept, ranks, advance, variant
        )
        if variant == variants.FULL:
            truncated.setdefault(texts.task.name, {})[name] = cut
        for kind, frame in tables.items():
            frames[kind].append(frame.assign(model=name))
        done += 2 * len(texts.texts)
        if progress:
            progress(done, total)

    alike = table([], SIMILARITY_COLUMNS)
    if similarity:
        depths = {name: sorted(wanted[id(e)]) for name, e in own.items()}
        pairs = similarity_pairs(own, depths, list(called.items()), poolings, layers == "all")
        sides = {name: (e, variant) for name, e, variant in measured if id(e) not in untrained}
        found = [measure_pairs(sides, texts, pairs, protocol, seed, kept, ranks) for texts in every_text]
        alike = table(pd.concat(found, ignore_index=True), SIMILARITY_COLUMNS)
    tables = {kind: table(pd.concat(found, ignore_index=True), CELL_COLUMNS[kind]) for kind, found in frames.items()}
    used = sorted({*tables["results"]["metric"].dropna(), *alike["metric"].dropna()})
    runs = {names[id(e)]: (None, []) if id(e) in untrained else provenance.training_run(e.source) for e in encoders}
    entries = [model_entry(e, names[id(e)], poolings, *runs[names[id(e)]], data_dir) for e in encoders]
    full = {entry["name"]: entry for entry in entries}
    calibration = {texts.task.name: texts.calibrated_on for texts in every_text}
    entries += [variants.entry(variant, full[of], name, calibration) for (of, variant), name in called.items()]
    run = provenance.environment() | {
        "command": provenance.command_line(data_dir),
        "protocol": protocol.name,
        "seed": seed,
        "limit": limit,
        "models": entries,
        "baselines": {names[id(e)]: name for name, e in made},
        "tasks": [task_entry(texts, truncated[texts.task.name]) for texts in every_text],
        "poolings": [
            pooling_entry(name, loaded, protocol, seed)
            | (own_pooling.facts(list(own.values()), why) if name == "model" else {})
            for name in poolings
        ],
        "layers": layers if isinstance(layers, str) else list(layers),
        "compared": None,
        "groups": None,
        "similarity": similarities.maps(alike),
        "processes": ranks.world,
        "failed_cells": count_failures(tables["results"], alike),
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    results = Results(
        results=tables["results"],
        curves=tables["curves"],
        examples=tables["examples"],
        influences=tables["influences"],
        definitions=definitions.of_results(used, protocol),
        run=run,
        training={name: log for name, (_, log) in runs.items() if log},
        similarities=alike,
    )
    if complete is not None and ranks.first:
        complete(results)
    if stored and ranks.first:
        add_variants(results, margins)
    if out is not None and ranks.first:
        write_results(out, results)
    return results


def measure_task(
    encoder: Encoder,
    texts: TaskTexts,
    layers: Sequence[int],
    poolings: Sequence[str],
    protocol: Protocol,
    seed: int,
    kept: Path | None,
    ranks: Ranks,
    progress: Progress,
    variant: variants.Variant = variants.FULL,
) -> tuple[Tables, int]:
    """Return the tables of a model's cells on one task, and how many texts were cut; one forward pass at most.

    Ranks share the batches of the forward pass, then the cells. A variant's vectors are made from the full ones.
    """
    cells = [cell for cell in product(layers, poolings) if has_cell(encoder, *cell)]
    keys = {cell: variant.hash(cell_key(encoder, texts, *cell, protocol, seed)) for cell in cells}
    folders = {cell: kept / keys[cell] for cell in cells} if kept is not None and ranks.first else {}
    tables = ranks.broadcast(
        {cell: found for cell in cells if (found := read_tables(folders.get(cell), CELL_COLUMNS)) is not None}
    )
    missing = [cell for cell in cells if cell not in tables]
    if missing:
        embedded = embed_cells(encoder, texts, missing, protocol, seed, ranks, progress)
        cut = embedded.n_truncated

        def send(cell: Cell) -> np.ndarray | str:
            return embedded.failures.get(cell) or np.asarray(embedded.vectors[cell])

        def measured(of: np.ndarray | str) -> tuple[Tables, bool]:
            if isinstance(of, str):  # why there are no vectors
                return failed_cell("embedding", of)
            if variant == variants.FULL:
                return measure_vectors(of)
            return variant_cell(texts, of, variant, measure_vectors)

        def measure_vectors(of: np.ndarray) -> tuple[Tables, bool]:
            if protocol.published:
                return published_cell(encoder, texts, of, protocol.published, seed)
            return measure_cell(texts, of, seed)

        for i, (cell, (part, whole)) in enumerate(ranks.in_turns(missing, send, measured), 1):
            if cell in embedded.trained and variant == variants.FULL:  # which it was trained on
                part = joined(part, learned_tables(embedded.trained[cell]))
            tables[cell] = stamp(part, variant.hash(encoder.hash), texts.task, *cell, protocol, seed)
            if folders and whole:
                write_tables(folders[cell], tables[cell])
            progress(len(missing) + i, 2 * len(missing))
    else:
        cut = sum(count_cut(one, texts_of, poolings) for one, _, texts_of in in_roles(encoder, texts))
    return {kind: pd.concat([tables[cell][kind] for cell in cells]) for kind in CELL_COLUMNS}, cut


@dataclass(frozen=True)
class Embedded:
    """Vectors of all texts of a task, and the poolings that were trained for them.

    Attributes
    ----------
    vectors : dict of Cell to ndarray of shape (n_texts, d)
        Of the cells that did not fail.
    trained : dict of Cell to list of TrainedPooling
        One of each seed.
    failures : dict of Cell to str
        Why the cells have no vectors.
    n_truncated : int
        Texts that were cut to the encoder's longest input.
    """

    vectors: dict[Cell, np.ndarray]
    trained: dict[Cell, list[trained_pooling.TrainedPooling]]
    failures: dict[Cell, str]
    n_truncated: int = 0


def embed_cells(
    encoder: Encoder,
    texts: TaskTexts,
    cells: Sequence[Cell],
    protocol: Protocol,
    seed: int,
    ranks: Ranks,
    progress: Progress,
) -> Embedded:
    """Return the vectors of all texts of a task, found in the store where the same was asked before.

    Where the poolings cannot be trained, the cells of the others are embedded all the same.
    """
    trained: dict[Cell, list[trained_pooling.TrainedPooling]] = {}
    failures: dict[Cell, str] = {}
    try:
        trained = train_poolings(encoder, texts.task, cells, protocol, seed, ranks)
    except CELL_ERRORS as error:
        failures = {cell: reason(error) for cell in cells if cell[1] in TRAINABLE}
    wanted = [cell for cell in cells if cell not in failures]

    def embed_role(one: Encoder, some: list[str]) -> EmbeddingGrid:
        return embed_grid(
            one,
            some,
            sorted({pool for _, pool in wanted}),
            sorted({layer for layer, _ in wanted}),
            poolers={cell: found[0].pooler for cell, found in trained.items()},
            seed=query_seed(encoder, protocol, seed),
            store=Store(),
            ranks=ranks,
            progress=lambda part, whole: progress(part, 2 * whole),
        )

    def embed() -> EmbeddingGrid:
        parts = [(places, embed_role(one, some)) for one, places, some in in_roles(encoder, texts)]
        return parts[0][1] if len(parts) == 1 else in_places(parts)

    if not wanted:
        return Embedded({}, {}, failures)
    try:
        found = ranks.agreed(embed)
    except CELL_ERRORS as error:
        return Embedded({}, {}, failures | dict.fromkeys(wanted, reason(error)))
    return Embedded(found.vectors, trained, failures, found.n_truncated)


def in_roles(encoder: Encoder, texts: TaskTexts) -> list[tuple[Encoder, np.ndarray, list[str]]]:
    """Return the encoder with the prompt of each role (document, query), and places and texts of that role."""
    if texts.queries is None:
        return [(encoder, np.arange(len(texts.texts)), texts.texts)]
    asking = encoder.with_prompt(encoder.query_prompt, encoder.query_prompt)
    roles = ((encoder, ~texts.queries), (asking, texts.queries))
    places = [(one, np.flatnonzero(role)) for one, role in roles]
    return [(one, at, [texts.texts[i] for i in at]) for one, at in places]


def in_places(parts: Sequence[tuple[np.ndarray, EmbeddingGrid]]) -> EmbeddingGrid:
    """Return one grid of several, each with its places among all texts."""
    first, n = parts[0][1], sum(len(at) for at, _ in parts)
    vectors = {}
    for cell, found in first.vectors.items():
        vectors[cell] = np.empty((n, found.shape[1]), np.float32)
        for at, part in parts:
            vectors[cell][at] = part.vectors[cell]
    cut = sum(part.n_truncated for _, part in parts)
    return replace(first, vectors=vectors, n_texts=n, n_unique=n, n_truncated=cut)


def variant_cell(
    texts: TaskTexts,
    vectors: np.ndarray,
    variant: variants.Variant,
    measure: Callable[[np.ndarray], tuple[Tables, bool]],
) -> tuple[Tables, bool]:
    """Return the tables of one cell of a variant from the full vectors of all texts, and whether nothing failed."""
    if (narrow := variants.too_narrow(variant, vectors.shape[1])) is not None:
        return {"results": narrow}, True
    try:
        check_finite(vectors, texts.scored)
        kept = variant.apply(vectors, texts.calibration)
    except CELL_ERRORS as error:
        return failed_cell("embedding", reason(error))
    tables, whole = measure(kept)
    repeated = variants.duplicates(kept[texts.geometry], vectors[texts.geometry])
    found = joined(tables | {"results": table(tables["results"], RESULT_COLUMNS)}, {"results": repeated})
    return found | {"results": variants.blanked(found["results"], variant)}, whole


def similarity_pairs(
    encoders: Mapping[str, Encoder],
    depths: Mapping[str, Sequence[int]],
    variants_of: Sequence[tuple[tuple[str, variants.Variant], str]],
    poolings: Sequence[str],
    maps: bool,
) -> list[similarities.Pair]:
    """Return the pairs of models, and of each variant with its full vectors; `model` has the last layer only."""
    states = [name for name in poolings if name != "model"]
    last = {name: [encoder.n_layers] for name, encoder in encoders.items()}
    rooms = [(depths, states, maps)] + ([(last, ["model"], False)] if "model" in poolings else [])
    pairs = []
    for layers, names, mapped in rooms:
        pairs += similarities.pairs(layers, names, mapped)
        for (of, _), name in variants_of:
            pairs += similarities.variant_pairs(of, name, layers[of], names, mapped)
    return pairs


def widths(layers: Mapping[str, tuple[Encoder, Sequence[int]]], poolings: Sequence[str]) -> dict[str, int]:
    """Return the largest width of each model's vectors over its layers and the poolings, seen by embedding a word.

    A model that cannot be embedded is left out: its cells say why.
    """
    found = {}
    for name, (encoder, wanted) in layers.items():
        with contextlib.suppress(*CELL_ERRORS):
            grid = embed_grid(encoder, ["a"], poolings, wanted)
            found[name] = max(vectors.shape[1] for vectors in grid.vectors.values())
    return found


def measure_pairs(
    models: Mapping[str, tuple[Encoder, variants.Variant]],
    texts: TaskTexts,
    pairs: Sequence[similarities.Pair],
    protocol: Protocol,
    seed: int,
    kept: Path | None,
    ranks: Ranks,
) -> pd.DataFrame:
    """Return how alike the models of each pair are on a task's geometry rows; their vectors come from the store.

    A pair that failed, or with a model that did, is a row with status "failed".
    """

    def key(pair: similarities.Pair) -> str:
        sides = [
            models[name][1].hash(cell_key(models[name][0], texts, *cell, protocol, seed))
            for first, name in ((True, pair.a), (False, pair.b))
            for cell in pair.cells(first)
        ]
        choices = (similarities.ROWS, similarities.PERMUTATIONS, pair.scored, pair.mapped, tuple(SIMILARITY_COLUMNS))
        return hash_bytes("similarity", repr(choices), *sides)

    tables: dict[similarities.Pair, pd.DataFrame] = {}
    places = {pair: kept / key(pair) for pair in pairs} if kept is not None else {}
    for pair, place in places.items() if ranks.first else ():
        if stored := read_tables(place, {"similarities": SIMILARITY_COLUMNS}):
            tables[pair] = stored["similarities"].assign(a=pair.a, b=pair.b)  # whatever they are called this time
    tables = ranks.broadcast(tables)
    missing = [pair for pair in pairs if pair not in tables]
    embedded: dict[str, Embedded] = {}
    for name, (encoder, _) in models.items():
        sides = [(pair, first) for pair in missing for first in (True, False) if name == (pair.a if first else pair.b)]
        cells = {cell for pair, first in sides for cell in pair.cells(first)}
        if cells:
            embedded[name] = embed_cells(encoder, texts, sorted(cells), protocol, seed, ranks, lambda *_: None)
    read = similarities.sample(len(texts.geometry), seed)
    rows, clusters = texts.geometry[read], texts.task.geometry_rows.clusters[read]

    def fits(pair: similarities.Pair) -> bool:
        dim, found = models[pair.b][1].dim, embedded[pair.b].vectors
        return all(dim is None or cell not in found or dim <= found[cell].shape[1] for cell in pair.cells(False))

    missing = [pair for pair in missing if fits(pair)]  # the cells of the variant say why

    def side(name: str, cells: Sequence[Cell]) -> dict[int, np.ndarray]:
        found = embedded[name]
        for cell in cells:
            if cell in found.failures:
                raise InputError(f"{name}: {found.failures[cell]}")
            try:
                check_finite(found.vectors[cell], texts.scored)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
        stored = models[name][1]
        return {layer: stored.apply(found.vectors[layer, pool], texts.calibration)[rows] for layer, pool in cells}

    def send(pair: similarities.Pair) -> Any:
        try:
            return pair, side(pair.a, pair.cells(True)), side(pair.b, pair.cells(False))
        except InputError as error:
            return pair, error.message, None
        except CELL_ERRORS as error:  # a variant that cannot be made
            return pair, reason(error), None

    def work(sent: Any) -> tuple[pd.DataFrame, bool]:
        pair, first, second = sent
        try:
            if isinstance(first, str):  # why there are no vectors
                raise InputError(first)
            return similarities.pair_table(pair, first, second, clusters, len(texts.geometry), seed), True
        except CELL_ERRORS as error:
            failed = failed_row("similarity", reason(error))
            return failed.assign(a=pair.a, b=pair.b, level="checkpoint", pooling=pair.pooling), False

    for pair, (rows_of_pair, whole) in ranks.in_turns(missing, send, work):
        tables[pair] = rows_of_pair
        if whole and places and ranks.first:
            write_tables(places[pair], {"similarities": tables[pair]})
    frames = [tables[pair] for pair in pairs if pair in tables]
    return table(pd.concat(frames).assign(task=texts.task.name) if frames else [], SIMILARITY_COLUMNS)


def train_poolings(
    encoder: Encoder, task: Task, cells: Sequence[Cell], protocol: Protocol, seed: int, ranks: Ranks
) -> dict[Cell, list[trained_pooling.TrainedPooling]]:
    """Return what training finds for the cells whose pooling can be trained on the task, one of each seed.

    Ranks share the layers.
    """
    wanted = [cell for cell in cells if cell[1] in TRAINABLE]
    if not wanted or not protocol.train_poolings or trained_pooling.why_untrainable(task):
        return {}

    def train() -> dict[Cell, list[trained_pooling.TrainedPooling]]:
        return trained_pooling.train_poolers(
            encoder,
            task,
            sorted({pool for _, pool in wanted}),
            sorted({layer for layer, _ in wanted})[ranks.rank :: ranks.world],
            seeds=range(seed, seed + protocol.pooling_seeds),
            store=Store(),
        )

    shares = ranks.exchange(ranks.agreed(train))
    found = {cell: poolings for share in shares for cell, poolings in share.items()}
    return {cell: found[cell] for cell in wanted}


def learned_tables(trained: Sequence[trained_pooling.TrainedPooling]) -> Tables:
    """Return what a pooling learned: its loss beside that of mean pooling, and its weights by position or token."""
    first = trained[0]
    losses = [each.loss for each in trained]
    shared = ", which share sentences" if any(each.cut for each in trained) else ""
    note = f"{first.n_train} rows fitted, {first.n_slice} rows to stop by{shared}; best epoch "
    note += ", ".join(f"{each.epochs} (seed {each.pooler.seed}: {each.loss:.4f})" for each in trained)
    row = {"metric": "trained_pooling_loss", "n": first.n_slice, "note": note}
    rows = [
        row | {"value": float(np.mean(losses))},
        row | {"value": float(np.mean([each.loss_mean for each in trained])), "control": "mean"},
    ]
    by_position = first.pooler.name == "weighted"
    weights = first.learned
    curve = pd.DataFrame(
        {
            "curve": "pooling_position_weight" if by_position else "pooling_token_weight",
            "x": weights["key"].astype(float) if by_position else np.arange(1.0, len(weights) + 1),
            "y": weights["weight"].astype(float),
            "label": None if by_position else weights["key"],
        }
    )
    return {"results": pd.DataFrame(rows), "curves": curve}


def joined(tables: Tables, more: Tables) -> Tables:
    """Return the tables with further rows."""
    return tables | {
        kind: table(pd.concat([tables[kind], table(frame, CELL_COLUMNS[kind])]), CELL_COLUMNS[kind])
        for kind, frame in more.items()
    }


def measure_cell(texts: TaskTexts, vectors: np.ndarray, seed: int) -> tuple[Tables, bool]:
    """Return the tables of one cell from the vectors of all texts, and whether nothing in it failed."""
    task, rows = texts.task, texts.task.geometry_rows
    try:
        check_finite(vectors, texts.scored)
    except CELL_ERRORS as error:
        return failed_cell("embedding", reason(error))
    tables: dict[str, list[pd.DataFrame]] = {kind: [] for kind in CELL_COLUMNS}
    whole = True

    def attempt(stage: str, part: Callable[[], dict[str, pd.DataFrame]]) -> None:
        nonlocal whole
        try:
            found = part()
        except CELL_ERRORS as error:
            found, whole = failed_cell(stage, reason(error))
        for kind, frame in found.items():
            tables[kind].append(frame)

    def geometry() -> dict[str, pd.DataFrame]:
        Z = vectors[texts.geometry]
        if len(Z) < 2:
            return {"results": metrics.unmeasured(*Z.shape, labels=rows.labels, positives=rows.positives)}
        found, influences = inference.measure(
            Z, labels=rows.labels, positives=rows.positives, clusters=rows.clusters, seed=seed
        )
        return {
            "results": found,
            "curves": metrics.curves(Z, seed=seed),
            "influences": inference.influence_table(found, influences),
        }

    def probing() -> dict[str, pd.DataFrame]:
        check_finite(vectors, texts.fitted)
        train = None if texts.train is None else pair_vectors(vectors, texts.train)
        found = probes.run_probes(task, train, pair_vectors(vectors, texts.validation), seed=seed)
        examples = pd.DataFrame(found.examples)
        if len(examples):  # paired tests need to know which rows share a sentence
            clusters = dict(zip(task.validation.row_ids, sentence_groups(task.validation), strict=True))
            examples["cluster"] = examples["row_id"].map(clusters).fillna(examples["cluster"])
        return {
            "results": pd.DataFrame(found.rows),
            "examples": examples,
            "influences": pd.DataFrame(found.influences),
        }

    attempt("geometry", geometry)
    attempt("sample size", lambda: size_tables(vectors[texts.geometry], texts.matched, seed))
    attempt("probes", probing)
    return {kind: table(pd.concat(found) if found else [], CELL_COLUMNS[kind]) for kind, found in tables.items()}, whole


def size_tables(vectors: np.ndarray, matched: int | None, seed: int) -> dict[str, pd.DataFrame]:
    """Return how ranks grow with the number of rows, as curves, and their values at the rows of the smallest task."""
    n = len(vectors)
    if min(n, matched or n) < 2:
        note = too_few(n, 2) if n < 2 else "1 row of the smallest task; at least 2 are needed"
        few = {"definition": "standard", "view": "raw", "n": min(n, matched or n), "d": vectors.shape[1]}
        few |= {"status": TooFewRows.status, "note": note}
        names = sample_size.MATCHED if matched else ()
        none = {"results": pd.DataFrame([{"metric": f"{name}_n_matched"} | few for name in names])}
        return none if n < 2 else none | {"curves": size_tables(vectors, None, seed)["curves"]}
    sizes = {int(size) for size in np.geomspace(max(2, n // 32), n, 5).round()} | ({matched} if matched else set())
    curve = sample_size.rarefaction(vectors, sizes=sorted(sizes), draws=SIZE_DRAWS, seed=seed)
    at = curve[curve["n"] == matched] if matched else curve.head(0)
    rows = [
        {
            "metric": f"{row.metric}_n_matched",
            "definition": "standard",
            "view": row.view,
            "value": row.value,
            "n": row.n,
            "d": vectors.shape[1],
            "ci_method": "no valid interval: a mean over subsamples of the same rows",
            "note": "all rows" if row.draws == 1 else f"mean over {row.draws} draws from {n:,} rows, sd {row.sd:.3g}",
        }
        for row in at.itertuples()
    ]
    if matched and matched < 3:  # which have one eigenvalue
        few = {"definition": "standard", "view": "raw", "n": matched, "d": vectors.shape[1]}
        few |= {"status": TooFewRows.status, "note": too_few(matched, 3)}
        without = [name for name in sample_size.MATCHED if name not in set(at["metric"])]
        rows += [{"metric": f"{name}_n_matched"} | few for name in without]
    drawn = curve[curve["metric"].isin(RAREFIED)]
    spread = drawn["sd"].astype(float).fillna(0.0)
    bands = [("", 0.0 * spread), ("_low", -spread), ("_high", spread)]
    curves = [
        pd.DataFrame(
            {
                "view": drawn["view"],
                "curve": "rarefaction_" + drawn["metric"] + end,
                "x": drawn["n"].astype(float),
                "y": drawn["value"] + off,
            }
        )
        for end, off in bands
    ]
    return {"results": pd.DataFrame(rows), "curves": pd.concat(curves, ignore_index=True)}


def published_cell(
    encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, analysis: PublishedAnalysis, seed: int
) -> tuple[Tables, bool]:
    """Return the tables of one cell by a published analysis, and whether nothing in it failed."""
    try:
        check_finite(vectors, [*texts.scored, *texts.fitted])
        measured = analysis.measure(encoder, texts, vectors, seed)
    except CELL_ERRORS as error:
        return failed_cell("published analysis", reason(error))
    return {kind: measured.get(kind, table([], columns)) for kind, columns in CELL_COLUMNS.items()}, True


def pair_vectors(vectors: np.ndarray, sides: tuple[np.ndarray, np.ndarray | None]) -> probes.PairVectors:
    """Return the vectors of a split's rows."""
    first, second = sides
    return probes.PairVectors(vectors[first], None if second is None else vectors[second])


def failed_cell(stage: str, note: str) -> tuple[Tables, bool]:
    """Return the table that stands for a stage that failed, and that it failed."""
    return {"results": failed_row(stage, note)}, False


def stamp(tables: Tables, model_hash: str, task: Task, layer: int, pool: str, protocol: Protocol, seed: int) -> Tables:
    """Return the tables with the columns that say which cell their rows belong to."""
    where: dict[str, Any] = {"task": task.name, "layer": layer, "pooling": pool}
    full = where | {
        "model_hash": model_hash,
        "task_hash": task.fingerprint,
        "split": "validation",
        "protocol": protocol.name,
    }
    stamped = {}
    for kind, columns in CELL_COLUMNS.items():
        frame = tables.get(kind, table([], columns)).assign(**(full if kind == "results" else where))
        if kind == "results" and len(frame):
            frame = frame.assign(
                seed=frame["seed"].fillna(seed) if "seed" in frame else seed,
                status=frame["status"].fillna("ok"),
                note=frame["note"].fillna("") if "note" in frame else "",
            )
        stamped[kind] = table(frame, columns)
    return stamped


def cell_key(encoder: Encoder, texts: TaskTexts, layer: int, pool: str, protocol: Protocol, seed: int) -> str:
    """Return the content key of a cell: equal for equal weights, texts and choices, whatever the files are called."""
    prompts = (encoder.prompt_under(pool), encoder.query_prompt)
    own = [repr(prompts)] if any(each is not None and each != "" for each in prompts) or pool == "model" else []
    if pool == "model" and encoder.head is not None:
        own.append(encoder.head.fingerprint)
    return hash_bytes(
        geomprobe.__version__,
        CELLS,
        encoder.hash,
        str(encoder.dtype),
        str((encoder.max_length, encoder.lower_case, encoder.unmasked_length)),
        texts.task.fingerprint,
        str(texts.matched),
        str(layer),
        pool,
        trained_pooling.VERSION if pool in TRAINABLE else "",
        repr(protocol),
        str(seed),
        *own,
    )


def check_request(
    tasks: Sequence[str | Task],
    poolings: Sequence[str] | None = None,
    baselines: Sequence[str] = (),
    limit: int | None = None,
    device: str = "auto",
) -> None:
    """Raise UsageError for names and numbers that no analysis can be made of; nothing is read or computed."""
    for name in poolings or ():
        if name not in POOLINGS:
            raise unknown_name("pooling", name, list(POOLINGS))
    for name in baselines:
        if name not in BASELINES:
            raise unknown_name("baseline", name, list(BASELINES))
    names = [task for task in tasks if isinstance(task, str)]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"A task is given twice: {repeated}.")
    for name in names:
        stem, colon, size = name.partition(":")
        if is_file_task(name):
            continue
        if stem not in task_names() or (colon and stem in GLUE):
            raise unknown_name("task", name, task_names())
        if colon and size not in SIZES:
            raise unknown_name(f"size of {stem}", size, list(SIZES))
    if limit is not None and limit < 2:
        raise UsageError("--limit must be at least 2.", "Geometry needs two rows.")
    find_device(device)


def configured(encoder: Encoder, protocol: Protocol) -> Encoder:
    """Return the encoder with the length and the padding of a protocol; no longer than the encoder can take."""
    if protocol.max_length is not None:
        encoder = limited(encoder, min(protocol.max_length, encoder.max_length))
    if protocol.padding == "visible" and not isinstance(encoder.model, WordTable):  # which sees no neighbours
        encoder = replace(encoder, unmasked_length=encoder.max_length)
    return encoder


def query_seed(encoder: Encoder, protocol: Protocol, seed: int) -> int:
    """Return the seed of an untrained attention pooling: that of the run, or one for these weights."""
    return seed if protocol.query == "shared" else seed + int(encoder.hash[:12], 16)


def prepare(task: Task, protocol: Protocol, limit: int | None, seed: int) -> Task:
    """Return the task as it is analysed: at most `limit` rows a split, at most `max_train_rows` to fit probes on."""
    if protocol.published:
        task = protocol.published.prepare(task, protocol.train_poolings)
    if limit is not None:
        task = replace(
            task,
            train=task.train and task.train.take(np.arange(min(limit, len(task.train)))),
            validation=task.validation.take(np.arange(min(limit, len(task.validation)))),
        )
    if protocol.rows is not None:
        task = replace(task, validation=task.validation.take(np.arange(min(protocol.rows, len(task.validation)))))
    if protocol.pairs == "joined":
        task = joined_pairs(task)
    if task.train is not None:
        task = replace(task, train=probes.cap_train(task.train, max_rows=protocol.max_train_rows, seed=seed))
    return task


def baseline_encoders(
    encoders: Sequence[Encoder], names: Sequence[str], tasks: Sequence[Task], seed: int
) -> list[tuple[str, Encoder]]:
    """Return the baselines of the encoders; encoders of one architecture or width share theirs."""
    splits = [task.train or task.validation for task in tasks]
    texts = [text for split in splits for text in (*split.first, *(split.second or ()))]
    made: dict[str, tuple[str, Encoder]] = {}
    for name, encoder in product(dict.fromkeys(names), encoders):
        found = make_baseline(name, encoder, texts, seed=seed)
        made.setdefault(found.hash, (name, found))
    return list(made.values())


def unique_names(encoders: Sequence[Encoder]) -> dict[int, str]:
    """Return a name for each encoder (by id).

    Folders of one name, such as those of seeds, are called by the folder above too; what still coincides is numbered.
    """
    short = [encoder.name for encoder in encoders]
    names: dict[int, str] = {}
    for encoder in encoders:
        above = Path(str(encoder.source)).parent.name if short.count(encoder.name) > 1 else ""
        full = f"{above}/{encoder.name}" if above else encoder.name
        name, number = full, 2
        while name in names.values():
            name, number = f"{full} ({number})", number + 1
        names[id(encoder)] = name
    return names


def pooling_entry(name: str, tasks: Sequence[Task], protocol: Protocol, seed: int) -> dict[str, Any]:
    """Return what run.json says of a pooling; `trained` is None for one without parameters."""
    pooler = make_pooler(name, 1, seed=seed)
    if name not in TRAINABLE or not protocol.train_poolings:
        drawn = name == "attention" and protocol.query == "per-model"
        note = "untrained pooling, a query drawn for each model" if drawn else pooler.note
        return {"name": name, "trained": pooler.trained, "note": note, "untrained_on": {}}
    reasons = {task.name: trained_pooling.why_untrainable(task) for task in tasks}
    untrained = {task: reason for task, reason in reasons.items() if reason}
    trained = len(untrained) < len(reasons)
    note = Pooler(name, None, trained, seed).note
    return {"name": name, "trained": trained, "note": note, "untrained_on": untrained}


def model_entry(
    encoder: Encoder,
    name: str,
    poolings: Sequence[str],
    run: dict[str, Any] | None,
    log: Sequence[dict[str, Any]],
    data_dir: str | Path | None,
) -> dict[str, Any]:
    """Return what run.json says of a model; of its training, what the log shows to have happened."""
    entry = encoder.describe() | {"name": name, "objective": None, "training": None}
    entry["notes"] += own_pooling.model_notes(encoder, poolings)
    entry.pop("path")
    if Path(encoder.source).exists():
        entry["source"] = provenance.public_path(encoder.source, data_dir)
    if run is not None:
        last = log[-1] if log else {}
        entry["training"] = {"steps": last.get("step"), "tokens": last.get("tokens"), "flops": last.get("flops")}
        entry["training"] |= {"seed": run.get("seed"), "finished": run.get("finished")}
        entry["training"] |= {f"corpus_{key}": run["corpus"].get(key) for key in ("fingerprint", "unigram_entropy")}
        entry["objective"] = run["config"].get("objective")
        try:
            check_run({"models": [entry]})
        except InputError:  # the folder is of another program, or damaged; its weights are measured all the same
            entry |= {"objective": None, "training": None}
            entry["notes"] = [*entry["notes"], "what its run.json and log say of its training is not understood"]
        if not run.get("finished"):
            entry["notes"] = [*entry["notes"], "training had not finished"]
    return entry


def task_entry(texts: TaskTexts, truncated: dict[str, int]) -> dict[str, Any]:
    """Return what run.json says of a task."""
    task = texts.task
    return {
        "name": task.name,
        "source": task.source,
        "revision": task.revision,
        "fingerprint": task.fingerprint,
        "rows": len(task.validation),
        "train_rows": 0 if task.train is None else len(task.train),
        "geometry_rows": len(task.geometry_rows.texts),
        "row_ids_hash": task.geometry_rows.fingerprint,
        "truncated": truncated,
        "notes": [*task.notes, *texts.notes],
    }
