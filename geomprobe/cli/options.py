"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from geomprobe.cli.output import split_list
from geomprobe.cli.values import LIST, PATH, TEXT, filled, split_paths
from geomprobe.common import UsageError, unknown_name
from geomprobe.common.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from geomprobe.analysis.protocols import Protocol
    from geomprobe.tasks.base import Task

KINDS = ("auto", "classification", "regression")

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Folders or hub ids; name@revision pins a version.", parser=filled),
]
Pair = Annotated[
    list[str] | None, typer.Argument(metavar="MODEL_A MODEL_B", help="Two folders or hub ids.", parser=filled)
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        **TEXT,
        help="NAME=MODEL,MODEL,… twice: groups of seeds instead of two models.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, without progress bars.")]
Device = Annotated[str, typer.Option(**TEXT, help="auto, cpu, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of every random choice.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data",
        **PATH,
        envvar="GEOMPROBE_DATA",
        help="Folder of glue/<task>/<split>.parquet. [default: GLUE from the Hugging Face hub]",
    ),
]
Pools = Annotated[
    list[str] | None,
    typer.Option(
        "--pool",
        **LIST,
        help="mean, max, weighted, attention, cls, last; all: these six; model: what the model's own `encode` gives. "
        "[default: model if a model declares more than the mean, else mean]",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="Prompt before each text: the name of a prompt of the models, or the text itself; '' for none. "
        "[default: the model's own under --pool model, else none]"
    ),
]
PromptQuery = Annotated[
    str | None,
    typer.Option(
        "--prompt-query", help="Prompt before the first text of each pair, the query; the second keeps --prompt."
    ),
]
Untrained = Annotated[bool, typer.Option("--untrained", help="Do not train weighted and attention pooling.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        **TEXT,
        help="sst2, mrpc, mnli, cola, stsb, controlled; your own file or folder (.csv, .jsonl, .parquet, …); or "
        "owner/name on the hub (@revision pins). [default: the five GLUE tasks]",
    ),
]
Baselines = Annotated[
    list[str] | None,
    typer.Option("--baseline", **LIST, help="Also measure baselines: random-init, static, bow, tfidf."),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        **TEXT,
        help="Text column of your task; twice for pairs. [default: sentence1 and sentence2, premise and hypothesis, "
        "text1 and text2, sentence, or text]",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        **TEXT,
        help="Label column of your task. [default: label, labels, gold_label or score; without one: texts only]",
    ),
]
SplitName = Annotated[
    str | None,
    typer.Option(
        "--split",
        **TEXT,
        help="Split of your task to score; train: the training rows, split by a hash. "
        "[default: validation, dev or test]",
    ),
]
Quotes = Annotated[
    bool | None,
    typer.Option(
        "--quotes/--no-quotes",
        help="Whether double quotes enclose the cells of a CSV or TSV file. [default: what fits; refused if both do]",
    ),
]
RowId = Annotated[str | None, typer.Option("--id", **TEXT, help="Column of your task with unique row ids.")]
Kind = Annotated[
    str,
    typer.Option("--kind", **TEXT, help="Labels of your task: auto, classification or regression."),
]
Positive = Annotated[
    str | None,
    typer.Option(
        "--positive",
        **TEXT,
        help="Class, or lowest score, of your task's pairs that mean the same.",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        **LIST,
        help="Also measure quantised vectors (int8, binary) and their differences from the full ones.",
    ),
]
Dims = Annotated[
    list[str] | None,
    typer.Option(
        "--dim",
        **LIST,
        help="Also measure the first dimensions alone (Matryoshka), such as 64,128; in each --precision, too.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", **LIST, help="last, all, or numbers from 0. [default: last]"),
]
Limit = Annotated[int | None, typer.Option(min=2, help="Use only the first N rows of each split.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", **PATH, help="Folder to write. [default: runs/analyze/NAME]"),
]
ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        **TEXT,
        help="strict, or paper: the published analysis (docs/reference/audit.md).",
    ),
]
Choices = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        **TEXT,
        help="Replace one choice of the protocol, such as protocol.pairs=separate; repeatable.",
    ),
]


