"""The published analysis of Predict and Reconstruct (arXiv 2606.05173) as a protocol: its choices, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from geomprobe.analysis.choices import choices_of
from geomprobe.analysis.protocols import STRICT, Protocol, switched
from geomprobe.common import UsageError, unknown_name
from geomprobe.predict_reconstruct.measurement import Published

PAPER = Protocol(
    "paper",
    max_length=128,
    max_train_rows=2_000,
    train_poolings=False,
    rows=2_000,
    pairs="joined",
    padding="visible",
    query="per-model",
    published=Published(),
)
PREFIX = "protocol."
PROTOCOLS = {"strict": STRICT, "paper": PAPER}


def choose(name: str, settings: Sequence[str] = ()) -> Protocol:
    """A protocol with some of its choices replaced.

    Parameters
    ----------
    name : {"strict", "paper"}
    settings : sequence of str
        Each "protocol.CHOICE=VALUE", such as "protocol.pairs=separate" or "protocol.rows=all".

    Raises
    ------
    UsageError
        An unknown name, choice or value; a choice given twice; one of the published formulas under another protocol.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, list(PROTOCOLS))
    protocol = PROTOCOLS[name]
    chosen: set[str] = set()
    for setting in settings:
        key, equals, word = (part.strip() for part in setting.partition("="))
        if not equals or not key.startswith(PREFIX):
            raise UsageError(
                f"--set {setting[:80]!r} is not protocol.CHOICE=VALUE.", "For example protocol.pairs=separate"
            )
        if key in chosen:
            raise UsageError(f"--set {key} is given twice.")
        chosen.add(key)
        choice = key.removeprefix(PREFIX)
        if protocol.published is None and choice in choices_of(Published):
            raise UsageError(f"{choice} is a choice of the published formulas.", "It needs --protocol paper.")
        protocol = switched(protocol, choice, word)
    return protocol
