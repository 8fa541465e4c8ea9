"""Vectors in text files: names, columns, delimiters, encodings and faults, each read as meant or refused by name."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.vectors import ReadOptions, open_vectors, read_files


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(60, 6))


@pytest.fixture
def write(tmp_path):
    def written(text, name="v.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return written


def table(x, **options):
    return pd.DataFrame(x).to_csv(**{"index": False, **options})


def read(path, **options):
    return read_files([path], ReadOptions(**options))[0]


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        open_vectors([path], **options)
    said = f"{caught.value.message} {caught.value.hint}"
    assert str(path) in said
    for word in words:
        assert word in said, said
    assert len(said) < 900


def lines(x, delimiter=",", first=None):
    rows = [delimiter.join(map(repr, row)) for row in x.tolist()]
    return "\n".join([*([first] if first is not None else []), *rows]) + "\n"


def named(x):
    return pd.DataFrame(x).add_prefix("e")


WELL = {
    "names that are numbers": lambda x: table(x),
    "names from 1": lambda x: table(x, header=[str(i + 1) for i in range(6)]),
    "names that count": lambda x: table(x, header=[f"dim_{i}" for i in range(6)]),
    "names that are words": lambda x: table(x, header=list("uvwxyz")),
    "no names": lambda x: table(x, header=False),
    "pandas index": lambda x: table(x, index=True),
    "pandas index without names": lambda x: table(x, index=True, header=False),
    "pandas index of words": lambda x: pd.DataFrame(x, [f"d{i}" for i in range(len(x))]).to_csv(),
    "named index": lambda x: table(x, index=True, index_label="id"),
    "index written as a fraction": lambda x: table(np.column_stack([np.arange(len(x)), x]), header=False),
    "index among names that are numbers": lambda x: table(np.column_stack([np.arange(len(x)), x])),
    "ids without names": lambda x: pd.DataFrame(x, [f"d{i}" for i in range(len(x))]).to_csv(header=False),
    "byte-order mark": lambda x: "\ufeff" + table(x, header=False),
    "byte-order mark and names": lambda x: "\ufeff" + table(x),
    "tab": lambda x: table(x, sep="\t"),
    "semicolon": lambda x: table(x, sep=";"),
    "comma and space": lambda x: table(x, header=False).replace(",", ", "),
    "whitespace": lambda x: lines(x, "   "),
    "quoted numbers": lambda x: table(x, quoting=csv.QUOTE_ALL),
    "blank lines": lambda x: "\n" + table(x, header=False).replace("\n", "\n\n") + "\n\n",
    "carriage returns": lambda x: table(x).replace("\n", "\r\n"),
    "comments": lambda x: "# made by me\n# in 2020\n" + table(x, header=False) + "# end\n",
    "empty last column between tabs": lambda x: (
        pd.DataFrame(x).add_prefix("e").assign(text="").to_csv(sep="\t", index=False)
    ),
    "empty column between tabs": lambda x: (
        pd.DataFrame(x).add_prefix("e").assign(text="", id=7).to_csv(sep="\t", index=False)
    ),
    "trailing delimiter": lambda x: table(x).replace("\n", ",\n"),
    "scores and ids beside": lambda x: pd.DataFrame(x).add_prefix("e").assign(id=7, score=0.5, text="a, b\nc").to_csv(),
}


@pytest.mark.parametrize("kind", WELL)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gz"])
def test_honest_tables_are_read(write, x, kind, encoding):
    text = WELL[kind](x)
    if encoding == "gz":
        path = write(gzip.compress(text.encode()), "v.csv.gz")
    else:
        path = write(text.lstrip("\ufeff") if encoding == "utf-16" else text, encoding=encoding)
    np.testing.assert_array_equal(open_vectors([path]), x)


def test_what_was_taken_and_left_out_is_said(write, x):
    frame = pd.DataFrame(x).add_prefix("e").assign(text="a", label=3)
    found = read(write("# note\n" + frame.to_csv(index=False)))
    assert found.columns == ("e0", "e1", "e2", "e3", "e4", "e5")
    assert dict(found.left_out) == {"text": "text", "label": "whole numbers"}
    assert found.notes == ("names in line 1", "1 line of comment (#) skipped")
    said = found.as_json()
    assert (said["rows"], said["columns"]["count"], said["left_out"]["count"]) == (60, 6, 2)
    assert "left out: text (text), label (whole numbers)" in found.lines()
    wide = read(write(table(np.tile(x, 200))))
    assert len(json.dumps(wide.as_json())) < 1000
    assert max(map(len, wide.lines())) < 300


def test_options_decide(write, x):
    path = write(table(np.rint(9 * x).astype(int), header=[str(i) for i in range(6)]))
    refused(path, "--header", "--no-header", "names or a row")
    assert open_vectors([path], header=True).shape == (60, 6)
    assert open_vectors([path], header=False).shape == (61, 6)
    named = write(pd.DataFrame(x, columns=list("uvwxyz")).assign(id=5).to_csv(index=False))
    refused(named, "which columns", "--columns")
    np.testing.assert_array_equal(open_vectors([named], columns="[u-z]"), x)
    np.testing.assert_array_equal(open_vectors([named], columns="u, x,z"), x[:, [0, 3, 5]])
    refused(named, "no column 'q'", columns="u,q")
    bare = write(pd.DataFrame(x, index=[i * i for i in range(60)]).to_csv(header=False))
    refused(bare, "whole numbers", "--columns 1-7 takes it", "--columns 2-7 does not")
    np.testing.assert_array_equal(open_vectors([bare], columns="2-"), x)
    np.testing.assert_array_equal(open_vectors([bare], columns="2,4-5"), x[:, [0, 2, 3]])
    assert open_vectors([bare], columns="1-7").shape == (60, 7)
    refused(bare, "columns 1 to 7", columns="2-9")


def test_the_header_needs_more_than_the_first_line(write, x):
    refused(write(lines(x, first="1990,1995,2000,2005,2010,2015")), "--no-header")
    refused(write(lines(x[:, :2], first="0,1")), "--no-header")
    refused(write(lines(x, first="n/a,0.5,0.5,0.5,0.5,0.5")), "words and numbers")
    refused(write(lines(x, first="a,b,c,d,e,f") + lines(x, first="a,b,c,d,e,f")), "line 62 repeats the names")
    refused(write("a,b,c\n"), "no rows")
    refused(write(b""), "empty")
    refused(write("\n\n"), "empty")
    assert open_vectors([write(lines(np.eye(6) + 0.0))]).shape == (6, 6)
    assert open_vectors([write(lines(x[:1]))]).shape == (1, 6)


@pytest.mark.parametrize("cell", ["oops", "", "nan", "NA", "inf", "0,5", "1_000", "٣"])
def test_one_bad_cell_far_down_is_named(write, cell):
    rows = ["0.5,1.5,2.5"] * 2000
    rows[1500] = f'0.5,1.5,"{cell}"'
    path = write("\n".join(["e0,e1,e2", *rows]))
    refused(path, "row 1500", "line 1502", "'e2'")
    assert open_vectors([path], columns="e0,e1").shape == (2000, 2)
    refused(write("\n".join(rows)), "row 1500", "line 1501", "'3'")


def test_types_come_from_the_whole_file(write):
    """Whole numbers for over a hundred thousand rows, then fractions; empty cells for as long, then numbers."""
    n = 140_000
    rows = [f"{i % 7},{i % 5}" for i in range(n)] + ["0.5,0.25"]
    found = open_vectors([write("\n".join(["e0,e1", *rows]))])
    assert found.shape == (n + 1, 2)
    assert found[-1].tolist() == [0.5, 0.25]
    rows = ["0.5,1.5,0.1"] * 100_000 + ["0.5,1.5,x"]
    refused(write("\n".join(["e0,e1,e2", *rows])), "row 100000", "line 100002", "'e2'", "'x'")
    rows = ["0.5,1.5,"] * 100_000 + ["0.5,1.5,2.5"]
    refused(write("\n".join(["e0,e1,e2", *rows])), "row 0", "'e2'")


def test_a_lone_column_of_numbers_is_not_taken(write, x):
    for text in ("id,text\n1,a\n2,b\n3,c\n", "score\n0.5\n0.25\n", "0.5\n0.25\n0.1\n", "text,score\na,0.5\nb,0.1\n"):
        refused(write(text), "only column of numbers")
    assert open_vectors([write("score\n0.5\n0.25\n")], columns="score").shape == (2, 1)
    refused(write("id,embedding\n1,gAAA\n2,gBBB\n"), "embedding (text)", "[0.1, 0.2]")
    refused(write(f"{'long ' * 9999},score\na,0.5\nb,0.1\n"), "only column of numbers")
    two = pd.DataFrame({**{f"a{i}": x[:, i] for i in range(3)}, **{f"b{i}": x[:, i] for i in range(3)}})
    refused(write(two.to_csv(index=False)), "--columns 'a*'", "--columns 'b*'")


def test_columns_that_number_the_rows(write, x):
    ids = 1000 + np.random.default_rng(1).permutation(60)
    refused(write(table(np.column_stack([ids, x]), header=False)), "'1'", "--columns 2-7 does not")
    refused(write(table(np.column_stack([x, ids]))), "'6'", "index, or a dimension")
    refused(write(table(np.column_stack([ids, np.rint(9 * x)]).astype(int), header=False)), "a different whole number")
    refused(write(table(np.column_stack([np.arange(5), x[:5]]), header=False)), "counts the 5 rows")
    found = read(write(table(np.column_stack([np.arange(60), x]))))
    assert found.left_out == (("0", "counts the rows"),)


def test_faults_of_writing(write, x):
    refused(write("0,5;0,7\n0,1;0,2\n0,3;0,9\n"), "decimal comma")
    refused(write("0,5 0,7\n0,1 0,2\n0,3 0,9\n", "v.txt"), "decimal comma")
    refused(write(table(x), encoding="utf-16-le"), "byte-order mark")
    refused(write('a,b\n"0,5","0,7"\n"0,1","0,2"\n'), "decimal comma")
    refused(write(lines(x).replace("\n", ",1\n", 1)), "line 1 has 7 cells")
    ragged = lines(x).split("\n")
    ragged[40] = "0.5,0.5"
    refused(write("\n".join(ragged)), "line 41 has 2 cells", "others 6")
    refused(write("e0,e0,e1\n" + lines(x[:, :3])), "two columns are called 'e0'")
    refused(write("e0,e1,t\n0.5,0.5,caf\xe9\n", encoding="latin-1"), "not UTF-8", "iconv")
    refused(write('t,e0,e1\n"a,0.5,0.5\nb,0.1,0.2\nc",0.5,0.5\nd,0.2,0.1\n'), "closes in line 4")
    refused(write('t,e0,e1\n"a,0.5,0.5\nb,0.1,0.2\n'), "a quote is not closed")
    refused(write("doc,[0.1,0.2,0.3]\ndoc,[0.4,0.5,0.6]\n"), "[0.1")
    refused(write("e0,e1\n$0.5,1.5\n$0.25,2.5\n"), "'e0'", "$0.5")
    refused(write("<html><body>404</body></html>"), "HTML")
    refused(write("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull")
    refused(write(gzip.compress(table(x).encode())[:-20], "v.csv.gz"), "damaged")
    refused(write(table(x), "v.npy"), "not a .npy file")
    assert open_vectors([write(gzip.compress(table(x).encode()), "gz.csv")]).shape == (60, 6)
    with pytest.raises(UsageError, match="tensor"):
        open_vectors([write(table(x))], tensor="a")


WRITTEN = {
    "json": lambda v: json.dumps(v),
    "numpy": lambda v: "[" + "\n ".join(map(repr, v)) + "]",
    "scalars": lambda v: "[" + ", ".join(f"np.float64({n!r})" for n in v) + "]",
    "array": lambda v: f"array({v}, dtype=float32)",
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_lists_in_a_column(write, x, kind):
    frame = pd.DataFrame({"id": range(60), "text": "a, b", "embedding": [WRITTEN[kind](row) for row in x.tolist()]})
    for path in (write(frame.to_csv(index=False)), write(frame.to_csv(index=False, sep="\t"), "v.tsv")):
        found = read(path)
        assert found.columns == ("embedding",)
        assert dict(found.left_out) == {"id": "counts the rows", "text": "text"}
        np.testing.assert_array_equal(found.matrix, x)
    frame[["embedding", "id"]].to_parquet(path := write("", "v.parquet"))
    np.testing.assert_array_equal(open_vectors([path]), x)


def test_many_commas_in_lists_are_no_delimiter(write):
    x = np.random.default_rng(1).normal(size=(60, 96))
    frame = pd.DataFrame({"text": [f'He said "no {i}' for i in range(60)], "embedding": list(map(str, x.tolist()))})
    for sep in ("\t", "|", ";", ","):
        found = read(write(frame.to_csv(index=False, sep=sep), "v.txt"))
        np.testing.assert_array_equal(found.matrix, x)
        assert found.columns == ("embedding",)


def test_brackets_in_texts_are_no_lists(write, x):
    for mark in ("[1]", "[1,2]", "[1, 2]"):
        frame = pd.DataFrame(x).add_prefix("e").assign(text=[f"{mark} see {i}" for i in range(60)])
        np.testing.assert_array_equal(open_vectors([write(frame.iloc[:, ::-1].to_csv(index=False))])[:, ::-1], x)


def test_faulty_lists(write, x):
    def cells(*faults):
        return write("\n".join(["id,e", *(f'{i},"[0.5, 0.25]"' for i in range(5)), *(f'9,"{f}"' for f in faults)]))

    refused(cells("[0.5]"), "row 5", "line 7", "differ in length")
    refused(cells("[0.5, oops]"), "row 5", "oops")
    refused(cells(""), "row 5", "empty")
    refused(cells("[[0.5, 0.25]]"), "list of lists")
    refused(cells("[0.5, NaN]"), "NaN or infinity")
    refused(write('e\n"[0.1 0.2 ... 0.3]"\n"[0.1 0.2 ... 0.4]"\n'), "shortened")
    refused(write('a,b\n"[1.5, 2]","[3.5, 4]"\n"[1.5, 2]","[3.5, 4]"\n'), "--columns 'a'", "--columns 'b'")


def test_lists_of_whole_numbers_may_be_token_ids(write):
    refused(path := write("text,input_ids\n" + 'a,"[101, 7592, 102]"\n' * 9), "token ids", "--columns 'input_ids'")
    assert open_vectors([path], columns="input_ids").shape == (9, 3)
    assert open_vectors([write("id,e\n" + 'a,"[1, 0]"\n' * 9 + 'a,"[0.5, 0]"\n')]).shape == (10, 2)


def test_names_without_one_for_the_names_of_the_rows(write, x):
    """As R's write.table writes them."""
    names, rows = '"a" "b" "c" "d" "e" "f"', [" ".join(map(repr, row)) for row in x.tolist()]
    for first, last in (('"{}"', ""), ("doc{}", ""), ("{}", "# a remark\n")):
        text = last + "\n".join([names, *(f"{first.format(i + 1)} {row}" for i, row in enumerate(rows))])
        for written in (text, text.replace(" ", "\t"), text.replace(" ", ",")):
            found = read(write(written if not last else text))
            np.testing.assert_array_equal(found.matrix, x)
            assert found.columns == tuple("abcdef")
    # one name forgotten, or a delimiter at the end of each line: which column has none?
    refused(write("a b c d e\n" + "\n".join(rows)), "line 1 has 5 cells")
    refused(write("a,b\n" + "0.5,0.25,\n" * 9), "line 1 has 2 cells")


