"""Options and outputs that cannot be are refused before anything is read, downloaded, computed or written."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app
from geomprobe.cli.values import parse_groups, split_paths, two_sides
from geomprobe.common import InputError, UsageError, check_output_file, shortened
from geomprobe.results import check_folder

GRID = [
    "--pool=", "'--pool= '", "--pool=,", "--pool=mean,,max", "--pool=meen", "--task=", "--task=nosuch",
    "--task=sst2:large", "--task=controlled:huge", "--task=controlled:", "--task=controlled,controlled", "--layer=",
    "--layer=first", "--layer=1.5", "--layer=" + "9" * 5000, "--baseline=", "--baseline=bagofwords", "--precision=",
    "--precision=int4", "--dim=", "--dim=0", "--dim=-1", "--dim=1e30", "--set=", "--set=protocol.nosuch=1",
    "--set=pairs=joined", "--set=protocol.rows=1", "--set=protocol.rows=1e30", "--set=protocol.rows=" + "9" * 5000,
    "--set=protocol.pooling_seeds=1000000", "--set=protocol.train_poolings=maybe", "--set=protocol.centre=yes",
    "--protocol=", "--protocol=nosuch", "--limit=0", "--limit=1", "--limit=-5", "--limit=1e30", "--seed=-1",
    "--seed=18446744073709551616", "--seed=4294967296", "--seed=x", "--device=", "--device=meta", "--device=banana",
    "--device=cuda:99", "--device=cuda:x", "--kind=", "--kind=banana", "--label=", "--positive=", "--text=", "--id=",
    "--split=", "--data=", "--out=", "--out=file", "--out=file/below", "--out=/dev/null", "--out=pipe", "--out=model",
    "--out=link-to-model", "--out=broken", "--out=" + "x" * 300, "--out=foreign",
]  # fmt: skip
LONG = "n" * 5000
TWO = "--task=controlled model other"
REFUSED = {
    **{f"analyze {TWO} {option}": 2 for option in GRID if not option.startswith("--task")},
    **{f"analyze model {option}": 2 for option in GRID if option.startswith("--task")},
    **{f"compare {TWO} --margin={margin}": 2 for margin in (
        "nosuch=1", "uniformity=abc", "uniformity=nan", "uniformity=inf", "uniformity=-1", "uniformity=0", "uniformity",
        "=1", "", "uniformity=1 --margin=uniformity=2", "uniformity=5%%",
    )},
    f"analyze {TWO} --set=protocol.rows=5 --set=protocol.rows=6": 2,
    "compare model": 2,
    "compare model other model": 2,
    "compare model other --group=a=model --group=b=other": 2,
    "compare --group=a=model": 2,
    "compare --group=a=model --group=b=other --group=c=third": 2,
    "compare --group=a=model --group=a=other": 2,
    "compare --group=a=model,model --group=b=other": 2,
    "compare --group=a=model --group=b=./model": 2,
    "compare --group=a=model,link-to-model --group=b=other": 2,
    "compare --group=a= --group=b=other": 2,
    "compare --group==model --group=b=other": 2,
    "compare --group=a=model,,other --group=b=third": 2,
    "compare --group= --group=b=other": 2,
    "analyze --task=controlled model other link-to-model": 2,
    "compare --task=controlled model no/such/model": 3,
    "compare --task=controlled model file": 3,
    f"audit {TWO} --device=meta": 2,
    f"audit {TWO} --limit=1": 2,
    f"audit {TWO} --out=model": 2,
    f"audit {TWO} --out=": 2,
    "audit model": 2,
    "audit model other --task=nosuch": 2,
    "audit --published=": 2,
    "audit --published=numbers.json model other": 2,
    "audit --published=numbers.json --task=sst2": 2,
    "audit --published=numbers.json --limit=5": 2,
    "audit --published=nosuch.json": 3,
    **{f"audit --published=numbers.json --out={out}": 2 for out in (
        "", "numbers.json", "./numbers.json", "link.json", "hard.json", "new.csv", "new", "/dev/null", "pipe", "other",
        "file/new.json", "to-file.json",
    )},
    "report nosuch": 3,
    "report model": 3,
    "report foreign": 3,
    "report file": 3,
    "report /dev/null": 3,
    "cache prune --kind=banana": 2,
    "cache prune --kind=": 2,
    "cache prune --older-than -1": 2,
    "ls banana": 2,
    "demo --out=": 2,
    "demo --out=file": 2,
    "demo --out=model": 2,
    "demo --out=/dev/null": 2,
    "demo --seed=-1": 2,
    "demo --seed=4294967296": 2,
    "replicate nosuch.toml": 3,
    "replicate file": 3,
    "replicate recipe.toml --jobs=0": 2,
    "replicate recipe.toml --out=": 2,
    "replicate recipe.toml --out=file": 2,
    "replicate recipe.toml --corpus=": 2,
    "replicate recipe.toml --tokenizer=": 2,
    "measure file --out=": 2,
    "measure file --save-moments=": 2,
    "measure file --columns=": 2,
    "measure file --tensor=": 2,
    "measure file --metric=uniformity,,rankme": 2,
    **{f"{line}{LONG}": code for line, code in {
        "analyze --task=controlled ": 3, "analyze model --task=": 3, "analyze model --task=controlled --out=": 2,
        "compare --group=b=model --group=a=": 3, "measure ": 3, "measure file --out=": 2, "report ": 3,
        "corpus info ": 3, "corpus build ": 3, "corpus build file --tokenizer=": 3,
        "pretrain --preset=": 2, "pretrain --budget=": 2,
        "pretrain --save-every=": 2, "pretrain --set=": 2, "pretrain --match=": 3, "replicate ": 3,
        "audit --published=": 3, "audit model ": 3,
    }.items()},
    f"measure file --seed={LONG}": 2,
    f"measure file --{LONG}": 2,
    f"ls tasks {LONG}": 2,
    f"{LONG}": 2,
    "pretrain --corpus=file --tokenizer=train:300 --out=loop": 2,
    "pretrain --corpus=file --report-to=": 2,
    "pretrain --corpus=file --report-to=tensorbord": 2,
    "pretrain --corpus=file --tokenizer=train:300 --set=hidden=131072 --set=layers=4096": 3,
    "pretrain --corpus=file --tokenizer=train:300 --set=batch_rows=4194304 --set=layers=4096": 3,
    "replicate recipe.toml --out=new": 3,  # an arm that pretrain does not take
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with a model, other files, links and a pipe, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEOMPROBE_DATA", raising=False)
    for name in ("model", "other", "third", "foreign/training"):
        Path(name).mkdir(parents=True)
    for name in ("model/config.json", "other/config.json", "model/model.safetensors", "numbers.json", "file"):
        Path(name).write_text("{}")
    Path("foreign/training/notes.txt").write_text("my own")
    Path("recipe.toml").write_text('[arms.a]\nobjective = "banana"\n')
    Path("link-to-model").symlink_to("model")
    Path("broken").symlink_to("nothing")
    Path("loop").symlink_to("loop")
    Path("link.json").symlink_to("numbers.json")
    Path("to-file.json").symlink_to("file")
    os.link("numbers.json", "hard.json")
    os.mkfifo("pipe")
    return tmp_path


def test_messages_are_short():
    assert shortened("no model: a b") == "no model: a b"
    said = shortened(f"{'n' * 5000}/config.json is missing in {'m' * 299}")
    assert said.endswith("n/config.json is missing in " + "m" * 299)
    assert "… (5,012 characters) …" in said
    assert len(shortened("word " * 10_000)) <= 3000


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(("line", "code"), REFUSED.items(), ids=[line[:60] for line in REFUSED])
def test_refused_in_words_and_without_a_trace(line, code, home):
    before = listing(home)
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    assert "Internal error" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert len(done.output) < 2500
    assert done.stdout == ""
    assert listing(home) == before


def test_a_folder_of_results_is_taken_again_and_what_else_lies_in_it_stays(tmp_path):
    from geomprobe.results import RESULT_COLUMNS, Results, table, write_results

    def results(models: list[str], log: list[dict]) -> Results:
        run = {"models": [{"name": name} for name in models]}
        return Results(table([], RESULT_COLUMNS), run=run, training={models[0]: log} if log else {})

    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "notes.txt").write_text("my own")
    write_results(folder, results(["a"], [{"step": 1}]))
    assert (folder / "training" / "a.jsonl").is_file()
    (folder / "training" / "mine.txt").write_text("my own")
    check_folder(folder)
    (folder / "run.json").unlink()  # as an interrupted writer leaves it
    check_folder(folder)
    write_results(folder, results(["a"], []))
    assert [path.name for path in (folder / "training").iterdir()] == ["mine.txt"]
    assert (folder / "notes.txt").read_text() == "my own"
    (tmp_path / "link").symlink_to(folder)
    check_folder(tmp_path / "link")
    with pytest.raises(UsageError, match="input"):
        check_folder(tmp_path / "link", [folder])


@pytest.mark.parametrize(
    "name", ["run.json", "results.csv", "results.parquet", "training", "audit.json", "report.html"]
)
def test_results_do_not_replace_files_of_other_origin(tmp_path, name):
    (tmp_path / name).write_text("[1]")
    with pytest.raises(UsageError, match=f"other origin.*{name}"):
        check_folder(tmp_path)
    assert (tmp_path / name).read_text() == "[1]"


def test_results_do_not_replace_what_a_link_among_them_leads_to(tmp_path, monkeypatch):
    from geomprobe.common import write_text

    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    Path("task.csv").write_text("my own")
    Path("r/report.pdf").symlink_to("../task.csv")
    with pytest.raises(UsageError, match=r"link to .*task\.csv"):
        check_folder("r")
    with pytest.raises(UsageError, match=r"link to .*task\.csv"):
        write_text("r/report.pdf", "a page")
    done = CliRunner().invoke(app, ["report", "r"])
    assert done.exit_code == 2, done.output
    assert Path("task.csv").read_text() == "my own"


@pytest.mark.parametrize("name", ["curves.parquet", "run.json", "report.html", "training", "cells"])
def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_computed(tmp_path, name):
    (tmp_path / "results.parquet").write_bytes(b"")
    (tmp_path / "audit.json").write_text('{"schema_version": 1}')  # of an earlier run
    (tmp_path / name).write_text("") if name in ("training", "cells") else (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=f"{name} is (a|no) folder"):
        check_folder(tmp_path)


def test_an_output_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("v.npy").touch()
    Path("old.csv").touch()
    Path("link.csv").symlink_to("old.csv")
    Path("to-vectors.csv").symlink_to("v.npy")
    for fine in ("new.csv", "old.csv", "link.csv", "new/folder/x.CSV"):
        check_output_file(fine, [".csv"], ["v.npy"])
    assert not Path("new").exists()
    for wrong in ("v.npy", "to-vectors.csv", "new.txt", ".", "v.npy/x.csv"):
        with pytest.raises(UsageError, match=r"--save|another kind"):
            check_output_file(wrong, [".csv"], ["v.npy"], "--save")


def test_commas_in_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "c", "d,e,f", "x,y", "x", "y"):
        Path(name).mkdir()
    assert split_paths("a,b", "--task") == ["a,b"]
    assert split_paths("sst2,a,b,c, cola", "--task") == ["sst2", "a,b", "c", "cola"]
    assert split_paths("d,e,f,d", "--task") == ["d,e,f", "d"]
    assert parse_groups(["one=a,b,c", "two=d,e,f"]) == {"one": ["a,b", "c"], "two": ["d,e,f"]}
    with pytest.raises(UsageError, match="'x,y' exists, and so do 'x' and 'y'"):
        split_paths("x,y", "--task")
    assert split_paths("x,c", "--task") == ["x", "c"]
    assert two_sides(["a,b", "c"], [], "compare") == {}


@pytest.mark.parametrize("cache", ["file", "file/below", "loop", "broken", "pipe", "kinds-are-files"])
@pytest.mark.parametrize("command", ["cache ls", "cache ls --json", "cache prune"])
def test_a_cache_that_is_no_folder_is_not_an_empty_one(home, monkeypatch, cache, command):
    Path("kinds-are-files").mkdir()
    Path("kinds-are-files/embeddings").write_text("")
    monkeypatch.setenv("GEOMPROBE_CACHE", cache)
    before = listing(home)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 1, done.output
    assert "results" not in done.stdout
    assert "cannot be read" in done.stderr
    assert "GEOMPROBE_CACHE" in done.stderr
    assert listing(home) == before


def test_a_cache_that_is_not_there_is_empty(home):
    done = CliRunner().invoke(app, ["cache", "ls"])
    assert done.exit_code == 0
    assert "empty" in done.stderr


def test_names_that_are_not_utf_8_are_refused_before_anything_is_measured(tmp_path):
    """The writers of Parquet and the readers of safetensors would refuse them at the end, or as damaged."""
    from geomprobe.encoders.opening import check_source

    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(UsageError, match=r"--out: the name '.*caf\\udce9' is not UTF-8"):
        check_folder(folder)
    os.mkdir(folder)
    with pytest.raises(InputError, match=r"caf\\udce9' is not UTF-8"):
        check_source(folder)
    os.rename(folder, tmp_path / "caf\u00e9")
    check_source(str(tmp_path / "caf\u00e9"))
    check_folder(tmp_path / "caf\u00e9")
