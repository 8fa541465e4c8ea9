"""Which checkpoints a training has, in which order, and what is refused because its order cannot be known."""

from __future__ import annotations

import json

import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.encoders.checkpoints import find_series, step_in
from tests.hub import Repository


@pytest.fixture
def run(tmp_path):
    """Return a function that makes a folder with models of these names, each an empty config.json."""

    def make(*names, inside="run"):
        for name in names:
            (tmp_path / inside / name).mkdir(parents=True)
            (tmp_path / inside / name / "config.json").write_text("{}")
        return tmp_path / inside

    return make


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("checkpoint-500", ("step", 500)),
        ("checkpoint_0500", ("step", 500)),
        ("step143000", ("step", 143_000)),
        ("global_step2000", ("step", 2000)),
        ("multiberts-seed_0-step_20k", ("step", 20_000)),
        ("stage1-step1000-tokens5B", ("step", 1000)),
        ("epoch=3-step=900", ("step", 900)),
        ("epoch-3", ("epoch", 3)),
        ("iter_7", ("iteration", 7)),
        ("1000", ("step", 1000)),
        ("main", None),
        ("v2", None),
        ("misstep5", None),
        ("step5of9", None),
        ("step1-step2", None),
        ("1_Pooling", None),
        ("", None),
    ],
)
def test_the_step_in_a_name(name, found):
    assert step_in(name) == found


def test_checkpoints_of_a_trainer_come_in_the_order_of_their_steps(run):
    folder = run("checkpoint-100", "checkpoint-20", "checkpoint-3", "best")
    (folder / "logs").mkdir()
    (folder / "checkpoint-400").mkdir()  # being written: no model yet
    (found,) = find_series([folder])
    assert [each.label for each in found.checkpoints] == ["checkpoint-3", "checkpoint-20", "checkpoint-100"]
    assert (found.name, found.unit) == ("run", "step")
    empty, unnamed = found.notes
    assert empty.endswith("no model in it (no config.json): checkpoint-400")
    assert unnamed.endswith("the step is not in its name: best")


@pytest.mark.parametrize(
    ("file", "content", "last", "said"),
    [
        ("trainer_state.json", {"global_step": 300}, ("final", 300), []),
        ("run.json", {"final": {"step": 300}}, ("final", 300), []),
        ("trainer_state.json", {"global_step": 20}, ("checkpoint-20", 20), ["of the same step or a later one"]),
        ("trainer_state.json", {"global_step": "many"}, ("checkpoint-20", 20), ["its step is not recorded"]),
        ("trainer_state.json", [], ("checkpoint-20", 20), ["its step is not recorded"]),
    ],
)
def test_the_model_in_the_folder_itself_is_the_last_one(run, file, content, last, said):
    folder = run("checkpoint-10", "checkpoint-20")
    (folder / "config.json").write_text("{}")
    (folder / file).write_text(json.dumps(content))
    (found,) = find_series([folder])
    assert (found.checkpoints[-1].label, found.checkpoints[-1].step) == last
    assert len(found.notes) == len(said)
    assert all(part in note for part, note in zip(said, found.notes, strict=True))


def test_models_given_by_themselves_are_one_training(run):
    folder = run("step-30", "step-4")
    (found,) = find_series([folder / "step-30", "me/bert@step-7", folder / "step-4"])
    assert [each.step for each in found.checkpoints] == [4, 7, 30]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["step-1", "epoch-2"], "cannot be put in one order"),
        (["step-10", "step_10"], "both of step 10"),
        (["step-10"], "has one checkpoint"),
        (["weights"], "holds no checkpoints"),
    ],
)
def test_what_has_no_order_is_refused(run, names, why):
    with pytest.raises(UsageError, match=why) as error:
        find_series([run(*names)])
    assert error.value.hint or "two or more" in error.value.message


@pytest.mark.parametrize(
    ("sources", "pattern", "why"),
    [
        (["a/one@first", "a/two@second"], None, "cannot be told from its name"),
        (["a/one"], None, "is one model"),
        (["a/one@v1"], "step*", "names a revision"),
    ],
)
def test_models_without_an_order(sources, pattern, why):
    with pytest.raises(UsageError, match=why):
        find_series(sources, pattern)


def test_a_pattern_without_a_repository(run):
    with pytest.raises(UsageError, match="there is none"):
        find_series([run("step-1", "step-2")], "step*")


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_series([tmp_path / "nothing" / "here" / "at all"])


@pytest.fixture
def repository(hub):
    refs = {"main": "a" * 40, "step10": "b" * 40, "step9": "c" * 40, "v1": "d" * 40}
    hub.repositories["me/run"] = Repository(refs, {c * 40: {"config.json": b"{}"} for c in "abcd"}, tags=("step9",))
    return hub.repositories["me/run"]


def test_branches_and_tags_of_a_repository(repository):
    (found,) = find_series(["me/run"], "step*")
    assert [(each.source, each.step) for each in found.checkpoints] == [("me/run@step9", 9), ("me/run@step10", 10)]
    with pytest.raises(UsageError, match="no branch or tag that matches") as error:
        find_series(["me/run"], "epoch*")
    assert "main, step10, step9, v1" in error.value.hint
    with pytest.raises(UsageError, match="step of v1 cannot be told"):
        find_series(["me/run"], "*")
    del repository.refs["v1"]
    assert "main is left out" in find_series(["me/run"], "*")[0].notes[0]


def test_out_of_reach_the_cached_revisions_are_the_series(repository, monkeypatch):
    from geomprobe.common.hub import snapshot

    for step in ("step9", "step10"):
        snapshot("me/run", kind="model", revision=step, patterns=["*"], hint="")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (found,) = find_series(["me/run"], "step*")
    assert [each.step for each in found.checkpoints] == [9, 10]
    assert "cached revisions" in found.notes[0]
    with pytest.raises(InputError, match="hub cannot be reached"):
        find_series(["me/other"], "step*")
