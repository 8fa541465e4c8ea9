"""Controlled tasks in the shape of GLUE's: written in groups of rows within which no word goes with a label.

A writer draws words and returns a group: the same words under every label, so that whoever counts words is at chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geomprobe.tasks.controlled_grammar import draw, grammar, write, write_cell

Group = list[tuple[str, str | None, float]]
Writer = Callable[[np.random.Generator], Group]


@dataclass(frozen=True)
class Shape:
    """How a task is written: a function that returns a balanced group of rows, and what its labels mean."""

    write: Writer
    label_names: tuple[str, ...]
    positive_label: int | None = None
    positive_score: float | None = None


def _pick(rng: np.random.Generator, choices: tuple) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _one(slots: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Draw one word per slot."""
    return {slot: pair[0] for slot, pair in draw(slots, rng).items()}


# Sentiment: the verdict decides the label; each frame takes a good and a bad word in either place, or one word with
# and without a negation. (frame, label where p is good and q is bad)

NEGATIONS = (
    ("the {n} was {p}", "the {n} was not {p}"),
    ("everybody said that the {n} was {p}", "nobody said that the {n} was {p}"),
    ("the {n} was nothing but {p}", "the {n} was anything but {p}"),
    ("I would call the {n} {p}", "I would never call the {n} {p}"),
    ("the {n} turned out to be {p}", "the {n} turned out to be far from {p}"),
    ("there is no doubt that the {n} was {p}", "it is not true that the {n} was {p}"),
)
VERDICTS = (
    "although the start was {q}, the {n} was {p} on the whole",
    "the {n} was {p} on the whole, although the start was {q}",
    "some called the {n} {q}, yet in truth it was {p}",
    "the {n} was {p} and not {q}",
    "not {q} but {p} was the {n}",
    "I expected the {n} to be {q}, but it was {p}",
    "far from being {q}, the {n} was {p}",
    "the {n} was {p}, whatever is said of it being {q}",
)


def sentiment(rng: np.random.Generator) -> Group:
    """Write four sentences: a good and a bad word, each under both labels (1: the verdict is good)."""
    w = _one({"n": "work", "g": "good", "b": "bad"}, rng)
    if rng.random() < 0.5:
        plain, negated = _pick(rng, NEGATIONS)
        rows = [(plain, "g", 1), (negated, "b", 1), (plain, "b", 0), (negated, "g", 0)]
        return [(write(frame, {"n": w["n"], "p": w[word]}), None, label) for frame, word, label in rows]
    frame, other = (VERDICTS[int(i)] for i in rng.choice(len(VERDICTS), 2, replace=False))
    good_wins = {"n": w["n"], "p": w["g"], "q": w["b"]}
    bad_wins = {"n": w["n"], "p": w["b"], "q": w["g"]}
    return [(write(f, v), None, y) for f in (frame, other) for v, y in ((good_wins, 1), (bad_wins, 0))]


# Paraphrase


def paraphrase(rng: np.random.Generator) -> Group:
    """Write a sentence with a rewording (label 1) and with another meaning of the reworded words (label 0)."""
    family = grammar().families[int(rng.integers(len(grammar().families)))]
    words = draw(family.slots, rng)
    meaning, other = (int(m) for m in rng.choice(len(family.meanings), 2, replace=False))
    frame, reworded = (int(f) for f in rng.choice(len(family.frames), 2, replace=False))
    first = write_cell(family, words, meaning, 0, frame)
    return [
        (first, write_cell(family, words, meaning, 1, reworded), 1),
        (first, write_cell(family, words, other, 1, reworded), 0),
    ]


# Inference: 0 entailment, 1 neutral, 2 contradiction. Persons take all places in turn, and each hypothesis is
# affirmed and denied, so that neither a hypothesis alone nor its words tell the label.
# (premise, hypotheses by label: an affirmed and a denied one each)

