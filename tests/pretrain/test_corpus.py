"""Text to shards: nothing lost, nothing twice, nothing held out in training, and an interrupted build goes on."""

import contextlib
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from geomprobe.common import InputError, UsageError, write_json
from geomprobe.pretrain import paper
from geomprobe.pretrain.corpus import build_corpus, docstrings, hub, open_corpus, refuse_damaged, shards
from geomprobe.pretrain.corpus.shards import verify_corpus
from geomprobe.pretrain.corpus.tokenizer import SPECIAL_TOKENS, load_tokenizer, train_tokenizer, wrap_tokenizer


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def documents(corpus, split):
    """Return the id sequences of a split, each without its [SEP]."""
    out = []
    for stream, starts in zip(corpus.streams[split], corpus.documents[split], strict=True):
        ends = [*starts[1:], len(stream)]
        out += [tuple(stream[int(a) : int(b) - 1].tolist()) for a, b in zip(starts, ends, strict=True)]
        assert all(stream[int(b) - 1] == corpus.special["sep"] for b in ends)
    return out


def test_every_document_once_in_one_split(tmp_path, sentences):
    texts = sentences(300)
    file = write_jsonl(tmp_path / "a.jsonl", texts + texts[:50] + ["", "   "])
    corpus = build_corpus(file, "train:120", cache=tmp_path / "c")
    tokenizer = load_tokenizer(str(corpus.path))
    train, held_out = documents(corpus, "train"), documents(corpus, "heldout")
    wanted = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts}
    assert set(train) | set(held_out) == wanted
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == len(wanted)
    assert corpus.info["duplicates"] == 50
    assert 5 <= len(held_out) <= 30
    assert verify_corpus(corpus) == []


def test_rows_are_full_and_contiguous(corpus):
    rows = corpus.rows("train", np.arange(5), 20)
    assert (rows[:, 0] == corpus.special["cls"]).all()
    assert (rows[:, -1] == corpus.special["sep"]).all()
    assert np.array_equal(rows[:, 1:-1].ravel(), corpus.streams["train"][0][: 5 * 18])
    assert not np.isin(rows, [corpus.special["pad"], corpus.special["mask"]]).any()


