"""Text to token shards: sources, splits, the held-out part, tokenizers, and the memory-mapped corpus."""

from geomprobe.pretrain.corpus.build import build_corpus
from geomprobe.pretrain.corpus.shards import Corpus, open_corpus, refuse_damaged

__all__ = ["Corpus", "build_corpus", "open_corpus", "refuse_damaged"]
