"""Text to token shards: sources, splits, the held-out part, tokenizers, and the memory-mapped corpus."""

from geomprobe.pretrain.corpus.build import build_corpus
from geomprobe.pretrain.corpus.shards import Corpus, open_corpus, refuse_damaged, unigram_entropy, verify_corpus
from geomprobe.pretrain.corpus.sources import Source, open_source
from geomprobe.pretrain.corpus.tokenizer import SPECIAL_TOKENS, load_tokenizer, train_tokenizer, wrap_tokenizer

__all__ = [
    "SPECIAL_TOKENS",
    "Corpus",
    "Source",
    "build_corpus",
    "load_tokenizer",
    "open_corpus",
    "open_source",
    "refuse_damaged",
    "train_tokenizer",
    "unigram_entropy",
    "verify_corpus",
    "wrap_tokenizer",
]
