"""The choices of the published analysis that an audit replaces, one by one."""

from __future__ import annotations

from dataclasses import dataclass

from geomprobe.analysis.choices import word_of
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.tasks.base import Task


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
    """

    choice: str
    word: str
    parts: tuple[str, ...]
    meaning: str

    @property
    def name(self) -> str:
        return f"{self.choice}={self.word}"


PROBES = ("task", "token")
SWITCHES = (
    Switch("rows", "all", ("geometry", "task"), "all rows in place of the first 2,000 (token probe not redone)"),
    Switch("pairs", "separate", ("geometry", *PROBES), "each sentence of a pair on its own in place of one text"),
    Switch("padding", "hidden", ("geometry", *PROBES), "padding masked, where the encoder saw it"),
    Switch("uniformity_rows", "all", ("geometry",), "all pairs in place of a random 1,000 rows"),
    Switch("centre", "yes", ("geometry",), "the mean vector removed before directions are taken"),
    Switch("token_target", "word", ("token", "task"), "most frequent word in place of most frequent token"),
    Switch("scaling", "folds", PROBES, "features scaled on the fitted rows in place of all rows"),
    Switch("probe_rows", "train", PROBES, "fitted on 2,000 train rows, scored on validation"),
    Switch("score", "skill", (), "skill over guessing in place of accuracy"),
)  # fmt: skip
OTHER_UNIT = ("score=skill",)  # skills and accuracies are not of one unit, so this choice is shown, and not ranked


def applies(switch: Switch, task: Task, limit: int | None = None) -> bool:
    """Whether a choice can change anything on a task of which at most `limit` rows are read."""
    every = len(task.validation) if limit is None else min(limit, len(task.validation))
    n = min(every, PAPER.rows or every)
    if switch.choice == "rows":
        return every > n
    if switch.choice == "pairs":
        return task.validation.second is not None
    if switch.choice == "uniformity_rows":
        return n > 1000
    if switch.choice == "probe_rows":
        return task.train is not None
    return True


def paper_word(choice: str) -> str:
    """Published value of a choice, as `--set` takes it."""
    return word_of(getattr(PAPER, choice) if hasattr(PAPER, choice) else getattr(PAPER.published, choice))