def test_chunks_do_not_change_the_content(tmp_path, monkeypatch, sentences):
    file = write_jsonl(tmp_path / "a.jsonl", sentences(3000))
    whole = build_corpus(file, "train:120", cache=tmp_path / "whole")
    monkeypatch.setattr(shards, "CHUNK_TOKENS", 5000)
    parts = build_corpus(file, "train:120", cache=tmp_path / "parts")
    assert len(parts.info["chunks"]) > 3
    assert documents(parts, "train") == documents(whole, "train")
    assert parts.info["unigram_entropy"] == pytest.approx(whole.info["unigram_entropy"], rel=1e-12)
    n = parts.n_rows("train", 32)
    assert parts.rows("train", np.array([0, n - 1]), 32).shape == (2, 32)


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_an_interrupted_build_goes_on(tmp_path, monkeypatch, stop_after, sentences):
    """Stopped after some chunks, the second attempt tokenises only the rest and ends with the same bytes."""
    monkeypatch.setattr(shards, "CHUNK_TOKENS", 5000)
    file = write_jsonl(tmp_path / "a.jsonl", sentences(3000) + sentences(200))
    whole = build_corpus(file, "train:120", cache=tmp_path / "whole")
    calls = []
    add = shards.Writer.add

    def counted(self, texts, held_out):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(len(texts))
        add(self, texts, held_out)

    monkeypatch.setattr(shards.Writer, "add", counted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(file, "train:120", cache=tmp_path / "parts")
    assert not list((tmp_path / "parts").glob("*/corpus.json"))
    again = []
    monkeypatch.setattr(shards.Writer, "add", lambda self, t, h: (again.append(len(t)), add(self, t, h))[1])
    parts = build_corpus(file, "train:120", cache=tmp_path / "parts")
    assert sum(again) < 3200
    assert parts.info["fingerprint"] == whole.info["fingerprint"]
    assert parts.info["duplicates"] == 200


def test_built_once(tmp_path, sentences):
    file = write_jsonl(tmp_path / "a.jsonl", sentences(50))
    first = build_corpus(file, "train:100", cache=tmp_path / "c")

    def written():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*") if path.suffix != ".lock"}

    before = written()
    assert build_corpus(file, "train:100", cache=tmp_path / "c").path == first.path
    assert written() == before
    assert build_corpus(str(first.path)).info["fingerprint"] == first.info["fingerprint"]
    assert build_corpus(str(first.path), "train:100").path == first.path
    with pytest.raises(UsageError, match="made with --tokenizer train:100"):
        build_corpus(str(first.path), "train:200")


def test_trained_tokenizer_is_the_same_every_time(tmp_path, sentences):
    texts = sentences(400)
    made = [train_tokenizer(lambda: iter(texts), 150).to_str() for _ in range(3)]
    assert made[0] == made[1] == made[2]


def test_parquet_txt_and_folders(tmp_path, sentences):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "texts"
    folder.mkdir()
    pq.write_table(pa.table({"text": sentences(20, 1)}), folder / "part-0.parquet")
    pq.write_table(pa.table({"text": sentences(20, 2)}), folder / "validation.parquet")
    (folder / "b.txt").write_text("\n\n".join(sentences(10, 3)))
    write_jsonl(folder / "c.jsonl", sentences(5, 4))
    corpus = build_corpus(str(folder), "train:100", cache=tmp_path / "c")
    assert corpus.info["documents"] == {"train": 35, "heldout": 20}


def test_a_large_vocabulary_takes_four_bytes_and_a_small_one_two(tmp_path, corpus):
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [*SPECIAL_TOKENS, *(f"w{number}" for number in range(70_000))]
    backend = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    wrap_tokenizer(backend).save_pretrained(tmp_path / "tokenizer")
    file = write_jsonl(tmp_path / "a.jsonl", [f"w{number} w1 w69999" for number in range(69_900, 69_990)])
    large = build_corpus(file, str(tmp_path / "tokenizer"), cache=tmp_path / "c")
    assert large.streams["train"][0].dtype == np.uint32
    assert large.streams["train"][0].max() == 70_004
    assert corpus.streams["train"][0].dtype == np.uint16


def test_a_tokenizer_that_was_half_written_is_made_again(tmp_path, monkeypatch, sentences):
    file = write_jsonl(tmp_path / "a.jsonl", sentences(300))
    whole = build_corpus(file, "train:120", cache=tmp_path / "whole")

    def half(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer_config.json", "tokenizer.json"):
            (Path(folder) / name).write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", half)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(file, "train:120", cache=tmp_path / "parts")
    assert build_corpus(file, "train:120", cache=tmp_path / "parts").info["fingerprint"] == whole.info["fingerprint"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train-00001.ids.npy", None),
        ("seen-00000.npy", None),
        ("seen-00001.npy", None),
        ("chunk-00000.json", None),
        ("seen-00001.npy", b""),
        ("chunk-00001.json", b"[]"),
        ("chunk-00000.json", b"{"),
        ("chunk-00000.json", b'{"files": {}, "seen": 0, "number": 0}'),
    ],
)
def test_a_damaged_chunk_is_made_again(tmp_path, monkeypatch, sentences, name, content):
    monkeypatch.setattr(shards, "CHUNK_TOKENS", 5000)
    file = write_jsonl(tmp_path / "a.jsonl", sentences(1500))
    whole = build_corpus(file, "train:120", cache=tmp_path / "whole")
    finish = shards.Writer.finish
    monkeypatch.setattr(shards.Writer, "finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_corpus(file, "train:120", cache=tmp_path / "parts")
    (part,) = (tmp_path / "parts").glob("*.part")
    (part / name).unlink() if content is None else (part / name).write_bytes(content)
    monkeypatch.setattr(shards.Writer, "finish", finish)
    assert build_corpus(file, "train:120", cache=tmp_path / "parts").info["fingerprint"] == whole.info["fingerprint"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "holds no text"),
        ("one.txt", "One document only.", "one document only"),
        ("same.txt", "The same.\n\nThe same.\n\nThe same.", "one document only"),
        ("bad.jsonl", '{"text": "a"}\n{"no": 1}\n', "bad.jsonl:2"),
        ("bad2.jsonl", "not json\n", "bad2.jsonl:1"),
        ("bad.parquet", "no parquet", "cannot be read as parquet"),
        ("what.docx", "x", "not a text source"),
    ],
)
def test_unusable_sources(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        build_corpus(str(tmp_path / name), "train:100", cache=tmp_path / "c")
    assert caught.value.exit_code == 3
    assert not list((tmp_path / "c").glob("*/corpus.json"))


def test_missing_sources(tmp_path, sentences):
    with pytest.raises(InputError, match="no known source"):
        build_corpus("no/such/folder", "train:100", cache=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"No .*file in"):
        build_corpus(str(tmp_path / "empty"), "train:100", cache=tmp_path / "c")
    with pytest.raises(UsageError, match="vocabulary size"):
        build_corpus(write_jsonl(tmp_path / "a.jsonl", sentences(9)), "train:x", cache=tmp_path / "c")
    with pytest.raises(InputError, match="No tokenizer at"):
        build_corpus(str(tmp_path / "a.jsonl"), "./nowhere", cache=tmp_path / "c")


def test_a_missing_file_is_said_before_anything_of_the_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr("geomprobe.pretrain.corpus.build.choose_tokenizer", lambda name: pytest.fail(name))
    for source in ("missing.txt", "./nowhere", "owner/data/more"):
        with pytest.raises(InputError, match=f"No file or folder {source}"):
            build_corpus(source, cache=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"No .*file in"):
        build_corpus(str(tmp_path / "empty"), cache=tmp_path)


def test_unreachable_hub_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="cannot be reached") as caught:
        build_corpus("wikipedia", "train:100", cache=tmp_path)
    assert "docstrings" in caught.value.hint


