"""`geomprobe gate`: whether a candidate may take the place of a baseline, as an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.analyze import run_grid
from geomprobe.cli.errors import FAILED_CELLS, GATE_CANNOT_TELL, GATE_FAILED
from geomprobe.cli.options import GridOptions, Json, expanded, folder_name, given_by, refuse_given
from geomprobe.cli.output import FORMATS, Output
from geomprobe.cli.values import PATH, TEXT, filled
from geomprobe.common import UsageError, hash_file, hold_folder, listed, torchrun_place, write_json, write_text

if TYPE_CHECKING:
    from geomprobe.comparison.gate import About, Gate
    from geomprobe.comparison.sides import Side
    from geomprobe.results import Results


@expanded(
    "task", "text", "label", "row_id", "split", "quotes", "kind", "positive", "data", "limit", "pool", "layer",
    "prompt", "prompt_query", "long", "device", "seed",
)  # fmt: skip
def gate(
    context: typer.Context,
    candidate: Annotated[
        str,
        typer.Argument(metavar="CANDIDATE", help="A folder or hub id; or a finished results folder.", parser=filled),
    ],
    baseline: Annotated[
        str, typer.Option("--baseline", **TEXT, help="What it is held against: a model, or a finished results folder.")
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            **PATH,
            help="TOML file of rules (docs/how-to/gate-a-release.md). [default: uniformity, mean cosine and effective "
            "rank equivalent, the task's probes no worse, within the margins of their records]",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(**PATH, help="Folder to write. [default: runs/gate/NAME]")] = None,
    look: Annotated[
        int | None,
        typer.Option(
            "--look",
            metavar="K",
            min=1,
            max=100_000,
            help="This is the K-th candidate on these rows. It is judged at 5 % · 1/(K(K+1)), so that all of them "
            "together keep the 5 %. [default: each at 5 %]",
        ),
    ] = None,
    *,
    options: GridOptions,
    as_json: Json = False,
    form: Annotated[
        str, typer.Option("--format", **TEXT, help="text; md: Markdown for a pull request; junit: XML.")
    ] = "text",
) -> None:
    """Hold a model against a baseline, by rules and intervals: passed, failed or cannot tell.

    Exits with 0 where every check passed, with 5 where one failed, else with 6 where one cannot be told. Numbers
    without an interval are skipped and counted. Writes a results folder with gate.json, gate.md and gate.xml.

    A finished results folder is taken as it is. The other side is then measured as it was (--task, --limit, --seed,
    --pool, --layer and --long, unless given), and must have the same rows.
    """
    from geomprobe.comparison.gate import DEFAULT, decide, read_policy
    from geomprobe.results import check_folder, folder_and_name, means_results, write_results

    output = Output.of(as_json, False, form, (*FORMATS, "junit"))
    rules = read_policy(policy or DEFAULT)
    sides = [baseline, candidate]
    finished = [side for side in sides if means_results(side)]
    models = [side for side in sides if side not in finished]
    if not models:
        refuse_given(
            context,
            "describes a measurement; finished results folders are taken as they are.",
            {"baseline", "out"},
        )
    if finished and models:
        options = as_measured(context, output, options, finished[0])
    folder = out or Path("runs", "gate") / folder_name(
        [candidate, baseline], *options.asked, *([f"look {look}"] if look else [])
    )
    check_folder(folder, [*([policy] if policy else []), *models, *(folder_and_name(side)[0] for side in finished)])
    with hold_folder(folder) if torchrun_place()[0] == 0 else nullcontext():
        if finished:
            if models:
                with run_grid(output, models, replace(options, out=folder / "measured"), maps=False):
                    sides = [side if side in finished else str(folder / "measured") for side in sides]
            results, names, unmeasured = compared(sides)
            write_results(folder, results)
        else:
            results, names = compared_models(output, sides, replace(options, out=folder))
            unmeasured = []
        # --task says which tasks of a finished baseline are meant
        found = decide(results, *names, rules, unmeasured if not models else [], look)
        about = about_gate(results, names, policy)
        report(output, found, about, folder, form)
    if code := exit_code(found):
        raise typer.Exit(code)


def as_measured(context: typer.Context, output: Output, options: GridOptions, finished: str) -> GridOptions:
    """Options with those that a finished side was measured with in place of those that are left out.

    Raises
    ------
    UsageError
        No task is given and the side was measured on files; the rows are not those of the side; or it was measured
        by another protocol or with a prompt.
    """
    from geomprobe.comparison.folders import read_sides
    from geomprobe.tasks import TASKS

    side = read_sides([finished])[0]
    run, layers = side.run, side.run.get("layers") or ["last"]
    was: dict[str, Any] = {
        "task": [task["name"] for task in run.get("tasks", ())],
        "limit": run.get("limit"),
        "seed": run.get("seed"),
        "pool": [pooling["name"] for pooling in run.get("poolings", ())],
        "layer": [str(layer) for layer in ([layers] if isinstance(layers, str) else layers)],
        "long": "chunk" if any("chunked" in task for task in run.get("tasks", ())) else None,
    }
    how = f"{finished} was made by: {run.get('command')}"
    if run.get("protocol", options.protocol) != options.protocol:
        raise UsageError(
            f"{finished} was measured by the protocol {run['protocol']}, and gate measures by {options.protocol}.",
            f"{how}. Measure the other side so, and give gate both folders.",
        )
    if "--prompt" in str(run.get("command")) and (options.prompt, options.prompt_query) == (None, None):
        raise UsageError(f"{finished} was measured with a prompt.", f"{how}. Give gate the same --prompt; '' is none.")
    left_out = [name for name in was if was[name] and given_by(context, name) == "DEFAULT"]
    if "task" in left_out and (own := [name for name in was["task"] if name not in TASKS]):
        raise UsageError(
            f"{finished} was measured on {listed(own)}, which is not built in: the other side needs the file.",
            f"{how}. Give gate its --task, and the columns if it names them.",
        )
    said = [f"--{name} {','.join(was[name]) if isinstance(was[name], list) else was[name]}" for name in left_out]
    if said:
        output.note(f"as {finished} was measured: {' '.join(said)}")
    options = replace(options, **{name: was[name] for name in left_out})
    check_choices(options, finished, was, side)
    check_rows(options, finished, side)
    return options


def check_choices(options: GridOptions, finished: str, was: Mapping[str, Any], side: Side) -> None:
    """Refuse, before anything is measured, choices under which no number has a counterpart in a finished side."""
    if was["seed"] is not None and options.seed != was["seed"]:
        raise UsageError(f"{finished} was measured with seed {was['seed']}, not {options.seed}.", "Leave --seed out.")
    if options.long != (long := was["long"] or "cut"):
        raise UsageError(f"{finished} was measured with --long {long}, not {options.long}.", "Leave --long out.")
    if options.poolings and not {*options.poolings} & {*was["pool"]}:
        raise UsageError(
            f"{finished} has {listed(was['pool'])} pooling, not {listed(options.poolings)}.", "Leave --pool out."
        )
    last = max(side.entry.get("n_layers") or 1, 1)
    depths = {float(layer) / last for layer in side.part("results")["layer"].dropna().unique()}
    ends = {0: 0.0, -1: 1.0}  # other layers are at a depth that depends on the model
    if options.layers != "all" and all(ends.get(int(layer), 2) not in (*depths, 2) for layer in options.layers):
        raise UsageError(
            f"{finished} has no numbers of the layers {listed(options.layer or ['last'])}.", "Leave --layer out."
        )


def check_rows(options: GridOptions, finished: str, side: Side) -> None:
    """Refuse, before anything is measured, rows other than those of a finished side."""
    from geomprobe.analysis.plan import check_request, prepared
    from geomprobe.comparison.folders import rows_of
    from geomprobe.comparison.sides import task_hashes
    from geomprobe.tasks import load_task
    from geomprobe.tasks.base import Task

    check_request(options.task_names, options.poolings, limit=options.limit, device=options.device, long=options.long)
    asked = options.request([], options.tasks)
    read = [each if isinstance(each, Task) else load_task(each, data_dir=asked.data_dir) for each in asked.tasks]
    theirs = task_hashes(side)
    how = f"{finished} was made by: {side.run.get('command')}. Give gate its --task, --data and --limit"
    tasks = prepared(read, asked)
    for task in tasks:
        if theirs.get(task.name, task.fingerprint) != task.fingerprint:
            train, rows = len(task.train) if task.train else 0, len(task.validation)
            raise UsageError(
                f"The rows of {task.name} are not those of {finished}: {rows_of(side, task.name)} there, "
                f"{rows:,} (and {train:,} to fit probes on) here. Differences are paired row by row.",
                f"{how}, or measure the baseline anew.",
            )
    if not any(task.name in theirs for task in tasks):
        raise UsageError(f"{finished} has none of the tasks {listed([task.name for task in tasks])}.", f"{how}.")


def compared(sides: Sequence[str]) -> tuple[Results, tuple[str, str], list[str]]:
    """Results of two finished sides with their differences, their names, and tasks that only the baseline has.

    Both sides may be the same.
    """
    from geomprobe.comparison.combined import combined
    from geomprobe.comparison.folders import check_sides, keep_comparable, read_sides
    from geomprobe.comparison.sides import task_hashes
    from geomprobe.comparison.table import add_comparisons

    chosen = read_sides(sides)
    check_sides(chosen, False, again=True)
    results, names = combined(chosen)
    keep_comparable(results, names)
    baseline, candidate = names
    held, asked = (task_hashes(side) for side in chosen)
    alone = [task for task in held if task not in asked]
    return add_comparisons(results, baseline, candidate), (baseline, candidate), alone


def compared_models(output: Output, models: list[str], options: GridOptions) -> tuple[Results, tuple[str, str]]:
    """Results of two models, measured now, with their differences, and their names."""
    from geomprobe.comparison.table import add_comparisons

    def differences(results: Results) -> None:
        add_comparisons(results, *named(results))

    def named(results: Results) -> tuple[str, str]:
        return results.run["models"][0]["name"], results.run["models"][1]["name"]

    with run_grid(output, models, options, complete=differences, maps=False) as (results, _):
        return results, named(results)


def about_gate(results: Results, names: tuple[str, str], policy: Path | None) -> About:
    """What the gate is about, from the results and the policy."""
    from geomprobe.comparison.gate import DEFAULT, About

    entries = {entry["name"]: entry for entry in results.run["models"]}
    baseline, candidate = (entries[name] for name in names)
    policy_hash, notes = hash_file(policy or DEFAULT), results.run.get("notes", [])
    return About(baseline, candidate, results.run["tasks"], str(policy or "default"), policy_hash, notes)


def report(output: Output, found: Gate, about: About, folder: Path, form: str) -> None:
    """Write gate.json, gate.md and gate.xml, and print what is asked for."""
    from geomprobe.comparison.gate.printed import as_document, as_junit, as_markdown, lines

    document = {**as_document(found, about), "exit_code": exit_code(found), "results": str(folder)}
    texts = {"md": as_markdown(found, about), "junit": as_junit(found, about)}
    write_json(folder / "gate.json", document)
    write_text(folder / "gate.md", texts["md"])
    write_text(folder / "gate.xml", texts["junit"])
    for note in about.notes:
        output.note(note)
    output.result(document, texts.get(form) or "\n".join(lines(found, about, [f"results: {folder}"])))


def exit_code(found: Gate) -> int:
    """5 where a check failed; else 4 where cells failed, 6 where a check cannot be told, 0 where all passed."""
    from geomprobe.comparison.gate import FAILED, PASSED

    if found.outcome == FAILED:
        return GATE_FAILED
    if found.failed_cells:
        return FAILED_CELLS
    return 0 if found.outcome == PASSED else GATE_CANNOT_TELL