def test_a_comment_is_no_word_with_spaces(write, x):
    rows = [" ".join(map(repr, row)) for row in x.tolist()]
    assert read(write("\n".join(["# a b c d e f", *rows]))).notes[1:] == ("1 line of comment (#) skipped",)


def test_json_lines(write, x):
    rows = [{"id": i, "text": "a", "embedding": row} for i, row in enumerate(x.tolist())]
    found = read(write("\n".join(map(json.dumps, rows)), "v.jsonl"))
    np.testing.assert_array_equal(found.matrix, x)
    assert found.columns == ("embedding",)
    np.testing.assert_array_equal(open_vectors([write("\n".join(map(json.dumps, x.tolist())), "v.jsonl")]), x)
    np.testing.assert_array_equal(open_vectors([write("\n".join(str(row) for row in x.tolist()), "v.txt")]), x)
    refused(write('{"e": [0.5, 1]}\n{"e": [0.5]}\n', "v.jsonl"), "row 1", "differ in length")
    refused(write('{"e": [0.5, 1]}\n{"f": [0.5]}\n', "v.jsonl"), "row 1", "no field 'e'")
    refused(write('{"e": [0.5, 1]}\n[0.5, 1]\n', "v.jsonl"), "row 1", "no field 'e'")
    refused(write('{"e": [0.5, 1], "e": [2.5, 1]}\n', "v.jsonl"), "line 1", "the name 'e' occurs twice")
    refused(write('{"e": null}\n{"e": [0.5, 1]}\n', "v.jsonl"), "line 1", "e (null)")
    refused(write('{"data": [{"embedding": [0.5, 1]}]}\n', "v.json"), "data (a list of other things", "as a line")
    refused(write(f"[0.5, 1{'0' * 400}]\n", "v.jsonl"), "row 0", "out of the range")
    refused(write('{"e": "[1, 0]"}\n' * 3, "v.jsonl"), "token ids")
    assert open_vectors([write('{"e": "[1, 0]"}\n{"e": "[0.5, 1]"}\n', "v.jsonl")]).shape == (2, 2)
    assert "token ids" in read(write("[1, 0]\n" * 3, "v.jsonl")).warnings[0]
    assert read(write("[1, 0]\n[0.5, 0]\n", "v.jsonl")).warnings == ()
    refused(write("0.5\n", "v.jsonl"), 'or {"embedding": [0.1, 0.2]}')
    assert open_vectors([write('{"e": [1, 0]}\n{"e": [0.5, 1]}\n', "v.jsonl")]).shape == (2, 2)
    with pytest.raises(UsageError, match="without names"):
        open_vectors([write("[0.5, 1]\n" * 3, "v.jsonl")], columns="e")
    refused(write('{"e": [0.5, 1]}\n{"e": [0.5\n', "v.jsonl"), "line 2")
    refused(write('{"a": 1, "b": 0.5}\n', "v.jsonl"), "no list of numbers", "read_json")
    refused(write('{"input_ids": [1, 2]}\n', "v.jsonl"), "token ids")
    refused(write(json.dumps(x.tolist()), "v.json"), "JSON", "np.save")


