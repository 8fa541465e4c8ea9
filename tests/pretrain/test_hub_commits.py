"""What the hub means by a name is settled once: the commit is read, is part of the cache's key, and is recorded."""

import json
from types import SimpleNamespace

import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.pretrain.corpus import build_corpus
from geomprobe.pretrain.corpus.hub import resolve
from geomprobe.pretrain.loop import train
from tests.hub import Repository

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def it(hub):
    """The model and data set me/it on the hub."""
    hub.repositories["me/it"] = hub.repositories["datasets/me/it"] = Repository({"main": OLD})
    return hub.repositories["me/it"]


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_name_means_a_commit(hub, it, kind, monkeypatch):
    it.refs |= {"v1": "c" * 40}
    assert resolve("me/it", kind, "") == (OLD, [])
    assert resolve("me/it@v1", kind, "") == ("c" * 40, [])
    asked = len(hub.asked)
    assert resolve(f"me/it@{NEW}", kind, "") == (NEW, [])
    assert len(hub.asked) == asked  # a commit asks nothing
    it.refs["main"] = NEW
    commit, notes = resolve("me/it", kind, "")
    assert commit == NEW
    assert f"me/it@{OLD}" in notes[0]
    assert resolve("me/it", kind, "") == (NEW, [])
    with pytest.raises(InputError, match="no revision 'nowhere'"):
        resolve("me/it@nowhere", kind, "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit, notes = resolve("me/it", kind, "")
    assert commit == NEW
    assert "as last seen" in notes[0]
    with pytest.raises(InputError, match="hub cannot be reached") as caught:
        resolve("me/other", kind, "what to do")
    assert caught.value.hint == "what to do"


@pytest.mark.parametrize("text", ["", "[]", "null", '{"commit": 7}', '{"commit": "main"}', "[" * 50])
def test_a_damaged_record_of_a_commit_is_no_record(it, tmp_path, text):
    resolve("me/it", "model", "")
    (file,) = (tmp_path / "cache" / "hub" / "commits").iterdir()
    file.write_text(text)
    assert resolve("me/it", "model", "") == (OLD, [])


def test_a_tokenizer_that_changes_on_the_hub_makes_another_corpus(it, tmp_path, sentences, monkeypatch):
    text = tmp_path / "a.jsonl"
    text.write_text("".join(json.dumps({"text": each}) + "\n" for each in sentences(60)))
    for commit, size in ((OLD, 90), (NEW, 120)):
        made = build_corpus(str(text), f"train:{size}", cache=tmp_path / "made").path
        names = ("tokenizer.json", "tokenizer_config.json")
        it.files[commit] = {name: (made / name).read_bytes() for name in names}
    old = build_corpus(str(text), "me/it", cache=tmp_path / "c")
    assert old.info["tokenizer"] == f"me/it@{OLD}"
    assert build_corpus(str(text), "me/it", cache=tmp_path / "c").path == old.path
    it.refs["main"] = NEW
    said = []
    new = build_corpus(str(text), "me/it", cache=tmp_path / "c", tell=said.append)
    assert (new.info["tokenizer"], new.vocab_size > old.vocab_size) == (f"me/it@{NEW}", True)
    assert any("has changed on the hub" in note for note in said)
    assert not any("hub" in note for note in new.info["notes"])
    assert build_corpus(str(text), f"me/it@{OLD}", cache=tmp_path / "c").path == old.path
    assert build_corpus(str(new.path), "me/it").path == new.path
    with pytest.raises(UsageError, match="was made with --tokenizer"):
        build_corpus(str(new.path), f"me/it@{OLD}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert build_corpus(str(text), "me/it", cache=tmp_path / "c").path == new.path


@pytest.fixture
def texts_by_commit(monkeypatch, sentences):
    """A data set on the hub with other texts in each commit."""
    import datasets

    texts = {OLD: sentences(60, 1), NEW: sentences(60, 2)}
    asked = []

    class Stream(list):
        def state_dict(self):
            return {}

    def load_dataset(name, config, *, split, streaming, revision):
        asked.append(revision)
        return Stream({"text": text} for text in texts[revision])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return SimpleNamespace(texts=texts, asked=asked)


def test_a_data_set_that_changes_on_the_hub_makes_another_corpus(it, texts_by_commit, tmp_path):
    old = build_corpus("me/it", "train:100", cache=tmp_path / "c")
    assert (old.info["source"], texts_by_commit.asked) == (f"me/it@{OLD}", [OLD])
    it.refs["main"] = NEW
    new = build_corpus("me/it", "train:100", cache=tmp_path / "c")
    assert (new.info["source"], texts_by_commit.asked) == (f"me/it@{NEW}", [OLD, NEW])
    assert new.info["fingerprint"] != old.info["fingerprint"]
    again = build_corpus(f"me/it@{OLD}", "train:100", cache=tmp_path / "c")
    assert (again.path, texts_by_commit.asked) == (old.path, [OLD, NEW])
    assert old.path.name.startswith("it-")


def test_a_resumed_run_stays_at_its_commit(it, texts_by_commit, tiny):
    config = tiny(corpus="me/it", tokenizer="train:100", budget="4-steps")
    out = train(config)
    run = json.loads((out / "run.json").read_text())
    assert run["corpus"]["source"] == f"me/it@{OLD}"
    it.refs["main"] = NEW
    train(config, resume=True)
    assert json.loads((out / "run.json").read_text())["corpus"] == run["corpus"]


def test_a_run_is_not_resumed_on_other_texts(tiny, tmp_path, sentences):
    text = tmp_path / "a.jsonl"
    text.write_text("".join(json.dumps({"text": each}) + "\n" for each in sentences(60)))
    config = tiny(corpus=str(text), tokenizer="train:100", budget="4-steps")
    train(config)
    text.write_text("".join(json.dumps({"text": each}) + "\n" for each in sentences(60, 3)))
    with pytest.raises(UsageError, match="on other texts"):
        train(config, resume=True)