@dataclass(frozen=True)
class GridOptions:
    """What is measured, on what and how: the options of `analyze` and `compare` (see `expanded`)."""

    pool: Pools = None
    prompt: Prompt = None
    prompt_query: PromptQuery = None
    untrained: Untrained = False
    task: Tasks = None
    text: Text = None
    label: Label = None
    row_id: RowId = None
    split: SplitName = None
    quotes: Quotes = None
    kind: Kind = "auto"
    positive: Positive = None
    layer: Layers = None
    precision: Precisions = None
    dim: Dims = None
    baseline: Baselines = None
    data: DataDir = None
    limit: Limit = None
    protocol: ProtocolName = "strict"
    set_: Choices = None
    device: Device = "auto"
    seed: Seed = 0
    out: Out = None

    @property
    def poolings(self) -> list[str] | None:
        """Names of poolings; None where the models decide."""
        from geomprobe.embedding.pooling import OF_STATES

        chosen = split_list(self.pool)
        if "all" in chosen:
            chosen = [*OF_STATES, *(name for name in chosen if name != "all" and name not in OF_STATES)]
        return chosen or None

    @property
    def task_names(self) -> list[str]:
        """Names of tasks, and files."""
        from geomprobe.analysis.plan import GLUE

        return [each for value in self.task or () for each in split_paths(value, "--task")] or list(GLUE)

    @property
    def tasks(self) -> list[str | Task]:
        """Tasks: files are read by the named columns; other names stay names."""
        from geomprobe.tasks import is_file_task, load_file, unique_names

        columns: dict[str, Any] = {"text": self.text, "label": self.label, "row_id": self.row_id, "split": self.split}
        columns |= {
            "kind": None if self.kind == "auto" else self.kind,
            "positive": self.positive,
            "quotes": self.quotes,
        }
        given = {key: value for key, value in columns.items() if value not in (None, [])}
        files = [name for name in self.task_names if is_file_task(name)]
        if repeated := [name for name in files if files.count(name) > 1]:
            raise UsageError(f"The task {repeated[0]} is given twice.")
        if given and not files:
            raise UsageError(
                "--text, --label, --id, --split, --quotes, --kind and --positive describe tasks of your own.",
                "Add --task FILE.",
            )
        built_in = [name for name in self.task_names if name not in files]
        loaded = unique_names({name: load_file(name, **given) for name in files}, built_in)
        return [loaded.get(name, name) for name in self.task_names]

    @property
    def layers(self) -> Sequence[int] | str:
        """Numbers of layers, or "all"."""
        words = split_list(self.layer) or ["last"]
        if "all" in words:
            return "all"
        if wrong := [word for word in words if not re.fullmatch("last|-?[0-9]{1,9}", word)]:
            raise UsageError(
                f"--layer takes last, all or numbers, not {wrong[0][:80]!r}.", "For example --layer 0,last"
            )
        return [-1 if word == "last" else int(word) for word in words]

    @property
    def baselines(self) -> list[str]:
        """Names of baselines."""
        return split_list(self.baseline)

    @property
    def precisions(self) -> list[str]:
        """Names of precisions."""
        return split_list(self.precision)

    @property
    def dims(self) -> list[int]:
        """Numbers of leading dimensions."""
        from geomprobe.analysis.variants import parse_dims

        return parse_dims(split_list(self.dim))

    @property
    def choices(self) -> Protocol:
        """The protocol with the choices that were replaced."""
        from geomprobe.predict_reconstruct.protocol import choose

        protocol = choose(self.protocol, self.set_ or ())
        return replace(protocol, train_poolings=False) if self.untrained else protocol

    def check(self, models: Sequence[str], folder: Path) -> None:
        """Refuse what cannot be carried out, before anything is read, downloaded, computed or written.

        Raises
        ------
        UsageError
            An option has a value that it cannot have, or results must not be written into the folder.
        InputError
            A model is neither a folder nor written as a hub id.
        """
        from geomprobe.analysis import variants
        from geomprobe.analysis.plan import check_request
        from geomprobe.encoders.opening import check_source
        from geomprobe.results import check_folder

        if self.kind not in KINDS:
            raise unknown_name("kind", self.kind, list(KINDS))
        _ = self.choices, self.layers  # raise for what they do not know
        variants.plan(self.precisions, self.dims)
        check_request(self.task_names, self.poolings, self.baselines, self.limit, self.device)
        check_folder(folder, [*models, *self.task_names, *([self.data] if self.data else [])])
        for model in models:
            check_source(model)

    @property
    def asked(self) -> list[str]:
        """Everything that decides the content of a results folder, for its name; not the data's place or the device."""
        lists = (self.poolings or (), self.task_names, self.layers, self.baselines, self.text or ())
        words: tuple[Any, ...] = (
            self.label,
            self.row_id,
            self.split,
            self.quotes,
            self.kind,
            self.positive,
            self.limit,
            self.seed,
            self.choices,
        )
        if (self.prompt, self.prompt_query) != (None, None):
            words = (*words, ("prompts", self.prompt, self.prompt_query))
        stored = [self.precisions, self.dims] if self.precision or self.dim else []
        return [repr(each) for each in (*lists, *words, *stored)]


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `GridOptions` in place of its parameter `options`."""
    hints = get_type_hints(GridOptions, include_extras=True)

    @functools.wraps(command)
    def taking(**given: Any) -> None:
        options = GridOptions(**{field.name: given.pop(field.name) for field in fields(GridOptions)})
        command(options=options, **given)

    own = inspect.signature(command, eval_str=True).parameters
    parameters = []
    for parameter in own.values():
        if parameter.name == "options":
            parameters += [
                inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
                for f in fields(GridOptions)
            ]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taking.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return taking
