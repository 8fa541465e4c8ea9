"""A user's own files as tasks: what is read how, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.tasks import load_file, load_task

SUFFIXES = ["parquet", "csv", "tsv", "jsonl"]


def write(frame, path):
    kind = path.suffix[1:]
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    return path


def many(n=200):
    return pd.DataFrame({"text": [f"text {i % 120}" for i in range(n)], "label": [i % 3 for i in range(n)]})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_task(tmp_path, suffix):
    frame = pd.DataFrame(
        {
            "sentence": ["", "Grüße, „Welt“ 猫\n🙂", "NA", "null", "word " * 10_000, 'a "quoted", text'],
            "label": ["yes", "no", "yes", "no", "no", "yes"],
            "id": list("abcdef"),
        }
    )
    task = load_task(str(write(frame, tmp_path / f"my.{suffix}")), text=["sentence"], label="label")
    assert task.validation.first == tuple(frame["sentence"])
    assert task.validation.labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert task.label_names == ("no", "yes")
    assert task.validation.row_ids == tuple(f"validation/{c}" for c in "abcdef")
    assert (task.name, task.kind, task.train) == ("my", "classification", None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_scores_and_pairs(tmp_path, suffix):
    frame = pd.DataFrame({"a": ["x", "y", "z", "w"], "b": ["p", "q", "r", "s"], "score": [0.5, 4.0, np.nan, 5.0]})
    task = load_file(write(frame, tmp_path / f"p.{suffix}"), text=["a", "b"], positive=4)
    assert task.kind == "regression"
    assert task.validation.labels.tolist() == [0.5, 4.0, 5.0]
    assert task.validation.second == ("p", "q", "s")
    assert task.geometry_rows.positives.tolist() == [[2, 3], [4, 5]]
    assert any("1 rows without text or label" in note for note in task.notes)


def test_a_single_file_is_split_by_its_text(tmp_path):
    path = write(many(), tmp_path / "t.csv")
    task, again = load_file(path), load_file(path)
    assert task.fingerprint == again.fingerprint
    assert len(task.train) + len(task.validation) == 200
    assert not set(task.train.first) & set(task.validation.first)
    assert 10 < len(task.validation) < 100
    assert task.label_names == ("0", "1", "2")


def test_split_column_and_folder(tmp_path):
    frame = many(6).assign(split=["train", "train", "train", "dev", "dev", "other"])
    task = load_file(write(frame, tmp_path / "t.jsonl"))
    assert (len(task.train), len(task.validation)) == (3, 2)
    folder = tmp_path / "mine"
    folder.mkdir()
    write(many(5), folder / "train.csv")
    with pytest.raises(InputError, match="no validation file"):
        load_file(folder)
    write(many(4), folder / "dev.parquet")
    task = load_task(str(folder))
    assert (len(task.train), len(task.validation)) == (5, 4)


def test_three_rows_one_class_and_no_labels(tmp_path):
    task = load_file(write(pd.DataFrame({"text": ["a", "b", "c"]}), tmp_path / "three.csv"))
    assert len(task.validation) == 3
    assert task.train is None
    assert any("no labels" in note for note in task.notes)
    one = load_file(write(many().assign(label="same"), tmp_path / "one.csv"))
    assert one.label_names == ("same",)
    assert any("one class" in note for note in one.notes)


def test_labels_of_every_type(tmp_path):
    for values, names in (
        ([True, False, True], ("false", "true")),
        ([1.0, 2.0, 1.0], ("1", "2")),
        ([7, 7, 3], ("3", "7")),
    ):
        path = write(pd.DataFrame({"text": list("abc"), "label": values}), tmp_path / "l.parquet")
        assert load_file(path).label_names == names
    whole_numbers = write(pd.DataFrame({"text": list("abc"), "label": [1, 2, 5]}), tmp_path / "s.csv")
    assert load_file(whole_numbers, kind="regression").validation.labels.tolist() == [1.0, 2.0, 5.0]


def test_wrong_columns(tmp_path):
    path = write(pd.DataFrame({"sentense": ["a"], "label": [1]}), tmp_path / "t.csv")
    with pytest.raises(InputError, match="sentense") as error:
        load_file(path, text=["sentence"])
    assert "label" in error.value.hint
    with pytest.raises(InputError, match="which column"):
        load_file(path)
    with pytest.raises(InputError, match="no column 'lable'"):
        load_file(path, text=["sentense"], label="lable")
    numbers = write(pd.DataFrame({"n": [1, 2], "label": [1, 0]}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match="not text"):
        load_file(numbers, text=["n"])
    with pytest.raises(UsageError, match="same"):
        load_file(path, text=["sentense", "sentense"])


def test_ids_that_repeat(tmp_path):
    path = write(pd.DataFrame({"text": list("abc"), "id": [1, 2, 2], "key": [1, 2, 3]}), tmp_path / "t.csv")
    assert load_file(path).validation.row_ids == ("validation/0", "validation/1", "validation/2")
    assert load_file(path, row_id="key").validation.row_ids[0] == "validation/1"
    with pytest.raises(InputError, match="'2' occurs more than once"):
        load_file(path, row_id="id")


def test_labels_that_are_all_missing(tmp_path):
    path = write(pd.DataFrame({"text": list("abc"), "label": [np.nan] * 3}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no row has both"):
        load_file(path)


def test_scores_that_are_no_numbers(tmp_path):
    path = write(pd.DataFrame({"text": list("abc"), "label": list("xyz")}), tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be scores"):
        load_file(path, kind="regression")
    path = write(pd.DataFrame({"text": [str(i) for i in range(300)], "label": range(300)}), tmp_path / "u.csv")
    with pytest.raises(InputError, match="too many for classes"):
        load_file(path)


def test_positive_is_checked(tmp_path):
    frame = pd.DataFrame({"text1": list("abc"), "text2": list("xyz"), "label": ["same", "not", "same"]})
    path = write(frame, tmp_path / "t.csv")
    assert len(load_file(path).geometry_rows.positives) == 0
    assert len(load_file(path, positive="same").geometry_rows.positives) == 2
    with pytest.raises(UsageError, match="is not a class"):
        load_file(path, positive="equal")
    with pytest.raises(UsageError, match="for pairs"):
        load_file(write(many(), tmp_path / "s.csv"), positive="1")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_task(str(tmp_path / "no.csv"))
    for name, content in (
        ("e.csv", b""), ("h.csv", b"text,label\n"), ("l.csv", "text\nGrüße\n".encode("latin-1")),
        ("p.parquet", b"no"), ("j.jsonl", b"{"), ("x.txt", b"text"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            load_file(tmp_path / name)


def test_columns_are_for_files_only():
    with pytest.raises(UsageError, match="built in"):
        load_task("sst2", text=["sentence"])
