"""Folders, saved data sets and data sets of the hub: which files make which split, and what is said about it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet
import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.tasks import is_file_task, load_file, load_task, unique_names


def put(folder, *names, rows=20, label=lambda i: i % 2):
    """Write tables whose texts name their file."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts, labels = [f"{name} {i}" for i in range(rows)], [label(i) for i in range(rows)]
        if path.suffix == ".parquet":
            pa.parquet.write_table(pa.table({"text": texts, "label": labels}), path)
        else:
            path.write_text("text,label\n" + "".join(f"{t},{v}\n" for t, v in zip(texts, labels, strict=True)))
    return folder


def files_of(task):
    """Return the files that the training and the scored rows are from."""
    return tuple(
        sorted({t.split(" ")[0] for t in part.first}) if part else None for part in (task.train, task.validation)
    )


@pytest.mark.parametrize(
    ("names", "train", "scored"),
    [
        (["train.csv", "test.csv"], ["train.csv"], ["test.csv"]),
        (["train.csv", "dev.csv", "test.csv"], ["train.csv"], ["dev.csv"]),
        (["train.csv", "valid.parquet"], ["train.csv"], ["valid.parquet"]),
        (["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"],
         ["data/train-00000-of-00001.parquet"], ["data/validation-00000-of-00001.parquet"]),
        (["train-00000-of-00002-a1.parquet", "train-00001-of-00002-b2.parquet", "test-00000-of-00001-c3.parquet"],
         ["train-00000-of-00002-a1.parquet", "train-00001-of-00002-b2.parquet"], ["test-00000-of-00001-c3.parquet"]),
        (["plain/train/0000.parquet", "plain/train/0001.parquet", "plain/test/0000.parquet"],
         ["plain/train/0000.parquet", "plain/train/0001.parquet"], ["plain/test/0000.parquet"]),
        (["mnli_train.csv", "mnli_dev.csv", "notes.csv"], ["mnli_train.csv"], ["mnli_dev.csv"]),
        (["dev.csv"], None, ["dev.csv"]),
        (["reviews.csv"], None, ["reviews.csv"]),
    ],
)  # fmt: skip
def test_splits_by_the_names_of_files_and_folders(tmp_path, names, train, scored):
    task = load_file(put(tmp_path / "set", *names))
    assert files_of(task) == (train, scored)
    assert task.name == "set"
    if train:
        assert any("trained on the split" in note for note in task.notes)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no table of texts"),
        (["a.csv", "b.csv"], "files of unknown splits: a.csv, b.csv"),
        (["train.csv"], "no validation file"),
        (["train.csv", "train.parquet", "dev.csv"], "2 files for the train split"),
        (["train.csv", "validation_matched.csv", "validation_mismatched.csv"], "several splits of one kind"),
        (["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"], "shards of the train split are not complete"),
        (["cola/train.csv", "cola/dev.csv", "sst/train.csv", "sst/dev.csv"], "several sets: cola, sst"),
    ],
)
def test_folders_that_leave_something_open(tmp_path, names, said):
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match=said):
        load_file(put(tmp_path / "set", *names))


def test_a_split_by_name(tmp_path):
    folder = put(tmp_path, "train.csv", "validation_matched.csv", "test.csv", rows=60)
    assert files_of(load_file(folder, split="test")) == (["train.csv"], ["test.csv"])
    alone = load_file(folder, split="train")
    assert files_of(alone) == (["train.csv"], ["train.csv"])
    assert len(alone.train) + len(alone.validation) == 60
    with pytest.raises(InputError, match="no split 'dev'") as error:
        load_file(folder, split="dev")
    assert "validation_matched" in error.value.hint
    with pytest.raises(InputError, match="no splits"):
        load_file(folder / "train.csv", split="test")


def test_a_test_split_without_labels_is_not_scored(tmp_path):
    put(tmp_path, "train.csv", label=lambda i: i % 3)
    put(tmp_path, "test.csv", label=lambda i: -1)
    with pytest.raises(InputError, match=r"no row of the scored split has both .*20 labelled -1"):
        load_file(tmp_path)