def test_word_vectors(write, x):
    words = ["the", ".", '"', "#", "##ing", "2020", "\u00a0", "a\u3000b", *(f"w{i}" for i in range(52))]
    rows = [f"{word} {' '.join(map(repr, row))}" for word, row in zip(words, x.tolist(), strict=True)]
    for text in ("\n".join(rows), "60 6\n" + "\n".join(f"{row} " for row in rows) + "\n"):
        np.testing.assert_array_equal(open_vectors([write(text, "glove.txt")]), x)
    spaced = read(write("\n".join(rows).replace("w3 ", ". . . "), "glove.txt"))
    assert spaced.matrix.shape == (60, 6)
    assert "1 word holds spaces" in spaced.notes
    refused(write("61 6\n" + "\n".join(rows), "cut.vec"), "says 61 vectors", "holds 60")
    refused(write("\n".join(rows).replace("w3 ", "w3 0.5 "), "glove.txt"), "has 8 cells")
    numbered = "3 2\n7 0.5 0.25\n9 0.1 0.2\n8 0.3 0.9\n"  # doc2vec: the words are numbers
    assert open_vectors([write(numbered, "d.vec")]).shape == (3, 2)


def test_an_error_begins_with_its_file_whatever_the_file_is_called(write, monkeypatch):
    for name in ("vectors", "it is empty"):
        path = write("score,text\n0.5,a\n0.1,b\n", name)
        monkeypatch.chdir(path.parent)
        with pytest.raises(InputError) as caught:
            open_vectors([name])
        assert caught.value.message.startswith(f"{name}: 'score' is the only column")
    with pytest.raises(InputError) as caught:
        open_vectors([write("\n")])
    assert caught.value.message.endswith("v.csv is empty.")


