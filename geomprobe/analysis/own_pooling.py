"""Which poolings an analysis takes where some models declare their own, and what a reader has to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geomprobe.analysis.protocols import Protocol
from geomprobe.common import UsageError
from geomprobe.embedding.layers import own_pooler, resolve_layers
from geomprobe.embedding.pooling import TRAINABLE
from geomprobe.encoders import Encoder
from geomprobe.tasks.base import Task


def choose_poolings(
    encoders: Sequence[Encoder], asked: Sequence[str] | None, layers: Sequence[int] | str, protocol: Protocol
) -> tuple[list[str], str]:
    """Poolings of an analysis, and why they were chosen where none was asked for.

    Parameters
    ----------
    encoders : sequence of Encoder
        The models, baselines left out.
    asked : sequence of str or None
        None takes `model` for all if one of the models declares more than the mean, else `mean`.
    layers : sequence of int, or "all"
        `model` belongs to the last layer: with others too, `mean` is measured as well at all of them.
    protocol : Protocol

    Raises
    ------
    UsageError
        `model` under the published protocol, or without the last layer of a model.
    InputError
        `model` of a model with a module that cannot be applied.
    """
    more = [encoder.name for encoder in encoders if encoder.declares_more]
    published = protocol.published is not None or protocol.padding == "visible"
    last = isinstance(layers, str) or all(e.n_layers in resolve_layers(e, layers) for e in encoders)
    chosen = list(dict.fromkeys(asked)) if asked is not None else ["mean"]
    why = ""
    if asked is None and more and not published and last:
        # a model's own pooling stands in the foreground, the mean shows the layers below
        chosen = ["model"] if not isinstance(layers, str) and len(layers) == 1 else ["model", "mean"]
        named = f"{', '.join(more[:3])}{', …' * (len(more) > 3)} declare{'s' * (len(more) == 1)}"
        why = f"taken for all models, since {named} more than the mean of the token states"
    if "model" in chosen:
        if published:
            raise UsageError(
                "The pooling 'model' is none of the published analysis.", "Take --pool mean, or --protocol strict."
            )
        if not last:
            raise UsageError(
                "The pooling 'model' belongs to the last layer, which was not asked for.",
                "Add --layer last, or take another pooling.",
            )
        for encoder in encoders:
            own_pooler(encoder)  # refused before anything is measured
    return chosen, why


def check_prompts(
    tasks: Sequence[Task], protocol: Protocol, poolings: Sequence[str], prompt: str | None, query_prompt: str | None
) -> None:
    """Raise UsageError where prompts do not fit the tasks and the other choices."""
    if protocol.published and (prompt is not None or query_prompt is not None):
        raise UsageError("The published analysis has no prompts.", "Leave --prompt out, or take --protocol strict.")
    if query_prompt is None:
        return
    if protocol.pairs == "joined":
        raise UsageError("Joined pairs have no query.", "Leave --prompt-query out, or set protocol.pairs=separate.")
    if all(task.validation.second is None for task in tasks):
        raise UsageError(
            "A prompt of the query needs a task of pairs; here each row is one text.", "Use --prompt for every text."
        )
    trained = [name for name in poolings if name in TRAINABLE]
    if trained and protocol.train_poolings:
        raise UsageError(
            f"{' and '.join(trained)} pooling cannot be trained with a prompt of the query alone.",
            "Add --untrained, take other poolings, or use --prompt for both texts.",
        )


def model_notes(encoder: Encoder, poolings: Sequence[str]) -> list[str]:
    """What the vectors of a model are, and where they differ from what its own `encode` gives."""
    if encoder.taken == "baseline":
        return []
    notes = []
    default, given = encoder.default_prompt, encoder.prompt
    if given is not None:
        notes.append(f"prompt {given!r} is put before each text" if given else "no prompt is put before the texts")
    if encoder.query_prompt is not None:
        notes.append(f"prompt {encoder.query_prompt!r} is put before the first text of each pair, the query")
    if "model" in poolings and not encoder.declares_more:
        notes.append("pooling model: the mean of the token states, since the model declares nothing more")
    elif "model" in poolings and given is not None and given != default:
        notes.append("pooling model: its own `encode`, but with the prompt above")
    others = [name for name in poolings if name != "model"]
    if others and encoder.declares_more:
        notes.append(
            f"pooling {', '.join(others)}: the token states of its transformer, not what its own `encode` gives"
        )
    return notes


def facts(encoders: Sequence[Encoder], why: str) -> dict[str, Any]:
    """What run.json says of the pooling `model`."""
    note = "what each model's own `encode` gives; the mean of the token states for a model that declares nothing more"
    found: dict[str, Any] = {"note": f"{note}; {why}" if why else note}
    if not any(encoder.declares_more for encoder in encoders):
        found["equals"] = "mean"
    return found
