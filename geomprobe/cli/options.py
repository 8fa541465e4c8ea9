"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from geomprobe.cli.output import split_list
from geomprobe.cli.values import LIST, PATH, TEXT, filled, split_paths
from geomprobe.common import UsageError, hash_bytes, model_name, unknown_name
from geomprobe.common.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from geomprobe.analysis.plan import Request
    from geomprobe.analysis.protocols import Protocol
    from geomprobe.tasks.base import Task

MTEB = "mteb:"
KINDS = ("auto", "classification", "regression")

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Folders or hub ids; name@revision pins a version.", parser=filled),
]
Pair = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL_A MODEL_B", help="Two folders or hub ids; or two finished results folders.", parser=filled
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", **TEXT, help="NAME=MODEL,MODEL,… twice: groups of seeds, or of their results folders."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, without progress bars.")]
Full = Annotated[bool, typer.Option("--full", help="Print every number, not the summary alone.")]
Format = Annotated[
    str,
    typer.Option("--format", **TEXT, help="text, or md: the summary in Markdown, for a pull request or a README."),
]
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


def option(name: str, help: str, *, default: Any = None, **how: Any) -> Any:
    """A field of a class of options (see `expanded`), with how typer reads it."""
    return field(default=default, metadata={"option": typer.Option(name, help=help, **how)})


