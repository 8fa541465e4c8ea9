"""Texts to vectors: one forward pass gives every layer under every pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from geomprobe.common import InputError, UsageError, hash_bytes, refuse_beyond_memory
from geomprobe.distributed import ALONE, Ranks
from geomprobe.embedding.pooling import Pooler, make_pooler, pool
from geomprobe.embedding.store import Store
from geomprobe.encoders import Encoder, load_encoder
from geomprobe.encoders.prompts import with_prompts
from geomprobe.encoders.sentence_transformers import MEASURE

if TYPE_CHECKING:
    from geomprobe.vectors.moments import Moments

Cell = tuple[int, str]  # layer, pooling
OTHERS = "Other poolings (--pool mean) measure the token states of its transformer."
Progress = Callable[[int, int], None]

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}  # padded tokens per batch; others take OTHER_BATCH_TOKENS
OTHER_BATCH_TOKENS = 16384


@dataclass
class EmbeddingGrid:
    """Vectors of the same texts for several layers and poolings.

    Attributes
    ----------
    vectors : dict of (layer, pooling) to ndarray of shape (n_texts, dim), float32
        Rows in the order of the texts. Read-only and memory-mapped where they come from a store. Of several ranks the
        first alone has them.
    n_texts, n_unique : int
        Each different text is encoded once.
    n_truncated : int
        How many of the unique texts were cut to max_length.
    n_tokens : int
        Tokens encoded, special tokens included, padding not.
    max_length : int
    poolers : dict of (layer, pooling) to Pooler
    reused : int
        How many cells came from the store.
    """

    vectors: dict[Cell, np.ndarray]
    n_texts: int
    n_unique: int
    n_truncated: int
    n_tokens: int
    max_length: int
    poolers: dict[Cell, Pooler] = field(default_factory=dict)
    reused: int = 0


@dataclass(frozen=True)
class TokenRows:
    """Token ids of unique texts, cut to the encoder's length, and the way back to the texts as given."""

    ids: list[np.ndarray]
    cut: np.ndarray
    inverse: np.ndarray
    texts: list[str]

    @property
    def n_tokens(self) -> int:
        """Tokens in all unique texts."""
        return sum(map(len, self.ids))