class CutStream:
    """A stand-in for a streamed data set that breaks off after so many documents each time it is opened."""

    def __init__(self, texts, per_connection, error, sent):
        self.texts, self.per_connection, self.error, self.sent = texts, per_connection, error, sent
        self.next = 0

    def load_state_dict(self, state):
        self.next = state["next"]

    def state_dict(self):
        return {"next": self.next}

    def __iter__(self):
        for number in range(len(self.texts) - self.next):
            if number == self.per_connection:
                raise self.error
            self.next += 1
            self.sent.append(self.next - 1)
            yield {"text": self.texts[self.next - 1]}


@pytest.fixture
def cut_hub(monkeypatch, tmp_path):
    """Return a function that puts a hub in place whose connections break off; it returns naps and documents sent."""
    import datasets

    naps, sent = [], []
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *a, **k: SimpleNamespace(sha="a" * 40))
    monkeypatch.setattr(hub, "HUB_SHARD", 4)
    monkeypatch.setattr("geomprobe.pretrain.corpus.hub.time.sleep", naps.append)

    def put(texts, per_connection, error):
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: CutStream(texts, per_connection, error, sent))
        return naps, sent

    return put


class TransportError(Exception):
    """An HTTP client's error, which is no OSError."""


@pytest.mark.parametrize("error", [ConnectionError("reset by peer"), TransportError("incomplete body")])
def test_a_cut_connection_to_the_hub_goes_on_where_it_broke(tmp_path, cut_hub, sentences, error):
    texts = sentences(10)
    naps, sent = cut_hub(texts, 3, error)
    assert list(hub.read_hub(f"someone/text@{'a' * 40}", 0)) == texts
    assert naps == [1.0, 1.0, 1.0]
    assert sent == list(range(10))
    whole = tmp_path / "text.jsonl"
    whole.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    streamed = build_corpus("someone/text", "train:120", cache=tmp_path / "a")
    local = build_corpus(str(whole), "train:120", cache=tmp_path / "b")
    assert documents(streamed, "train") == documents(local, "train")
    assert sent == list(range(10))  # the tokenizer and the build read what is kept


def test_what_came_from_the_hub_is_kept(cut_hub, sentences, monkeypatch):
    """After a cut that lasts, and in another process, the stream goes on at the last whole shard."""
    texts = sentences(30)
    monkeypatch.setattr(hub, "HUB_SHARD", 10)
    _, sent = cut_hub(texts, 14, ConnectionError("reset by peer"))
    some = hub.read_hub("someone/text", 0)
    assert [next(some) for _ in range(13)] == texts[:13]  # the second shard of ten came with the first twenty
    assert sent == list(range(20))
    assert list(hub.read_hub("someone/text", 7)) == texts[7:]
    assert sent == list(range(30))
    for start in (0, 10, 25, 30):
        assert list(hub.read_hub("someone/text", start)) == texts[start:]
    assert sent == list(range(30))