@dataclass(frozen=True)
class GridOptions:
    """What is measured, on what and how: the options of `analyze` and `compare` (see `expanded`)."""

    pool: list[str] | None = option(
        "--pool",
        "mean, max, weighted, attention, cls, last, or another of `geomprobe ls poolings`; all: the built-in ones of "
        "token states; model: what the model's own `encode` gives. "
        "[default: model if a model declares more than the mean, else mean]",
        **LIST,
    )
    prompt: str | None = option(
        "--prompt",
        "Prompt before each text: the name of a prompt of the models, or the text itself; '' for none. "
        "[default: the model's own under --pool model, else none]",
    )
    prompt_query: str | None = option(
        "--prompt-query", "Prompt before the first text of each pair, the query; the second keeps --prompt."
    )
    untrained: bool = option("--untrained", "Do not train weighted and attention pooling.", default=False)
    task: list[str] | None = option(
        "--task",
        "sst2, mrpc, mnli, cola, stsb, controlled, or another of `geomprobe ls tasks`; your own file or folder (.csv, "
        ".jsonl, .parquet, …); owner/name on the hub (@revision pins); or mteb:NAME. [default: the five GLUE tasks]",
        **TEXT,
    )
    text: list[str] | None = option(
        "--text",
        "Text column of your task; twice for pairs. [default: sentence1 and sentence2, premise and hypothesis, "
        "text1 and text2, sentence, or text]",
        **TEXT,
    )
    label: str | None = option(
        "--label",
        "Label column of your task. [default: label, labels, gold_label or score; without one: texts only]",
        **TEXT,
    )
    row_id: str | None = option("--id", "Column of your task with unique row ids.", **TEXT)
    split: str | None = option(
        "--split",
        "Split of your task to score; train: the training rows, split by a hash. [default: validation, dev or test]",
        **TEXT,
    )
    quotes: bool | None = option(
        "--quotes/--no-quotes",
        "Whether double quotes enclose the cells of a CSV or TSV file. [default: what fits; refused if both do]",
    )
    kind: str = option(
        "--kind", f"Labels of your task: {', '.join(KINDS[:-1])} or {KINDS[-1]}.", default="auto", **TEXT
    )
    positive: str | None = option(
        "--positive", "Class, or lowest score, of your task's pairs that mean the same.", **TEXT
    )
    layer: list[str] | None = option("--layer", "last, all, or numbers from 0. [default: last]", **LIST)
    precision: list[str] | None = option(
        "--precision", "Also measure quantised vectors (int8, binary) and their differences from the full ones.", **LIST
    )
    dim: list[str] | None = option(
        "--dim",
        "Also measure the first dimensions alone (Matryoshka), such as 64,128; in each --precision, too.",
        **LIST,
    )
    baseline: list[str] | None = option(
        "--baseline", "Also measure baselines: random-init, static, bow, tfidf.", **LIST
    )
    data: DataDir = None
    limit: int | None = option("--limit", "Use only the first N rows of each split.", min=2)
    long: str = option(
        "--long",
        "Texts longer than the model: cut, or chunk: the mean of windows of its length, weighted by their tokens.",
        default="cut",
        **TEXT,
    )
    protocol: str = option(
        "--protocol", "strict, or paper: the published analysis (docs/reference/audit.md).", default="strict", **TEXT
    )
    set_: list[str] | None = option(
        "--set", "Replace one choice of the protocol, such as protocol.pairs=separate; repeatable.", **TEXT
    )
    texts: bool = option(
        "--texts/--no-texts", "Whether the results keep the texts (cut) of the rows that their maps show.", default=True
    )
    probes: str = option(
        "--probes",
        "all; fast: without those that fit a classifier again (selectivity, conditional bits, code length); none: only "
        "what needs no probe.",
        default="all",
        **TEXT,
    )
    refits: int = option(
        "--refits",
        "Fit each probe K more times, on halves of its training rows, so that intervals and differences also cover the "
        "choice of these rows: an even number from 4, such as 20. [default: none]",
        default=0,
        metavar="K",
        show_default=False,
    )
    device: str = option("--device", "auto, cpu, cuda, cuda:N or mps.", default="auto", **TEXT)
    jobs: int = option(
        "--jobs",
        "Processes on this machine that share the work, each with its share of the cores and a copy of the model.",
        default=1,
        min=1,
    )
    seed: Seed = 0
    out: Path | None = option("--out", "Folder to write. [default: runs/analyze/NAME]", **PATH)
    dry_run: bool = option(
        "--dry-run",
        "Say rows, tokens, downloads, time and memory, and do nothing: no weights are read.",
        default=False,
    )

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
        from geomprobe.common.hub import NotDownloaded
        from geomprobe.tasks import is_file_task, load_file, unique_names

        names = ("text", "label", "row_id", "split", "quotes", "positive")
        given: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) not in (None, [])}
        if self.kind != "auto":
            given["kind"] = self.kind
        benchmarks = [name for name in self.task_names if is_benchmark(name)]
        files = [name for name in self.task_names if name not in benchmarks and is_file_task(name)]
        if repeated := [name for name in (*files, *benchmarks) if self.task_names.count(name) > 1]:
            raise UsageError(f"The task {repeated[0]} is given twice.")
        if given and not files:
            raise UsageError(
                "--text, --label, --id, --split, --quotes, --kind and --positive describe tasks of your own.",
                "Add --task FILE.",
            )
        built_in = [name for name in self.task_names if name not in (*files, *benchmarks)]
        loaded = {}
        for name in files:
            with suppress(NotDownloaded):  # in a dry run, whose tasks then keep their names
                loaded[name] = load_file(name, **given)
        loaded = unique_names(loaded, built_in)
        if benchmarks:
            from geomprobe.integrations import mteb

            loaded |= {name: mteb.as_task(name.removeprefix(MTEB)) for name in benchmarks}
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

    def folder_and_tasks(self, command: str, models: Sequence[str], *asked: str) -> tuple[Path, list[str | Task]]:
        """Folder of results, and tasks; refuse what cannot be carried out, before anything is downloaded or computed.

        `asked` is what else a default folder is named by.

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

        folder = self.out or Path("runs", command) / folder_name(models, *asked, *self.asked)
        if self.kind not in KINDS:
            raise unknown_name("kind", self.kind, list(KINDS))
        _ = self.layers  # raises for what it does not know
        variants.plan(self.precisions, self.dims)
        tasks = [task for task in self.task_names if not is_benchmark(task)]
        check_request(
            tasks,
            self.poolings,
            self.baselines,
            self.limit,
            self.device,
            self.long,
            self.choices,
            refits=self.refits,
            probes=self.probes,
        )
        check_folder(folder, [*models, *self.task_names, *([self.data] if self.data else [])])
        for model in models:
            check_source(model)
        return folder, self.tasks

    def request(self, models: Sequence[str], tasks: Sequence[str | Task]) -> Request:
        """What an analysis is asked for."""
        from geomprobe.analysis import variants
        from geomprobe.analysis.plan import Request

        return Request(
            models=models, tasks=tasks, poolings=self.poolings, layers=self.layers, prompt=self.prompt,
            query_prompt=self.prompt_query, baselines=self.baselines, data_dir=self.data, limit=self.limit,
            long=self.long, device=self.device, protocol=self.choices, seed=self.seed, refits=self.refits,
            probes=self.probes,
            variants=variants.plan(self.precisions, self.dims),
        )  # fmt: skip

    @property
    def asked(self) -> list[str]:
        """Everything that decides the content of a results folder, for its name; not the data's place or the device."""
        names = ("label", "row_id", "split", "quotes", "kind", "positive", "limit", "seed", "choices")
        asked: list[Any] = [self.poolings or (), self.task_names, self.layers, self.baselines, self.text or ()]
        asked += [getattr(self, name) for name in names]
        if (self.prompt, self.prompt_query) != (None, None):
            asked.append(("prompts", self.prompt, self.prompt_query))
        if not self.texts:
            asked.append("no texts")
        if self.long != "cut":
            asked.append(self.long)
        if self.refits:
            asked.append(("refits", self.refits))
        if self.probes != "all":
            asked.append(("probes", self.probes))
        if self.precision or self.dim:
            asked += [self.precisions, self.dims]
        return [repr(each) for each in asked]


