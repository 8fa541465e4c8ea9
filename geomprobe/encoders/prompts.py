"""Prompts by name or as text: what is put before each text of each model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from geomprobe.common import UsageError
from geomprobe.encoders.encoder import Encoder


def with_prompts(encoders: Sequence[Encoder], prompt: str | None, query_prompt: str | None = None) -> list[Encoder]:
    """Encoders with a prompt before each text, and another before the first text of each pair.

    Parameters
    ----------
    encoders : sequence of Encoder
    prompt : str or None
        A name, if it is one in any of the models' prompts: then each model takes its own prompt of that name. Anything
        else is the text itself, the same for all models; "" is no prompt. None leaves the models' defaults.
    query_prompt : str or None
        The same for the first text of each pair, which is the query; None treats both texts of a pair alike.

    Raises
    ------
    UsageError
        A model has no prompt of the name that another has; the text is nearly the name of a prompt.
    """
    texts = zip(_texts(encoders, prompt), _texts(encoders, query_prompt), strict=True)
    return [encoder.with_prompt(*own) for encoder, own in zip(encoders, texts, strict=True)]


def _texts(encoders: Sequence[Encoder], word: str | None) -> Sequence[str | None]:
    """Each encoder's text for a prompt given by name or as text; None where none is given."""
    if word is None:
        return [None] * len(encoders)
    names = {name: encoder.name for encoder in encoders for name in encoder.prompts}
    if word in names:
        for encoder in encoders:
            if word not in encoder.prompts:
                raise UsageError(
                    f"{names[word]} has a prompt named {word!r}, {encoder.name} has none of that name.",
                    "Give the text itself; a space at its end makes a text of a name: --prompt 'query: '",
                )
        return [encoder.prompts[word] for encoder in encoders]
    near = difflib.get_close_matches(word, list(names), n=1, cutoff=0.75)
    if near and word.replace("_", "").replace("-", "").isalnum():
        raise UsageError(
            f"No model has a prompt named {word!r}. Did you mean {near[0]!r}?",
            f"Names: {', '.join(sorted(names))}. A space at its end makes a text of it: --prompt '{word} '",
        )
    return [word] * len(encoders)
