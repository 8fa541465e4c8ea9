"""Tasks: GLUE from a folder, its errors, ids and fingerprints."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.tasks import TASKS, load_task


@pytest.fixture
def data(tmp_path):
    """A folder with a small sst2 and stsb."""
    for task, frame in {
        "sst2": pd.DataFrame({"sentence": ["good ", "bad", "fine"], "label": [1, 0, 1], "idx": [4, 5, 9]}),
        "stsb": pd.DataFrame({"sentence1": ["a", "b"], "sentence2": ["c", "a"], "label": [4.5, 1.0], "idx": [0, 1]}),
    }.items():
        folder = tmp_path / "glue" / task
        folder.mkdir(parents=True)
        for split in ("train", "validation"):
            frame.to_parquet(folder / f"{split}.parquet")
    return tmp_path


def test_small_tasks(data):
    task = load_task("sst2", data_dir=data)
    assert task.validation.first == ("good ", "bad", "fine")
    assert task.validation.row_ids == ("validation/4", "validation/5", "validation/9")
    assert task.validation.labels.dtype == np.int64
    assert task.kind == "classification"
    pairs = load_task("stsb", data_dir=data)
    assert pairs.score == "spearman"
    assert pairs.geometry_rows.texts == ("a", "c", "b")
    assert pairs.geometry_rows.positives.tolist() == [[0, 1]]
    assert pairs.fingerprint == load_task("stsb", data_dir=data).fingerprint != task.fingerprint


def test_rows_without_label_are_left_out_and_counted(data):
    path = data / "glue" / "sst2" / "validation.parquet"
    pd.DataFrame({"sentence": ["a", "b", None], "label": [-1, 1, 0]}).to_parquet(path)
    task = load_task("sst2", data_dir=data)
    assert task.validation.first == ("b",)
    assert task.validation.row_ids == ("validation/1",)
    assert "2 rows" in task.notes[0]


def test_a_task_without_train_split(data):
    (data / "glue" / "sst2" / "train.parquet").unlink()
    assert load_task("sst2", data_dir=data).train is None


def test_errors(data):
    with pytest.raises(UsageError, match="stsb"):
        load_task("sts-b", data_dir=data)
    with pytest.raises(InputError, match="mrpc does not exist"):
        load_task("mrpc", data_dir=data)
    path = data / "glue" / "sst2" / "validation.parquet"
    pd.DataFrame({"text": ["a"], "label": [1]}).to_parquet(path)
    with pytest.raises(InputError, match="no column 'sentence'") as error:
        load_task("sst2", data_dir=data)
    assert "text" in error.value.hint
    pd.DataFrame({"sentence": ["a"], "label": [7]}).to_parquet(path)
    with pytest.raises(InputError, match="2 classes"):
        load_task("sst2", data_dir=data)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="damaged"):
        load_task("sst2", data_dir=data)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        load_task("sst2", data_dir=data)


def test_a_hub_that_does_not_answer_is_asked_once(dead_hub):
    with pytest.raises(InputError, match="hub cannot be reached") as error:
        load_task("sst2", data_dir=None)
    assert len([path for path in dead_hub if "glue" in path]) == 1
    assert "--data" in error.value.hint


def test_glue_on_the_hub_is_read_at_one_commit_and_says_which(tmp_path, monkeypatch):
    frame = pd.DataFrame({"sentence": ["good ", "bad", "fine"], "label": [1, 0, 1], "idx": [0, 1, 2]})
    asked = []

    def download(repo_id, *, revision, allow_patterns, **_):
        asked.append((repo_id, revision))
        folder = tmp_path / revision / "sst2"
        folder.mkdir(parents=True, exist_ok=True)
        words = frame["sentence"] + revision[0]
        for number, rows in enumerate((frame[:2], frame[2:])):
            rows.assign(sentence=words).to_parquet(folder / f"train-0000{number}-of-00002.parquet")
        frame.assign(sentence=words).to_parquet(folder / "validation-00000-of-00001.parquet")
        return str(tmp_path / revision)

    found = {}
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for commit in ("a" * 40, "b" * 40):
        info = SimpleNamespace(sha=commit, siblings=[])
        monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *a, info=info, **k: info)
        found[commit] = load_task("sst2")
        assert asked[-1] == ("nyu-mll/glue", commit)
        assert (found[commit].revision, len(found[commit].train)) == (commit, 3)
    assert len({task.fingerprint for task in found.values()}) == 2


def test_names():
    assert TASKS.names[:5] == ["sst2", "mrpc", "mnli", "cola", "stsb"]
    task = load_task("controlled")
    assert task.name == "controlled"
    assert load_task("controlled:small").fingerprint == task.fingerprint
    with pytest.raises(UsageError, match="size"):
        load_task("controlled:tiny")


def test_glue_as_published(data_dir):
    sizes = {"sst2": (67349, 872), "mrpc": (3668, 408), "cola": (8551, 1043), "stsb": (5749, 1500)}
    for name, (train, validation) in sizes.items():
        task = load_task(name, data_dir=data_dir)
        assert (len(task.train), len(task.validation)) == (train, validation)
        assert len(set(task.train.row_ids)) == train
    mnli = load_task("mnli", data_dir=data_dir)
    assert len(mnli.validation) == 9815
    assert len(mnli.geometry_rows.texts) == 13143


@pytest.mark.parametrize("label", [float("inf"), "positive"])
def test_a_label_that_is_no_finite_number_is_named_with_its_row(tmp_path, label):
    (tmp_path / "glue" / "sst2").mkdir(parents=True)
    frame = pd.DataFrame({"sentence": ["a film", "a dull film"], "label": [label, label], "idx": [0, 1]})
    frame.to_parquet(tmp_path / "glue" / "sst2" / "validation.parquet")
    with pytest.raises(InputError, match=r"validation\.parquet, row 1: the label '(inf|positive)' is no finite number"):
        load_task("sst2", data_dir=tmp_path)
