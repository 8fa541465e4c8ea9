"""Texts to vectors: one forward pass gives every layer under every pooling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from geomprobe.common import InputError, hash_bytes, refuse_beyond_memory, unknown_name
from geomprobe.common.progress import Progress, shown
from geomprobe.distributed import ALONE, Processes
from geomprobe.embedding.layers import Cell, layer_widths, make_cells
from geomprobe.embedding.pooling import Pooler, pool
from geomprobe.embedding.store import Store
from geomprobe.embedding.tokens import TokenRows, limited, row_groups, tokenize
from geomprobe.embedding.windows import LONG
from geomprobe.encoders import Encoder, load_encoder
from geomprobe.encoders.prompts import with_prompts


@dataclass
class EmbeddingGrid:
    """Vectors of the same texts for several layers and poolings.

    Attributes
    ----------
    vectors : dict of (layer, pooling) to ndarray of shape (n_texts, dim), float32
        Rows in the order of the texts. Read-only and memory-mapped where they come from a store. Of several processes
        the first alone has them.
    n_truncated : int
        How many of the unique texts are longer than max_length: they were cut, or, by an encoder that asks for it,
        divided into windows.
    n_tokens : int
        Tokens encoded, special tokens included, padding not.
    reused : int
        How many cells came from the store.
    """

    vectors: dict[Cell, np.ndarray]
    n_truncated: int
    n_tokens: int
    reused: int = 0


def embed_grid(
    encoder: Encoder,
    texts: Sequence[str],
    poolings: Sequence[str] = ("mean",),
    layers: Sequence[int] = (-1,),
    *,
    max_length: int | None = None,
    poolers: Mapping[Cell, Pooler] | None = None,
    seed: int = 0,
    store: Store | None = None,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> EmbeddingGrid:
    """Embed texts once, for every layer and pooling.

    Every choice of an embedding is an argument here, so that one pass serves them all.

    Parameters
    ----------
    encoder : Encoder
    texts : sequence of str, length n_texts
        Repeated texts are encoded once. An empty string is a text like any other.
    poolings : sequence of str
        Names of `geomprobe.embedding.pooling.POOLINGS`.
    layers : sequence of int
        0 (embedding output) to n_layers (last, after the final norm); negative numbers count from the last.
    max_length : int, optional
        Tokens per text; longer texts are cut and counted. Default: the encoder's limit.
    poolers : mapping of (layer, pooling) to Pooler, optional
        Trained poolings; the others are at initialisation.
    seed : int
        Draws the attention pooling at initialisation.
    store : Store, optional
        Where vectors are kept on disk and found again; that of rank 0 counts.
    processes : Processes
        Processes that share the batches. All of them call this with the same arguments.
    progress : callable, optional
        ``progress(done, total)`` in unique texts.

    Returns
    -------
    EmbeddingGrid

    Notes
    -----
    It has many arguments, for it is the public way to vectors; the first two are enough.

    Poolings are computed in float32 whatever the precision of the forward pass. A text's vector does not depend on
    the other texts but for rounding (about 1e-6 relative in float32), for the batch that it falls into does.
    """
    grids = []
    for one, names in by_prompt(encoder, poolings):
        if store is not None:
            _ = one.hash  # once, and not again for every shorter copy
        short = limited(one, max_length)
        rows = tokenize(short, texts, divide=True)
        cells = processes.agreed(partial(make_cells, short, names, layers, poolers=poolers, seed=seed))
        grids.append(_embed_rows(rows, cells, store, processes, progress))
    return merged(grids)


def _embed_rows(
    rows: TokenRows, cells: dict[Cell, Pooler], store: Store | None, processes: Processes, progress: Progress | None
) -> EmbeddingGrid:
    """Vectors of all texts: those that are stored, and a forward pass for the others."""
    encoder = rows.encoder
    keys: dict[Cell, str] = {}
    if store is not None:
        texts, limits = hash_bytes(*rows.texts), f"{encoder.max_length} {encoder.unmasked_length} {encoder.lower_case}"
        limits += " chunk" if encoder.long == "chunk" else ""
        made_by = (encoder.hash, str(encoder.dtype), limits, texts)
        keys = {cell: store.key(*made_by, str(cell[0]), pooler.fingerprint) for cell, pooler in cells.items()}
    vectors: dict[Cell, np.ndarray] = {}
    if store is not None and processes.first:
        vectors = {cell: stored[0] for cell, key in keys.items() if (stored := store.get(key))}
    reused = processes.broadcast(set(vectors))
    missing = {cell: pooler for cell, pooler in cells.items() if cell not in reused}
    if missing:
        vectors |= _compute(rows, missing, store, keys, processes, progress)
    elif progress is not None:
        progress(len(rows.ids), len(rows.ids))
    repeated = len(rows.texts) < len(rows.inverse)
    return EmbeddingGrid(
        {cell: vectors[cell][rows.inverse] if repeated else vectors[cell] for cell in cells if cell in vectors},
        int(rows.cut.sum()),
        int(rows.lengths.sum()),
        len(reused),
    )


def by_prompt(encoder: Encoder, poolings: Sequence[str]) -> list[tuple[Encoder, list[str]]]:
    """Encoder with each prompt that the poolings need, and the poolings under it.

    The model's own pooling has the model's default prompt; the others have none unless one is given.
    """
    poolings_under: dict[str, list[str]] = {}
    for name in dict.fromkeys(poolings):
        poolings_under.setdefault(encoder.prompt_under(name), []).append(name)
    return [
        (encoder if prompt == (encoder.prompt or "") else encoder.with_prompt(prompt, encoder.query_prompt), names)
        for prompt, names in poolings_under.items()
    ]


def count_cut(encoder: Encoder, texts: Sequence[str], poolings: Sequence[str]) -> int:
    """How many of the unique texts are longer than the encoder reads; the most under any of the prompts."""
    return max(int(tokenize(one, texts).cut.sum()) for one, _ in by_prompt(encoder, poolings))


def merged(grids: Sequence[EmbeddingGrid]) -> EmbeddingGrid:
    """Cells of grids of the same texts in one grid; tokens and cut texts are those of the longest texts."""
    longest = max(grids, key=lambda grid: grid.n_tokens)
    return replace(
        longest,
        vectors={cell: vectors for grid in grids for cell, vectors in grid.vectors.items()},
        n_truncated=max(grid.n_truncated for grid in grids),
        reused=sum(grid.reused for grid in grids),
    )


def stream(
    rows: TokenRows, cells: Mapping[Cell, Pooler], groups: Sequence[np.ndarray], progress: Progress | None = None
) -> Iterator[tuple[np.ndarray, dict[Cell, np.ndarray]]]:
    """Yield blocks of vectors of unique texts, or of their windows, a block for each group.

    Parameters
    ----------
    rows : TokenRows
    cells : mapping of (layer, pooling) to Pooler
        Layers between 0 and n_layers.
    groups : sequence of int ndarray
        Indices among the unique texts, a batch each: those of `row_groups`, or a rank's share of them.
    progress : callable, optional
        Called with (texts done, texts in these groups) after each block.

    Yields
    ------
    (unique_rows, block)
        Indices among the unique texts, (b,) int64, and per cell an array of shape (b, dim), float32.
    """
    by_layer: dict[int, list[Cell]] = {}
    for cell in cells:
        by_layer.setdefault(cell[0], []).append(cell)
    done, total = 0, sum(map(len, groups))
    with rows.encoder.evaluating():
        for group in groups:
            states, mask = rows.encoder.states([rows.ids[i] for i in group])
            block: dict[Cell, np.ndarray] = {}
            with torch.inference_mode():
                for layer, there in by_layer.items():
                    pooled = pool(states[layer], mask, [cells[cell] for cell in there])
                    block |= {cell: vectors.cpu().numpy() for cell, vectors in zip(there, pooled, strict=True)}
            del states
            yield group, block
            done += len(group)
            if progress is not None:
                progress(done, total)


def _compute(
    rows: TokenRows,
    cells: Mapping[Cell, Pooler],
    store: Store | None,
    keys: Mapping[Cell, str],
    processes: Processes,
    progress: Progress | None,
) -> dict[Cell, np.ndarray]:
    """Vectors of the unique texts, kept in the store where there is one, on rank 0; nothing elsewhere."""
    encoder, n, groups = rows.encoder, len(rows.texts), row_groups(rows)
    arrays: dict[Cell, np.ndarray] = {}
    with ExitStack() as stack:

        def reserve() -> None:
            widths = layer_widths(encoder)
            shapes = {cell: (n, pooler.width(widths[cell[0]])) for cell, pooler in cells.items() if processes.first}
            if store is None:
                needed = sum(4 * rows * width for rows, width in shapes.values())
                what = f"The vectors of {n:,} texts under {len(shapes):,} layers and poolings"
                refuse_beyond_memory(needed, what, "Take fewer texts (--limit), layers or poolings.")
            for cell, shape in shapes.items():
                pooler = cells[cell]
                if store is None:
                    arrays[cell] = np.empty(shape, np.float32)
                else:
                    meta = {"model": encoder.name, "model_hash": encoder.hash, "layer": cell[0], "pooling": pooler.name}
                    arrays[cell] = stack.enter_context(store.writing(keys[cell], shape, meta))
                if rows.text is not None:  # the windows of a text are added up
                    arrays[cell][:] = 0

        def take(part: tuple[np.ndarray, dict[Cell, np.ndarray]]) -> None:
            group, block = part
            for cell, vectors in block.items():
                if rows.text is None or rows.share is None:
                    arrays[cell][group] = vectors
                else:
                    np.add.at(arrays[cell], rows.text[group], vectors * rows.share[group, None])

        processes.agreed(reserve)
        share = groups[processes.rank :: processes.world]
        parts = stream(rows, cells, share, progress)
        processes.collect(parts, -(-len(groups) // processes.world), take)
    if store is not None:
        for cell in arrays:
            stored = store.get(keys[cell])
            if stored is None:
                raise InputError(f"{store.folder} lost vectors while they were written.", "Repeat the command.")
            arrays[cell] = stored[0]
    return arrays


def embed(
    encoder: Encoder | object,
    texts: Sequence[str],
    *,
    pooling: str = "mean",
    layer: int = -1,
    max_length: int | None = None,
    prompt: str | None = None,
    long: str = "cut",
    progress: Progress | str | None = "auto",
) -> np.ndarray:
    """One vector per text.

    Parameters
    ----------
    encoder : Encoder, or anything that `load_encoder` opens
    texts : sequence of str, length n_texts
    pooling : str
        One of `geomprobe.embedding.pooling.POOLINGS`; "model" gives what the model's own `encode` gives.
    layer : int
        0 (embedding output) to n_layers; -1 is the last.
    max_length : int, optional
        Tokens per text.
    long : {"cut", "chunk"}
        Whether longer texts are cut, or divided into windows of that length. The vector of a text is then the mean of
        its windows' vectors, weighted by the tokens of text in each; each window has the special tokens and the prompt.
    prompt : str, optional
        Name of one of the model's prompts, or what is put before each text. Default: the model's default prompt under
        "model", none under other poolings.
    progress : "auto", None, or callable (done, total)
        In unique texts, or their windows. "auto" shows a bar in a notebook or on a terminal, after a second; elsewhere
        nothing is shown.

    Returns
    -------
    ndarray of shape (n_texts, dim), float32

    Raises
    ------
    InputError
        "model" of a sentence-transformers model with a module that cannot be applied.

    Examples
    --------
    >>> import geomprobe as gp
    >>> Z = gp.embed("my-encoder", ["the cat sat on the mat", "a dog saw a bird"], pooling="max")
    >>> Z.shape, Z.dtype
    ((2, 16), dtype('float32'))
    """
    if long not in LONG:
        raise unknown_name("way with long texts", long, list(LONG))
    opened = replace(encoder if isinstance(encoder, Encoder) else load_encoder(encoder), long=long)
    if prompt is not None:
        (opened,) = with_prompts([opened], prompt)
    with shown(progress, "embedding") as show:
        grid = embed_grid(opened, texts, [pooling], [layer], max_length=max_length, progress=show)
    return next(iter(grid.vectors.values()))
