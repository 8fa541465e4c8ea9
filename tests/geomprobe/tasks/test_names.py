"""Tasks by name: what is a name and what a file, and what a task is beyond its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geomprobe.tasks import choices, controlled, load_file, load_task
from geomprobe.tasks.base import Split, Task


@pytest.fixture
def pairs():
    split = Split("validation", ("a", "b", "c"), ("d", "e", "f"), np.array([0, 1, 1]), ("0", "1", "2"))
    return Task("own", "classification", None, split, ("no", "yes"), "accuracy")


def test_built_in_tasks_and_plain_files_have_no_choices_of_their_own(tmp_path, pairs):
    (tmp_path / "a.csv").write_text("text,label\n" + "good,x\nbad,y\n" * 30)
    (tmp_path / "b.csv").write_text("sentence1,sentence2,score\n" + "a,b,1.5\nc,d,2.5\n" * 30)
    (tmp_path / "c.txt").write_text("good\nbad\n" * 30)
    tasks = [load_file(tmp_path / name) for name in ("a.csv", "b.csv", "c.txt")]
    tasks += [load_task(name) for name in controlled.TASK_NAMES]
    assert [choices(task) for task in (*tasks, pairs)] == [[]] * (len(tasks) + 1)


def test_every_choice_of_a_task_makes_another_key(pairs):
    others = [
        replace(pairs, positive_label=0),
        replace(pairs, positive_label=1),
        replace(pairs, positive_score=1.0),
        replace(pairs, label_names=("no", "yes", "unseen")),
        replace(pairs, score="spearman"),
        replace(pairs, kind="regression"),
        replace(load_task("controlled-paraphrase"), positive_label=0),
    ]
    found = [choices(task) for task in others]
    assert all(found)
    assert len({each[0] for each in found[:-1]}) == len(others) - 1