@pytest.mark.parametrize("cut", [1, 5, 8, 11])
def test_the_stream_of_datasets_goes_on_at_a_position(tmp_path, cut_hub, sentences, monkeypatch, cut):
    """The same with the real library, reading local files as if they came from the hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import load_dataset

    texts = sentences(12)
    for number in range(3):
        pq.write_table(pa.table({"text": texts[4 * number : 4 * number + 4]}), tmp_path / f"{number}.parquet")
    cut_hub([], 0, None)
    files = [str(tmp_path / f"{number}.parquet") for number in range(3)]
    data = load_dataset("parquet", data_files=files, split="train", streaming=True)
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: data)
    monkeypatch.setattr(hub, "HUB_SHARD", 4)
    some = hub.read_hub("someone/text", 0)
    assert [next(some) for _ in range(cut)] == texts[:cut]
    assert list(hub.read_hub("someone/text", 2)) == texts[2:]


def test_a_hub_that_stays_away_is_an_error_that_says_how_to_go_on(cut_hub, sentences):
    naps, _ = cut_hub(sentences(10), 0, ConnectionError("reset by peer"))
    with pytest.raises(InputError, match="broke at document 0") as caught:
        list(hub.read_hub("someone/text", 0))
    assert "Repeat the command" in caught.value.hint
    assert naps == [1.0, 4.0, 16.0]


def test_damage_is_found(tmp_path, sentences):
    corpus = build_corpus(write_jsonl(tmp_path / "a.jsonl", sentences(50)), "train:100", cache=tmp_path / "c")
    file = corpus.path / "train-00000.ids.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert verify_corpus(corpus) == [file.name]
    file.write_bytes(bytes(data[:-10]))
    with pytest.raises(InputError, match="damaged"):
        open_corpus(corpus.path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damage_of_the_tokenizer_is_found(tmp_path, sentences, name):
    corpus = build_corpus(write_jsonl(tmp_path / "a.jsonl", sentences(50)), "train:100", cache=tmp_path / "c")
    (corpus.path / name).write_text((corpus.path / name).read_text() + " ")
    assert verify_corpus(corpus) == [name]
    with pytest.raises(InputError, match=f"damaged: {name}"):
        refuse_damaged(corpus)
    (corpus.path / name).unlink()
    assert verify_corpus(corpus) == [name]


@pytest.mark.parametrize("place", ["duplicates", "seconds", "unigram_entropy", "unused_ids"])
def test_a_flipped_digit_in_the_description_is_found(tmp_path, sentences, place):
    """Of a number, too, that nothing else says."""
    corpus = build_corpus(write_jsonl(tmp_path / "a.jsonl", sentences(50)), "train:100", cache=tmp_path / "c")
    path = corpus.path / "corpus.json"
    text = path.read_text()
    flipped = re.sub(rf'("{place}": [\d.]*)(\d)', lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}", text)
    assert flipped != text
    path.write_text(flipped)
    with pytest.raises(InputError, match=r"corpus\.json is damaged.*does not match the hash") as error:
        open_corpus(corpus.path)
    assert "build it again" in error.value.hint


def test_corpora_of_the_first_versions_open(tmp_path, sentences):
    corpus = build_corpus(write_jsonl(tmp_path / "a.jsonl", sentences(50)), "train:100", cache=tmp_path / "c")
    info = {key: value for key, value in corpus.info.items() if key not in ("tokenizer_files", "hash")}
    write_json(corpus.path / "corpus.json", info)
    assert verify_corpus(open_corpus(corpus.path)) == []
    write_json(corpus.path / "corpus.json", info | {"tokenizer_hash": "0"})
    assert verify_corpus(open_corpus(corpus.path)) == ["tokenizer.json"]


def test_a_tokenizer_that_changed_since_a_build_was_cut_off_is_made_again(tmp_path, monkeypatch, sentences):
    file = write_jsonl(tmp_path / "a.jsonl", sentences(300))
    whole = build_corpus(file, "train:120", cache=tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(shards.Writer, "finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_corpus(file, "train:120", cache=tmp_path / "parts")
    (part,) = (tmp_path / "parts").glob("*.part")
    (part / "tokenizer.json").write_bytes(
        (whole.path / "tokenizer.json").read_bytes().replace(b"lowercase", b"lowercasf")
    )
    again = build_corpus(file, "train:120", cache=tmp_path / "parts")
    assert again.info["fingerprint"] == whole.info["fingerprint"]
    assert again.info["tokenizer_files"] == whole.info["tokenizer_files"]


def test_padded_rows_are_single_documents(corpus):
    rows = paper.PaddedRows(corpus, "train", 32, 8)
    ids = rows.rows(np.arange(20))
    special = corpus.special
    whole = set(documents(corpus, "train"))
    for row in ids:
        end = int(np.flatnonzero(row == special["sep"])[0])
        assert row[0] == special["cls"]
        assert (row[end + 1 :] == special["pad"]).all()
        assert any(document[: end - 1] == tuple(row[1:end].tolist()) for document in whole)


def test_docstrings_keep_prose_only():
    found = docstrings.prose(
        """Return the sum of all the values that were given to it.

        The result is a :class:`~numpy.ndarray` of the ``same`` kind as the first of the arguments.

        Parameters
        ----------
        x : array of shape (n,)
            The values of which the sum is wanted by the caller here.

        >>> total([1, 2])
        3

        .. note:: This is a directive, and so it is not a sentence of English.
        """
    )
    assert found == [
        "Return the sum of all the values that were given to it.",
        "The result is a numpy.ndarray of the same kind as the first of the arguments.",
    ]


def test_docstrings_are_not_imported(tmp_path):
    file = tmp_path / "evil.py"
    file.write_text(
        '"""This module has a docstring with enough words in it to count."""\nraise SystemExit("imported")\n'
    )
    assert docstrings._prose_of_file(str(file)) == [["This module has a docstring with enough words in it to count."]]
    broken = tmp_path / "broken.py"
    broken.write_text('"""A docstring.""" def (\x00')
    assert docstrings._prose_of_file(str(broken)) == []


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """300 installed files with a docstring of prose each; the cache is empty."""
    for i in range(300):
        text = f"Sentence number {'very ' * (i % 7)}{i:b} tells what the function in this file is made for.".translate(
            str.maketrans("01", "ox")
        )
        (tmp_path / "lib" / f"m{i:03d}.py").parent.mkdir(exist_ok=True)
        (tmp_path / "lib" / f"m{i:03d}.py").write_text(f'"""{text}"""\n')
    monkeypatch.setattr(docstrings.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path / "lib")})
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_docstrings_are_read_in_the_order_of_the_packages_until_the_caller_has_enough(packages):
    large = packages / "lib" / "zz" / "part.py"
    large.parent.mkdir()
    large.write_text('"""This is the package that has by far the most lines of source in it."""\n' + "x = 1\n" * 999)
    whole = list(docstrings.documents())
    assert len(whole) == 301
    assert whole[0].startswith("This is the package")
    assert " oo " not in whole[0]
    with contextlib.closing(docstrings.documents()) as texts:
        assert [next(texts), next(texts)] == whole[:2]


def test_a_limit_of_tokens_limits_how_many_docstrings_are_looked_for(packages):
    told = []
    few = build_corpus("docstrings", "train:100", limit_tokens=500, progress=lambda *stage: told.append(stage))
    every = build_corpus("docstrings", "train:100")
    assert few.info["tokens"]["train"] >= 500
    assert sum(few.info["documents"].values()) < 100 < sum(every.info["documents"].values()) == 300
    files = {file.name: len(file.read_text().splitlines()) for file in (packages / "cache/docstrings").iterdir()}
    assert sorted(files.values())[0] < 100 < sorted(files.values())[1] == 300
    reading = [(done, total) for stage, done, total in told if stage == "reading docstrings"]
    assert reading[-1] == (3000, 3000)  # characters


def test_wikipedia_rows(tmp_path):
    """Real text, where it is at hand."""
    data = os.environ.get("GEOMPROBE_DATA") or os.path.join(os.path.dirname(__file__), "../../../shared/data")
    if not os.path.isdir(os.path.join(data, "wikipedia")):
        pytest.skip("no data folder (GEOMPROBE_DATA)")
    file = os.path.join(data, "wikipedia", "validation.parquet")
    tokenizer = os.path.join(data, "tokenizers", "bert-base-uncased")
    corpus = build_corpus(file, tokenizer, cache=tmp_path, limit_tokens=100_000)
    assert corpus.vocab_size == 30522
    assert corpus.streams["train"][0].dtype == np.uint16
    assert 6.5 < corpus.info["unigram_entropy"] < 7.5


def test_the_bytes_of_a_corpus_stay_what_they_were(tmp_path):
    """A fingerprint names a corpus in run.json for years; one made anew must have the same."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [*SPECIAL_TOKENS, "the", "cat", "sees", "a", "dog"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    wrap_tokenizer(backend).save_pretrained(tmp_path / "tokenizer")
    texts = [" ".join(names[5 + (i * k) % 5] for k in range(1, 12 + i % 7)) + f" {i}" for i in range(60)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    for file in (write_jsonl(tmp_path / "a.jsonl", texts), str(tmp_path / "a.txt")):
        corpus = build_corpus(file, str(tmp_path / "tokenizer"), cache=tmp_path / "c")
        assert corpus.info["fingerprint"] == "4e181d230111a7fe3be422fe15c8bfd285820c1b430b21f5579bd41582fb0dfb"
