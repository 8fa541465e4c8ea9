"""The five claims of the published analysis, its numbers for them, and the rule by which a claim holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geomprobe.inference import intervals

SOURCE = "arXiv 2606.05173 (2026): results_summary.json of its code, last layer; probe accuracy: its text"

# (hybrid, MLM) by task. Uniformity, token probe and task probe: mean pooling; effective rank: max pooling.
UNIFORMITY = {
    "sst2": (-0.1596, -0.0520), "mrpc": (-0.1342, -0.0531), "mnli": (-0.1686, -0.0630), "cola": (-0.3142, -0.0794),
    "stsb": (-0.2015, -0.0670),
}  # fmt: skip
EFFECTIVE_RANK = {
    "sst2": (384.2, 364.1), "mrpc": (299.4, 301.2), "mnli": (406.4, 391.0), "cola": (365.1, 330.1),
    "stsb": (389.8, 371.8),
}  # fmt: skip
TOKEN_PROBE = {
    "sst2": (0.7552, 0.7698), "mrpc": (0.6352, 0.6730), "mnli": (0.7543, 0.7634), "cola": (0.8559, 0.8753),
    "stsb": (0.6529, 0.6724),
}  # fmt: skip
TASK_PROBE = {  # accuracy; STS-B: Spearman correlation
    "sst2": (0.6170, 0.6181), "mrpc": (0.5833, 0.6350), "mnli": (0.3620, 0.3535), "cola": (0.6098, 0.5916),
    "stsb": (0.2843, 0.2237),
}  # fmt: skip
LINEAR_PROBE = {"sst2": (0.6755, 0.6869), "mnli": (0.5082, 0.5136), "stsb": (0.281, 0.283)}
BALANCE = {
    task: (TASK_PROBE[task][0] / TOKEN_PROBE[task][0], TASK_PROBE[task][1] / TOKEN_PROBE[task][1])
    for task in TASK_PROBE
}

Number = tuple[str, str]  # metric, view


@dataclass(frozen=True)
class Claim:
    """A published claim about B (hybrid) against A (MLM) and the numbers that it stands on.

    Attributes
    ----------
    name, statement : str
    expected : {"higher", "lower", "equal"}
        What the claim says of B.
    pooling : str
    published : mapping of task to (hybrid, mlm)
    paper, strict : tuple of (metric, view)
        The number under each protocol; the first that a task has.
    beside : (metric, view) or None
        A number of the strict protocol without which the claim must not be read.
    note : str
        What the numbers are, and how far the columns can be compared.
    """

    name: str
    statement: str
    expected: str
    pooling: str
    published: Mapping[str, tuple[float, float]]
    paper: tuple[Number, ...]
    strict: tuple[Number, ...]
    beside: Number | None
    note: str


GAP = ("semantic_lexical_skill_gap", "raw")
CLAIMS = (
    Claim(
        "uniformity", "B is more uniform than A", "lower", "mean", UNIFORMITY,
        (("uniformity", "raw"),), (("uniformity", "raw"),), ("uniformity", "centred"),
        "Uniformity, mean pooling. The mean cosine bounds it, so the common mean vector alone does; the value with the "
        "mean removed stands beside it.",
    ),
    Claim(
        "spectrum", "B has the richer spectrum under max pooling", "higher", "max", EFFECTIVE_RANK,
        (("effective_rank", "raw"),), (("effective_rank", "raw"),), None,
        "Effective rank, max pooling. Ranks of unequal numbers of rows cannot be compared: the published column with "
        "ours only where the rows are the same.",
    ),
    Claim(
        "lexical", "B holds less lexical information", "lower", "mean", TOKEN_PROBE,
        (("lexical_top_token_accuracy", "raw"),),
        (("lexical_word_content_accuracy", "raw"), ("lexical_top_word_accuracy", "raw")), None,
        "Published: accuracy for the most frequent token of a row. Corrected: which one of 100 words of middle "
        "frequency a sentence holds, fitted on train; the most frequent word where a task is too small for that.",
    ),
    Claim(
        "balance", "B has the better balance of meaning against wording", "higher", "mean", BALANCE,
        (("semantic_lexical_balance", "raw"),), (GAP,), None,
        "Published: accuracy of the task probe divided by that of the token probe, computed here from its file. A "
        "ratio of accuracies that guessing also reaches means nothing, so the corrected number is the skill of the "
        "task probe (for scores: its Spearman correlation) less the skill of the lexical probe.",
    ),
    Claim(
        "probes", "A and B have the same probe accuracy", "equal", "mean", LINEAR_PROBE,
        (("semantic_accuracy", "raw"), ("sts_probe_spearman", "raw")),
        (("semantic_accuracy", "raw"), ("sts_probe_spearman", "raw")), None,
        "Accuracy of the task probe; STS-B: Spearman correlation. The published values are its linear probes, the "
        "column under its protocol is the cross-validated probe of its analysis. No difference is claimed only where "
        "equivalence within the margin is established.",
    ),
)  # fmt: skip
POOLINGS = tuple(dict.fromkeys(claim.pooling for claim in CLAIMS))

CLAIMED, OPPOSITE, NONE, UNCLEAR, SILENT = "as claimed", "the opposite", "no difference", "cannot tell", "no verdict"
STATUSES = (CLAIMED, OPPOSITE, NONE, UNCLEAR, SILENT)


def status(verdict: str, expected: str) -> str:
    """Status of a claim (one of STATUSES) under a verdict of `inference.intervals.verdict`.

    A difference within the margin of equivalence counts as none.
    """
    if verdict == intervals.UNCLEAR:
        return UNCLEAR
    if verdict == intervals.NO_DIFFERENCE or verdict.endswith(intervals.WITHIN):
        return CLAIMED if expected == "equal" else NONE
    if verdict not in (intervals.HIGHER, intervals.LOWER):
        return SILENT
    if expected == "equal":
        return OPPOSITE
    return CLAIMED if verdict == expected else OPPOSITE


def overall(statuses: Sequence[str]) -> str:
    """Whether a claim holds, from its status in each task.

    Returns
    -------
    str
        "holds": as claimed in every task. "holds in part": in some, the opposite in none. "mixed": in some, and the
        opposite in others. "contradicted": in none, and the opposite in some. "not shown": neither anywhere.
        "no verdict": no task has one.
    """
    if all(one == SILENT for one in statuses):
        return SILENT
    claimed, opposite = CLAIMED in statuses, OPPOSITE in statuses
    if claimed and set(statuses) == {CLAIMED}:
        return "holds"
    if claimed:
        return "mixed" if opposite else "holds in part"
    return "contradicted" if opposite else "not shown"


def sentence(claim: Claim, statuses: Sequence[str], level: str) -> str:
    """Verdict on a claim in fixed words."""
    counts = [(word, statuses.count(word)) for word in STATUSES]
    tally = ", ".join(f"{word} in {count}" for word, count in counts if count)
    return f"{claim.statement}: {overall(statuses)} at the level of {level}s ({tally} of {len(statuses)} tasks)."
