"""Labels of every type: classes, scores, cells that mean no label, and what is refused."""

import datetime
import decimal
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geomprobe.common import InputError
from geomprobe.tasks import load_file


def read(folder, labels, suffix="csv", **options):
    """Return the task of one text for each label."""
    texts = [f"text {i}" for i in range(len(labels))]
    path = folder / f"t.{suffix}"
    if suffix == "csv":
        path.write_text("text,label\n" + "".join(f"{t},{v}\n" for t, v in zip(texts, labels, strict=True)))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": v}) + "\n" for t, v in zip(texts, labels, strict=True)))
    else:
        pa.parquet.write_table(pa.table({"text": texts, "label": labels}), path)
    return load_file(path, **options)


def decoded(task):
    """Return the labels of all rows as words, or as numbers where they are scores, in no order."""
    parts = [part for part in (task.train, task.validation) if part is not None]
    found = np.concatenate([part.labels for part in parts])
    return sorted(found) if task.kind == "regression" else sorted(task.label_names[i] for i in found)


def test_minus_one_among_numbered_classes_is_no_label(tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        task = read(tmp_path, [-1, 0, 1, 2] * 30, suffix)
        assert task.label_names == ("0", "1", "2")
        assert len(decoded(task)) == 90
        assert "30 rows without text or label left out (30 labelled -1)" in task.notes
    assert read(tmp_path, [-1.0, 0.0, 1.0, 2.0], "parquet").label_names == ("0", "1", "2")


def test_minus_one_as_a_class_of_its_own(tmp_path):
    assert read(tmp_path, [-1, 1, -1, 1]).label_names == ("-1", "1")
    assert read(tmp_path, [-2, -1, 0, 1]).label_names == ("-2", "-1", "0", "1")
    assert read(tmp_path, [-1.0, -0.5, 0.5]).validation.labels.tolist() == [-1, -0.5, 0.5]
    words = read(tmp_path, ["yes", "no", -1, "no"])
    assert (words.label_names, len(words.validation)) == (("no", "yes"), 3)
    three = read(tmp_path, [-1, 0, 1])
    assert three.label_names == ("0", "1")
    assert any("taken for 'no label'" in note for note in three.notes)


@pytest.mark.parametrize("mark", ["-", "?", "N/A", "None", "null", "nan", "NULL", "<NA>", ""])
def test_placeholders_among_words_and_among_scores(tmp_path, mark):
    task = read(tmp_path, ["neutral", "entailment", mark, "contradiction", mark])
    assert task.label_names == ("contradiction", "entailment", "neutral")
    assert any(note.startswith("2 rows without text or label left out") for note in task.notes)
    scores = read(tmp_path, [*(i / 40 for i in range(1, 190)), mark, mark])
    assert (scores.kind, len(decoded(scores))) == ("regression", 189)
    assert not mark or any(f"2 labelled {mark!r}" in note for note in scores.notes)
    assert read(tmp_path, [1, 2, mark, 5], kind="regression").validation.labels.tolist() == [1, 2, 5]


def test_placeholders_that_are_classes(tmp_path):
    assert read(tmp_path, ["+", "-", "+"]).label_names == ("+", "-")
    assert read(tmp_path, ["?", "!", "."]).label_names == ("!", ".", "?")
    none = read(tmp_path, ["none", "some", "all"])
    assert none.label_names == ("all", "none", "some")
    assert "taken as a class: 'none'" in none.notes
    with pytest.raises(InputError, match="two classes, or one class and rows without a label"):
        read(tmp_path, ["?", "yes", "?"])


def test_a_column_of_numbers_with_a_few_words_is_refused_with_the_cells(tmp_path):
    numbers = [i / 7 for i in range(50)]
    with pytest.raises(InputError, match=r"line 52 holds 'bad'.*50 numbers and 2 cells .*'bad', 'worse'"):
        read(tmp_path, [*numbers, "bad", "worse"])
    with pytest.raises(InputError, match="line 52 holds 'bad'"):
        read(tmp_path, [*(i % 5 for i in range(50)), "bad"])
    with pytest.raises(InputError, match=r"line 52 holds 'bad'.*neither all scores"):
        read(tmp_path, [*numbers, "bad"], kind="regression")
    words = read(tmp_path, ["1", "2", "other"] * 5)
    assert words.label_names == ("1", "2", "other")
    assert "the classes are words and numbers" in words.notes


def test_as_many_classes_as_texts_are_refused(tmp_path):
    for labels in (["1,5", "2,5", "3,5"], [f"word {i}" for i in range(50)], list(range(50)), list(range(300)) * 2):
        text = [f'"{label}"' for label in labels]
        with pytest.raises(InputError, match=r"too many for classes|decimal comma"):
            read(tmp_path, text)
    assert len(read(tmp_path, [f"word {i}" for i in range(50)], kind="classification").label_names) == 50
    many = read(tmp_path, list(range(50)) * 3)
    assert any("--kind regression reads them as scores" in note for note in many.notes)


@pytest.mark.parametrize(
    ("labels", "suffix", "said"),
    [
        ([[1], [2]], "jsonl", "line 1: column 'label' holds list"),
        ([1, {"a": 1}], "jsonl", "line 2: column 'label' holds dict"),
        ([[], []], "jsonl", "holds list"),
        ([b"x", b"y"], "parquet", "row 1: column 'label' holds bytes"),
        ([datetime.date(2020, 1, 1)] * 2, "parquet", "holds date"),
        ([datetime.datetime(2020, 1, 1)] * 2, "parquet", "holds datetime"),
        ([{"a": 1}] * 2, "parquet", "holds dict"),
        ([10**400, 1], "jsonl", "line 1: column 'label' holds a number beyond"),
        (["1" + "0" * 400, 1], "csv", "line 2: column 'label' holds a number beyond"),
        (["1" + "0" * 5000, 1], "csv", "holds a number beyond"),
        (["1e999", 1], "csv", "holds a number beyond"),
        (["yes", 0, False], "jsonl", "word 'yes' (", ),
        (["yes", True], "jsonl", "truth value True ("),
        ([True, 0], "jsonl", "mixes types"),
        (["yes", 0], "jsonl", "number 0 ("),
        (["a\ud83d", "b"], "jsonl", "half of a surrogate pair"),
        ([None, None], "parquet", "no row has both"),
        ([-1, -1], "csv", "no row has both text and label (text, label): 2 labelled -1"),
    ],
)  # fmt: skip
def test_labels_that_are_refused(tmp_path, labels, suffix, said):
    with pytest.raises(InputError) as error:
        read(tmp_path, labels, suffix)
    assert said in error.value.message
    assert len(error.value.message) < 500


@pytest.mark.parametrize(
    ("labels", "suffix", "names"),
    [
        ([2**64, 2**64 + 1], "csv", (str(2**64), str(2**64 + 1))),
        ([2**63, 2**64 - 1], "jsonl", (str(2**63), str(2**64 - 1))),
        ([True, False, None], "parquet", ("false", "true")),
        (["True", "False", "TRUE"], "csv", ("false", "true")),
        (["1", 0], "jsonl", ("0", "1")),
        ([decimal.Decimal("1.00"), decimal.Decimal("2.00")], "parquet", ("1", "2")),
        (pa.array(["x", "y", "x"]).dictionary_encode(), "parquet", ("x", "y")),
        (["1", "1.0", "01", "2"], "csv", ("1", "2")),
        ([1, float("nan"), float("inf"), 2], "parquet", ("1", "2")),
    ],
)
def test_labels_of_every_type(tmp_path, labels, suffix, names):
    assert read(tmp_path, labels, suffix).label_names == names


def test_classes_that_look_alike_are_said(tmp_path):
    assert any("upper and lower case" in note for note in read(tmp_path, ["Yes", "yes", "no"]).notes)
    assert any("written in two ways" in note for note in read(tmp_path, ["01", "1", "2"]).notes)


def declared(path, labels, names=("neg", "pos")):
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    pa.parquet.write_table(table.replace_schema_metadata(metadata), path)


def test_names_of_declared_classes(tmp_path):
    declared(tmp_path / "t.parquet", [1, 0, -1, 1])
    task = load_file(tmp_path / "t.parquet")
    assert (task.label_names, task.validation.labels.tolist()) == (("neg", "pos"), [1, 0, 1])
    assert "1 rows without text or label left out (1 labelled -1)" in task.notes
    declared(tmp_path / "t.parquet", [-1, 1])  # a single class is left, and that −1 is none is certain
    assert load_file(tmp_path / "t.parquet").label_names == ("pos",)
    declared(tmp_path / "t.parquet", [1, 2])
    with pytest.raises(InputError, match="label 2 is not one of the 2 declared classes"):
        load_file(tmp_path / "t.parquet")


def test_labels_that_differ_between_splits(tmp_path):
    declared(tmp_path / "train.parquet", [1, 0, 1])
    dev = tmp_path / "dev.csv"
    for labels in ("pos neg neg", "1 0 0"):  # names, or numbers of the declared classes
        dev.write_text("text,label\n" + "".join(f"a {i},{v}\n" for i, v in enumerate(labels.split())))
        task = load_file(tmp_path)
        assert (task.label_names, task.validation.labels.tolist()) == (("neg", "pos"), [1, 0, 0])
    dev.write_text("text,label\na,good\nb,bad\n")
    with pytest.raises(InputError, match="good"):
        load_file(tmp_path)
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n")
    with pytest.raises(InputError, match="No class is in both splits"):
        load_file(tmp_path)
    dev.write_text("text,label\na,1\nb,2\n")
    assert "classes that train lacks: 2" in load_file(tmp_path).notes
    dev.write_text("text,gold\na,1\nb,2\n")
    with pytest.raises(InputError, match=r"dev\.csv has no column 'label'"):
        load_file(tmp_path)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [([["a"], ["b"]], "list"), ([[], ["b"]], "list"), ([{"a": 0}, {"a": 1}], "dict"), ([0, 1], "int"),
     ([0.0, 0.5], "float"), ([False, True], "bool"), ([b"", b"x"], "bytes"), ([None, [1]], "list")],
)  # fmt: skip
def test_texts_that_are_none_are_refused_by_name(tmp_path, cells, kind):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"set": cells, "label": [0, 1]}), path)
    with pytest.raises(InputError, match=rf"row [12]: column 'set' holds {kind}, not text"):
        load_file(path, text=["set"])


