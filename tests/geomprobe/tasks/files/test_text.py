"""Files of text as tables: quotes, delimiters, line ends, encodings, JSON; read as written or refused by line."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet
import pytest

from geomprobe.common import InputError
from geomprobe.tasks import load_file


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(n=200, quoted=()):
    """Return the lines of a TSV of texts, some of which begin with a quote that is part of the text."""
    return [('"' if i in quoted else "") + f"line {i} of the set" for i in range(n)]


def texts_of(task):
    """Return all texts in the order of the file."""
    parts = [part for part in (task.train, task.validation) if part is not None]
    row = {i: text for part in parts for i, text in zip(part.row_ids, part.first, strict=True)}
    return [row[key] for key in sorted(row, key=lambda key: int(key.split("/")[1]))]


@pytest.mark.parametrize("quoted", [(50,), (50, 120), range(0, 200, 20), (199,), (0,)])
def test_quotes_that_belong_to_the_texts_of_a_tsv(tmp_path, quoted):
    said = lines(quoted=quoted)
    path = put(tmp_path, "t.tsv", "sentence\tlabel\n" + "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(said)))
    task = load_file(path)
    assert texts_of(task) == said
    assert any("quotes read as text: as quotes, " in note for note in task.notes)


def test_quotes_in_both_columns_of_pairs(tmp_path):
    said = lines(quoted=range(3, 200, 20))
    rows = "".join(f'{text}\tand "so" on {i}\t{i % 2}\n' for i, text in enumerate(said))
    assert texts_of(load_file(put(tmp_path, "t.tsv", "sentence1\tsentence2\tlabel\n" + rows))) == said


BOTH = {  # files whose quotes can be read in two ways, and their texts either way
    "cells in quotes": ("t.tsv", 'text\tlabel\n"hello"\t1\nyou\t0\n', ["hello", "you"], ['"hello"', "you"]),
    "two open quotes": ("t.tsv", 'text\tlabel\n"a\t1\nb"\t0\nc\t1\n', ["a\t1\nb", "c"], ['"a', 'b"', "c"]),
    "the same in csv": ("t.csv", 'text,label\n"a,1\nb",0\nc,1\n', ["a,1\nb", "c"], ['"a', 'b"', "c"]),
    "one column": ("t.csv", 'text\n"a\nb"\nc\n', ["a\nb", "c"], ['"a', 'b"', "c"]),
}


@pytest.mark.parametrize(("name", "content", "quoted", "plain"), BOTH.values(), ids=BOTH)
def test_two_possible_readings_are_refused_and_an_option_decides(tmp_path, name, content, quoted, plain):
    path = put(tmp_path, name, content)
    with pytest.raises(InputError, match="read in two ways, which differ from line 2 on") as error:
        load_file(path)
    assert "--quotes" in error.value.hint
    assert list(load_file(path, quotes=True).validation.first) == quoted
    assert list(load_file(path, quotes=False).validation.first) == plain


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("t.csv", 'text,label\n"a, ""b""",1\nc,0\n', ['a, "b"', "c"]),
        ("t.csv", 'text,label\n"a\nb",1\nc,0\n', ["a\nb", "c"]),
        ("t.csv", '"text","label"\n"a\nb","1"\n"c","0"\n', ["a\nb", "c"]),
        ("t.tsv", '"text"\t"label"\n"a"\t"1"\n"c"\t"0"\n', ["a", "c"]),
        ("t.tsv", 'text\tlabel\n"a\nb"\t1\nc\t0\n', ["a\nb", "c"]),
        ("t.csv", 'text,label\nthe 5" disk,1\nc,0\n', ['the 5" disk', "c"]),
        ("t.csv", 'text,label\n"a" he said,1\nc,0\n', ['"a" he said', "c"]),
        ("t.csv", "text;label\na, b;1\nc;0\n", ["a, b", "c"]),
        ("t.csv", "text\tlabel\na, b\t1\nc\t0\n", ["a, b", "c"]),
        ("t.csv", " text , label\na,1\nc,0\n", ["a", "c"]),
        ("t.csv", "text,label\ra,1\rc,0\r", ["a", "c"]),
        ("t.csv", "text,label\r\na,1\r\nc,0", ["a", "c"]),
        ("t.csv", "text,label\na\u2028b,1\nc\x85\x0b\x0cd\x1c,0\n", ["a\u2028b", "c\x85\x0b\x0cd\x1c"]),
        ("t.tsv", "text\tlabel\na\rb\t1\nc\t0\n", ["a\rb", "c"]),
        ("t.csv", 'text,label\na\rb,1\n"c, d\re",0\n', ["a\rb", "c, d\re"]),
        ("t.csv", 'text,label\r\na\rb,1\r\n"c, d\ne",0\r\n', ["a\rb", "c, d\ne"]),
        ("t.csv", "text,label\na,1\n\nc,0\n\n", ["a", "c"]),
        ("t.csv", "text,label,\na,1,\nc,0,\n", ["a", "c"]),
        ("t.txt", "a\n\nb c\r\nd", ["a", "b c", "d"]),
        ("t.csv", "\ufefftext,label\na,1\nc,0\n", ["a", "c"]),
        ("t.csv", "sep=;\r\ntext;label\r\na, b;1\r\nc;0\r\n", ["a, b", "c"]),
        ("t.csv", '"sep=,"\ntext,label\n"a, b",1\nc,0\n', ["a, b", "c"]),
        ("t.txt", 'gold_label\tsentence1\tsentence2\n-\ta\tb\nx\tc\t"d\ny\te\tf\n', ["c", "e"]),
        ("t.txt", "text\tlabel\r\na\t1\r\nc\t0\r\n".encode("utf-16"), ["a", "c"]),
        ("t.txt", "a\tb\nc\nd\n", ["a\tb", "c", "d"]),
        ("t.tsv", 'text\tlabel\n"a"\t1\nb\t0\n"c" d\t0\n', ['"a"', "b", '"c" d']),
    ],
)
def test_texts_are_read_as_written(tmp_path, name, content, texts):
    assert list(load_file(put(tmp_path, name, content)).validation.first) == texts


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "text,label\na,1,\nb,0,\n", "line 2 has 3 cells, the header 2"),
        ("t.csv", "text,label\na, b,1\nb,0\n", "line 2 has 3 cells, the header 2"),
        ("t.csv", "text,label\na,1\nb\n", "line 3 has 1 cell, the header 2"),
        ("t.csv", 'text,label\n"a\nb",1\nc, d,0\n', "line 4 has 3 cells, the header 2"),
        ("t.tsv", "text\tlabel\na\t1\nb\t0\t\n", "line 3 has 3 cells, the header 2"),
        ("t.tsv", "text\tlabel\na\t1\n\nb\t0\n", "blank lines between the rows"),
        ("t.csv", "text,label\na,1\r\nb,0\n", "line 2 ends differently"),
        ("t.csv", "text,label\r\na,1\nb,0\r\n", "line 2 ends differently"),
        ("t.csv", 'text,label\n"a,1\nb, c,0\n', "no consistent columns"),
        ("t.tsv", 'text\tlabel\n"a\t1\nb\t0\nc" d\t1\te\n', "no consistent columns"),
        ("t.tsv", 'text\tlabel\n"a\nb\t0\nc"\t1\n', "looks like a row"),
        ("t.csv", "text,label\na,1\nb\0,0\n", "line 3 holds a NUL"),
        ("t.csv", "text,label\na,1\n".encode("utf-16-le"), "NUL character"),
        ("t.csv", "text,label\na,1\nGrüße,0\n".encode("cp1252"), "not UTF-8: line 3 holds the byte 0xfc"),
        ("t.jsonl", '{"text": "Grüße"}'.encode("latin-1"), "not UTF-8: line 1"),
        ("t.txt", "only one", "one line only"),
        ("t.txt", "text\na\nb\n", "its first line, 'text', names columns"),
        ("t.txt", "id,Sentence,label\n1,a,0\n2,b,1\n", "names columns"),
        (
            "t.csv",
            'text,label\n"a \\"b\\" c",1\n"d",0\n',
            "column 'text' are in quotes, but as quotes, line 2",
        ),
        ("t.tsv", 'text\tlabel\n"a"\t1\n"b"\t0\n"c\t0\n', "the quote at line 4 never closes"),
        ("t.tsv", "# a comment\ntext\tlabel\na\t1\n", "line 2 has 2 cells, the header 1"),
        ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a binary file"),
        ("t.xlsx", b"PK\x03\x04" + bytes(60), "a zip archive or an Excel workbook"),
        ("t.pkl", b"\x80\x04\x95" + bytes(60), "pickle, which is never opened"),
        ("t.json", '{"0": {"text": "a"}, "1": {"text": "b"}}', "an object of rows by number"),
        ("t.csv", "text,label\n", "no rows"),
        ("t.csv", "text\na, b\nc\n", "line 2 has 2 cells, the header 1"),
        ("t.csv", "a text,1\nanother,0\n", "which column holds the text"),
        ("t.csv", "", "is empty"),
        ("t.csv", "\n\n", "is empty"),
        ("t.csv", "text,text,label\na,b,1\n", "2 columns called 'text'"),
        ("t.csv", b"PK\x03\x04" + bytes(60), "a zip archive or an Excel workbook"),
        ("t.csv", b"\x80\x04\x95" + bytes(60), "pickle, which is never opened"),
        ("t.parquet", b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS"),
        ("t.jsonl", b"\n<!DOCTYPE html><html>", "a web page"),
        ("t.csv.gz", gzip.compress(b"text,label\na,1\n", mtime=0)[:-6], "cannot be read"),
        ("t.dat", "text,label\na,1\n", "is not one of"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b"\n', "line 3 is not JSON"),
        ("t.jsonl", '{"text": "a"}\n[1]\n', "line 2 holds list, not a record"),
        ("t.jsonl", '{"text": "a", "text": "b"}\n', "'text' occurs twice"),
        ("t.jsonl", '{"text": "a", "label": 1' + "0" * 5000 + "}\n", "over 4,300 digits"),
        ("t.json", "[" * 100_000, "nested too deep"),
        ("t.json", "[]", "no rows"),
        ("t.json", '{"text": ["a", "b"], "label": [1]}', "not of columns of one length"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b \\ud83d"}', "line 2: the text in column 'text' holds half of"),
    ],
)
def test_what_is_refused_says_where_and_why(tmp_path, name, content, said):
    with pytest.raises(InputError) as error:
        load_file(put(tmp_path, name, content))
    assert said in error.value.message
    assert len(error.value.message) < 500


RECORDS = [{"text": "a 🙂", "label": 1}, {"text": "b\u2028", "label": 0}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", json.dumps(RECORDS)),
        ("t.json", json.dumps({"version": 2, "data": RECORDS}, ensure_ascii=False)),
        ("t.json", '{"text": ["a 🙂", "b\u2028"], "label": [1, 0]}'),
        ("t.json", '{"text": {"0": "a 🙂", "1": "b\u2028"}, "label": {"0": 1, "1": 0}}'),
        ("t.json", "".join(json.dumps(row) + "\n" for row in RECORDS)),
        ("t.jsonl", json.dumps(RECORDS, indent=1)),
        ("t.jsonl", "\r".join(json.dumps(row) for row in RECORDS)),
        ("t.ndjson", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in RECORDS)),
    ],
)
def test_every_shape_of_json(tmp_path, name, content):
    task = load_file(put(tmp_path, name, content))
    assert task.validation.first == ("a 🙂", "b\u2028")
    assert task.validation.labels.tolist() == [1, 0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_the_encoding(tmp_path, encoding):
    task = load_file(put(tmp_path, "t.tsv", "text\tlabel\nGrüße 🙂\t1\nb\t0\n".encode(encoding)))
    assert task.validation.first == ("Grüße 🙂", "b")
    assert any("byte-order mark" in note for note in task.notes) == (encoding != "utf-8-sig")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip), ("bz2", bz2), ("xz", lzma), (None, gzip)])
