"""The controlled suite: deterministic, grammatical by construction, balanced, and blind to whoever counts words."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product

import numpy as np
import pytest

from geomprobe.common import UsageError
from geomprobe.tasks import controlled
from geomprobe.tasks.controlled_grammar import draw, grammar, write_cell
from geomprobe.tasks.words import words

BALANCED = [name for name in controlled.TASK_NAMES if name != "controlled-similarity"]


@pytest.fixture(scope="module")
def tasks():
    return {name: controlled.load(name) for name in controlled.TASK_NAMES}


def test_the_grammar_is_as_large_as_promised():
    assert len(grammar().families) >= 40
    assert len(grammar().content_words) >= 300
    assert len({family.name for family in grammar().families}) == len(grammar().families)


def test_no_word_is_in_two_synonym_sets():
    listed = [word for sets in grammar().lexicon.values() for pair in sets for word in pair]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("family", grammar().families, ids=lambda family: family.name)
def test_a_family_varies_one_factor_at_a_time(family):
    drawn = draw(family.slots, np.random.default_rng(0))
    shape = (range(len(family.meanings)), range(2), range(len(family.frames)))
    text = {cell: words(write_cell(family, drawn, *cell)) for cell in product(*shape)}
    assert len({tuple(t) for t in text.values()}) == len(text), "two cells have the same sentence"
    content = [{word for pair in drawn.values() for word in (pair[w], grammar().plural(pair[w]))} for w in (0, 1)]
    for (m, w, s), sentence in text.items():
        assert Counter(sentence) == Counter(text[0, w, s]), "a meaning changes the words"
        held = [word for word in sentence if word in content[w]]
        assert not set(sentence) & content[1 - w], "a slot keeps the word of the other wording"
        singular = [word if word in grammar().content_words else word.removesuffix("s") for word in held]
        reference = [word for word in text[m, w, 0] if word in content[w]]
        reference = [word if word in grammar().content_words else word.removesuffix("s") for word in reference]
        assert Counter(singular) == Counter(reference), "a frame changes the content words"
    assert 2 <= len(family.meanings) <= 6
    assert controlled.order_is_balanced(family)


def test_same_seed_same_task():
    a, b = (controlled.load("controlled-similarity", seed=3) for _ in range(2))
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != controlled.load("controlled-similarity", seed=4).fingerprint


def test_text_is_the_same_on_every_machine(tasks):
    # a change of the grammar must be seen: results of different grammars are not comparable
    assert tasks["controlled"].validation.first[0] == GOLDEN["controlled"]
    assert tasks["controlled-sentiment"].validation.first[0] == GOLDEN["controlled-sentiment"]


GOLDEN = {
    "controlled": "The coach respected the scholar.",
    "controlled-sentiment": "There is no doubt that the recital was original.",
}


@pytest.mark.parametrize("name", controlled.TASK_NAMES)
def test_splits_share_no_sentence(tasks, name):
    task = tasks[name]
    sides = [set(split.first) | set(split.second or ()) for split in (task.train, task.validation)]
    assert not sides[0] & sides[1]
    assert len(set(task.train.row_ids + task.validation.row_ids)) == len(task.train) + len(task.validation)


@pytest.mark.parametrize("name", BALANCED)
def test_no_word_tells_the_label(tasks, name):
    split = tasks[name].train
    classes = range(len(tasks[name].label_names))
    sizes = Counter(split.labels.tolist())
    counts = [Counter() for _ in classes]
    for a, b, label in zip(split.first, split.second or [""] * len(split), split.labels, strict=True):
        counts[label].update(words(a + " " + b))
    shares = [{word: n / sizes[label] for word, n in count.items()} for label, count in enumerate(counts)]
    for label in classes:
        assert shares[label].keys() == shares[0].keys()
        assert np.allclose([shares[label][w] for w in shares[0]], list(shares[0].values()), rtol=0.02)


def test_similarity_scores_do_not_follow_shared_words(tasks):
    split = tasks["controlled-similarity"].train
    content = grammar().content_words
    shared = [len(set(words(a)) & set(words(b)) & content) for a, b in zip(split.first, split.second, strict=True)]
    means = [np.mean([n for n, y in zip(shared, split.labels, strict=True) if y == score]) for score in range(6)]
    assert means == pytest.approx([1.0] * 6)


def test_a_score_is_the_number_of_roles_filled_alike():
    # undo the grammar: read both sentences back into roles and count the fillers that are synonyms or equal
    slots = {"a": "person", "b": "person", "v": "act", "t": "manner", "p": "place"}
    number = {w: i for i, pair in enumerate(p for sets in grammar().lexicon.values() for p in sets) for w in pair}
    patterns = [
        r"In the (?P<p>\w+) the (?P<a>\w+) (?P<t>\w+) (?P<v>\w+) the (?P<b>\w+)\.",
        r"In the (?P<p>\w+) the (?P<b>\w+) was (?P<t>\w+) (?P<v>\w+) by the (?P<a>\w+)\.",
        r"The (?P<a>\w+) (?P<t>\w+) (?P<v>\w+) the (?P<b>\w+) in the (?P<p>\w+)\.",
        r"The (?P<b>\w+) was (?P<t>\w+) (?P<v>\w+) by the (?P<a>\w+) in the (?P<p>\w+)\.",
    ]

    def roles(text):
        (match,) = [m for m in (re.fullmatch(p, text) for p in patterns) if m]
        return {slot: number[match[slot]] for slot in slots}

    split = controlled.load("controlled-similarity", seed=5).validation
    for first, second, score in zip(split.first, split.second, split.labels, strict=True):
        one, other = roles(first), roles(second)
        assert sum(one[slot] == other[slot] for slot in slots) == score


def test_checks_report_balance(tasks):
    for name in BALANCED:
        found = controlled.checks(tasks[name])
        assert found["word_balance"] < 0.02
        assert found["frame_order"] == 1.0
        if "overlap_by_label" in found:
            values = list(found["overlap_by_label"].values())
            assert max(values) - min(values) < 0.005
    assert abs(controlled.checks(tasks["controlled-similarity"])["overlap_correlation"]) < 0.1
    assert controlled.checks(tasks["controlled"], vocabulary=["doctor"])["coverage"] == pytest.approx(
        1 / len(grammar().content_words)
    )


def test_pairs_of_the_crossed_design_use_every_sentence_alike(tasks):
    split = tasks["controlled"].validation
    design = controlled.crossed_design(split)
    assert len(design.families) == len(grammar().families)
    for side in (split.first, split.second):
        for label in (0, 1):
            of = Counter(text for text, y in zip(side, split.labels, strict=True) if y == label)
            assert set(of.values()) == {1}
    used = np.concatenate([rows.ravel() for rows in design.rows])
    assert len(used) == len(set(split.first) | set(split.second))


def test_incomplete_families_are_left_out(tasks):
    split = tasks["controlled"].validation
    design = controlled.crossed_design(split.take(np.arange(40)))  # 16 + 16 + 8 rows
    assert design.families == ("transitive", "transitive-manner")
    assert controlled.crossed_design(split.take(np.arange(3))) is None
    assert controlled.crossed_design(tasks["controlled-paraphrase"].validation) is None


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_sizes(size):
    task = controlled.load("controlled-paraphrase", size=size)
    assert (len(task.train), len(task.validation)) == controlled.SIZES[size]["rows"]


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="controlled-sentiment"):
        controlled.load("controlled-sentimant")
    with pytest.raises(UsageError, match="small"):
        controlled.load(size="smal")
