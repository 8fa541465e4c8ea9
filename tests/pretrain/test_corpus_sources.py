"""What people really have as text: splits in folders, a text a line, other encodings; nothing passes in silence."""

import codecs
import gzip
import json
import random

import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.pretrain.corpus import build_corpus
from geomprobe.pretrain.corpus.sources import open_source
from geomprobe.pretrain.corpus.tokenizer import load_tokenizer


def built(path, tmp_path, **options):
    return build_corpus(str(path), "train:100", cache=tmp_path / "cache", **options)


def counts(corpus):
    return corpus.info["documents"]["train"], corpus.info["documents"]["heldout"]


def held_out_share(corpus):
    return corpus.info["tokens"]["heldout"] / sum(corpus.info["tokens"].values())


def notes(corpus):
    return "\n".join(corpus.info["notes"])


def texts_of(corpus, split):
    tokenizer = load_tokenizer(str(corpus.path))
    out = []
    for stream, starts in zip(corpus.streams[split], corpus.documents[split], strict=True):
        for a, b in zip(starts, [*starts[1:], len(stream)], strict=True):
            out.append(tokenizer.decode(stream[int(a) : int(b) - 1].tolist()))
    return out


@pytest.fixture
def write(tmp_path, sentences):
    """Return a function that writes n documents to a file, each a text that names its file."""

    def put(name, n, seed=0):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(f"{text} number {seed} {i}" for i, text in enumerate(sentences(n, seed))))
        return tmp_path / "in"

    return put


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "train", "held_out"),
    [
        # each name gets (its place + 1) * 10 documents
        (["train/pos/a.txt", "train/neg/a.txt", "test/pos/a.txt", "validation/pos/a.txt"], 30, 40),
        (["train/a.txt", "dev/a.txt", "test/a.txt"], 10, 20),
        (["Train/a.txt", "TEST/a.txt"], 10, None),
        (["train.txt", "test.txt", "validation.txt"], 10, 30),
        (["train.txt", "valid.txt", "README.txt"], 10, 20),
        (["data/train-00000-of-00002.txt", "data/train-00001-of-00002.txt", "data/test-00000-of-00001.txt"], 30, None),
        (["plain_text/train/0000.txt", "plain_text/validation/0000.txt"], 10, 20),
        (["training/a.txt", "testing/a.txt"], 10, None),
        (["train/a.txt", "notes.txt"], 10, None),
        (["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"], 10, 20),
        (["a_train_en.txt", "a_test_en.txt"], 10, None),
        (["train2017/a.txt", "test2017/a.txt", "validation2.txt"], 10, 30),
        # not splits: names that merely contain such a word, and subjects
        (["training-notes/a.txt", "b.txt"], 30, None),
        (["training/a.txt", "other/a.txt"], 30, None),
        (["testing/a.txt", "other/a.txt"], 30, None),
        (["contest.txt", "latest/a.txt"], 30, None),
        (["my.train.txt", "other.txt"], 30, None),
        (["a.txt", "test-results.txt"], 10, None),
    ],
)
def test_splits_by_name(write, tmp_path, names, train, held_out):
    for place, name in enumerate(names):
        folder = write(name, 10 * (place + 1), seed=place)
    corpus = built(folder, tmp_path)
    if held_out is None:
        assert sum(counts(corpus)) == train
        assert held_out_share(corpus) <= 0.1
    else:
        assert counts(corpus) == (train, held_out)
        assert "held out: 1 file" in notes(corpus)
    used = sum(counts(corpus))
    assert ("left out" in notes(corpus)) == (used < sum(10 * (place + 1) for place in range(len(names))))


def test_test_data_alone_is_not_trained_on(write, tmp_path):
    folder = write("test/a.txt", 30)
    with pytest.raises(InputError, match=r"nothing to train on: 1 test file, as test/a\.txt") as caught:
        built(folder, tmp_path)
    assert str(folder / "test") in caught.value.hint
    assert sum(counts(built(folder / "test", tmp_path))) == 30  # named by the user


