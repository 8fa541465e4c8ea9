"""Every option and argument of every command, as the command line itself lists them, with values of every kind.

A new command or option is tried without anybody remembering; `BASE` makes a command's work small, `VALID` lets an
option be taken more often.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import fuzz_encoders as encoders
import pytest
import typer
from fuzz_contract import examples
from hypothesis import example, given
from hypothesis import strategies as st

from geomprobe.cli.main import app
from geomprobe.common import UsageError

SMALL = [f"--set={each}" for each in (
    "layers=1", "hidden=8", "heads=2", "intermediate=8", "predictor_layers=1", "predictor_hidden=8",
    "predictor_heads=2", "target_layers=1", "row_length=16", "batch_rows=2", "eval_rows=2",
)]  # fmt: skip
BASE = {
    "analyze": ["model", "--task=task.csv"],
    "compare": ["model", "other", "--task=task.csv"],
    "gate": ["--baseline=results", "results"],
    "audit": ["model", "other", "--task=controlled", "--limit=6"],
    "measure": ["v.npy", "--metric=effective_rank"],
    "report": ["results"],
    "pretrain": ["--preset=demo", "--corpus=corpus.txt", "--tokenizer=train:300", "--budget=1-steps", *SMALL],
    "corpus build": ["corpus.txt", "--tokenizer=train:300"],
    "corpus info": ["corpus"],
    "replicate": ["recipe.toml"],
    "ls": ["tasks"],
}
"""Arguments with which a command does little; without an entry it is tried as it is."""
VALID = {
    "--pool": ["mean", "max", "cls", "last", "weighted", "attention", "model", "all", "mean,max", "mean,mean"],
    "--layer": ["last", "all", "0", "1", "-1", "0,last", "2,2"],
    "--task": ["task.csv", "splits", "scores.jsonl", "texts.txt", "a,b.csv", "task.csv,splits", "sst2"],
    "--baseline": ["random-init", "static", "bow", "tfidf", "bow,tfidf"],
    "--precision": ["float32", "int8", "binary", "int8,binary"],
    "--dim": ["1", "4", "4,8", "16"],
    "--protocol": ["strict", "paper"],
    "--set": ["protocol.rows=8", "protocol.pairs=joined", "protocol.max_length=4", "protocol.padding=visible",
              "lr=0.01", "objective=mlm", "masks=paper", "rows=padded", "balance=gradnorm", "precision=bf16"],
    "--device": ["cpu", "auto"],
    "--kind": ["auto", "classification", "regression", "embeddings", "corpora"],
    "--label": ["label", "score"], "--positive": ["a", "1"], "--text": ["text"], "--id": ["id"],
    "--split": ["train", "validation"],
    "--group": ["x=model", "y=other", "x=model,other"],
    "--margin": ["uniformity=0.1", "effective_rank=5%"],
    "--prompt": ["", "the "], "--prompt-query": ["who "],
    "--metric": ["uniformity", "effective_rank,rankme", "mean_cosine"],
    "--view": ["raw", "centred", "whitened", "all-but-top-1", "raw,raw"],
    "--columns": ["*", "0-", "e*"], "--tensor": ["a"],
    "--save-moments": ["m.safetensors"], "--out": ["new", "new/below", "new.csv", "new.json", "results"],
    "--published": ["published.json"], "--policy": ["policy.toml"], "--format": ["text", "md", "junit"],
    "--objective": ["mlm", "jepa", "hybrid"], "--preset": ["demo", "preset.toml"],
    "--corpus": ["corpus.txt", "corpus", "docstrings"], "--tokenizer": ["train:300", "model"],
    "--documents": ["auto", "lines", "paragraphs", "files"],
    "--budget": ["2-steps", "64-tokens", "1e3-flops", "0.001-minutes"], "--match": ["checkpoint"],
    "--by": ["flops", "steps", "tokens"], "--save-every": ["1", "10m"],
    "--limit": ["2", "6", "24"], "--seed": ["0", "7", "4294967295"], "--jobs": ["1"], "--limit-tokens": ["0", "500"],
    "--monitor-every": ["1"],
    "KIND": ["tasks", "metrics", "poolings", "objectives", "presets"],
    "SOURCE": ["corpus.txt", "folder", "texts.jsonl", "corpus", "docstrings"], "FOLDER": ["corpus"],
    "MODEL...": ["model", "other", "link"], "MODEL_A MODEL_B": ["model", "other"],
    "CANDIDATE": ["model", "other", "results"],
    "FILE...": ["v.npy", "v.csv", "v.npz"], "RECIPE": ["recipe.toml"], "RESULTS_DIR": ["results"],
}  # fmt: skip
"""Values that options take, by their names, and arguments by theirs."""
MAY_CHANGE = {"report": ("results",), "analyze": ("results", "new"), "compare": ("results", "new"), "gate": ("new",)}
CODES = {"doctor": (1,), "gate": (5, 6)}
"""Exit codes that a command has of its own."""
PATHS = [
    "model", "task.csv", "a,b.csv", "folder", "empty", "link", "dangling", "to-file", "pipe", "no/such", "file/below",
    "x" * 300, "y" * 5000, ".", "./", "~", "~/x", "-", "--", "@rev", "model@rev", "hub/ids", "hub/ids@rev", "hub/i/ds",
    "file.csv", "published.json", "results", "checkpoint", "corpus", "v.npy", "recipe.toml", "model/config.json",
    "*", "$HOME", "new\nline", "tab\there", "file://x", "https://huggingface.co/a/b", "C:\\x", "..csv", ".csv",
]  # fmt: skip
WORDS = [
    "", " ", ",", ",,", "a,", " , ", "=", "a=", "=b", "a=b=c", ":", "train:", "train:0", "train:-5", "train:1000000000",
    "train:1e3", "train:9999999999999999999999", "none", "None", "null", "true", "nan", "inf", "-inf", "-0", "0", "1",
    "-1", "1e30", "1e400", "1_000", "٣", "²", "0x10", "1.5", "2**64", str(2**31), str(2**32), str(2**63), str(2**64),
    "9" * 5000, "1,5", "5%", "é", "e\u0301", "עברית", "\u202eabc", "\udcff", "😀", "\x1b[31m", "\x07", "\r",
    "\ufeff", "\u2028", "<b>", "&amp;", "[bold]", "%s", "{}", "{0}", "$(id)", "`id`", "../../x", "banana",
    "word " * 1000,
]  # fmt: skip
ENVIRONMENT = {
    "GEOMPROBE_CACHE": ["file", "file/below", "/proc/none", "pipe", "dangling", "", "x" * 300, "folder", "\udcff"],
    "GEOMPROBE_DATA": ["file", "no/such", "pipe", "", "folder", "x" * 300],
    "COLUMNS": ["1", "0", "-1", "banana", "100000"],
    "LINES": ["0"],
    "NO_COLOR": ["1"], "FORCE_COLOR": ["1"], "TERM": ["dumb", ""], "LC_ALL": ["C"],
    "WORLD_SIZE": ["2", "banana", "-1"], "RANK": ["5"],
    "HF_TOKEN": ["é\n"], "XDG_CACHE_HOME": ["file"], "TMPDIR": ["no/such"], "OMP_NUM_THREADS": ["banana"],
}  # fmt: skip


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group and of the groups in it; typer has a click of its own, so no class is named."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


COMMANDS = dict(commands(typer.main.get_command(app)))
COST = {"audit": 25, "compare": 6, "gate": 4, "analyze": 2, "pretrain": 2, "report": 3}
"""How many times fewer examples a command gets, by how long it takes."""


def texts() -> st.SearchStrategy[str]:
    """Any text that an argument can be: all but NUL."""
    odd = st.characters(codec="utf-8", exclude_characters="\0")  # the system hands over no lone surrogates
    return st.one_of(st.sampled_from(WORDS), st.sampled_from(PATHS), st.text(odd, max_size=20))


def numbers() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(WORDS), st.integers(-3, 40).map(str), st.integers(-(2**70), 2**70).map(str),
        st.floats().map(str), st.floats().map(lambda x: f"{x:.3e}"),
    )  # fmt: skip


def values(parameter: Any) -> st.SearchStrategy[str]:
    """Values for an option or argument: those it takes, other commands', numbers, paths and any text."""
    names = [*parameter.opts, getattr(parameter, "metavar", None) or "", (parameter.name or "").upper()]
    taken = [value for name in names for value in VALID.get(name, ())]
    any_of = st.one_of(texts(), numbers(), st.lists(texts(), min_size=2, max_size=3).map(",".join))
    key = st.sampled_from([value.partition("=")[0] for value in taken if "=" in value] or ["x"])
    odd = st.one_of(any_of, st.builds("{}={}".format, key, any_of))
    return st.one_of(st.sampled_from(taken), odd) if taken else odd


