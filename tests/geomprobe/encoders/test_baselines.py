"""Baselines: encoders like any other, that hold what their name says and no more."""

import pickle

import numpy as np
import pytest
import torch

from geomprobe.common import InputError, UsageError
from geomprobe.embedding.embed import embed, embed_grid
from geomprobe.encoders import load_encoder
from geomprobe.encoders.baselines import BASELINES, bag_of_words, lsa, make_baseline
from geomprobe.probes.crossed import triplets, variance_shares
from geomprobe.tasks import controlled

TEXTS = ["The cat sat on the mat.", "A dog saw the cat!", "the big red bird", "Very small birds", "", "cat dog cat"]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_goes_through_the_same_analysis(model_folder, name):
    encoder = load_encoder(model_folder("modernbert"))
    baseline = make_baseline(name, encoder, TEXTS)
    grid = embed_grid(baseline, TEXTS, ["mean", "max", "attention", "cls", "last"], [-1])
    assert len(grid.vectors) == 5
    for (layer, _), vectors in grid.vectors.items():
        assert layer == baseline.n_layers
        assert vectors.shape == (len(TEXTS), baseline.dim)
        assert np.isfinite(vectors).all()
    assert baseline.describe()["taken"] == "baseline"
    assert make_baseline(name, encoder, TEXTS).hash == baseline.hash != encoder.hash


@pytest.mark.parametrize("name", ["static", "bow"])
def test_a_table_of_words_survives_a_copy_for_another_process(model_folder, name):
    baseline = make_baseline(name, load_encoder(model_folder("bert")), TEXTS)
    copied = pickle.loads(pickle.dumps(baseline))
    assert copied.hash == baseline.hash
    np.testing.assert_array_equal(embed(copied, TEXTS), embed(baseline, TEXTS))


def test_random_init_is_the_same_architecture_with_other_weights(model_folder):
    encoder = load_encoder(model_folder("bert"))
    state = torch.random.get_rng_state()
    first, second = (make_baseline("random-init", encoder, seed=s) for s in (0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert (first.dim, first.n_layers, first.parameters) == (encoder.dim, encoder.n_layers, encoder.parameters)
    assert len({encoder.hash, first.hash, second.hash}) == 3
    assert "seed 1" in second.notes[-1]


@pytest.mark.parametrize("name", ["bow", "tfidf"])
def test_bags_of_words_do_not_see_order(model_folder, name):
    baseline = make_baseline(name, load_encoder(model_folder("bert")), TEXTS)
    a, b = embed(baseline, ["the dog saw the cat", "THE CAT saw the, dog"])
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_bags_of_words_have_no_meaning_in_the_crossed_design(model_folder):
    split = controlled.load().validation
    texts = list(split.first + split.second)
    design = controlled.crossed_design(split)
    static = make_baseline("static", load_encoder(model_folder("bert")))
    for baseline in (bag_of_words(texts, 1024), lsa(texts, dim=64), static):
        vectors = embed(baseline, texts)
        shares = variance_shares(vectors, design)
        for effect in ("meaning", "meaning_words", "meaning_syntax", "meaning_words_syntax"):
            assert shares[effect].value == pytest.approx(0.0, abs=1e-6)
        if vectors.shape[1] == 1024:  # in few directions chance makes other words look alike
            assert triplets(vectors, design)["triplet_accuracy"].value == 0.0


def test_static_words_leave_context_and_special_tokens_out(model_folder):
    encoder = load_encoder(model_folder("bert"))
    static = make_baseline("static", encoder)
    table = encoder.model.get_input_embeddings().weight.detach()
    ids = encoder.tokenizer("cat dog", add_special_tokens=False)["input_ids"]
    np.testing.assert_allclose(embed(static, ["cat dog"])[0], table[ids].mean(0).numpy(), atol=1e-6)


def test_bow_is_a_random_projection_of_the_counts():
    baseline = bag_of_words(TEXTS, 64)
    one = {word: embed(baseline, [word])[0] for word in ("cat", "dog")}
    np.testing.assert_allclose(embed(baseline, ["cat dog cat"])[0], (2 * one["cat"] + one["dog"]) / 3, atol=1e-6)
    assert not embed(baseline, ["unheard"]).any()
    assert abs(np.linalg.norm(bag_of_words(["a"] * 2 + ["word"], 4096).model.table.weight[1]) - 1) < 0.1


def test_tfidf_has_the_directions_of_scikit_learn():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"word{i}" for i in range(40)], rng.integers(1, 9))) for _ in range(200)]
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
    matrix = vectorizer.fit_transform(list(dict.fromkeys(texts)))
    svd = TruncatedSVD(8, random_state=0).fit(matrix)
    theirs = svd.transform(vectorizer.transform(texts))
    ours = embed(lsa(texts, dim=8), texts)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_errors(model_folder):
    encoder = load_encoder(model_folder("bert"))
    with pytest.raises(UsageError, match="random-init"):
        make_baseline("randm-init", encoder)
    with pytest.raises(UsageError, match="needs texts"):
        make_baseline("bow", encoder)
    with pytest.raises(InputError, match="no words"):
        make_baseline("tfidf", encoder, ["", "!"])