def test_a_text_of_the_validation_files_is_not_trained_on(write, tmp_path, sentences):
    folder = write("train.txt", 30, seed=1)
    text = (folder / "train.txt").read_text().split("\n\n")
    (folder / "validation.txt").write_text("\n\n".join([text[3], text[7], *sentences(5, 9)]))
    corpus = built(folder, tmp_path)
    assert counts(corpus) == (28, 7)
    assert not set(texts_of(corpus, "train")) & set(texts_of(corpus, "heldout"))
    assert "2 documents that occur before" in notes(corpus)
    assert "of the tokens are held out: the validation files" in notes(corpus)


def test_validation_files_without_text(write, tmp_path):
    folder = write("train.txt", 30)
    (folder / "validation.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"validation files of .* hold no text"):
        built(folder, tmp_path)


def test_what_a_folder_holds_besides_is_counted(write, tmp_path):
    folder = write("a.txt", 30)
    write(".hidden.txt", 5, 1)
    write(".git/b.txt", 5, 2)
    (folder / "image.png").write_bytes(b"\x89PNG\0")
    (folder / "README").write_text("x")
    (folder / "empty.txt").touch()
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    (folder / "loop").symlink_to(folder)
    corpus = built(folder, tmp_path)
    assert sum(counts(corpus)) == 30
    for said in (
        "hidden folders (1)",
        "hidden files (1)",
        "empty files (1)",
        "broken links (1)",
        "links to files already read (1)",
        "links to folders already read (1)",
        "files with other endings, .png 1, none 1 (2)",
    ):
        assert said in notes(corpus)


def test_links_are_followed(write, tmp_path):
    write("store/a.txt", 30)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "train").symlink_to(tmp_path / "in" / "store")
    assert sum(counts(built(tmp_path / "linked", tmp_path))) == 30


# --- what a document is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blanks", [(), (1492,), (7,), (100, 1700, 2800), tuple(range(50, 2000, 97))])
def test_a_text_a_line(tmp_path, blanks):
    random_ = random.Random(len(blanks))
    lines = [" ".join(random_.choices("abcdefgh", k=9)) + f" {i}" for i in range(2500)]
    for place in blanks:
        lines.insert(place, "")
    (tmp_path / "a.txt").write_text("\n".join(lines))
    corpus = built(tmp_path / "a.txt", tmp_path)
    assert sum(counts(corpus)) == 2500
    assert held_out_share(corpus) <= 0.05
    assert "a document is a line (2,500 lines in" in notes(corpus)
    assert "--documents paragraphs" in notes(corpus)


def test_the_unit_that_is_asked_for(write, tmp_path, sentences):
    folder = write("a.txt", 40, 1)
    (folder / "b.txt").write_text("\n\n".join("\n".join(sentences(3, seed)) for seed in range(100, 130)))
    assert sum(counts(built(folder, tmp_path))) == 70
    assert sum(counts(built(folder, tmp_path, documents="paragraphs"))) == 70
    assert sum(counts(built(folder, tmp_path, documents="lines"))) == 130
    assert counts(built(folder, tmp_path, documents="files")) == (2, 1)  # a piece of one of them is held out
    with pytest.raises(UsageError, match="unit of documents 'words'"):
        built(folder, tmp_path, documents="words")


def test_many_files_of_a_text_each(tmp_path, sentences):
    """Files of some lines without a blank line are documents, however many lines they have."""
    (tmp_path / "in").mkdir()
    for i in range(30):
        (tmp_path / "in" / f"{i}.txt").write_text("\n".join(sentences(60, i)))
    assert sum(counts(built(tmp_path / "in", tmp_path))) == 30


def test_shards_of_a_text_a_line(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(25):
        (tmp_path / "in" / f"part-{i:05d}.txt").write_text("\n".join(f"a b {i} {j}" for j in range(1100)))
    assert sum(counts(built(tmp_path / "in", tmp_path))) == 25 * 1100


def test_the_unit_is_for_plain_text(tmp_path, sentences):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(40)))
    with pytest.raises(UsageError, match=r"--documents is for \.txt files"):
        built(tmp_path / "a.jsonl", tmp_path, documents="lines")
    with pytest.raises(UsageError, match=r"--documents is for \.txt files"):
        open_source("docstrings", "lines")


# --- the held-out part -----------------------------------------------------------------------------------------------


def jsonl(path, texts, key="text"):
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts))
    return path


def test_one_giant_among_many_is_not_held_out(tmp_path, sentences):
    for seed in range(6):
        texts = [*sentences(39, seed), "\n".join(sentences(200, seed + 50))]
        corpus = built(jsonl(tmp_path / f"{seed}.jsonl", texts), tmp_path)
        assert held_out_share(corpus) <= 0.1
        assert sum(counts(corpus)) == 40