def is_benchmark(name: str) -> bool:
    """Whether the name of a task means one of mteb; a path that exists wins."""
    return name.startswith(MTEB) and not Path(name).exists()


def folder_name(models: Sequence[str], *asked: str) -> str:
    """A folder name from the models' names and a short hash of their places and of what is asked."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", model_name(m)).strip("-.") or "model" for m in models]
    places = (str(Path(m).resolve()) if Path(m).exists() else m for m in models)
    return f"{'-vs-'.join(names)[:100]}-{hash_bytes(*places, '|', *asked)[:6]}"


def given_by(context: typer.Context, name: str) -> str:
    """Where the value of an option comes from: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (a settings file) or DEFAULT."""
    source = context.get_parameter_source(name)
    return source.name if source else "DEFAULT"


def refuse_given(context: typer.Context, why: str, allowed: Collection[str]) -> None:
    """Raise UsageError where an option of `GridOptions` other than these was given on the command line."""
    for parameter in context.command.params:
        name = str(parameter.name)
        if (
            name in {each.name for each in fields(GridOptions)} - {*allowed}
            and given_by(context, name) == "COMMANDLINE"
        ):
            raise UsageError(f"{parameter.opts[0]} {why}", f"Leave {parameter.opts[0]} out.")


def expanded(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field (of these names) of the class of its parameter `options`."""

    def change(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        of = own["options"].annotation
        chosen = [field for field in fields(of) if not names or field.name in names]
        hints = get_type_hints(of, include_extras=True)

        @functools.wraps(command)
        def taking(**given: Any) -> None:
            command(options=of(**{field.name: given.pop(field.name) for field in chosen}), **given)

        parameters = []
        for name, parameter in own.items():
            if name == "options":
                parameters += [_parameter(field, hints[field.name]) for field in chosen]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        taking.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return taking

    return change


def _parameter(field: Field, hint: Any) -> inspect.Parameter:
    annotation = Annotated[hint, field.metadata["option"]] if "option" in field.metadata else hint
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