def test_compressed_files(tmp_path, suffix, pack):
    name = f"my.csv.{suffix}" if suffix else "my.csv"
    task = load_file(put(tmp_path, name, pack.compress(b"text,label\na,1\nb,0\n")))
    assert (task.name, task.validation.first) == ("my", ("a", "b"))


def test_zstandard(tmp_path):
    with pa.output_stream(str(tmp_path / "my.jsonl.zst"), compression="zstd") as out:
        out.write(b'{"text": "a"}\n{"text": "b"}\n')
    assert load_file(tmp_path / "my.jsonl.zst").validation.first == ("a", "b")


def test_a_parquet_file_by_another_name_is_recognised(tmp_path):
    pa.parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 0]}), tmp_path / "t.csv")
    task = load_file(tmp_path / "t.csv")
    assert task.validation.first == ("a", "b")
    assert any("Parquet, by its first bytes" in note for note in task.notes)


def test_damaged_letters_of_an_earlier_conversion_are_counted(tmp_path):
    task = load_file(put(tmp_path, "t.csv", "text,label\nGr\ufffd\ufffde,1\nb,0\n"))
    assert any("2 replacement characters" in note for note in task.notes)


def test_a_text_file_has_geometry_only(tmp_path):
    task = load_file(put(tmp_path, "t.txt", "a\nb\n"))
    assert "a text a line" in task.notes
    assert any("probes of a label do not apply" in note for note in task.notes)


