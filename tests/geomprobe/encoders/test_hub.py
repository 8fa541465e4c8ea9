"""What a hub answers instead of a model, and the next command that the message gives."""

import pytest

from geomprobe.common import InputError
from geomprobe.common.hub import snapshot
from geomprobe.encoders.weights import HINT
from geomprobe.pretrain.corpus.tokenizer import load_tokenizer
from tests.hub import CUT, Repository

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def run(hub):
    """The model me/run on the hub, with two commits."""
    files = {"config.json": b"{}", "model.safetensors": b"0" * 100_000, "trainer/optimizer.safetensors": b"0"}
    hub.repositories["me/run"] = Repository({"main": NEW, "v1": OLD}, {OLD: files, NEW: files | {"more.json": b"{}"}})
    return hub.repositories["me/run"]


def fetch(name, **more):
    repo_id, _, revision = name.partition("@")
    patterns = more.pop("patterns", ["*.json", "model*"])
    return snapshot(repo_id, kind="model", revision=revision or None, patterns=patterns, hint=HINT)


def test_a_revision_is_one_commit(run):
    for name, commit in (("me/run", NEW), ("me/run@v1", OLD), (f"me/run@{OLD}", OLD)):
        folder, taken = fetch(name)
        assert taken == folder.name == commit
        assert {path.name for path in folder.iterdir()} == {name for name in run.files[commit] if "/" not in name}


@pytest.mark.parametrize(
    ("name", "fault", "what", "then"),
    [
        ("me/absent", {}, "neither an existing path nor a model on the hub that you can read", "hf auth login"),
        ("me/run@v9", {}, "has no revision 'v9'", "config.json"),
        ("me/run", {"api/models": 401}, "that you can read", "hf auth login"),
        ("me/run", {"api/models": 403}, "needs permission", "hf auth login"),
        ("me/run", {"resolve": 403}, "needs permission", "hf auth login"),
        ("me/run", {"api/models": 429}, "too many requests: 429", "offline, download it first"),
        ("me/run", {"api/models": 500}, "the hub cannot be reached", "offline, download it first"),
    ],
)
def test_an_answer_that_is_no_model(hub, run, name, fault, what, then):
    hub.faults |= fault
    with pytest.raises(InputError, match=what) as error:
        fetch(name)
    assert then in error.value.hint
    assert len(error.value.message) < 300
    assert "\n" not in error.value.message + error.value.hint


@pytest.mark.parametrize("fault", [429, CUT])
def test_a_download_that_breaks_off_goes_on(hub, run, fault, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between its tries
    hub.faults["model.safetensors"] = fault
    with pytest.raises(InputError) as error:
        fetch("me/run")
    assert "could not be downloaded" in error.value.message
    assert "Run the same command again" in error.value.hint
    hub.faults.clear()
    asked = len(hub.asked)
    folder, _ = fetch("me/run")
    assert (folder / "model.safetensors").read_bytes() == b"0" * 100_000
    assert not any("config.json" in path for path in hub.asked[asked:])


def test_what_is_cached_stands_in_for_a_hub_that_takes_no_more(hub, run):
    folder, _ = fetch("me/run")
    hub.faults["api/models"] = 429
    assert fetch("me/run@main")[0] == folder


def test_the_pretrainer_says_the_same(hub, run):
    with pytest.raises(InputError, match="that you can read") as error:
        load_tokenizer("me/absent")
    assert "train:8192" in error.value.hint
