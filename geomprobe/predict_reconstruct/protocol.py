"""The published analysis (arXiv 2606.05173) as a protocol, and the choices of it that an audit replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from geomprobe.analysis.protocols import STRICT, Protocol, choices_of, switched, word_of
from geomprobe.common import UsageError, unknown_name
from geomprobe.predict_reconstruct.claims import GAP, Number
from geomprobe.predict_reconstruct.measurement import Published
from geomprobe.tasks.base import Task

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


@dataclass(frozen=True)
class Switch:
    """One choice of the published analysis replaced by the choice of the strict protocol.

    Attributes
    ----------
    choice, word : str
        As `--set protocol.CHOICE=WORD` takes them.
    parts : tuple of str
        Parts of the analysis that it can move, which are computed anew.
    meaning : str
        The change in words.
    moves : mapping of claim to (metric, view), or None
        The claims that it can move, and the number that shows it; None: all, by their own numbers.
    matters : callable (task, rows) -> bool
        Whether it can change anything on a task of which so many validation rows are read at most.
    ranked : bool
        Whether its numbers are of the same unit as the others, so that movements can be ranked.
    """

    choice: str
    word: str
    parts: tuple[str, ...]
    meaning: str
    moves: Mapping[str, Number] | None = None
    matters: Callable[[Task, int], bool] = lambda task, rows: True
    ranked: bool = True

    @property
    def name(self) -> str:
        return f"{self.choice}={self.word}"

    @property
    def source(self) -> str:
        """The analysis that has its numbers: the published one where nothing is computed anew."""
        return self.choice if self.parts else "paper"

    def applies(self, task: Task, limit: int | None = None) -> bool:
        """Whether it can change anything on a task of which at most `limit` rows are read."""
        n = len(task.validation)
        return self.matters(task, n if limit is None else min(limit, n))


PROBES = ("task", "token")
# of these claims only uniformity is a function of directions
SWITCHES = (
    Switch("rows", "all", ("geometry", "task"), "all rows in place of the first 2,000 (token probe not redone)",
           matters=lambda task, rows: rows > (PAPER.rows or rows)),
    Switch("pairs", "separate", ("geometry", *PROBES), "each sentence of a pair on its own in place of one text",
           matters=lambda task, rows: task.validation.second is not None),
    Switch("padding", "hidden", ("geometry", *PROBES), "padding masked, where the encoder saw it"),
    Switch("uniformity_rows", "all", ("geometry",), "all pairs in place of a random 1,000 rows",
           {"uniformity": ("uniformity", "raw")}, lambda task, rows: rows > 1000),
    Switch("centre", "yes", ("geometry",), "the mean vector removed before directions are taken",
           {"uniformity": ("uniformity", "centred")}),
    Switch("token_target", "word", ("token", "task"), "most frequent word in place of most frequent token",
           {"lexical": ("lexical_top_word_accuracy", "raw"), "balance": ("semantic_lexical_balance", "raw")}),
    Switch("scaling", "folds", PROBES, "features scaled on the fitted rows in place of all rows"),
    Switch("probe_rows", "train", PROBES, "fitted on 2,000 train rows, scored on validation",
           matters=lambda task, rows: task.train is not None),
    Switch("score", "skill", (), "skill over guessing in place of accuracy",
           {"lexical": ("lexical_top_token_skill", "raw"), "balance": GAP, "probes": ("semantic_skill", "raw")},
           ranked=False),
)  # fmt: skip


def paper_word(choice: str) -> str:
    """Published value of a choice, as `--set` takes it."""
    return word_of(getattr(PAPER, choice) if hasattr(PAPER, choice) else getattr(PAPER.published, choice))