def test_a_column_of_splits(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "text,label,split\n" + "".join(f"{s} {i},{i % 2},{s}\n" for i, s in enumerate(["train", "dev", "test"] * 4))
    )
    task = load_file(path)
    assert files_of(task) == (["train"], ["dev"])
    assert "4 rows of other splits not used" in task.notes
    assert files_of(load_file(path, split="test")) == (["train"], ["test"])
    path.write_text("text,label,split\na,1,x\nb,0,y\n")
    with pytest.raises(InputError, match="names no validation rows; it holds x, y"):
        load_file(path)


def test_data_sets_that_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})

    def made(name, labels):
        rows = {"text": [f"{name} {i}" for i in range(len(labels))], "label": labels}
        return datasets.Dataset.from_dict(rows, features=features)

    train, test = made("train", [0, 1] * 30), made("test", [0, 1, -1] * 10)
    train.save_to_disk(tmp_path / "one", num_shards=3)
    one = load_file(tmp_path / "one")
    assert (len(one.train) + len(one.validation), one.label_names) == (60, ("neg", "pos"))
    datasets.DatasetDict(train=train, test=test, unsupervised=train).save_to_disk(tmp_path / "all")
    task = load_file(tmp_path / "all")
    assert (files_of(task), task.label_names, len(task.validation)) == ((["train"], ["test"]), ("neg", "pos"), 20)
    assert any("not used: unsupervised" in note for note in task.notes)
    (tmp_path / "one" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="not a complete data set"):
        load_file(tmp_path / "one")


class Hub:
    """A hub of one data set, whose files lie in a local folder."""

    def __init__(self, monkeypatch, folder, *, up=True):
        self.folder, self.up = folder, up
        self.patterns = None
        monkeypatch.setattr("huggingface_hub.HfApi.repo_info", self.repo_info)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.download)

    def repo_info(self, repo_id, *, repo_type, revision, timeout):
        if not self.up:
            raise ConnectionError("down")
        assert (repo_id, repo_type) == ("owner/name", "dataset")
        files = [SimpleNamespace(rfilename=p.relative_to(self.folder).as_posix()) for p in self.folder.rglob("*.*")]
        return SimpleNamespace(sha={None: "a" * 40, "v1": "b" * 40}[revision], siblings=files)

    def download(self, repo_id, *, repo_type, revision, allow_patterns, local_files_only):
        assert local_files_only != self.up
        self.patterns = allow_patterns
        return str(self.folder)


def test_a_data_set_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards = ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]
    hub = Hub(monkeypatch, put(tmp_path / "cache", *shards, "data/unsupervised-00000-of-00001.parquet", "run.py"))
    assert is_file_task("owner/name@v1")
    task = load_task("owner/name@v1", text=["text"], label="label")
    assert sorted(hub.patterns) == sorted(shards)
    assert (task.name, task.source, files_of(task)) == ("name", f"owner/name@{'b' * 12}", ([shards[0]], [shards[1]]))
    assert task.revision == "b" * 40
    assert load_task("owner/name", split="train").revision == "a" * 40
    assert hub.patterns == shards[:1]


def test_a_data_set_of_several_sets_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["cola/train.parquet", "cola/dev.parquet", "sst/train.parquet", "sst/dev.parquet"]
    Hub(monkeypatch, put(tmp_path / "cache", *names))
    with pytest.raises(InputError, match="several sets: cola, sst") as error:
        load_task("owner/name")
    assert "--task owner/name/cola" in error.value.hint
    task = load_task("owner/name/cola")
    assert (task.name, files_of(task)) == ("cola", (["cola/train.parquet"], ["cola/dev.parquet"]))
    assert "(cola)" in task.source


def test_a_hub_data_set_made_by_code_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Hub(monkeypatch, put(tmp_path / "cache", "name.py"))
    with pytest.raises(InputError, match="code is never run") as error:
        load_task("owner/name")
    assert "owner/name@refs/convert/parquet" in error.value.hint


def test_a_hub_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Hub(monkeypatch, put(tmp_path / "cache", "train.csv", "dev.csv"), up=False)
    assert files_of(load_task("owner/name")) == (["train.csv"], ["dev.csv"])  # cached
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="hub cannot be reached") as error:
        load_task("owner/name-that-is-nowhere")
    assert "--task" in error.value.hint


def test_an_existing_path_wins_over_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(put(tmp_path, "owner/name/train.csv", "owner/name/dev.csv"))
    task = load_task("owner/name")
    assert "read from the local folder; the hub was not asked" in task.notes
    with pytest.raises(InputError, match=r"owner/none\.csv does not exist"):
        load_task("owner/none.csv")
    with pytest.raises(InputError, match=r"\./owner/none does not exist"):
        load_task("./owner/none")