def unique_texts(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the different texts in order of first appearance, and for each given text its index among them."""
    index: dict[str, int] = {}
    inverse = np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int64, len(texts))
    return list(index), inverse


def tokenize(encoder: Encoder, texts: Sequence[str], max_length: int | None = None) -> TokenRows:
    """Return the token rows of the unique texts.

    Raises
    ------
    InputError
        No texts, or one that is not a string.
    UsageError
        A max_length that the encoder cannot take.
    """
    if isinstance(texts, str):
        raise UsageError("texts is one string; give a list of strings.")
    if len(texts) == 0:
        raise InputError("There are no texts to embed.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {row} is {type(text).__name__}, not a string.", "Leave out or fill empty cells.")
    different, inverse = unique_texts(texts)
    ids, cut = limited(encoder, max_length).tokenize(different)
    return TokenRows(ids, cut, inverse, different)


def limited(encoder: Encoder, max_length: int | None) -> Encoder:
    """Return the encoder, with a shorter limit where one is asked for."""
    if max_length is None or max_length == encoder.max_length:
        return encoder
    if not 1 <= max_length <= encoder.max_length:
        raise UsageError(f"max_length {max_length} is not between 1 and the {encoder.max_length} of {encoder.name}.")
    return replace(encoder, max_length=max_length)


def token_budget(encoder: Encoder) -> int:
    """Return how many tokens a batch may hold on the encoder's device."""
    return BATCH_TOKENS.get(encoder.device.type, OTHER_BATCH_TOKENS)


def batches(lengths: np.ndarray, budget: int, *, equal: bool = False) -> list[np.ndarray]:
    """Return rows grouped by length, longest first, each group with at most ``budget`` tokens after padding.

    Parameters
    ----------
    lengths : int ndarray of shape (n_rows,)
    budget : int
        Rows times the longest length; a row longer than it is a group of its own.
    equal : bool
        Put only rows of the same length together, for models that padding disturbs.
    """
    order = np.argsort(-lengths, kind="stable")
    groups: list[np.ndarray] = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        stop = min(len(order), start + max(1, budget // max(longest, 1)))
        if equal:
            stop = min(stop, start + int(np.sum(lengths[order[start:stop]] == longest)))
        groups.append(order[start:stop])
        start = stop
    return groups


def resolve_layers(encoder: Encoder, layers: Sequence[int]) -> list[int]:
    """Return layer numbers between 0 and n_layers, without repeats; negative ones count from the last.

    Raises
    ------
    UsageError
        For a layer that the encoder does not have.
    """
    found = []
    for layer in layers:
        number = layer + encoder.n_layers + 1 if layer < 0 else layer
        if not 0 <= number <= encoder.n_layers:
            raise UsageError(
                f"{encoder.name} has no layer {layer}.",
                f"Layers are 0 (embedding output) to {encoder.n_layers}; -1 is the last.",
            )
        found.append(number)
    return list(dict.fromkeys(found))


def row_groups(encoder: Encoder, rows: TokenRows) -> list[np.ndarray]:
    """Return the batches that the unique texts are encoded in, longest texts first; they depend on no rank."""
    lengths = np.array([len(row) for row in rows.ids])
    return batches(lengths, token_budget(encoder), equal=not encoder.padding_safe)


def stream(
    encoder: Encoder,
    rows: TokenRows,
    cells: Mapping[Cell, Pooler],
    groups: Sequence[np.ndarray],
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[np.ndarray, dict[Cell, np.ndarray]]]:
    """Yield blocks of vectors of unique texts, a block for each group.

    Parameters
    ----------
    encoder : Encoder
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
    by_layer: dict[int, list[str]] = {}
    for layer, name in cells:
        by_layer.setdefault(layer, []).append(name)
    done, total = 0, sum(map(len, groups))
    with encoder.evaluating():
        for group in groups:
            states, mask = encoder.states([rows.ids[i] for i in group])
            block: dict[Cell, np.ndarray] = {}
            with torch.inference_mode():
                for layer, names in by_layer.items():
                    pooled = pool(states[layer], mask, [cells[layer, name] for name in names])
                    for name, vectors in zip(names, pooled, strict=True):
                        block[layer, name] = vectors.cpu().numpy()
            del states
            yield group, block
            done += len(group)
            if progress is not None:
                progress(done, total)


def make_cells(
    encoder: Encoder,
    poolings: Sequence[str],
    layers: Sequence[int],
    *,
    poolers: Mapping[Cell, Pooler] | None = None,
    seed: int = 0,
) -> dict[Cell, Pooler]:
    """Return the pooling of every (layer, pooling): the given one, else one at initialisation.

    Parameters
    ----------
    poolers : mapping of (layer, pooling) to Pooler, optional
        Trained poolings.
    seed : int
        Draws the attention pooling at initialisation.
    """
    widths = layer_widths(encoder)
    cells = {}
    wanted = resolve_layers(encoder, layers)
    for layer, name in product(wanted, dict.fromkeys(poolings)):
        if has_cell(encoder, layer, name):
            given = (poolers or {}).get((layer, name))
            cells[layer, name] = given or make_pooler(name, widths[layer], seed=seed)
        elif encoder.n_layers not in wanted:
            raise UsageError(
                f"The pooling 'model' belongs to the last layer; layer {layer} of {encoder.name} has none.",
                "Add the last layer (-1), or take another pooling.",
            )
    own = (encoder.n_layers, "model")
    if own in cells:
        cells[own] = own_pooler(encoder)
    return cells


def has_cell(encoder: Encoder, layer: int, pooling: str) -> bool:
    """Return whether a pooling exists at a layer (0 to n_layers): the model's own one does at the last layer only."""
    return pooling != "model" or layer == encoder.n_layers


def own_pooler(encoder: Encoder) -> Pooler:
    """Return the pooling of the model's own `encode`, for the prompt that the encoder puts before each text.

    Raises
    ------
    InputError
        It has a module that cannot be applied.
    """
    if encoder.refusal:
        reason = f"{encoder.name}: pooling 'model' cannot be applied: {encoder.refusal}."
        raise InputError(reason, f"{MEASURE}\n{OTHERS}")
    head = encoder.head
    if head is None:
        return Pooler("model")
    skip = 0 if head.include_prompt else encoder.prompt_length(encoder.prompt_under("model"))
    return Pooler("model", head=None if head.plain and not skip else head, skip=skip)


def by_prompt(encoder: Encoder, poolings: Sequence[str]) -> list[tuple[Encoder, list[str]]]:
    """Return the encoder with each prompt that the poolings need, and the poolings under it.

    The model's own pooling has the model's default prompt; the others have none unless one is given.
    """
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(poolings):
        found.setdefault(encoder.prompt_under(name), []).append(name)
    if list(found) == [encoder.prompt or ""]:
        return [(encoder, list(dict.fromkeys(poolings)))]
    return [
        (encoder if prompt == (encoder.prompt or "") else encoder.with_prompt(prompt, encoder.query_prompt), names)
        for prompt, names in found.items()
    ]


def count_cut(encoder: Encoder, texts: Sequence[str], poolings: Sequence[str]) -> int:
    """Return how many of the unique texts are cut to the encoder's length; the most under any of the prompts."""
    return max(int(tokenize(one, texts).cut.sum()) for one, _ in by_prompt(encoder, poolings))


def layer_widths(encoder: Encoder) -> list[int]:
    """Return the width of every layer's states; a few architectures have narrower embeddings."""
    with encoder.evaluating():
        states, _ = encoder.states([encoder.tokenize(["a"])[0][0]])
    return [int(layer.shape[-1]) for layer in states]


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
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> EmbeddingGrid:
    """Embed texts once, for every layer and pooling.

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
    ranks : Ranks
        Processes that share the batches. All of them call this with the same arguments.
    progress : callable, optional
        ``progress(done, total)`` in unique texts.

    Returns
    -------
    EmbeddingGrid

    Notes
    -----
    Poolings are computed in float32 whatever the precision of the forward pass. A text's vector does not depend on
    the other texts but for rounding (about 1e-6 relative in float32), for the batch that it falls into does.
    """
    if len(parts := by_prompt(encoder, poolings)) > 1 or parts[0][0] is not encoder:
        options = {"max_length": max_length, "poolers": poolers, "seed": seed, "store": store, "ranks": ranks}
        grids = [embed_grid(one, texts, names, layers, progress=progress, **options) for one, names in parts]  # type: ignore[arg-type]
        return merged(grids)
    if store is not None:
        _ = encoder.hash  # once, and not again for every shorter copy
    encoder = limited(encoder, max_length)
    rows = tokenize(encoder, texts)
    cells = ranks.agreed(lambda: make_cells(encoder, poolings, layers, poolers=poolers, seed=seed))
    keys: dict[Cell, str] = {}
    if store is not None:
        wanted = hash_bytes(*rows.texts)
        limits = f"{encoder.max_length} {encoder.unmasked_length} {encoder.lower_case}"
        made_by = (encoder.hash, str(encoder.dtype), limits)
        for cell, pooler in cells.items():
            keys[cell] = store.key(*made_by, wanted, str(cell[0]), pooler.fingerprint)
    found: dict[Cell, np.ndarray] = {}
    if store is not None and ranks.first:
        found = {cell: stored[0] for cell, key in keys.items() if (stored := store.get(key))}
    reused = ranks.broadcast(set(found))
    missing = {cell: pooler for cell, pooler in cells.items() if cell not in reused}
    if missing:
        found |= _compute(encoder, rows, missing, store, keys, ranks, progress)
    elif progress is not None:
        progress(len(rows.ids), len(rows.ids))
    repeated = len(rows.texts) < len(rows.inverse)
    return EmbeddingGrid(
        {cell: found[cell][rows.inverse] if repeated else found[cell] for cell in cells if cell in found},
        len(rows.inverse),
        len(rows.texts),
        int(rows.cut.sum()),
        rows.n_tokens,
        encoder.max_length,
        cells,
        len(reused),
    )


def merged(grids: Sequence[EmbeddingGrid]) -> EmbeddingGrid:
    """Return the cells of grids of the same texts in one grid; tokens and cut texts are those of the longest texts."""
    longest = max(grids, key=lambda grid: grid.n_tokens)
    return replace(
        longest,
        vectors={cell: vectors for grid in grids for cell, vectors in grid.vectors.items()},
        poolers={cell: pooler for grid in grids for cell, pooler in grid.poolers.items()},
        n_truncated=max(grid.n_truncated for grid in grids),
        reused=sum(grid.reused for grid in grids),
    )


def _compute(
    encoder: Encoder,
    rows: TokenRows,
    cells: Mapping[Cell, Pooler],
    store: Store | None,
    keys: Mapping[Cell, str],
    ranks: Ranks,
    progress: Progress | None,
) -> dict[Cell, np.ndarray]:
    """Return the vectors of the unique texts, kept in the store where there is one, on rank 0; nothing elsewhere."""
    n, groups = len(rows.ids), row_groups(encoder, rows)
    arrays: dict[Cell, np.ndarray] = {}
    with ExitStack() as stack:

        def reserve() -> None:
            widths = layer_widths(encoder)
            shapes = {cell: (n, pooler.width(widths[cell[0]])) for cell, pooler in cells.items() if ranks.first}
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

        def take(part: tuple[np.ndarray, dict[Cell, np.ndarray]]) -> None:
            group, block = part
            for cell, vectors in block.items():
                arrays[cell][group] = vectors

        ranks.agreed(reserve)
        share = groups[ranks.rank :: ranks.world]
        ranks.collect(stream(encoder, rows, cells, share, progress=progress), -(-len(groups) // ranks.world), take)
    if store is not None:
        for cell in arrays:
            stored = store.get(keys[cell])
            if stored is None:
                raise InputError(f"{store.folder} lost vectors while they were written.", "Repeat the command.")
            arrays[cell] = stored[0]
    return arrays


def embed_moments(
    encoder: Encoder,
    texts: Sequence[str],
    poolings: Sequence[str] = ("mean",),
    layers: Sequence[int] = (-1,),
    *,
    max_length: int | None = None,
    poolers: Mapping[Cell, Pooler] | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> dict[Cell, Moments]:
    """Return the mergeable state of the vectors of every layer and pooling, without keeping the vectors.

    Parameters as for `embed_grid`; a text that is given k times counts k times. Memory does not grow with the number
    of texts but for their token ids. Of several ranks each takes its share of the batches, and all return the states of
    all texts.
    """
    from geomprobe.vectors.moments import Moments

    if len(parts := by_prompt(encoder, poolings)) > 1 or parts[0][0] is not encoder:
        options = {"max_length": max_length, "poolers": poolers, "seed": seed, "ranks": ranks, "progress": progress}
        found = [embed_moments(one, texts, names, layers, **options) for one, names in parts]  # type: ignore[arg-type]
        return {cell: state for each in found for cell, state in each.items()}
    encoder = limited(encoder, max_length)
    rows = tokenize(encoder, texts)
    cells = make_cells(encoder, poolings, layers, poolers=poolers, seed=seed)
    counts = np.bincount(rows.inverse, minlength=len(rows.texts))
    # float64, for there are no rows to read again where float32 does not resolve the end of a spectrum
    states = {cell: Moments("float64") for cell in cells}

    def read() -> None:
        share = row_groups(encoder, rows)[ranks.rank :: ranks.world]
        for group, block in stream(encoder, rows, cells, share, progress=progress):
            for cell, vectors in block.items():
                states[cell].update(np.repeat(vectors, counts[group], axis=0))

    ranks.agreed(read)
    return {cell: ranks.reduce(state, Moments.merge) for cell, state in states.items()}


def embed(
    encoder: Encoder | object,
    texts: Sequence[str],
    *,
    pooling: str = "mean",
    layer: int = -1,
    max_length: int | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return one vector per text.

    Parameters
    ----------
    encoder : Encoder, or anything that `load_encoder` opens
    texts : sequence of str, length n_texts
    pooling : str
        One of `geomprobe.embedding.pooling.POOLINGS`; "model" gives what the model's own `encode` gives.
    layer : int
        0 (embedding output) to n_layers; -1 is the last.
    max_length : int, optional
        Tokens per text; longer texts are cut.
    prompt : str, optional
        Name of one of the model's prompts, or what is put before each text. Default: the model's default prompt under
        "model", none under other poolings.
    progress : callable, optional
        ``progress(done, total)`` in unique texts.

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
    opened = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    if prompt is not None:
        (opened,) = with_prompts([opened], prompt)
    grid = embed_grid(opened, texts, [pooling], [layer], max_length=max_length, progress=progress)
    return next(iter(grid.vectors.values()))