def test_of_few_long_documents_a_piece_is_held_out(tmp_path, sentences):
    texts = ["\n\n".join(sentences(60, seed)) for seed in range(3)]
    corpus = built(jsonl(tmp_path / "books.jsonl", texts), tmp_path)
    assert counts(corpus) == (3, 1)
    assert 0.01 < held_out_share(corpus) <= 0.06
    assert "few long documents: the last" in notes(corpus)
    words = " ".join(texts_of(corpus, "train") + texts_of(corpus, "heldout")).split()
    assert len(words) == len(" ".join(texts).split())  # nothing lost, nothing twice
    held_out = texts_of(corpus, "heldout")[0]
    assert not any(held_out in text for text in texts_of(corpus, "train"))


def test_a_single_long_document(tmp_path, sentences):
    corpus = built(jsonl(tmp_path / "book.jsonl", ["\n".join(sentences(100))]), tmp_path)
    assert counts(corpus) == (1, 1)
    assert held_out_share(corpus) <= 0.06


def test_a_few_short_documents_are_held_out_with_a_word(tmp_path):
    texts = [f"the cat sees a dog near the old house {i}" for i in range(8)]
    corpus = built(jsonl(tmp_path / "a.jsonl", texts), tmp_path)
    assert counts(corpus) == (7, 1)
    assert "12.5% of the tokens are held out: 1 of 8 documents" in notes(corpus)


def test_two_documents_of_a_line_are_refused(tmp_path):
    file = jsonl(tmp_path / "a.jsonl", ["the cat sees a dog", "the dog sees a bird"])
    with pytest.raises(InputError, match=r"2 documents only: .* 49% of the text") as caught:
        built(file, tmp_path)
    assert "validation" in caught.value.hint


# --- contents of files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".TXT"])
def test_encodings_with_a_mark_and_compression(tmp_path, encoding, suffix):
    texts = [f"the größe of {i} cafés" for i in range(40)]
    lines = [json.dumps({"text": text}) for text in texts] if "jsonl" in suffix else texts
    data = "\r\n".join(lines).encode(encoding)
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(data) if "gz" in suffix else data)
    read = list(open_source(str(tmp_path / f"a{suffix}")).read(0))
    assert read == texts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ein\nschöner\nTag\n".encode("latin-1"), r"a\.txt:2 is not UTF-8: byte 0xf6 at offset 7"),
        (codecs.BOM_UTF8 + b"a\n\xff", r"a\.txt:2 is not UTF-8: byte 0xff at offset 5"),
        ("some text\n".encode("utf-16-le") * 5, r"a\.txt:1 holds a NUL byte"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"a\.txt:1 is not UTF-8: byte 0x89"),
        (b"text\n\0\0\0", r"a\.txt:2 holds a NUL byte"),
        (codecs.BOM_UTF16_LE + b"a\0b", "UTF-16-LE, but is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_text_is_refused_by_file_and_line(tmp_path, data, message, packed):
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(InputError, match=message.replace("txt", "txt.gz") if packed else message) as caught:
        built(path, tmp_path)
    assert caught.value.exit_code == 3


def test_a_fault_far_into_a_file_is_found(tmp_path):
    """Past what decides the unit, the fault shows while the corpus is built, and nothing looks finished."""
    (tmp_path / "a.txt").write_bytes(b"\n\n".join(b"text %d" % i for i in range(5000)) + b"\n\ncaf\xe9")
    with pytest.raises(InputError, match=r"a\.txt:10001 is not UTF-8"):
        built(tmp_path / "a.txt", tmp_path)
    assert not list((tmp_path / "cache").glob("*/corpus.json"))


def test_damaged_compression(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some text\n" * 1000)[:-20])
    (tmp_path / "b.txt.gz").write_bytes(b"plain after all")
    for name in "ab":
        with pytest.raises(InputError, match=rf"{name}\.txt\.gz cannot be read"):
            built(tmp_path / f"{name}.txt.gz", tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"body": "x", "title": "y"}'], r"a\.jsonl:1 has no column 'text' \(it has body, title\)"),
        (['{"text": 5}'], r"a\.jsonl:1: 'text' holds int, not a string"),
        (['{"text": ["a"]}'], r"'text' holds list"),
        (['{"text": "\\ud800"}'], "half a surrogate pair"),
        (["[1, 2]"], r"a\.jsonl:1 is no JSON object"),
        (['{"text": "a"}', "{"], r"a\.jsonl:2 is no JSON object"),
    ],
)
def test_records_without_a_text(tmp_path, lines, message):
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        built(tmp_path / "a.jsonl", tmp_path)


