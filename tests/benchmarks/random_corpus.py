"""A corpus of random ids in memory, for what does not depend on what is read."""

from pathlib import Path

import numpy as np

from geomprobe.pretrain.corpus import Corpus

VOCABULARY = 30522
"""As many as BERT's."""


def random_corpus(tokens: int) -> Corpus:
    """Return a corpus of so many tokens to train on, and 1,000 held out."""
    ids = np.random.default_rng(0).integers(5, VOCABULARY, tokens).astype(np.uint16)
    info = {"vocab_size": VOCABULARY, "special": {"pad": 0, "cls": 2, "sep": 3, "mask": 4}}
    return Corpus(Path(), {"train": [ids], "heldout": [ids[:1000]]}, {}, info)
