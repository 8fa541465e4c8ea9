"""Of a text that is much longer than an encoder reads, only the first part becomes tokens; the numbers stay."""

import pytest
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from geomprobe.encoders import load_encoder
from geomprobe.encoders.tokenizers import first_part

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS_OF = {
    "words": "the cat sat on ",
    "one word": "a",
    "no blanks": "the,cat.sat!on?",
    "blanks": "cat" + 400 * " " + "\n",
    "Chinese": "\u732b\u5750",
    "accents": "e\u0301a\u0308 ",
    "special tokens": "[MASK][SEP]cat [CLS] ",
    "emoji": "\U0001f469\u200d\U0001f680 cat",
}


def trained(kind):
    """A tokenizer of the kinds that encoders have, trained on a few sentences."""
    tokenizer, trainer = {
        "WordPiece": lambda: (
            Tokenizer(models.WordPiece(unk_token="[UNK]")),
            trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False),
        ),
        "BPE": lambda: (
            Tokenizer(models.BPE()),
            trainers.BpeTrainer(
                vocab_size=400, special_tokens=SPECIAL, show_progress=False,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            ),
        ),
        "Unigram": lambda: (
            Tokenizer(models.Unigram()),
            trainers.UnigramTrainer(vocab_size=100, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False),
        ),
    }[kind]()  # fmt: skip
    if kind == "WordPiece":
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    elif kind == "BPE":
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), pre_tokenizers.ByteLevel()
    else:
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(["the cat sat on the mat", *TEXTS_OF.values()] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_the_first_part_of_a_long_text_gives_the_tokens_of_the_whole(kind):
    tokenizer = trained(kind)
    for name, text in TEXTS_OF.items():
        whole = text * (12_000 // len(text)) + " end"
        ids = tokenizer(whole)["input_ids"]
        for limit in (3, 20):
            part = first_part(tokenizer, whole, limit)
            cut, cut_of_whole = (tokenizer(t, truncation=True, max_length=limit)["input_ids"] for t in (part, whole))
            assert cut == cut_of_whole, (name, limit)
            assert (len(tokenizer(part)["input_ids"]) > limit) == (len(ids) > limit)
            if name == "words":
                assert len(part) < len(whole) / 2
            if name == "one word":
                assert part == whole


def test_the_first_part_is_the_whole_where_the_end_of_a_text_is_kept_or_words_are_not_known():
    tokenizer = trained("WordPiece")
    whole = "the cat sat on " * 2000
    tokenizer.truncation_side = "left"
    assert first_part(tokenizer, whole, 8) == whole
    assert first_part(lambda text: text.split(), whole, 8) == whole


def test_long_texts_are_cut_before_they_become_tokens(model_folder, monkeypatch):
    encoder = load_encoder(model_folder("bert"))
    texts = ["the cat", "the cat sat on " * 5000, "cat " * 5, "the cat sat , on ! " * 50]
    ids, cut = encoder.tokenize(texts)
    monkeypatch.setattr("geomprobe.encoders.encoder.first_part", lambda tokenizer, text, limit: text)
    ids_of_whole, cut_of_whole = encoder.tokenize(texts)
    assert cut.tolist() == cut_of_whole.tolist() == [False, True, False, True]
    assert [row.tolist() for row in ids] == [row.tolist() for row in ids_of_whole]
