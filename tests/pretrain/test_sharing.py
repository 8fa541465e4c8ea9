"""A checkpoint folder as others get it: what an upload sends, who can read it, what sentence-transformers takes."""

import contextlib
import json
import logging
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.cli.main import app
from geomprobe.pretrain import checkpoint
from geomprobe.pretrain.loop import train

WORDS = "the a cat dog bird sees hears finds likes red blue small old house tree river".split()  # noqa: SIM905
MODEL = {
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
HEAD_APART = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
TEXTS = ["the cat sees a bird", "old"]


def upload(hub, folder):
    """Upload a folder as `hf upload` does, and return the commit."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token="hf_none")
    api.create_repo("me/run", exist_ok=True)
    return api.upload_folder(repo_id="me/run", folder_path=folder).oid


def vectors(source, **arguments):
    """Return what sentence-transformers makes of two texts."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(source), device="cpu", **arguments).encode(TEXTS)


@pytest.fixture
def said():
    """What transformers, sentence-transformers and the hub's client log, and warnings of users, from here on."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in (None, "transformers", "sentence_transformers", "huggingface_hub")]
    for logger in loggers:
        logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: records.append(str(message))
        yield records
    for logger in loggers:
        logger.removeHandler(handler)


def test_a_checkpoint_travels_over_the_hub(tiny, hub, tmp_path, monkeypatch, said):
    """The training states stay at home; what arrives gives the same vectors, and an earlier commit is still there."""
    out = train(tiny(objective="hybrid"))
    (out / ".left.tmp").mkdir()
    (out / ".left.tmp" / "model.safetensors").write_bytes(b"half")
    first = upload(hub, out)
    files = hub.repositories["me/run"].files[first]
    ema = {f"ema/{name}" for name in (*MODEL, "model.safetensors")}
    assert set(files) == {".gitignore", "README.md", "metrics.jsonl", "run.json"} | MODEL | HEAD_APART | ema

    later = train(tiny(objective="hybrid", seed=1, out=str(tmp_path / "later")))
    upload(hub, later)
    said.clear()
    for commit, folder in ((first, out), (None, later)):
        assert np.array_equal(vectors("me/run", revision=commit), vectors(folder))
    assert said == []

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "another"))
    done = CliRunner().invoke(
        app, ["analyze", f"me/run@{first}", "--task", "controlled:small", "--limit", "40", "--out", str(tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    (record,) = json.loads((tmp_path / "r" / "run.json").read_text())["models"]
    assert (record["hash"], record["revision"]) == (gp.load_encoder(out).hash, first)
    (snapshot,) = (tmp_path / "another").rglob(first)
    fetched = {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()}
    assert fetched == MODEL | HEAD_APART | {"run.json"}


def test_sentence_transformers_says_nothing(tiny, tmp_path, said):
    for objective in ("mlm", "hybrid"):
        out = train(tiny(objective=objective, budget="2-steps", out=str(tmp_path / objective)))
        said.clear()
        for folder in [out, *out.glob("ema")]:
            vectors(folder)
        assert said == []


@pytest.mark.slow
def test_a_folder_whose_export_was_cut_off_anywhere_holds_the_export_before_or_the_new_one(
    tiny, corpus, monkeypatch, tmp_path
):
    """For every loader, though encoder and head lie in two files; also where the export before was cut off, too."""
    from transformers import AutoModel, AutoModelForMaskedLM

    out = train(tiny(objective="mlm", budget="2-steps"))
    files = {file for file in out.rglob("*") if "trainer" not in file.parts}
    model = AutoModelForMaskedLM.from_pretrained(out)
    replace, encoded, seen = os.replace, [vectors(out)], []

    def sums(of):
        return [float(value.double().sum()) for value in of.state_dict().values()]

    def cut_off(source, target):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        replace(source, target)

    for last in range(40):
        whole = [sums(AutoModelForMaskedLM.from_pretrained(out))]
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.02 * torch.randn_like(value))
        checkpoint._export_model(tmp_path / "new", model, corpus, 64)
        whole.append(sums(model))
        encoded.append(vectors(tmp_path / "new"))
        left = last
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(os, "replace", cut_off)
            checkpoint._export_model(out, model, corpus, 64)
        seen.append(whole.index(sums(AutoModelForMaskedLM.from_pretrained(out))))
        assert sums(gp.load_encoder(out).model) == sums(AutoModel.from_pretrained(out))
        assert any(np.array_equal(vectors(out), known) for known in encoded)
        if left:
            break
    assert set(seen) == {0, 1}
    assert {file for file in out.rglob("*") if "trainer" not in file.parts} == files


def test_what_others_save_of_a_checkpoint_is_whole(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModelForMaskedLM

    out = train(tiny(objective="mlm", tied_head=False, budget="2-steps"))
    SentenceTransformer(str(out), device="cpu").save_pretrained(str(tmp_path / "st"))
    assert np.array_equal(vectors(tmp_path / "st"), vectors(out))
    model = AutoModelForMaskedLM.from_pretrained(out)
    model.save_pretrained(tmp_path / "mlm")
    saved = AutoModelForMaskedLM.from_pretrained(tmp_path / "mlm").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())
    opened = gp.load_encoder(out)
    assert (opened.refusal, opened.pooling, opened.notes) == ("", "mean", [])
    settings = (out / "sentence_bert_config.json").read_text()
    (out / "sentence_bert_config.json").write_text(settings.replace("model-00001", "another"))
    assert "transformers_weights" in gp.load_encoder(out).refusal


def test_a_file_that_cannot_be_replaced_is_refused_before_any_is(tiny):
    config = tiny(objective="mlm", budget="4-steps")
    out = train(config)
    index = out / "model.safetensors.index.json"
    index.unlink()
    index.symlink_to(index)
    held = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    with pytest.raises(gp.common.UsageError, match="a link to itself"):
        train(config, resume=True)
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == held


def test_a_checkpoint_of_an_earlier_version_is_read_and_continued(tiny, said):
    """Its head was in one file with the encoder, which must not outlive an export."""
    config = tiny(objective="mlm", budget="4-steps")
    out = train(config)
    new, before = gp.load_encoder(out).hash, vectors(out)
    whole = {name: value for file in sorted(out.glob("model-*")) for name, value in load_file(file).items()}
    for file in (*out.glob("model-*"), out / "model.safetensors.index.json"):
        file.unlink()
    save_file(whole, out / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((out / "config.json").read_text())
    del settings["transformers_weights"]
    (out / "config.json").write_text(json.dumps(settings))
    (out / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
    assert gp.load_encoder(out).hash == new
    said.clear()
    assert np.array_equal(vectors(out), before)
    assert "UNEXPECTED" in said[0]
    train(config, resume=True)
    assert not (out / "model.safetensors").exists()
    assert gp.load_encoder(out).hash == new


def test_mteb_tells_two_checkpoints_apart(tiny, tmp_path):
    """By the lines of docs/how-to/share-a-checkpoint.md: no file in a folder gives mteb a name."""
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    from sentence_transformers import SentenceTransformer

    found = {}
    for seed in (0, 1):
        folder = train(tiny(objective="mlm", budget="2-steps", seed=seed, out=str(tmp_path / f"seed{seed}")))
        model = SentenceTransformer(str(folder), device="cpu")
        model.model_card_data.model_name = "me/mlm"
        model.model_card_data.base_model_revision = gp.load_encoder(folder).hash
        result = mteb.evaluate(model, pair_task(mteb), cache=mteb.ResultCache(tmp_path / "mteb"), co2_tracker=False)
        found[seed] = result.model_name, result.model_revision, result.task_results[0].scores["test"][0]["main_score"]
    assert found[0][0] == found[1][0] == "me/mlm"
    assert found[0][1] != found[1][1]
    assert found[0][2] != found[1][2]
    assert len(list((tmp_path / "mteb").rglob("Pairs.json"))) == 2


def pair_task(mteb):
    """Return a task of mteb whose data are here: how alike two texts are, as their words say."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS

    pairs = [(" ".join(WORDS[i : i + 6]), " ".join(WORDS[j : j + 6])) for i in range(8) for j in range(8)]
    scores = [len(set(a.split()) & set(b.split())) for a, b in pairs]

    class Pairs(AbsTaskSTS):
        metadata = mteb.TaskMetadata(
            name="Pairs",
            description="Word overlap.",
            dataset={"path": "me/pairs", "revision": "1"},
            type="STS",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )

        def load_data(self, **_):
            columns = {"sentence1": [a for a, _ in pairs], "sentence2": [b for _, b in pairs], "score": scores}
            self.dataset, self.data_loaded = DatasetDict(test=Dataset.from_dict(columns)), True

    return Pairs()


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_mode_of_new_files(tiny, umask):
    before = os.umask(umask)
    try:
        out = train(tiny(objective="hybrid"))
    finally:
        os.umask(before)
    modes = {path.relative_to(out): path.stat().st_mode & 0o777 for path in out.rglob("*")}
    assert modes == {name: (0o777 if (out / name).is_dir() else 0o666) & ~umask for name in modes}


def test_what_a_user_wrote_into_the_gitignore_stays(tiny):
    config = tiny(objective="mlm")
    out = train(config)
    (out / ".gitignore").write_text("trainer/\nrun.json\n")
    train(config, resume=True)
    assert (out / ".gitignore").read_text() == "trainer/\nrun.json\n"


def test_the_card_of_a_checkpoint_is_what_the_hub_client_reads(tiny, corpus, tmp_path):
    """Data, objective, budget, losses and how to load it; no folder of this machine; its code runs."""
    from huggingface_hub import ModelCard

    config = tiny(objective="hybrid", out=str(tmp_path / "a|b <i>"))
    out = train(config)
    text = (out / "README.md").read_text(encoding="utf-8")
    card = ModelCard(text)
    assert card.data.to_dict() == {
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["geomprobe", "modernbert", "hybrid", "sentence-similarity"],
    }
    final = json.loads((out / "run.json").read_text())["final"]
    said = [
        "# a\\|b \\<i\\>",
        "12 steps, 3,072 tokens",
        "predict masked tokens and the target encoder's states",
        "| JEPA | structure=student, span\\_length=0, target\\_layers=2, target\\_norm=instance",
        "| text.jsonl |",
    ]
    said += [f"| held-out MLM loss | {final['held_out_mlm']:.2f} |", corpus.info["fingerprint"], "`ema/` holds"]
    assert [each for each in said if each not in text] == []
    assert str(tmp_path) not in text
    assert str(corpus.path.parent) not in text
    assert "not ended" not in text
    for code in re.findall("```python\n(.*?)```", text, re.DOTALL):
        exec(code.replace("PATH_OR_HUB_ID", str(out)), {})


def test_the_card_follows_the_training_and_then_stays(tiny, monkeypatch):
    config = tiny(objective="mlm")
    with monkeypatch.context() as patched:
        patched.setattr("geomprobe.pretrain.loop.finish_run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config)
    readme = Path(config.out) / "README.md"
    assert "this is step 8 of 12" in readme.read_text(encoding="utf-8")
    train(config, resume=True)
    assert "12 steps" in readme.read_text(encoding="utf-8")
    readme.write_text("mine")
    train(config, resume=True)
    assert readme.read_text() == "mine"
    readme.unlink()
    train(config, resume=True)
    assert "12 steps" in readme.read_text(encoding="utf-8")


def test_sentence_transformers_reads_the_similarity_and_no_prompt(tiny, caplog):
    from sentence_transformers import SentenceTransformer

    out = train(tiny(objective="jepa"))
    for folder in (out, out / "ema"):
        model = SentenceTransformer(str(folder), device="cpu")
        assert (model.similarity_fn_name, model.default_prompt_name) == ("cosine", None)
        assert not any(model.prompts.values())
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
