"""Quantised and truncated vectors: the library's own numbers, and refusals of what has no code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import geomprobe as gp
from geomprobe.common import UsageError
from geomprobe.vectors import storage


def clouds():
    rng = np.random.default_rng(0)
    for n, d in ((2, 1), (7, 3), (50, 17), (300, 64)):
        Z = rng.standard_normal((n, d)) * rng.gamma(1, 3, d) + rng.standard_normal(d)
        Z[rng.random((n, d)) < 0.05] = 0.0
        Z[:, -1] = 1.5  # a dimension without a range
        yield Z.astype(np.float32)
        yield Z
    yield np.linspace(-1, 1, 511, dtype=np.float32)[:, None]  # values on the edges of the steps


@pytest.mark.parametrize("Z", list(clouds()), ids=lambda Z: f"{Z.shape}-{Z.dtype}")
def test_codes_are_those_of_sentence_transformers(Z):
    library = pytest.importorskip("sentence_transformers").quantize_embeddings
    other = np.roll(Z, 1, axis=0)[: max(2, len(Z) // 2)] * 0.7
    ranges = storage.int8_ranges(other)
    assert np.array_equal(gp.quantise(Z, "int8"), library(Z, "int8"))
    assert np.array_equal(gp.quantise(Z, "int8", ranges), library(Z, "int8", calibration_embeddings=other))
    assert np.array_equal(gp.quantise(Z, "int8", ranges), library(Z, "int8", ranges=ranges))
    assert np.array_equal(gp.quantise(Z, "float32"), library(Z, "float32"))
    signs = gp.quantise(Z, "binary")
    assert set(np.unique(signs)) <= {-1, 1}
    assert np.array_equal(np.packbits(signs > 0, axis=-1), library(Z, "ubinary"))
    assert np.array_equal((np.packbits(signs > 0, axis=-1) - 128).astype(np.int8), library(Z, "binary"))


@pytest.mark.parametrize("Z", list(clouds()), ids=lambda Z: f"{Z.shape}-{Z.dtype}")
def test_truncation_is_that_of_sentence_transformers(Z):
    library = pytest.importorskip("sentence_transformers.util").truncate_embeddings
    for d in {1, (Z.shape[1] + 1) // 2, Z.shape[1]}:
        cut = gp.truncate(Z, d)
        assert np.array_equal(cut, library(Z, d))
        unit = torch.nn.functional.normalize(torch.from_numpy(cut), dim=-1).numpy()
        found = gp.truncate(Z, d, renormalise=True)
        np.testing.assert_allclose(found, unit, atol=2e-7)
        assert found.dtype == Z.dtype


def test_the_vectors_given_are_left_alone():
    Z = np.ones((3, 4), np.float32)
    gp.truncate(Z, 2)[:] = 7
    gp.quantise(Z, "float32")[:] = 7
    assert (Z == 1).all()


def test_edges():
    assert gp.quantise(torch.tensor([[-0.0, 1e-30, -1e-30]]), "binary").tolist() == [[-1, 1, -1]]
    assert gp.truncate(np.zeros((2, 3)), 2, renormalise=True).tolist() == [[0, 0], [0, 0]]
    beyond = gp.quantise(np.array([[-5.0], [5.0]]), "int8", ranges=[[-1], [1]])
    assert beyond.tolist() == [[-128], [127]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gp.quantise([[1.0, np.nan], [0.0, 1.0]], "binary"), "1 row holds NaN or infinity: 0"),
        (lambda: gp.quantise([[1.0], [np.inf]], "int8"), "1 row holds NaN or infinity: 1"),
        (lambda: gp.quantise(np.ones((2, 2), np.int8), "binary"), "floats"),
        (lambda: gp.quantise(np.ones(3), "int8"), "shape"),
        (lambda: gp.quantise(np.ones((1, 3)), "int8"), "at least two rows"),
        (lambda: gp.quantise(np.ones((2, 3)), "int8", ranges=np.ones((2, 2))), "each of 3 dimensions"),
        (lambda: gp.quantise(np.ones((2, 1)), "int8", ranges=[[1], [0]]), "low and high"),
        (lambda: gp.quantise(np.array([[-3e38], [3e38]]), "int8"), "rescale"),
        (lambda: gp.truncate(np.ones((2, 3)), 4), "between 1 and the 3"),
        (lambda: gp.truncate(np.ones((2, 3)), 0), "between 1 and the 3"),
    ],
)
def test_what_has_no_code_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="int4"):
        gp.quantise(np.ones((2, 2)), "int4")