def test_missing_and_empty_texts_are_counted(tmp_path):
    pa.parquet.write_table(pa.table({"text": ["a", None, "", "b"], "label": [0, 1, 1, 0]}), tmp_path / "t.parquet")
    task = load_file(tmp_path / "t.parquet")
    assert task.validation.first == ("a", "", "b")
    assert {"1 rows without text or label left out", "1 empty texts kept"} <= set(task.notes)


def test_text_that_is_no_utf_8_inside_parquet(tmp_path):
    offsets = pa.array([0, 1, 2], pa.int32()).buffers()[1]
    damaged = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pa.parquet.write_table(pa.table({"text": damaged, "label": [0, 1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column 'text' cannot be read"):
        load_file(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        ('{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x", "y"]}}}}', ("x", "y")),
        ('{"info": null}', ("0", "1")),
        ('{"info": {"features": []}}', ("0", "1")),
        ('{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["\\ud800", "y"]}}}}', ("0", "1")),
        ("[" * 100_000, ("0", "1")),
    ],
)
def test_a_damaged_declaration_of_classes_leaves_the_rows_readable(tmp_path, declared, names):
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata({"huggingface": declared})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    task = load_file(tmp_path / "t.parquet")
    assert task.label_names == names
    assert any("declaration" in note for note in task.notes) == (names == ("0", "1"))


def test_one_name_declared_for_two_classes_is_refused(tmp_path):
    declared = '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x", "x"]}}}}'
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata({"huggingface": declared})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="one name for two classes: x, x"):
        load_file(tmp_path / "t.parquet")


def test_the_hint_for_too_many_classes_fits_the_labels(tmp_path):
    for labels, hinted in (
        ([f"word {i}" for i in range(21)], (False, True)),
        (list(range(21)), (True, True)),
        (list(range(201)) * 2, (True, False)),
    ):
        with pytest.raises(InputError, match="too many for classes") as error:
            read(tmp_path, labels)
        assert ("--kind regression" in error.value.hint, "--kind classification" in error.value.hint) == hinted
