"""Measured numbers on a model card: a section of README.md, and metadata that the Hugging Face hub reads."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomprobe.common import InputError, UsageError, listed, model_name, refusing, unknown_name, write_text
from geomprobe.common.text import MOST_NAMES, count, counted, markdown, markdown_table
from geomprobe.results import Results
from geomprobe.results.summary.facts import Facts, Row, rows_of
from geomprobe.results.summary.model import Cell
from geomprobe.results.summary.words import title

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

BEGIN, END = "<!-- geomprobe: begin -->", "<!-- geomprobe: end -->"
SOURCE = "geomprobe"
EVALUATIONS = ".eval_results/geomprobe.yaml"
COLUMNS = 6
"""Tasks that the table of a section shows; the metadata have all."""
HUB_TASK = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{7,40})(?: \(([\w.-]+)\))?")
"""Source of a task on the hub: "owner/name@commit", "owner/name@commit (configuration)"."""


@dataclass(frozen=True)
class Measured:
    """The numbers of one model that its card states: at its deepest layer, under one pooling.

    Attributes
    ----------
    results : Results
    facts : Facts
    name : str
        Display name in the results.
    entry : dict
        What run.json says of the model.
    pooling : str
        The pooling that the model declares, where it was measured; else the first in printing order.
    """

    results: Results
    facts: Facts
    name: str
    entry: Row
    pooling: str

    @classmethod
    def of(cls, results: Results, name: str) -> Measured:
        """The numbers of the model of this name; raises UsageError where there is none with numbers."""
        facts = results.facts()
        own = [entry for entry in results.run["models"] if not entry.get("of")]  # the facts have no variants
        entries = {raw["name"]: shown for raw, shown in zip(own, facts.model_entries, strict=False)}
        if name not in entries or entries[name]["name"] not in facts.last_layer:
            raise unknown_name("model", name, [raw for raw, e in entries.items() if e["name"] in facts.last_layer])
        entry = entries[name]
        poolings = {row["pooling"] for row in facts.rows if row["model"] == entry["name"] and row["value"] is not None}
        have = [pooling for pooling in facts.poolings if pooling in poolings]
        if not have:
            raise InputError(f"{name} has no number in these results: its cells failed.", "Repeat the analysis.")
        declared = entry.get("declared_pooling")
        return cls(results, facts, entry["name"], entry, declared if declared in have else have[0])

    @property
    def layer(self) -> int:
        """The deepest layer that was measured."""
        return self.facts.last_layer[self.name]

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """The headline (metric, view) that the model has."""
        return [number for number in self.facts.headline if any(self.row(task, *number) for task in self.facts.tasks)]

    def row(self, task: str, metric: str, view: str) -> Row | None:
        """Row of a number, None where there is no value."""
        row = self.facts.cell(self.name, task, self.pooling, metric, view)
        return row if row and row["value"] is not None else None


def section(of: Measured) -> str:
    """The section of a model card, in Markdown, between its markers: what was measured, on which rows, how, the values.

    Texts of others (names of tasks, sources) are inert in it.
    """
    facts, numbers = of.facts, of.numbers
    tasks = [entry for entry in facts.task_entries if any(of.row(entry["name"], *number) for number in numbers)]
    shown = tasks[:COLUMNS]
    heads = ["", *(markdown(entry["name"]) for entry in shown)]
    rows = [
        [markdown(title(facts, *number)), *(_cell(of.row(entry["name"], *number)) for entry in shown)]
        for number in numbers
    ]
    run = facts.run
    version = markdown(run.get("geomprobe_version") or "of an unknown version")
    depth = of.entry.get("n_layers")
    parts = [
        "## Representation geometry",
        f"Measured with geomprobe {version} at layer {of.layer}{f' of {depth}' if depth else ''} under "
        f"{markdown(of.pooling)} pooling, by the {markdown(run.get('protocol', 'strict'))} protocol; "
        "95 % intervals, where a number has a valid one. "
        f"Model hash `{_code(of.entry.get('hash'))[:16]}`.",
        markdown_table(heads, rows),
    ]
    if len(tasks) > COLUMNS:
        parts.append(f"{counted(len(tasks) - COLUMNS, 'further task')} in the metadata of this card.")
    if facts.kind in ("pair", "groups", "many"):
        parts.append(f"In comparison: {markdown(of.results.summary().sentence, 2000)}")
    parts += ["Rows:", "".join(map(_rows_line, tasks[:MOST_NAMES])), "<details><summary>Definitions</summary>"]
    metrics = dict.fromkeys(metric for metric, _ in numbers)
    parts += ["".join(_definition(facts, metric) for metric in metrics), "</details>"]
    return "\n\n".join([BEGIN, *(part.rstrip() for part in parts), END]) + "\n"


def _cell(row: Row | None) -> str:
    return "" if row is None else Cell("", "", row["value"], row["ci_low"], row["ci_high"]).text(signed=False)


def _code(text: Any) -> str:
    return re.sub(r"\W", "", str(text or "unknown"))


def _rows_line(entry: Row) -> str:
    source = entry.get("source")
    what = f" from {markdown(source)}" if source and source != entry["name"] else ""
    digest = _code(entry.get("row_ids_hash"))[:16]
    return f"- {markdown(entry['name'])}: {count(rows_of(entry))} rows{what}, hash `{digest}`\n"


def _definition(facts: Facts, metric: str) -> str:
    entry = facts.entry(metric)
    name = markdown(metric.replace("_", " "))
    return f"- {name}: {markdown(entry.get('formula'))}; {markdown(entry.get('source'))}\n"


# --- metadata ---------------------------------------------------------------------------------------------------------


def eval_results(of: Measured) -> list[EvalResult]:
    """Every headline number of the model as an entry of a model-index."""
    from huggingface_hub import EvalResult

    found = []
    for entry, number, row in _values(of):
        dataset, revision, config = _dataset(entry)
        kind = "feature-extraction"
        if of.facts.part_of(number[0]) == "semantic":
            kind = "sentence-similarity" if "spearman" in number[0] else "text-classification"
        arguments = {
            "measured_with": f"{SOURCE} {of.facts.run.get('geomprobe_version', '')}".rstrip(),
            "layer": of.layer,
            "pooling": of.pooling,
            "view": number[1],
            "definition": row.get("definition"),
            "protocol": of.facts.run.get("protocol"),
            "n": None if row["n"] is None else int(row["n"]),
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "model_hash": of.entry.get("hash"),
        }
        result = EvalResult(
            task_type=kind,
            dataset_type=dataset or entry["name"],
            dataset_name=entry["name"],
            dataset_config=config,
            dataset_split=row.get("split") or None,
            dataset_revision=revision,
            dataset_args={"rows": rows_of(entry), "row_ids_hash": entry.get("row_ids_hash")},
            metric_type=number[0],
            metric_name=title(of.facts, *number),
            metric_value=row["value"],
            metric_args={name: value for name, value in arguments.items() if value not in (None, "")},
        )
        found.append(result)
    return found


def eval_entries(of: Measured) -> list[EvalResultEntry]:
    """The model's score of each task on the hub, for `.eval_results`; other tasks have no data set to name."""
    from huggingface_hub import EvalResultEntry

    found: dict[tuple[str, str], EvalResultEntry] = {}
    for entry, number, row in _values(of):
        dataset, revision, config = _dataset(entry)
        if not dataset or of.facts.part_of(number[0]) != "semantic" or row["ci_low"] is None:
            continue
        notes = f"{title(of.facts, *number)}, layer {of.layer}, {of.pooling} pooling, 95 % interval "
        notes += f"{row['ci_low']:.4f} to {row['ci_high']:.4f}; {SOURCE} {of.facts.run.get('geomprobe_version', '')}"
        place = dataset, config or "default"
        found.setdefault(
            place, EvalResultEntry(*place, value=row["value"], dataset_revision=revision, notes=notes.rstrip())
        )
    return list(found.values())