INFERENCES = (
    (
        {"v": "act"},
        "the {a} {v} the {b} but never the {c}",
        (("the {b} was {v} by the {a}", "the {c} was never {v} by the {a}"),
         ("the {a} was {v} by the {b}", "the {a} was never {v} by the {c}"),
         ("the {c} was {v} by the {a}", "the {b} was never {v} by the {a}")),
    ),
    (
        {"i": "event"},
        "the {a} {i}, the {b} never {i}, and the {c} perhaps {i}",
        (("it was the {a} who {i}", "it was the {b} who never {i}"),
         ("it was the {c} who {i}", "it was the {c} who never {i}"),
         ("it was the {b} who {i}", "it was the {a} who never {i}")),
    ),
    (
        {"g": "graded"},
        "the {a} was more {g} than the {b} and the {c}",
        (("the {a} was more {g} than the {b}", "the {c} was less {g} than the {a}"),
         ("the {b} was more {g} than the {c}", "the {c} was less {g} than the {b}"),
         ("the {b} was more {g} than the {a}", "the {a} was less {g} than the {c}")),
    ),
    (
        {"i": "event"},
        "the {a} {i} before the {b} and the {c}",
        (("the {a} {i} before the {b}", "the {c} {i} after the {a}"),
         ("the {b} {i} before the {c}", "the {c} {i} after the {b}"),
         ("the {b} {i} before the {a}", "the {a} {i} after the {c}")),
    ),
    (
        {"t": "trait"},
        "the {a} was {t}, the {b} was not {t}, and the {c} may have been {t}",
        (("it is true that the {a} was {t}", "it is false that the {b} was {t}"),
         ("it is true that the {c} was {t}", "it is false that the {c} was {t}"),
         ("it is true that the {b} was {t}", "it is false that the {a} was {t}")),
    ),
)  # fmt: skip


def inference(rng: np.random.Generator) -> Group:
    """Write the eighteen pairs of one premise with its three persons in turn; hypotheses use the other synonyms."""
    slots, premise, hypotheses = INFERENCES[int(rng.integers(len(INFERENCES)))]
    words = draw({"a": "person", "b": "person", "c": "person"} | slots, rng)
    group: Group = []
    for turn in range(3):
        places = dict(zip("abc", ("abc"[turn:] + "abc"[:turn]), strict=True))
        said, reworded = ({name: words[places.get(name, name)][wording] for name in words} for wording in (0, 1))
        for label, pair in enumerate(hypotheses):
            group += [(write(premise, said), write(hypothesis, reworded), label) for hypothesis in pair]
    return group


# Acceptability: 1 acceptable, 0 not. Each phenomenon gives the words and four sentences, the first two of which are
# acceptable: the same words, or the same forms, under both labels.

Phenomenon = tuple[dict[str, str], tuple[str, str, str, str]]


def _agreement(rng: np.random.Generator) -> Phenomenon:
    w = _one({"x": "person", "y": "person", "t": "trait"}, rng)
    near = ("y", "y_s") if rng.random() < 0.5 else ("y_s", "y")
    one, several = f"the {{x}} near the {{{near[0]}}}", f"the {{x_s}} near the {{{near[1]}}}"
    return w, (f"{one} was {{t}}", f"{several} were {{t}}", f"{one} were {{t}}", f"{several} was {{t}}")


def _determiner(rng: np.random.Generator) -> Phenomenon:
    w = _one({"x": "person", "i": "event"}, rng)
    tail = _pick(rng, ("{i}", "{i} again", "{i} in vain"))
    return w, (f"this {{x}} {tail}", f"these {{x_s}} {tail}", f"this {{x_s}} {tail}", f"these {{x}} {tail}")


def _reflexive(rng: np.random.Generator) -> Phenomenon:
    w = _one({"v": "act", "t": "manner"}, rng)
    he, she = (f"the {_pick(rng, grammar().gendered[form])} {{t}} {{v}}" for form in ("himself", "herself"))
    return w, (f"{he} himself", f"{she} herself", f"{he} herself", f"{she} himself")


def _transitivity(rng: np.random.Generator) -> Phenomenon:
    w = _one({"x": "person", "y": "person", "t": "hour"}, rng)
    act, event = (f"at {{t}} the {{x}} {_pick(rng, grammar().strict[kind])}" for kind in ("act", "event"))
    return w, (f"{act} the {{y}}", event, f"{event} the {{y}}", act)


def _case(rng: np.random.Generator) -> Phenomenon:
    w = _one({"x": "person", "v": "act", "t": "hour"}, rng)
    return w, ("at {t} he {v} the {x}", "at {t} the {x} {v} him", "at {t} him {v} the {x}", "at {t} the {x} {v} he")