def test_shards_have_the_same_columns(write, x):
    a, b = write(table(x, header=list("abcdef")), "a.csv"), write(table(x, header=list("abcdfe")), "b.csv")
    with pytest.raises(InputError, match="'f' where"):
        open_vectors([a, b])
    assert open_vectors([a, a]).shape == (120, 6)


def test_columns_that_all_count_the_rows_are_no_vectors(write):
    with pytest.raises(InputError, match="every column of numbers counts the rows"):
        open_vectors([write("".join(f"{i},{i + 1},{i}\n" for i in range(60)))])


def test_a_stray_quote_ends_at_the_longest_cell(tmp_path, monkeypatch):
    from geomprobe.common import formats

    monkeypatch.setattr(formats.CsvReader.__init__, "__kwdefaults__", {"strict": True, "longest": 1000})
    path = tmp_path / "stray.csv"
    path.write_text("1.5,2.5\n" * 60 + '"1.5,2.5\n' + "1.5,2.5\n" * 400)
    with pytest.raises(InputError, match="field larger than field limit"):
        open_vectors([path])


def test_the_limit_of_the_csv_module_is_what_it_was(tmp_path, monkeypatch):
    path = tmp_path / "long.csv"
    path.write_text('"word",1.5,2.5\n' * 3 + f'"{"w" * 200_000}",1.5,2.5\n')  # beyond the module's own limit
    before = csv.field_size_limit(131072)
    try:
        assert open_vectors([path]).shape == (4, 2)
        assert csv.field_size_limit() == 131072
    finally:
        csv.field_size_limit(before)