def _values(of: Measured) -> list[tuple[Row, tuple[str, str], Row]]:
    return [
        (entry, number, row)
        for entry in of.facts.task_entries
        for number in of.numbers
        if (row := of.row(entry["name"], *number)) and math.isfinite(row["value"])
    ]


def _dataset(entry: Row) -> tuple[str | None, str | None, str | None]:
    """Data set, revision and configuration of a task on the hub; None three times for any other."""
    found = HUB_TASK.fullmatch(str(entry.get("source") or ""))
    return (found[1], entry.get("revision") or found[2], found[3]) if found else (None, None, None)


# --- files ------------------------------------------------------------------------------------------------------------


def model_of(results: Results, folder: Path, name: str | None) -> tuple[str, str]:
    """The measured model whose weights a folder holds, and a warning where that could not be checked.

    Raises
    ------
    UsageError
        No measured model has these weights, or the one that was named has others; several models are there and the
        folder has no weights to choose by.
    """
    entries = {entry["name"]: entry for entry in results.run.get("models", ()) if not entry.get("of")}
    if name is not None and name not in entries:
        raise unknown_name("model", name, list(entries))
    if not (folder / "config.json").is_file():
        if name is None:
            raise UsageError(f"{folder} holds no model (no config.json) to know the measured one by.", _name(entries))
        return name, f"{folder} holds no model, so it was not checked that the numbers are of its weights"
    from geomprobe.encoders import load_encoder

    digest = load_encoder(folder, device="cpu").hash
    same = [each for each, entry in entries.items() if entry.get("hash") == digest]
    if not same or (name is not None and name not in same):
        what = f"the model {name!r} of these results" if name is not None else f"any of {listed(list(entries))}"
        raise UsageError(
            f"{folder} has other weights than {what}: the numbers are not its own.",
            f"geomprobe analyze {folder}, then push the folder of its results.",
        )
    return name or same[0], ""


