"""Tokenizers in the forms that folders have them in: read, or refused with what is really missing."""

import json
import shutil
import struct
import subprocess
import sys

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel, ByT5Tokenizer

from geomprobe.common import InputError
from geomprobe.encoders import load_encoder
from geomprobe.encoders.tokenizers import load_tokenizer


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def sentencepiece_model(words):
    """Return the bytes of a unigram model: the protocol buffer that sentencepiece writes."""

    def nested(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    def piece(text, score, kind):
        return nested(
            1, nested(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + varint(3 << 3) + varint(kind)
        )

    special = [piece(name, 0.0, kind) for name, kind in (("<pad>", 3), ("</s>", 3), ("<unk>", 2))]
    return b"".join([*special, *(piece(f"▁{word}", -1.0 - i, 1) for i, word in enumerate(words))]) + nested(
        2, varint(3 << 3) + varint(1)
    )


def test_sentencepiece_alone_is_refused_for_the_right_reason(tmp_path):
    forms = {
        "spiece.model": ("t5", "T5Tokenizer"),
        "sentencepiece.bpe.model": ("xlm-roberta", "XLMRobertaTokenizer"),
        "spm.model": ("deberta-v2", None),
        "tokenizer.model": ("llama", "LlamaTokenizer"),
        "source.spm": ("marian", "MarianTokenizer"),
    }
    for file, (kind, tokenizer) in forms.items():
        (tmp_path / file).mkdir()
        (tmp_path / file / file).write_bytes(sentencepiece_model(["the", "cat"]))
        (tmp_path / file / "config.json").write_text(json.dumps({"model_type": kind}))
        if tokenizer:
            (tmp_path / file / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}))
    code = """if True:
        import sys
        sys.modules["sentencepiece"] = None  # as if it were not installed
        from geomprobe.common import InputError
        from geomprobe.encoders.tokenizers import load_tokenizer
        for folder in sys.argv[1:]:
            try:
                load_tokenizer(folder)
            except InputError as error:
                print(error.message, error.hint)
        """
    folders = [str(tmp_path / file) for file in forms]
    out = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True).stdout
    for file, line in zip(forms, out.splitlines(), strict=True):
        assert f"only as {file} (sentencepiece)" in line
        assert "pip install sentencepiece" in line
        assert "tiktoken" not in line


def test_tiktoken_alone(tmp_path):
    (tmp_path / "qwen.tiktoken").write_text("IQ== 0\nIg== 1\n")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(InputError, match=r"qwen\.tiktoken|no usable tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("tokenizer", "needed"), [("BertTokenizer", r"vocab\.txt"), ("GPT2Tokenizer", r"vocab\.json|merges")]
)
def test_missing_vocabulary(tmp_path, tokenizer, needed):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=needed):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_bytes_needs_no_file(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)("a")["input_ids"] == [100, 1]


def gapped(folder, *, last):
    """Give the words' tokenizer in a folder the id `last` for [MASK], far behind the others."""
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    values["model"]["vocab"]["[MASK]"] = last
    for token in values["added_tokens"]:
        token["id"] = last if token["content"] == "[MASK]" else token["id"]
    file.write_text(json.dumps(values))


@pytest.mark.parametrize(("entries", "said"), [(91, False), (64, True)])
def test_a_tokenizer_whose_ids_have_gaps(model_folder, tmp_path, entries, said):
    config = BertConfig(
        vocab_size=entries, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_folder("bert") / name, tmp_path)
    gapped(tmp_path, last=90)
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token_id == 90
    encoder = load_encoder(tmp_path)
    assert encoder.tokenize(["the cat"])[0][0].max() < 64
    assert any("does not have" in note for note in encoder.notes) == said
    if said:
        with pytest.raises(InputError, match="token 90, but the model knows only 64"):
            encoder.tokenize(["the [MASK] sat"])
    else:
        assert encoder.tokenize(["the [MASK] sat"])[0][0].max() == 90
