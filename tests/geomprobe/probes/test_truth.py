"""Probes recover planted truths, and give the numbers of scikit-learn pipelines written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geomprobe.probes import PairVectors, run_probes
from geomprobe.probes.information import code_lengths
from geomprobe.probes.lexical import lexical_rows
from geomprobe.probes.lexical import targets as lexical_targets
from geomprobe.probes.scores import jackknife_interval, mean_interval, partial_spearman
from geomprobe.tasks.base import Split, Task

RNG = np.random.default_rng(20)
COMMON = [f"common{i}" for i in range(30)]
RARE = [f"rare{i}" for i in range(70)]  # each in about 9 of 600 sentences: mid-frequency words


def sentences(n):
    """Seven common words and a rare one each, no two alike."""
    return tuple(" ".join([*RNG.choice(COMMON, 7), RARE[i % len(RARE)], f"n{RNG.integers(10**9)}"]) for i in range(n))


def split(name, texts, labels, second=None):
    return Split(name, texts, second, np.asarray(labels), tuple(f"{name}/{i}" for i in range(len(texts))))


TEXTS = sentences(600), sentences(300)


def make_task(labels, kind="classification"):
    splits = [split(n, t, y) for n, t, y in zip(("train", "validation"), TEXTS, labels, strict=True)]
    names = () if kind == "regression" else ("no", "yes")
    return Task("planted", kind, *splits, names, "spearman" if kind == "regression" else "accuracy")


LABELS = [RNG.integers(0, 2, len(texts)) for texts in TEXTS]


def counts(texts):
    index = {word: i for i, word in enumerate(COMMON + RARE)}
    found = np.zeros((len(texts), len(index)))
    for row, text in enumerate(texts):
        for word in text.split():
            if word in index:
                found[row, index[word]] += 1
    return found


MIX = RNG.standard_normal((100, 100))
DIRECTION = RNG.standard_normal(100)


def vectors(words, label):
    noise = [np.random.default_rng(i).standard_normal((len(t), 100)) for i, t in enumerate(TEXTS)]
    found = []
    for texts, y, e in zip(TEXTS, LABELS, noise, strict=True):
        found.append(PairVectors(words * counts(texts) @ MIX * 5 + label * np.outer(2 * y - 1, DIRECTION) + e))
    return found


def value(result, metric, control=None):
    (row,) = [r for r in result.rows if r["metric"] == metric and r["control"] == control and r["view"] == "raw"]
    return row["value"]


@pytest.mark.parametrize("words", [0, 1])
@pytest.mark.parametrize("label", [0, 1])
def test_planted_words_and_labels(words, label):
    result = run_probes(make_task(LABELS), *vectors(words, label))
    if words:
        assert value(result, "lexical_word_content_skill") > 0.8
        assert value(result, "lexical_bow_r2") > 0.8
    else:
        assert value(result, "lexical_word_content_skill") < 0.05
        assert value(result, "lexical_bow_r2") < 0.03
    if label:
        assert value(result, "semantic_skill") > 0.9
        assert value(result, "semantic_usable_bits") > 0.8
        assert value(result, "semantic_conditional_bits") > 0.7
        if not words:  # where words are in the vectors, the control task is memorised, and selectivity says so
            assert value(result, "semantic_selectivity") > 0.3
        assert value(result, "semantic_code_length") < (0.6 if words else 0.1)
    else:
        assert abs(value(result, "semantic_skill")) < 0.15
        assert value(result, "semantic_usable_bits") < 0.03
        assert abs(value(result, "semantic_conditional_bits")) < 0.03
        assert value(result, "semantic_code_length") > 0.95
    # the controls know the texts alone, which say nothing of the label
    for control in ("bow", "bow_projection", "length"):
        assert abs(value(result, "semantic_accuracy", control) - 0.5) < 0.12


def test_selectivity_catches_a_probe_that_memorises_words():
    # the label is a property of the rare word, drawn at random: nothing but memory can tell it
    of_word = np.arange(len(RARE)) % 2
    labels = [of_word[np.arange(len(texts)) % len(RARE)] for texts in TEXTS]
    result = run_probes(make_task(labels), *(PairVectors(counts(texts)) for texts in TEXTS))
    assert value(result, "semantic_accuracy") > 0.95
    assert value(result, "semantic_accuracy", "control_task") > 0.9
    assert value(result, "semantic_selectivity") < 0.1
    assert value(result, "semantic_conditional_bits") < 0.05  # and the bag of words has it all


def by_hand(estimator, grid, x, y, folds, scoring):
    return GridSearchCV(make_pipeline(StandardScaler(), estimator), grid, cv=folds, scoring=scoring).fit(x, y)


def test_classification_equals_scikit_learn_by_hand():
    task = make_task(LABELS)
    train, held_out = (v.first for v in vectors(1, 0.3))
    y, y_held_out = LABELS
    result = run_probes(task, PairVectors(train), PairVectors(held_out), seed=5)
    search = by_hand(
        LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=500),
        {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]},
        train,
        y,
        StratifiedKFold(3, shuffle=True, random_state=5),
        "neg_log_loss",
    )
    predicted, p = search.predict(held_out), search.predict_proba(held_out)
    dummy = DummyClassifier(strategy="most_frequent").fit(train, y)
    prior = DummyClassifier(strategy="prior").fit(train, y)
    bits = log_loss(y_held_out, p) / np.log(2)
    majority = dummy.score(held_out, y_held_out)
    entropy = log_loss(y_held_out, prior.predict_proba(held_out)) / np.log(2)
    accuracy = accuracy_score(y_held_out, predicted)
    expected = {
        "accuracy": accuracy,
        "macro_f1": f1_score(y_held_out, predicted, average="macro"),
        "mcc": matthews_corrcoef(y_held_out, predicted),
        "skill": (accuracy - majority) / (1 - majority),
        "log_loss": bits,
        "usable_bits": entropy - bits,
        "usable_share": 1 - bits / entropy,
    }
    for name, number in expected.items():
        assert value(result, f"semantic_{name}") == pytest.approx(number, rel=1e-7), name
    assert value(result, "semantic_accuracy", "majority") == majority
    guesses = (DummyClassifier(strategy="stratified", random_state=i).fit(train, y) for i in range(300))
    stratified = np.mean([guess.score(held_out, y_held_out) for guess in guesses])
    assert value(result, "semantic_accuracy", "stratified") == pytest.approx(stratified, abs=0.01)
    examples = {e["row_id"]: e for e in result.examples if e["probe"] == "semantic"}
    assert [examples[f"validation/{i}"]["prediction"] for i in range(300)] == predicted.tolist()
    assert np.mean([e["log_loss"] for e in examples.values()]) == pytest.approx(bits, rel=1e-7)


def test_pairs_with_shared_sentences_equal_scikit_learn_by_hand():
    rng = np.random.default_rng(3)
    n = 240
    firsts = tuple(f"premise {i // 3}" for i in range(n))
    seconds = tuple(f"hypothesis {i}" for i in range(n))
    labels = rng.integers(0, 3, n)
    whole = split("train", firsts, labels, seconds)
    held_out = split("validation", tuple(f"other {i}" for i in range(90)), rng.integers(0, 3, 90), seconds[:90])
    task = Task("nli", "classification", whole, held_out, ("e", "n", "c"), "accuracy", positive_label=0)
    u, v = rng.standard_normal((2, n, 6)) + 0.5 * labels[:, None]
    a, b = rng.standard_normal((2, 90, 6)) + 0.5 * held_out.labels[:, None]
    result = run_probes(task, PairVectors(u, v), PairVectors(a, b), seed=2)
    groups = np.arange(n) // 3
    search = by_hand(
        LogisticRegression(tol=1e-8, max_iter=5000),
        {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]},
        np.hstack([u, v, np.abs(u - v), u * v]),
        labels,
        list(StratifiedGroupKFold(3, shuffle=True, random_state=2).split(u, labels, groups)),
        "neg_log_loss",
    )
    expected = search.score(np.hstack([a, b, np.abs(a - b), a * b]), held_out.labels)
    assert value(result, "semantic_log_loss") == pytest.approx(-expected / np.log(2), rel=1e-6)


def test_wide_pairs_in_float32_equal_scikit_learn_by_hand_in_float64():
    rng = np.random.default_rng(8)
    sizes, width = (400, 200), 150
    splits, sides = [], []
    for name, n in zip(("train", "validation"), sizes, strict=True):
        labels = rng.integers(0, 2, n)
        texts = [tuple(f"{name} {side} {i}" for i in range(n)) for side in "uv"]
        splits.append(split(name, texts[0], labels, texts[1]))
        sides.append(rng.standard_normal((2, n, width)) + 0.1 * labels[:, None])
    task = Task("wide", "classification", *splits, ("no", "yes"), "accuracy", positive_label=1)
    result = run_probes(task, *(PairVectors(*side) for side in sides), seed=1)
    x, x_held_out = (np.hstack([u, v, np.abs(u - v), u * v]) for u, v in sides)
    y, y_held_out = (part.labels for part in splits)
    search = by_hand(
        LogisticRegression(tol=1e-8, max_iter=5000),
        {"logisticregression__C": [0.0001, 0.001, 0.01, 0.1]},
        x,
        y,
        StratifiedKFold(3, shuffle=True, random_state=1),
        "neg_log_loss",
    )
    p = search.predict_proba(x_held_out)
    assert value(result, "semantic_log_loss") == pytest.approx(log_loss(y_held_out, p) / np.log(2), rel=1e-4)
    assert value(result, "semantic_accuracy") == accuracy_score(y_held_out, search.predict(x_held_out))


def test_regression_and_cosine_equal_scikit_learn_by_hand():
    rng = np.random.default_rng(4)
    sizes = (200, 100)
    splits, sides = [], []
    for name, n in zip(("train", "validation"), sizes, strict=True):
        scores = rng.uniform(0, 5, n)
        texts = [tuple(f"{name} {side} {i} word{i % 7}" for i in range(n)) for side in "uv"]
        splits.append(split(name, texts[0], scores, texts[1]))
        u = rng.standard_normal((n, 8))
        sides.append((u, u * scores[:, None] + 2 * rng.standard_normal((n, 8))))
    task = Task("sts", "regression", *splits, (), "spearman", positive_score=4.0)
    result = run_probes(task, *(PairVectors(*side) for side in sides), seed=1)
    x, x_held_out = (np.hstack([u, v, np.abs(u - v), u * v]) for u, v in sides)
    search = by_hand(
        Ridge(),
        {"ridge__alpha": [1.0, 10.0, 100.0, 1000.0]},
        x,
        splits[0].labels,
        KFold(3, shuffle=True, random_state=1),
        "r2",
    )
    gold = splits[1].labels
    assert value(result, "sts_probe_spearman") == pytest.approx(spearmanr(search.predict(x_held_out), gold).statistic)
    u, v = sides[1]
    cosine = (u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    assert value(result, "sts_cosine_spearman") == pytest.approx(spearmanr(cosine, gold).statistic)
    assert value(result, "sts_cosine_pearson") == pytest.approx(np.corrcoef(cosine, gold)[0, 1])


def test_word_content_equals_scikit_learn_by_hand():
    from geomprobe.probes.lexical import targets

    task = make_task(LABELS)
    train, held_out = (v.first for v in vectors(0.1, 0))
    result = run_probes(task, PairVectors(train), PairVectors(held_out), seed=0)
    target = targets(task, 0).word_content
    assert target.n_classes == len(RARE)
    assert np.array_equal(np.unique(target.train), np.arange(len(RARE)))
    search = by_hand(
        LinearDiscriminantAnalysis(solver="lsqr"),
        {"lineardiscriminantanalysis__shrinkage": [0.01, 0.3]},
        train[target.train_rows],
        target.train,
        StratifiedKFold(3, shuffle=True, random_state=0),
        "neg_log_loss",
    )
    expected = search.best_estimator_.score(held_out[target.held_out_rows], target.held_out)
    assert value(result, "lexical_word_content_accuracy") == pytest.approx(expected)


def test_partial_spearman_by_residuals_of_ranks():
    rng = np.random.default_rng(0)
    c = rng.standard_normal(400)
    a, b = (c + rng.standard_normal(400) for _ in "ab")
    ranks = [np.argsort(np.argsort(x)).astype(float) for x in (a, b, c)]
    design = np.column_stack([np.ones(400), ranks[2]])
    left = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    assert partial_spearman(a, b, c) == pytest.approx(np.corrcoef(*left)[0, 1])
    assert abs(partial_spearman(a, b, c)) < 0.15 < spearmanr(a, b).statistic
    assert np.isnan(partial_spearman(a, b, a))


def test_code_length_of_noise_and_of_a_clear_label():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    assert code_lengths(rng.standard_normal((1000, 5)), y, 0.01, 0).mean() == pytest.approx(1.0, abs=0.05)
    clear = (2 * y - 1)[:, None] * 5 + rng.standard_normal((1000, 5))
    assert code_lengths(clear, y, 1.0, 0).mean() < 0.05


def test_intervals_of_means():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(500)
    alone = mean_interval(x, x.mean(), np.arange(500))
    assert alone["se"] == pytest.approx(x.std(ddof=1) / np.sqrt(500))
    twice = mean_interval(np.repeat(x, 2), x.mean(), np.repeat(np.arange(500), 2))
    assert twice["se"] == pytest.approx(alone["se"])  # a repeated row says nothing new
    jackknife = jackknife_interval(lambda rows: float(x[rows].mean()), 500, np.arange(500))
    assert jackknife["se"] == pytest.approx(alone["se"], rel=0.3)
    assert mean_interval(x, 0.0, np.zeros(500, int)) == {}


def test_intervals_cover():
    # accuracy and mcc of predictions that are right with probability 0.7, rows in clusters of two equal ones
    from geomprobe.probes.estimators import Classified
    from geomprobe.probes.scores import classification_rows

    rng = np.random.default_rng(1)
    draws, n = 300, 300
    inside = {"accuracy": 0, "skill": 0}
    for _ in range(draws):
        y = np.repeat(rng.random(n // 2) < 0.4, 2).astype(int)
        right = np.repeat(rng.random(n // 2) < 0.7, 2)
        predicted = Classified(y, np.where(right, y, 1 - y), np.full(n, 0.5))
        train = np.array([0] * 6 + [1] * 4)
        found = classification_rows(
            "lexical_top_word", {None: predicted}, train, y, np.arange(n) // 2, n=n, d=1, seed=0
        )
        for row in found:
            name = row["metric"].removeprefix("lexical_top_word_")
            truth = {"accuracy": 0.7, "skill": (0.7 - 0.6) / 0.4}.get(name)
            if row["control"] is None:
                inside[name] += row["ci_low"] <= truth <= row["ci_high"]
    for name, count in inside.items():
        assert 0.91 <= count / draws <= 0.985, name


def test_every_probe_with_an_interval_can_be_compared():
    task = make_task(LABELS)
    result = run_probes(task, *vectors(1, 1))
    of = {(r["metric"], r["view"], r["definition"]): r["contributions"] for r in result.influences}
    rows = [r for r in result.rows if r["control"] is None and r.get("se") is not None]
    lexical = {"lexical_word_content_accuracy", "lexical_bow_r2"}  # all of these sentences are of one length
    assert lexical | {"semantic_selectivity", "semantic_code_length"} <= {r["metric"] for r in rows}
    for row in rows:
        moved = of[row["metric"], row["view"], row["definition"]].astype(float)
        g = len(moved)
        assert row["se"] == pytest.approx((g / (g - 1) * (moved**2).sum()) ** 0.5, rel=1e-4)
    assert all("contributions" not in row for row in result.rows)


@pytest.mark.thorough
def test_the_interval_of_a_paired_lexical_difference_covers():
    """Fresh held-out sentences: their spread of the difference is what the contributions of one draw say."""
    rng = np.random.default_rng(3)
    words, n_train, n = 20, 600, 300
    names = [f"word{i}" for i in range(words)]

    def draw(count):
        target = rng.integers(0, words, count)
        texts = tuple(f"{names[t]} f{rng.integers(10**9)} g{rng.integers(10**9)}" for t in target)
        clean = np.eye(words)[target]
        shared = rng.standard_normal((count, words))
        sides = [clean + 0.45 * (shared + rng.standard_normal((count, words)) * own) for own in (0.3, 0.6)]
        return texts, sides

    texts, sides = draw(n_train)
    train, labels = split("train", texts, np.arange(n_train) % 2), ("a", "b")
    found = []
    for _ in range(16):
        held_texts, held = draw(n)
        task = Task("words", "classification", train, split("v", held_texts, np.arange(n) % 2), labels, "accuracy")
        pair = []
        for z, z_held in zip(sides, held, strict=True):
            target = lexical_targets(task, 0)
            rows = lexical_rows(target, (z[target.train_index], z_held[target.held_out_index]), None, 0, words)
            pair.append(next(r for r in rows if (r["metric"], r["control"]) == ("lexical_top_word_accuracy", None)))
        moved = pair[1]["contributions"] - pair[0]["contributions"]
        found.append((pair[1]["value"] - pair[0]["value"], (moved**2).sum() ** 0.5))
    differences, errors = map(np.array, zip(*found, strict=True))
    assert differences.std(ddof=1) == pytest.approx(errors.mean(), rel=0.55)  # 3 standard errors of a spread of 16
    unpaired = np.sqrt(2) * np.mean([p["se"] for p in pair])
    assert errors.mean() < 0.9 * unpaired
