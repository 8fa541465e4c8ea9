"""Corpora, presets, recipes and runs of the pretrainer, whole and damaged."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_contract import examples
from fuzz_damage import KINDS_OF_FILE, damage_one, damaged_bytes, damaged_json, fresh_copy, read_or_refused
from fuzz_encoders import WORDS
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from geomprobe.cli.main import app
from geomprobe.cli.replicate import check_plan
from geomprobe.common import InputError
from geomprobe.predict_reconstruct.replication import Recipe, read_recipe, training_records
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import open_corpus

draw_word = random.Random(0)
TEXTS = [" ".join(draw_word.choice(WORDS) for _ in range(12)) for _ in range(60)]
PRESET = {
    "objective": "hybrid", "corpus": "c", "layers": 1, "hidden": 16, "heads": 2, "intermediate": 16, "max_length": 32,
    "predictor_layers": 1, "predictor_hidden": 8, "predictor_heads": 2, "row_length": 16, "batch_rows": 4,
    "target_layers": 1, "budget": "2-steps", "warmup_steps": 1, "log_every": 1, "eval_every": 2, "eval_rows": 4,
    "save_every": "1",
    "precision": "fp32", "device": "cpu", "out": "r",
}  # fmt: skip
RECIPE = {
    "seeds": [0, 1, 2],
    "settings": {"preset": "demo", "corpus": "t.txt", "tokenizer": "train:64", "budget": "2-steps"},
    "arms": {"hybrid": {"objective": "hybrid"}, "mlm": {"objective": "mlm", "match_arm": "hybrid", "lr": 0.001}},
    "compare": {"equal": {"groups": ["mlm", "hybrid"], "pool": ["mean"], "task": ["sst2"]}},
    "audit": {"claims": {"groups": ["mlm", "hybrid"], "task": ["sst2"]}},
}
TOML_VALUES = ["0", "-1", "1e400", "nan", "inf", "true", '""', '"x"', "[]", "[1]", "{}", "1979-05-27", "[[1]]", "1.5",
               "9223372036854775807", "9" * 400, '"' + "a" * 3000 + '"', "{a = 1}", '"\\u0000"', "[" * 5000,
               "07:32:00", "", '"../x"', '"mlm"', "65536", "1000000000"]  # fmt: skip
ODD_FILES = ["notes.pdf", "b.jsonl", "c.txt.gz", "d.parquet", "e.txt", "sub/train.txt", "valid.txt", ".hidden", "x.zip"]


def toml(value: dict) -> str:
    """Write tables of plain values as TOML."""
    lines, tables = [], []
    for key, part in value.items():
        if isinstance(part, dict) and part and all(isinstance(inner, dict) for inner in part.values()):
            tables += [(f"{key}.{name}", inner) for name, inner in part.items()]
        elif isinstance(part, dict):
            tables.append((key, part))
        else:
            lines.append(f"{key} = {json.dumps(part)}")
    for name, table in tables:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(part)}" for key, part in table.items())]
    return "\n".join(lines) + "\n"


@st.composite
def damaged_toml(draw, text: str) -> bytes:
    """A TOML text with a value replaced, a line removed, repeated or added, or bytes changed."""
    lines = text.splitlines()
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        how, i = (
            draw(st.sampled_from(["value", "value", "value", "remove", "repeat", "name", "bytes"])),
            draw(st.integers(0, len(lines) - 1)),
        )
        if how == "bytes":
            return draw(damaged_bytes("\n".join(lines).encode()))
        if how == "remove" and len(lines) > 1:
            del lines[i]
        elif how == "repeat":
            lines.insert(i, lines[i])
        elif how == "name":
            lines[i] = f"{draw(st.sampled_from(['', 'x', '[arms]', '[[arms]]', 'seeds', 'lr', 'out', 'seed']))} = 1"
        elif how == "value":
            lines[i] = f"{lines[i].split('=')[0]}= {draw(st.sampled_from(TOML_VALUES))}"
    return "\n".join(lines).encode()


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with the text `t.txt`, the corpus `c` of it, the preset `p.toml` and the finished run `r`."""
    folder = tmp_path_factory.mktemp("fuzz-pretraining")
    (folder / "t.txt").write_text("\n".join(TEXTS))
    (folder / "p.toml").write_text(toml(PRESET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        built = CliRunner().invoke(app, ["corpus", "build", "t.txt", "--tokenizer=train:64", "--json"])
        assert built.exit_code == 0, built.output
        shutil.copytree(json.loads(built.stdout)["path"], folder / "c")
        done = CliRunner().invoke(app, ["pretrain", "--preset=p.toml"])
        assert done.exit_code == 0, done.output
    shutil.rmtree(folder / "cache")
    return folder


def copy(trained: Path, tmp_path: Path, *parts: str) -> Path:
    folder = fresh_copy(None, tmp_path)
    for part in parts:
        whole = trained / part
        (shutil.copytree if whole.is_dir() else shutil.copyfile)(whole, folder / part)
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@examples(8)
@given(data=st.data())
def test_corpora_of_anything(obeys, tmp_path, data):
    """A file or a folder of text of every kind, damaged or not text at all."""
    folder = fresh_copy(None, tmp_path)
    jsonl = "".join(json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(TEXTS)).encode()
    pq.write_table(pa.table({"text": TEXTS}), folder / "whole.parquet")
    whole = {".txt": "\n".join(TEXTS).encode(), ".jsonl": jsonl, ".parquet": (folder / "whole.parquet").read_bytes()}
    whole |= {".txt.gz": gzip.compress(whole[".txt"]), ".jsonl.gz": gzip.compress(jsonl)}
    (folder / "whole.parquet").unlink()
    ending = data.draw(st.sampled_from(sorted(whole)))
    content = data.draw(damaged_bytes(whole[ending]))
    if ending == ".jsonl" and data.draw(st.booleans()):
        lines = jsonl.decode().splitlines()
        lines[5] = data.draw(damaged_json(lines[5]))
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
    source = f"t{ending}"
    if data.draw(st.booleans(), label="in a folder"):
        source = "f"
        (folder / "f" / "sub").mkdir(parents=True)
        (folder / "f" / "a.txt").write_bytes(whole[".txt"])
        for name in data.draw(st.lists(st.sampled_from(ODD_FILES), max_size=3, unique=True)):
            (folder / "f" / name).write_bytes(data.draw(st.sampled_from([*KINDS_OF_FILE, whole[".txt"]])))
        (folder / "f" / f"t{ending}").write_bytes(content)
    else:
        (folder / source).write_bytes(content)
    unit = data.draw(st.sampled_from(["auto", "lines", "paragraphs", "files"]))
    obeys("corpus", "build", source, "--tokenizer=train:64", f"--documents={unit}", folder=folder)


@examples(15)
@given(data=st.data())
def test_damaged_corpora(obeys, trained, tmp_path, data):
    """A file of a built corpus damaged: `corpus info --verify` refuses it, or says what the whole one says."""
    folder = copy(trained, tmp_path, "c")
    name = damage_one(data, folder / "c", files_of(folder / "c"))
    code = obeys("corpus", "info", "c", "--verify", folder=folder)
    now = folder / "c" / name
    if name.endswith(".npy") and not (now.is_file() and now.read_bytes() == (trained / "c" / name).read_bytes()):
        assert code == 3, f"{name} was changed and not found"
    read_or_refused(open_corpus, folder / "c")


@examples(4)
@given(data=st.data())
def test_training_on_a_damaged_corpus(obeys, trained, tmp_path, data):
    folder = copy(trained, tmp_path, "c", "p.toml")
    damage_one(data, folder / "c", files_of(folder / "c"))
    obeys("pretrain", "--preset=p.toml", folder=folder, may_change=("r",))


@examples(6)
@given(data=st.data())
def test_damaged_runs_are_resumed_or_refused(obeys, trained, tmp_path, data):
    """run.json, metrics.jsonl, states or anything else of a run damaged, then `--resume` or `--match`."""
    folder = copy(trained, tmp_path, "c", "p.toml", "r")
    names = ["run.json", "run.json", "metrics.jsonl", *files_of(folder / "r")]
    damage_one(data, folder / "r", names)
    how = data.draw(st.sampled_from([["--resume"], ["--match=r", "--out=s"]]))
    obeys("pretrain", "--preset=p.toml", *how, folder=folder, may_change=("r",))


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


IDS, INFO, RUN, STATE = "c/train-00000.ids.npy", "c/corpus.json", "r/run.json", "r/trainer/step-*/state.json"
DAMAGE = {
    "an empty array": (IDS, lambda path: path.write_bytes(b"")),
    "brackets in a header": (IDS, lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0{'a'" + b"[" * 200)),
    "a changed byte": (IDS, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f")),
    "another dtype": (IDS, lambda path: np.save(path, np.load(path).astype(np.float32))),
    "a chunk's number": (INFO, lambda path: path.write_text(path.read_text().replace('r": 0', 'r": "0"'))),
    "an entropy": (INFO, lambda path: change_json(path, unigram_entropy=float("nan"))),
    "a fingerprint": (INFO, lambda path: change_json(path, fingerprint="0" * 64)),
    "no settings": (RUN, lambda path: change_json(path, config=None)),
    "more steps": (RUN, lambda path: change_json(path, steps=3)),
    "too large a number": (RUN, lambda path: change_json(path, flops=10**400)),
    "no FLOPs": (RUN, lambda path: change_json(path, flops_per_step=[])),
    "no fingerprint": (RUN, lambda path: change_json(path, corpus={})),
    "unchecked files": (STATE, lambda path: change_json(path, files={})),
    "another step": (STATE, lambda path: change_json(path, step=1000)),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused(obeys, trained, tmp_path, case):
    """What was once believed, or ended in an internal error."""
    folder = copy(trained, tmp_path, "c", "p.toml", "r")
    pattern, change = DAMAGE[case]
    for path in folder.glob(pattern):
        change(path)
    assert obeys("pretrain", "--preset=p.toml", "--resume", folder=folder, may_change=("r",)) == 3


@pytest.mark.parametrize("lines", [None, b"", b"[]", b'{"step": 2, "held_out_mlm": "x"}', b'{"step": 2, "lr": 1e999}'])
def test_a_finished_run_without_its_log_ends_again(obeys, trained, tmp_path, lines):
    """metrics.jsonl is a record for readers: what is no line of it is left out."""
    folder = copy(trained, tmp_path, "c", "p.toml", "r")
    (folder / "r" / "metrics.jsonl").unlink()
    if lines is not None:
        (folder / "r" / "metrics.jsonl").write_bytes(lines)
    assert obeys("pretrain", "--preset=p.toml", "--resume", folder=folder, may_change=("r",)) == 0


def test_logs_of_trainings_are_checked(tmp_path):
    """A line of metrics.jsonl that is none is named with its file, when a recipe's arms are compared."""
    plan = Recipe([0], {}, {"mlm": {"objective": "mlm"}}, {}, {})
    log = tmp_path / "mlm" / "seed-0" / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    for line in (
        "nonsense",
        "[]",
        '{"step": 1, "held_out_mlm": 2}',
        '{"step": 1, "tokens": 2, "flops": "x", "lambda": 2}',
    ):
        log.write_text(line)
        with pytest.raises(InputError, match="line 1"):
            training_records(plan, tmp_path)


@examples(25)
@given(content=damaged_toml(toml(PRESET)))
@example(content=b"heads = " + b"[" * 5000)
def test_damaged_presets(tmp_path, content):
    path = fresh_copy(None, tmp_path) / "p.toml"
    path.write_bytes(content)
    read_or_refused(load_config, str(path))


@examples(25)
@given(content=damaged_toml(toml(RECIPE)))
@example(content=toml(RECIPE | {"settings": {"preset": 10**400}}).encode())
def test_damaged_recipes(tmp_path, content):
    """A recipe that is refused is refused before anything is trained."""
    path = fresh_copy(None, tmp_path) / "recipe.toml"
    path.write_bytes(content)
    plan = read_or_refused(read_recipe, path)
    if plan is not None:
        read_or_refused(check_plan, path, plan, path.parent / "out")