def test_tasks_of_one_name_are_named_by_their_folders(tmp_path):
    put(tmp_path, "a/t.csv", "b/t.csv", "b/sst2.csv", "x/a/t.csv")
    paths = [str(tmp_path / name) for name in ("a/t.csv", "b/t.csv", "b/sst2.csv")]
    named = unique_names({path: load_file(path) for path in paths}, ["sst2"])
    assert [task.name for task in named.values()] == ["a-t", "b-t", "own-sst2"]
    assert [task.name for task in unique_names({paths[2]: load_file(paths[2])}).values()] == ["sst2"]
    paths = [str(tmp_path / name) for name in ("a/t.csv", "x/a/t.csv")]
    deeper = unique_names({path: load_file(path) for path in paths})
    assert [task.name for task in deeper.values()] == [f"{tmp_path.name}-a-t", "x-a-t"]
    twice = {path: load_file(path) for path in (f"{tmp_path}/a/t.csv", f"{tmp_path}/b/../a/t.csv")}
    with pytest.raises(UsageError, match="are the same file"):
        unique_names(twice)


def test_columns_with_commas_and_blanks_and_twice(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('"a,b", a ,b,label\nx,p,q,1\ny,r,s,0\n')
    assert load_file(path, text=["a,b"]).validation.first == ("x", "y")
    pair = load_file(path, text=["a", " b "])
    assert (pair.validation.first, pair.validation.second) == (("p", "r"), ("q", "s"))
    path.write_text("a,b,label\nx,p,1\ny,r,0\n")
    assert load_file(path, text=["a,b"]).validation.second == ("p", "r")
    with pytest.raises(UsageError, match="are the same"):
        load_file(path, text=["a,a"])
    with pytest.raises(UsageError, match="as the text and as the label"):
        load_file(path, text=["a"], label="a")


def test_a_kind_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="Unknown kind 'scores'"):
        load_file(put(tmp_path, "t.csv") / "t.csv", kind="scores")


def test_errors_hold_few_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"{'long' * 50} {i}" for i in range(5000)) + "\n" + ",".join("1" * 5000) + "\n")
    with pytest.raises(InputError, match="which column") as error:
        load_file(path)
    assert "and 4,988 more" in error.value.hint
    assert len(error.value.hint) < 1000


def test_ids_of_other_types(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "id": [1]}\n{"text": "b", "id": [2]}\n')
    assert load_file(path).validation.row_ids == ("validation/0", "validation/1")
    with pytest.raises(InputError, match="line 1: column 'id' holds list, not a row id"):
        load_file(path, row_id="id")
    path.write_text('{"text": "a", "id": null}\n{"text": "b", "id": 2}\n')
    with pytest.raises(InputError, match="holds nothing, not a row id"):
        load_file(path, row_id="id")
    path.write_text('{"text": "a", "id": "\\ud83d"}\n{"text": "b", "id": "x"}\n')
    assert load_file(path).validation.row_ids == ("validation/0", "validation/1")
    with pytest.raises(InputError, match="line 1: the id in column 'id' holds half of a surrogate pair"):
        load_file(path, row_id="id")


def test_a_test_file_without_labels_says_how_to_take_the_training_rows(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"the cat {i},{i % 2}\n" for i in range(60)))
    (tmp_path / "test.csv").write_text("text\na\nb\n")
    with pytest.raises(InputError, match=r"test\.csv has no column 'label', which the training split has") as error:
        load_file(tmp_path)
    assert "--split train" in error.value.hint
    assert len(load_file(tmp_path, split="train").train) > 30


def test_what_is_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_file(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is an address"):
        load_file("https://example.org/t.csv")


def test_a_file_name_that_is_no_utf_8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9")
    paths = [os.fsdecode(os.fsencode(each) + b"/caf\xe9.csv") for each in (tmp_path, folder)]
    os.mkdir(folder)
    for path in paths:
        Path(path).write_text("text,label\na,1\nb,0\n")
    task = load_file(paths[0])
    assert (task.name, task.source) == ("caf\ufffd", "caf\ufffd.csv")
    named = unique_names({path: load_file(path) for path in paths})
    assert [task.name for task in named.values()] == [f"{tmp_path.name}-caf\ufffd", "d\ufffd-caf\ufffd"]