def test_the_column_that_is_asked_for(tmp_path, sentences):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "in"
    folder.mkdir()
    columns = {"title": ["t"] * 40, "body": sentences(40), "n": range(40), "list": [["a"]] * 40}
    columns["dictionary"] = pa.array(sentences(40)).dictionary_encode()
    pq.write_table(pa.table(columns), folder / "a.parquet")
    with pytest.raises(InputError, match=r"no column 'text' \(it has title, body, n, list, dictionary\)") as caught:
        built(folder, tmp_path)
    assert "--text COLUMN" in caught.value.hint
    corpus = built(folder, tmp_path, text="body")
    assert sum(counts(corpus)) == sum(counts(built(folder, tmp_path, text="dictionary"))) == 40
    for column, kind in (("n", "int64"), ("list", "list")):
        with pytest.raises(InputError, match=f"column '{column}' holds {kind}.*not text"):
            built(folder, tmp_path, text=column)
    jsonl(folder / "b.jsonl", sentences(10, 5), key="body")
    assert sum(counts(built(folder, tmp_path, text="body"))) == 50
    with pytest.raises(UsageError, match="was made with --text body, not title"):
        build_corpus(str(corpus.path), text="title")
    assert build_corpus(str(corpus.path), text="body").path == corpus.path


def test_records_without_text_are_counted(tmp_path, sentences):
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [*sentences(40), None, "", "  "]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    jsonl(tmp_path / "b.jsonl", texts)
    for name in ("a.parquet", "b.jsonl"):
        corpus = built(tmp_path / name, tmp_path)
        assert sum(counts(corpus)) == 40
        assert corpus.info["empty"] == 3
        assert "left out: 3 records without text" in notes(corpus)


def test_notes_are_told_each_time(tmp_path, write):
    folder = write("train.txt", 30)
    write("test.txt", 5, 1)
    first, second = [], []
    corpus = built(folder, tmp_path, tell=first.append)
    built(folder, tmp_path, tell=second.append)  # from the cache
    assert first == second == corpus.info["notes"]
    assert first[0].startswith("splits by name; trained on: 1 file (such as train.txt)")


def test_the_command_says_how_the_text_was_read(tmp_path, write, monkeypatch):
    from typer.testing import CliRunner

    from geomprobe.cli.main import app

    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    folder = write("train/a.txt", 30)
    write("test/a.txt", 7, 1)
    done = CliRunner().invoke(app, ["corpus", "build", str(folder), "--tokenizer", "train:100", "--json"])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert sum(document["documents"].values()) == 30
    assert document["notes"] == done.stderr.splitlines()
    assert "left out as test data: 1 file (such as test/a.txt)" in done.stderr
    done = CliRunner().invoke(app, ["corpus", "info", document["path"], "--verify"])
    assert "left out as test data" in done.stderr
    assert "documents        29 to train on, 1 held out" in done.stdout
    assert "a document       a paragraph between blank lines," in done.stdout
    done = CliRunner().invoke(app, ["corpus", "build", str(folder), "--documents", "line"])
    assert (done.exit_code, "'lines'" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, ["corpus", "build", str(folder / "test" / "b.txt")])
    assert done.exit_code == 3