def _name(entries: dict[str, Any]) -> str:
    return f"Name it: --model, one of {listed(list(entries))}"


def only_model(results: Results, name: str | None) -> str:
    """The model of this name, or the only one; raises UsageError where there are several to choose from."""
    own = [e["name"] for e in results.run.get("models", ()) if not e.get("of")]
    if name is None:
        own = [each for each in own if each not in results.run.get("baselines", {})]
        if len(own) != 1:
            raise UsageError(f"The results hold {len(own)} models: {listed(own)}.", "Name one: --model")
        return own[0]
    if name not in own:
        raise unknown_name("model", name, own)
    return name


def push_to_folder(of: Measured, folder: Path) -> list[Path]:
    """Put the section and the metadata into the README.md of a checkpoint folder; return the files that were written.

    Text outside the markers stays as it is, and so do metadata of others. A second push replaces the first.

    Raises
    ------
    InputError
        README.md is not UTF-8, or its metadata are not what the hub allows; one of the two markers is missing.
    """
    readme, evaluations = folder / "README.md", folder / EVALUATIONS
    text = _read(readme) if readme.exists() else f"# {markdown(model_name(folder)) or 'Model'}\n"
    written = [(readme, updated(text, of, str(readme)))]
    if entries := eval_entries(of):
        written.append((evaluations, _yaml(entries)))
    for path, content in written:
        write_text(path, content)
    if not entries:
        evaluations.unlink(missing_ok=True)  # of an earlier push
    return [path for path, _ in written]


def _read(path: Path) -> str:
    with refusing(f"{path} cannot be read", "Write it as UTF-8 text."):
        return path.read_bytes().decode("utf-8-sig")  # with the line ends that it has


def updated(text: str, of: Measured, where: str = "README.md") -> str:
    """A card with the numbers of a model in place of those of an earlier push."""
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if not REGEX_YAML_BLOCK.search(text):
        text = f"---\n\n---\n{text}"
    with refusing(f"The metadata of {where} are not those of a model card", "Correct its first block (--- to ---)."):
        card = ModelCard(text)
        data: Any = card.data
        others = [each for each in data.eval_results or () if not _is_ours(each)]
        data.eval_results = [*others, *eval_results(of)] or None
        if data.eval_results:
            data.model_name = data.model_name or of.name
        data.tags = [*(data.tags or ()), *([SOURCE] if SOURCE not in (data.tags or ()) else ())]
        card.text = with_section(card.text, section(of), where)
        new = str(card)
        ModelCard(new)  # what cannot be read back is not written
    return new


def _is_ours(result: EvalResult) -> bool:
    arguments = result.metric_args
    return isinstance(arguments, dict) and str(arguments.get("measured_with")).startswith(SOURCE)


def with_section(text: str, new: str, where: str) -> str:
    """Text with the section in the place of an earlier one, else at its end, by the text's own line ends."""
    ends = "\r\n" if "\r\n" in text else "\n"
    new = new.replace("\n", ends)
    marks = [text.count(BEGIN), text.count(END)]
    if marks == [0, 0]:
        return f"{text.rstrip()}{ends * 2}{new}" if text.strip() else f"{ends}{new}"
    if marks != [1, 1] or text.index(BEGIN) > text.index(END):
        raise InputError(
            f"{where}: the markers of the section do not stand once each, in their order.",
            f"Leave one {BEGIN} and, after it, one {END}; or remove both.",
        )
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    return f"{before}{new.rstrip()}{after}"


def _yaml(entries: Sequence[EvalResultEntry]) -> str:
    from huggingface_hub import eval_result_entries_to_yaml, parse_eval_result_entries
    from huggingface_hub.utils import yaml_dump

    written = eval_result_entries_to_yaml(list(entries))
    parse_eval_result_entries(written)
    return yaml_dump(written, sort_keys=False)