@st.composite
def words(draw: st.DrawFn, name: str) -> list[str]:
    """The words of a command line: what makes the command small, and a few options and arguments beside or in place."""
    command = COMMANDS[name]
    line = list(BASE.get(name, ()))
    options = [each for each in command.params if each.param_type_name == "option"]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    for _ in range(draw(st.integers(0, 3)) if options else 0):
        option = draw(st.sampled_from(options))
        flag = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
        if option.is_flag:
            line.append(flag)
        elif draw(st.booleans()):
            line.append(f"{flag}={draw(values(option))}")
        else:
            line += [flag, draw(values(option))]
    if arguments and draw(st.integers(0, 3)) == 0:
        places = [i for i, word in enumerate(line) if not word.startswith("-")][: len(BASE.get(name, ()))]
        value = draw(values(arguments[0]))
        if places and draw(st.booleans()):
            line[draw(st.sampled_from(places))] = value
        else:
            line.append(value)
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(["--", "-", "--nosuch", "-x", "--help", ""])))
    return name.split() + line


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder with something of every kind that a command reads."""
    import numpy as np

    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GEOMPROBE_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("model", "other"):
            encoders.tiny_model("bert").save_pretrained(name)
            encoders.word_tokenizer().save_pretrained(name)
        rng = np.random.default_rng(0)
        sentences = [" ".join(rng.choice(encoders.WORDS, 6)) for _ in range(24)]
        table = "text,label,id,score\n" + "".join(
            f'"{text}",{"ab"[i % 2]},{i},{i / 7:.3f}\n' for i, text in enumerate(sentences)
        )
        Path("splits").mkdir()
        Path("folder/embeddings").mkdir(parents=True)
        for name in ("task.csv", "a,b.csv", "splits/train.csv", "splits/validation.csv", "file.csv"):
            Path(name).write_text(table)
        Path("texts.txt").write_text("\n".join(sentences))
        lines = [
            {"text1": a, "text2": b, "score": i % 5}
            for i, (a, b) in enumerate(zip(sentences, sentences[::-1], strict=True))
        ]
        Path("scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        Path("texts.jsonl").write_text(
            "".join(json.dumps({"text": f"{i} {text}"}) + "\n" for i, text in enumerate(sentences * 9))
        )
        Path("corpus.txt").write_text("".join(f"{text} {i}\n" for i, text in enumerate(sentences * 9)))
        Path("folder/part.txt").write_text("".join(f"{text} {i}\n" for i, text in enumerate(sentences * 9)))
        np.save("v.npy", rng.normal(size=(30, 4)))
        np.savez("v.npz", a=rng.normal(size=(30, 4)), b=np.arange(3))
        np.savetxt("v.csv", rng.normal(size=(30, 4)), delimiter=",")
        Path("published.json").write_text(json.dumps({"sst2/mlm/mean": {"effective_rank": 12.0, "uniformity": -1.5}}))
        Path("recipe.toml").write_text(
            'seeds = [0]\n[settings]\ncorpus = "corpus.txt"\n[arms.a]\nobjective = "mlm"\n[arms.b]\n[compare.c]\n'
            'groups = ["a", "b"]\n'
        )
        Path("policy.toml").write_text("[uniformity]\nequivalent_within = 0.1\n")
        Path("preset.toml").write_text("layers = 1\nhidden = 8\nheads = 2\n")
        Path("file").write_text("my own\n")
        Path("empty").touch()
        from geomprobe.analysis.analyze import analyze
        from geomprobe.pretrain.config import load_config
        from geomprobe.pretrain.corpus import build_corpus
        from geomprobe.pretrain.loop import train
        from geomprobe.tasks import load_file

        analyze(["model"], [load_file("task.csv")], device="cpu", out="results")
        made = build_corpus("corpus.txt", "train:300", cache=Path("made")).path
        shutil.move(made, "corpus")
        shutil.rmtree("made")
        settings = [word.removeprefix("--set=") for word in SMALL]
        train(load_config("demo", {"corpus": "corpus", "out": "checkpoint", "budget": "1-steps"}, settings))
    return folder


@pytest.fixture
def stage(template, tmp_path, monkeypatch) -> Iterator[object]:
    """A function that copies the template to a new folder; what takes long is made small or refused."""
    from geomprobe.pretrain import budget
    from geomprobe.pretrain.corpus import docstrings

    plan_steps, numbers = budget.plan_steps, count()
    last: list[Path] = []

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("Trainings would begin here.")

    monkeypatch.setattr(budget, "plan_steps", lambda *given: min(plan_steps(*given), 2))
    monkeypatch.setattr(docstrings, "documents", lambda report: (f"Return the cat {i} of a mat." for i in range(300)))
    monkeypatch.setattr("geomprobe.cli.demo.train", refuse)
    monkeypatch.setattr("geomprobe.cli.replicate.train_arms", refuse)
    monkeypatch.setattr(typer, "launch", lambda path: 0)

    def new() -> Path:
        for old in last:
            shutil.rmtree(old)
        folder = tmp_path / f"stage-{next(numbers)}"
        shutil.copytree(template, folder, symlinks=True)
        for name, target in (("link", "model"), ("dangling", "nothing"), ("to-file", "file")):
            (folder / name).symlink_to(target)
        os.mkfifo(folder / "pipe")
        last[:] = [folder]
        return folder

    return new


def name_of(line: list[str]) -> str:
    return next(name for name in COMMANDS if line[: len(name.split())] == name.split())


def try_line(obeys, folder: Path, line: list[str]) -> int:
    name = name_of(line)
    changes = (*MAY_CHANGE.get(name, ()), "runs", "checkpoint" if name == "pretrain" else "runs")
    return obeys(*line, folder=folder, may_change=changes, codes=CODES.get(name, ()))


@pytest.mark.parametrize("name", COMMANDS)
def test_any_options(name, obeys, stage):
    @examples(18 // COST.get(name, 1) or 1, COST.get(name, 1))
    @given(words(name))
    def any_options(line: list[str]) -> None:
        try_line(obeys, stage(), line)

    any_options()


@given(
    name=st.sampled_from([name for name in COMMANDS if name not in COST]),
    environment=st.dictionaries(st.sampled_from(list(ENVIRONMENT)), st.integers(0, 9), min_size=1, max_size=3).map(
        lambda chosen: {key: ENVIRONMENT[key][i % len(ENVIRONMENT[key])] for key, i in chosen.items()}
    ),
)
@examples(12)
def test_any_environment(name, environment, obeys, stage, monkeypatch):
    with monkeypatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        folder = stage()
        kept = ("folder/embeddings",) if environment.get("GEOMPROBE_CACHE") == "folder" else ()  # what prune deletes
        obeys(*name.split(), *BASE.get(name, ()), folder=folder, may_change=("results", *kept), codes=(1,))


GRID = {
    "--pool": st.lists(st.sampled_from(["mean", "max", "cls", "last", "attention"]), min_size=1, max_size=3),
    "--layer": st.lists(st.sampled_from(["0", "1", "2", "last"]), min_size=1, max_size=3),
    "--limit": st.lists(st.integers(4, 30).map(str), min_size=1, max_size=1),
    "--seed": st.lists(st.integers(0, 2**32 - 1).map(str), min_size=1, max_size=1),
}


@given(chosen=st.fixed_dictionaries({}, optional=GRID), data=st.data())
@examples(2, cost=6)
def test_what_is_accepted_is_what_is_measured(chosen, data, obeys, stage):
    """Layers and poolings are those that were named, each once; the order in which options stand changes no number."""
    import pandas as pd

    folder = stage()
    words = [f"{option}={value}" for option, values in chosen.items() for value in values]
    tables = []
    for name, order in (("one", words), ("two", data.draw(st.permutations(words)))):
        line = ["analyze", "model", "--task=task.csv", "--device=cpu", f"--out={name}", "--json", *order]
        assert obeys(*line, folder=folder) == 0
        assert json.loads(obeys.done.stdout)["results"] == name
        frame = pd.read_parquet(folder / name / "results.parquet")
        run = json.loads((folder / name / "run.json").read_text())
        keys = [each for each in frame if each not in ("value", "se", "ci_low", "ci_high", "note", "seconds", "status")]
        assert not frame.duplicated(keys).any(), frame[frame.duplicated(keys, keep=False)][keys]
        measured = frame[frame["status"] == "ok"]
        layers = {2 if each == "last" else int(each) for each in chosen.get("--layer", ["last"])}
        assert set(frame["layer"].dropna().astype(int)) == layers
        assert set(frame["pooling"].dropna()) == set(chosen.get("--pool", ["mean"]))
        assert measured["n"].max() <= int(chosen.get("--limit", ["24"])[0])
        assert run["seed"] == int(chosen.get("--seed", ["0"])[0])
        tables.append(frame.drop(columns="seconds", errors="ignore").sort_values(keys).reset_index(drop=True))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@given(
    metrics=st.lists(st.sampled_from(["uniformity", "effective_rank", "mean_cosine"]), min_size=1, unique=True),
    views=st.lists(st.sampled_from(["raw", "centred", "whitened"]), min_size=1, max_size=2),
    joined=st.booleans(),
)
@examples(6)
@example(metrics=["uniformity"], views=["raw", "raw"], joined=False)
def test_measure_gives_what_was_named(metrics, views, joined, obeys, stage):
    given_ = {"--metric": metrics, "--view": views}
    words = [
        f"{option}={value}" for option, values in given_.items() for value in ([",".join(values)] if joined else values)
    ]
    assert obeys("measure", "v.npy", "--json", *words, folder=stage()) == 0
    document = json.loads(obeys.done.stdout)
    rows = [(row["metric"], row["view"]) for row in document["results"]]
    assert len(rows) == len(set(rows)) == len(metrics) * len(set(views))
    assert {metric for metric, _ in rows} == set(metrics)
    assert {view for _, view in rows} == set(views)
    assert (document["n"], document["d"]) == (30, 4)


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60), key=st.sampled_from(["seeds", "corpus", "arms.a.lr", ""])
)
@examples(20)
def test_any_recipe(text, key, obeys, stage):
    folder = stage()
    value = json.dumps(text)  # a JSON string is a TOML string
    recipe = f"{key} = {value}\n" if key else text
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8", newline="")
    assert obeys("replicate", "recipe.toml", folder=folder) in (2, 3)