def _word_order(rng: np.random.Generator) -> Phenomenon:
    return _one({"x": "person", "y": "person", "v": "act", "t": "trait", "u": "trait"}, rng), (
        "the {t} {x} {v} the {u} {y}",
        "the {u} {y} was {v} by the {t} {x}",
        "the {x} {t} {v} the {y} {u}",
        "the {y} {u} was {v} by the {x} {t}",
    )


def _verb_form(rng: np.random.Generator) -> Phenomenon:
    w = _one({"x": "person", "i": "event"}, rng)
    w["b"] = grammar().bases.get(w["i"], w["i"])
    if w["b"] == w["i"]:  # quit
        w |= {"i": "fled", "b": "flee"}
    return w, ("the {x} {i}", "the {x} did {b}", "the {x} did {i}", "the {x} {b}")


def _passive(rng: np.random.Generator) -> Phenomenon:
    return _one({"x": "person", "y": "person", "v": "act", "t": "place"}, rng), (
        "in the {t} the {x} was {v} by the {y}",
        "in the {t} the {y} {v} the {x}",
        "in the {t} the {x} {v} by the {y}",
        "in the {t} the {y} was {v} the {x}",
    )


PHENOMENA = (_agreement, _determiner, _reflexive, _transitivity, _case, _word_order, _verb_form, _passive)


def acceptability(rng: np.random.Generator) -> Group:
    """Write the sentences of one phenomenon, acceptable and not, with the same words."""
    words, sentences = _pick(rng, PHENOMENA)(rng)
    return [(write(sentence, words), None, label) for sentence, label in zip(sentences, (1, 1, 0, 0), strict=True)]


# Similarity: how many of the five things that a sentence says does the other say too?

SCENE = {"a": "person", "b": "person", "v": "act", "t": "manner", "p": "place"}
SCENES = (
    "in the {p} the {a} {t} {v} the {b}",
    "in the {p} the {b} was {t} {v} by the {a}",
    "the {a} {t} {v} the {b} in the {p}",
    "the {b} was {t} {v} by the {a} in the {p}",
)
VERBATIM = (0, 1, 2)


def similarity(rng: np.random.Generator) -> Group:
    """Write a pair for each score 0 to 5 and each number 0 to 2 of content words that the two share.

    A score is the number of the five roles (agent, act, patient, manner, place) filled alike. Fillers differ by
    another draw, or by exchange of agent and patient, which keeps the words; alike fillers are synonyms or the same
    word. So the number of shared words is the same for every score.
    """
    return [_scored_pair(score, shared, rng) for score in range(6) for shared in VERBATIM]


def _scored_pair(score: int, shared: int, rng: np.random.Generator) -> tuple[str, str, float]:
    words = draw(SCENE, rng)
    other = draw_other(words, rng)
    changes = 5 - score
    exchange = changes >= 2 and (5 - changes < shared or rng.random() < 0.5)
    new = [str(slot) for slot in rng.permutation(list("vtp" if exchange else "abvtp"))[: changes - 2 * exchange]]
    kept = [slot for slot in SCENE if slot not in new]
    verbatim = set(rng.permutation(kept)[:shared])
    first = {slot: words[slot][0] for slot in SCENE}
    second = {slot: other[slot][0] if slot in new else words[slot][0 if slot in verbatim else 1] for slot in SCENE}
    if exchange:
        second["a"], second["b"] = second["b"], second["a"]
    frames = [SCENES[int(f)] for f in rng.choice(len(SCENES), 2, replace=False)]
    return write(frames[0], first), write(frames[1], second), float(score)


def draw_other(words: dict[str, tuple[str, str]], rng: np.random.Generator) -> dict[str, tuple[str, str]]:
    """Draw synonym sets for the slots of SCENE that share none with ``words``."""
    taken = {frozenset(pair) for pair in words.values()}
    while True:
        other = draw(SCENE, rng)
        if taken.isdisjoint(frozenset(pair) for pair in other.values()):
            return other


SHAPES: dict[str, Shape] = {
    "controlled-sentiment": Shape(sentiment, ("negative", "positive")),
    "controlled-paraphrase": Shape(paraphrase, ("not equivalent", "equivalent"), positive_label=1),
    "controlled-inference": Shape(inference, ("entailment", "neutral", "contradiction"), positive_label=0),
    "controlled-acceptability": Shape(acceptability, ("unacceptable", "acceptable")),
    "controlled-similarity": Shape(similarity, (), positive_score=5.0),
}