def test_what_may_mean_no_text_is_counted(tmp_path):
    task = load_file(put(tmp_path, "t.csv", "text,label\nNA,1\nnan,0\n?,0\nthe cat,1\n"))
    assert "2 texts that may mean 'no text' kept: NA, nan" in task.notes
    assert len(task.validation) == 4


def test_backslashes_before_quotes_have_a_hint_of_their_own(tmp_path):
    for cells in ('"a \\"b\\" c",1\n"d",0\n', '"a \\"b\\", c",1\n"d",0\n'):
        with pytest.raises(InputError) as error:
            load_file(put(tmp_path, "t.csv", "text,label\n" + cells))
        assert "doubled" in error.value.hint


def test_names_that_steer_a_terminal_are_escaped(tmp_path):
    path = put(tmp_path, "t.jsonl", '{"a\\u001b[31m": 1, "\\ud800": 2, "b\\n": 3}\n')
    with pytest.raises(InputError, match="which column") as error:
        load_file(path)
    assert error.value.hint.endswith("a\\x1b[31m, \\ud800, b")


@pytest.mark.parametrize("first", ["\n", "sep=,\n"])
def test_a_quoted_header_with_a_line_end_after_a_line_that_is_no_header(tmp_path, first):
    path = tmp_path / "cr.csv"
    path.write_bytes(f'{first}"te\r\nxt",label\nhello there,1\nbye now,0\n'.encode())
    task = load_file(path, text=["te\r\nxt"], label="label")
    assert sorted(text for split in (task.train, task.validation) if split for text in split.first) == [
        "bye now",
        "hello there",
    ]
