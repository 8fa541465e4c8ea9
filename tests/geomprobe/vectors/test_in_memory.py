"""What `gp.measure` is given: arrays pass, lists and tables of numbers are converted, the rest is refused in words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import geomprobe as gp
from geomprobe.vectors import as_matrix


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(30, 4))


def test_lists_tensors_and_tables_are_the_same_rows(x):
    expected = gp.measure(x, metrics=["effective_rank"], intervals=False)["value"]
    for given in (
        x.tolist(),
        list(x),
        list(torch.from_numpy(x)),
        pd.DataFrame(x),
        pd.Series(list(x)),
        torch.from_numpy(x),
    ):
        found = gp.measure(given, metrics=["effective_rank"], intervals=False)
        assert list(found["value"]) == pytest.approx(list(expected), rel=1e-12)
    assert as_matrix([torch.zeros(2, dtype=torch.bfloat16)] * 3).dtype == torch.bfloat16
    assert as_matrix(pd.DataFrame(x.astype(np.float32))).dtype == np.float32
    assert as_matrix(x) is x


def test_what_is_no_matrix_is_refused_in_words(x):
    frame = pd.DataFrame(x, columns=list("abcd"))
    for given, words in (
        (scipy.sparse.csr_matrix(x), "toarray"),
        (torch.from_numpy(x).to_sparse(), "dense"),
        (np.ma.masked_greater(x, 1), "masked"),
        ("vectors.npy", "not a path"),
        (Path("vectors.npy"), "not a path"),
        (frame.assign(text="a"), "not: text"),
        (frame.assign(id=range(30)), r"whole numbers \(id\)"),
        (frame.assign(e=[None] + [0.5] * 29), "row 0 holds no number in column 'e'"),
        (pd.DataFrame({"v": list(x)}), "np.stack"),
        ([[0.5, 1.0], [0.5]], "equal length"),
        ([torch.zeros(2), torch.zeros(3)], "equal length"),
        (x[0], "shape"),
        ([], "shape"),
    ):
        with pytest.raises(ValueError, match=words):
            gp.measure(given)