# --- names, options and damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "train", "held_out"),
    [
        (["train-clean-100/a.txt", "dev-clean/a.txt", "test-clean/a.txt"], 10, 20),
        (["news-bydate-train/x/1.txt", "news-bydate-test/x/1.txt"], 10, None),
        (["training_set/a.txt", "test_set/a.txt"], 10, None),
        (["x/train_data/a.txt", "x/dev_data/b.txt"], 10, 20),
        (["split=train/0.txt", "split=test/0.txt"], 10, None),
        (["trainset.txt", "testset.txt"], 10, None),
        (["train/a.txt", "held-out/a.txt"], 10, 20),
        (["train-1/a.txt", "train-2/a.txt", "test-1/a.txt"], 30, None),
        (["train_data/a.txt", "train_data/test.txt", "test_data/a_train.txt", "test_data/a_test.txt"], 10, None),
        # not splits: nothing to train on next to it
        (["test_data/a.txt", "b.txt"], 30, None),
        (["train_data/a.txt", "other_data/a.txt"], 30, None),
    ],
)
def test_splits_by_a_word_of_a_folders_name(write, tmp_path, names, train, held_out):
    for place, name in enumerate(names):
        folder = write(name, 10 * (place + 1), seed=place)
    corpus = built(folder, tmp_path)
    assert sum(counts(corpus)) == train + (held_out or 0)
    assert held_out is None or counts(corpus)[1] == held_out


def test_test_data_next_to_validation_is_not_trained_on(write, tmp_path):
    write("dev/a.txt", 10)
    with pytest.raises(InputError, match="nothing to train on: 1 test file and 1 validation file"):
        built(write("devtest/a.txt", 20, seed=1), tmp_path)


@pytest.mark.parametrize(
    ("data", "kind"), [(gzip.compress(b"text", mtime=0), "gzip"), (b"%PDF-1.4\n", "PDF"), (b"PAR1\x15", "parquet")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_other_kinds_of_files_named_as_text(tmp_path, data, kind, packed):
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(InputError, match=f"{'unpacks to' if packed else 'is'} a {kind} file, not text"):
        built(path, tmp_path)


def test_the_hint_for_a_packed_file_in_another_encoding_unpacks_it(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("schön\n".encode("latin-1")))
    with pytest.raises(InputError, match="is not UTF-8") as caught:
        built(tmp_path / "a.txt.gz", tmp_path)
    assert "gunzip -c a.txt.gz | iconv" in caught.value.hint


def test_two_columns_of_one_name(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has 2 columns 'text'"):
        built(tmp_path / "a.parquet", tmp_path)


def test_messages_stay_short(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"k" * 9000 + str(i): 1 for i in range(50)}))
    with pytest.raises(InputError, match="38 more") as caught:
        built(tmp_path / "a.jsonl", tmp_path)
    assert len(str(caught.value)) < 1000
    with pytest.raises(InputError) as caught:
        built("x" * 5000 + ".txt", tmp_path)
    assert len(str(caught.value)) < 300


def test_empty_names_pipes_and_empty_files(tmp_path):
    import os

    with pytest.raises(UsageError, match="source is empty"):
        built("", tmp_path)
    with pytest.raises(UsageError, match="column of texts is empty"):
        built(tmp_path, tmp_path, text="")
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        built(tmp_path / "a.txt", tmp_path)
    (tmp_path / "blank.txt").write_text("\n \n")
    said = []
    with pytest.raises(InputError, match="holds no text"):
        built(tmp_path / "blank.txt", tmp_path, tell=said.append)
    assert not said


@pytest.mark.parametrize("content", ["[]", "null", "5", "{}", '{"chunks": 3}', '"x"'])
def test_a_damaged_description_of_a_corpus(tmp_path, content):
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(InputError, match=r"corpus\.json is damaged"):
        built(tmp_path, tmp_path)


@pytest.mark.parametrize("key", ["chunks", "tokens", "documents", "special", "vocab_size", "notes", "asked"])
@pytest.mark.parametrize("value", [None, [1], [], {"a": "b"}, "x", -1, 10**30])
def test_a_damaged_entry_of_a_corpus(tmp_path, write, key, value):
    corpus = built(write("a.txt", 30), tmp_path)
    good = corpus.info[key]
    if key in ("notes", "asked") and isinstance(good, type(value)):
        value = 7
    (corpus.path / "corpus.json").write_text(json.dumps(corpus.info | {key: value}))
    with pytest.raises(InputError, match=r"corpus\.json is damaged"):
        built(corpus.path, tmp_path)


def test_a_limit_of_tokens_for_a_built_corpus_is_said_not_to_apply(tmp_path, write):
    corpus = built(write("a.txt", 30), tmp_path)
    said = []
    build_corpus(str(corpus.path), limit_tokens=5, tell=said.append)
    assert len(said) == 1
    assert "a limit of tokens applies when a corpus is built" in said[0]
    build_corpus(str(corpus.path), tell=said.append)
    assert len(said) == 1
