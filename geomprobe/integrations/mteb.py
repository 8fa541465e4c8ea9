"""mteb: its result folders as ours, ours in its format, its tasks as ours.

Reading needs no mteb. A task is an object of mteb, or its name where mteb is installed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from geomprobe.common import InputError, UsageError, hash_bytes, listed, read_json, refusing, write_json
from geomprobe.common.json_types import checked
from geomprobe.common.text import counted, finite, slug
from geomprobe.inference import Estimate
from geomprobe.inference.probe_tests import CORRELATIONS, mean_influence
from geomprobe.integrations.cards import Measured
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, Results, provenance, table
from geomprobe.tasks.base import Split, Task, sentence_groups

MAIN = "main_score"
POOLING = "model"
"""What mteb scores is the vector that the model gives: our pooling of this name, at the last layer."""
NOT_SCORES = ("model_meta.json", "*_predictions.json")
ANEW = "Let mteb write it again (a version from 1.11 on)."
DISTANCES = {
    "cosine": "cosine_scores",
    "manhattan": "manhattan_distances",
    "euclidean": "euclidean_distances",
    "": "similarity_scores",
}
"""Kind of similarity in the names of scores of pairs -> its name among the predictions."""
ROUNDING = 1e-5
"""mteb writes scores with six decimals."""


class ScoreFile(TypedDict):
    """A result of a task, as mteb writes it."""

    task_name: str
    dataset_revision: str
    mteb_version: str | None
    scores: dict[str, list[dict[str, Any]]]


class ModelFile(TypedDict):
    """Whose results a folder holds."""

    name: str | None
    revision: str | None


@dataclass(frozen=True)
class Scored:
    """The scores of a model on one split of a task.

    Attributes
    ----------
    model, revision, task, task_revision, subset, split : str
    label : str
        Name of the task in results: with its subset and split where it has several.
    scores : dict of str to float or None
        None for what is not finite.
    """

    model: str
    revision: str
    task: str
    task_revision: str
    subset: str
    split: str
    label: str
    scores: dict[str, float | None]


# --- its results as ours ----------------------------------------------------------------------------------------------


def read(
    folder: str | Path, *, tasks: Iterable[Any] = (), predictions: str | Path | Iterable[str | Path] = ()
) -> Results:
    """The scores of a folder of mteb as results, a row a score, named ``mteb_SCORE``.

    Parameters
    ----------
    folder : path
        The cache of mteb, its folder of results, or the part of one model or one revision.
    tasks : iterable of str or mteb task
        Tasks whose labels are needed for intervals, or their names where mteb is installed; loaded where they are not.
    predictions : path, or iterable of paths
        Folders that mteb wrote the predictions to (``prediction_folder``). With the labels of a task they give every
        row's share in accuracies and correlations, and so intervals and paired differences between models.

    Returns
    -------
    Results
        ``run["notes"]`` says which scores have no interval, and why.

    Raises
    ------
    InputError
        There are no results, or a file is not what mteb writes.
    """
    found, notes = _scored(Path(folder))
    kept = _predictions([predictions] if isinstance(predictions, str | Path) else predictions)
    known = {task.metadata.name: task for task in map(_loaded, tasks)}
    names = _model_names(found)
    rows: list[dict[str, Any]] = []
    influences: list[dict[str, Any]] = []
    entries: dict[str, dict[str, Any]] = {}
    reasons: dict[str, list[str]] = {}
    for each in found:
        task = _converted(known.get(each.task), each)
        moved, reason = _contributions(each, known.get(each.task), task, kept)
        if reason:
            reasons.setdefault(reason, []).append(each.label)
        entry = entries.setdefault(each.label, _task_entry(each, task))
        place = {"model": names[each.model, each.revision], "task": each.label, "layer": 1, "pooling": POOLING}
        place |= {"view": None, "definition": None}
        for score, value in each.scores.items():
            metric = f"mteb_{score}"
            estimate = Estimate(value, moved[score]) if value is not None and score in moved else None
            none = {"se": None, "ci_low": None, "ci_high": None, "ci_method": "no valid interval: no scores of rows"}
            rows.append(
                place
                | (estimate.interval().to_row() if estimate else none)
                | {
                    "metric": metric,
                    "model_hash": _hash(each.model, each.revision),
                    "task_hash": entry["fingerprint"],
                    "split": each.split,
                    "protocol": "mteb",
                    "value": value,
                    "n": entry.get("rows"),
                    "status": "ok" if value is not None else "not applicable",
                    "note": None if value is not None else "mteb gave no finite score",
                }
            )
            if estimate:
                influences.append(place | {"metric": metric, "contributions": moved[score].tolist(), "extra": 0.0})
    notes += [f"no intervals, {reason}: {listed(sorted(set(labels)))}" for reason, labels in reasons.items()]
    models = [
        {"name": name, "source": model, "revision": revision, "hash": _hash(model, revision), "n_layers": 1}
        for (model, revision), name in names.items()
    ]
    run = provenance.environment() | {
        "command": "", "protocol": "mteb", "seed": 0, "limit": None, "models": models, "baselines": {},
        "tasks": list(entries.values()), "poolings": [_POOLING_ENTRY], "layers": "last", "compared": None,
        "groups": None, "failed_cells": 0, "notes": notes,
    }  # fmt: skip
    metrics = dict.fromkeys(row["metric"] for row in rows)
    return Results(
        results=table(rows, RESULT_COLUMNS),
        influences=table(influences, INFLUENCE_COLUMNS),
        definitions={metric: _definition(metric) for metric in metrics},
        run=run,
    )


_POOLING_ENTRY: dict[str, Any] = {
    "name": POOLING,
    "trained": None,
    "note": "what the model's own encode gives",
    "untrained_on": {},
}


def _scored(folder: Path) -> tuple[list[Scored], list[str]]:
    """Every score of a folder, in the order of the paths, and notes."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Give the folder that mteb's ResultCache writes.")
    paths = [path for path in sorted(folder.rglob("*.json")) if not any(map(path.match, NOT_SCORES))]
    plain = [path for path in paths if "experiments" not in path.relative_to(folder).parts]
    notes = [f"{counted(n, 'file')} of experiments not read"] if (n := len(paths) - len(plain)) else []
    if not plain:
        raise InputError(f"{folder} holds no results of mteb.", "They lie in results/MODEL/REVISION/TASK.json.")
    found = []
    for path in plain:
        file: ScoreFile = checked(read_json(path), ScoreFile, str(path), ANEW)
        model, revision = _model_of(path)
        parts = [(split, entry) for split, entries in file["scores"].items() for entry in entries]
        splits = len(file["scores"])
        for i, (split, entry) in enumerate(parts):
            where = f"{path}, scores.{split}"
            checked(entry.get("hf_subset"), str, where, ANEW, "hf_subset")
            if not _is_number(entry.get(MAIN)):
                raise InputError(f"{where}: {MAIN} is missing in entry {i}, or is no number.", ANEW)
            scores = {key: finite(value) for key, value in entry.items() if _is_number(value)}
            label = _label(file["task_name"], entry["hf_subset"], split if splits > 1 else "")
            found.append(
                Scored(
                    model, revision, file["task_name"], file["dataset_revision"], entry["hf_subset"], split, label,
                    scores,
                )
            )  # fmt: skip
    if not found:
        raise InputError(f"The results of mteb in {folder} hold no scores.", ANEW)
    keys = [(each.model, each.revision, each.label) for each in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"{folder} holds two results of {twice[0]} ({twice[1]}) on {twice[2]}.", "Remove one of them.")
    return found, notes


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _label(task: str, subset: str, split: str = "") -> str:
    """Name of a task in results."""
    return " ".join([task, *([f"({subset})"] if subset != "default" else []), *([split] if split else [])])


def _model_of(path: Path) -> tuple[str, str]:
    """Name and revision of the model of a result: of its model_meta.json, else of the folders."""
    meta, name, revision = path.parent / "model_meta.json", path.parent.parent.name.replace("__", "/"), path.parent.name
    if not meta.is_file():
        return name, revision
    file: ModelFile = checked(read_json(meta), ModelFile, str(meta), ANEW)
    return file["name"] or name, file["revision"] or revision


def _model_names(found: Sequence[Scored]) -> dict[tuple[str, str], str]:
    """(model, revision) -> name in results: with its revision where a model has several."""
    pairs = list(dict.fromkeys((each.model, each.revision) for each in found))
    models = [model for model, _ in pairs]
    return {(m, r): m if models.count(m) == 1 else f"{m}@{r}" for m, r in pairs}


def _hash(model: str, revision: str) -> str:
    """Hash of a model: our own where it was given to mteb as the revision."""
    return revision if re.fullmatch(r"[0-9a-f]{64}", revision) else hash_bytes("mteb", model, revision)


def _task_entry(each: Scored, task: Task | None) -> dict[str, Any]:
    entry = {"name": each.label, "source": f"mteb {each.task}", "revision": each.task_revision, "notes": []}
    if task is None:
        return entry | {"fingerprint": hash_bytes("mteb", each.task, each.task_revision, each.subset, each.split)}
    return entry | {
        "fingerprint": task.fingerprint,
        "rows": len(task.validation),
        "geometry_rows": len(task.geometry_rows.texts),
        "row_ids_hash": task.geometry_rows.fingerprint,
    }


def _definition(metric: str) -> dict[str, Any]:
    name = metric.removeprefix("mteb_")
    entry: dict[str, Any] = {
        "name": metric,
        "family": "semantic",
        "formula": "the main score that mteb declares for the task" if name == MAIN else f"{name}, as mteb computes it",
        "range": "",
        "direction": "larger: better" if name == MAIN else "",
        "invariances": [],
        "source": "mteb, Muennighoff et al. 2023, EACL",
        "stage": "probes",
        "order": 90,
    }
    return entry | ({"headline": {"order": 55, "views": [""]}} if name == MAIN else {})


# --- scores of rows ---------------------------------------------------------------------------------------------------


def _predictions(folders: Iterable[str | Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """(task, model) -> the predictions of a file, of all these folders."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in map(Path, folders):
        files = sorted(folder.rglob("*_predictions.json"))
        if not files:
            raise InputError(f"{folder} holds no predictions of mteb (*_predictions.json).", "Give prediction_folder.")
        for path in files:
            content = checked(read_json(path), dict[str, Any], str(path), ANEW)
            meta = checked(content.pop("mteb_model_meta", None), dict[str, Any], str(path), ANEW, "mteb_model_meta")
            key = path.name.removesuffix("_predictions.json"), f"{meta.get('model_name')}@{meta.get('revision')}"
            if key in found:
                raise InputError(f"{path}: a second file has predictions of {key[1]} on {key[0]}.", "Give one of them.")
            found[key] = content
    return found


def _contributions(
    each: Scored, source: Any, task: Task | None, kept: Mapping[tuple[str, str], Mapping[str, Any]]
) -> tuple[dict[str, np.ndarray], str]:
    """Score -> the contribution of each cluster of rows, and why there are none."""
    predicted: Any = kept.get((each.task, f"{each.model}@{each.revision}"), {}).get(each.subset)
    predicted = predicted.get(each.split) if isinstance(predicted, dict) else None
    if predicted is None:
        return {}, "no predictions were given"
    if source is None:
        return {}, "no labels: the task was not given"
    if task is None:
        return {}, "this kind of task has no scores of rows here"
    if source.metadata.type == "Classification":
        values, moves = _classified(predicted, task)
    elif source.metadata.type == "STS":
        values, moves = _correlated(predicted, task)
    else:
        return {}, "this kind of score is no mean over rows"
    agreeing = {name: move for name, move in moves.items() if _agree(each.scores.get(name), values[name])}
    if not agreeing:
        return {}, "the predictions and the labels do not give the recorded scores"
    clusters = np.unique(sentence_groups(task.validation), return_inverse=True)[1]
    moved = {name: np.bincount(clusters, move) / len(clusters) for name, move in agreeing.items()}
    if (main := source.metadata.main_score) in moved and each.scores[main] == each.scores[MAIN]:
        moved[MAIN] = moved[main]
    return moved, "" if MAIN in moved else "the main score is no mean over rows"


def _agree(recorded: float | None, recomputed: float) -> bool:
    return recorded is not None and abs(recorded - recomputed) <= ROUNDING


Moves = tuple[dict[str, float], dict[str, np.ndarray]]
"""Value of each score, recomputed, and how each row moves it."""


def _classified(predicted: Any, task: Task) -> Moves:
    """Accuracy, the mean over the experiments."""
    labels = task.validation.labels
    names = np.array([str(name) for name in task.label_names])[labels]
    experiments = predicted if isinstance(predicted, list) else []
    hits = [np.array([str(p) for p in each]) == names for each in experiments if _long_as(each, labels)]
    if not hits or len(hits) < len(experiments):
        return {}, {}
    share = np.mean(hits, axis=0)
    return {"accuracy": float(share.mean())}, {"accuracy": mean_influence(share)}


def _correlated(predicted: Any, task: Task) -> Moves:
    """Correlations of similarities with the scores of pairs."""
    labels = task.validation.labels.astype(float)
    values: dict[str, float] = {}
    moves: dict[str, np.ndarray] = {}
    for kind, key in DISTANCES.items():
        found: Any = predicted.get(key) if isinstance(predicted, dict) else None
        if not _long_as(found, labels) or not all(finite(value) is not None for value in found):
            continue
        similarity = np.array(found, float)
        if not np.ptp(similarity) or not np.ptp(labels):
            continue
        for name, influence in CORRELATIONS.items():
            score = f"{kind}_{name}".lstrip("_")
            values[score] = float(pd.Series(similarity).corr(pd.Series(labels), method=name))  # type: ignore[arg-type]
            moves[score] = influence(similarity, labels)
    return values, moves


def _long_as(values: Any, labels: np.ndarray) -> bool:
    return isinstance(values, list) and len(values) == len(labels)


# --- its tasks as ours ------------------------------------------------------------------------------------------------


def as_task(task: Any, *, subset: str = "default", split: str | None = None) -> Task:
    """A task of mteb as one of ours, for `gp.analyze`: its texts, its labels and its evaluated split.

    Parameters
    ----------
    task : str or mteb task
        Classification, STS or pair classification of texts. A name needs mteb. Data are loaded where they are not.
    subset, split : str
        Default: the subset "default", the first evaluated split.

    Raises
    ------
    UsageError
        Another kind of task; no such subset or split.
    InputError
        The data cannot be loaded; mteb is not installed.
    """
    task = _loaded(task)
    kind = task.metadata.type
    if kind not in ("Classification", "STS", "PairClassification"):
        what = f"{task.metadata.name} is a task of kind {kind}."
        raise UsageError(what, "Classification, STS and PairClassification tasks can be analysed.")
    splits = task.dataset
    if subset != "default" or subset in splits:
        if subset not in splits:
            raise UsageError(f"{task.metadata.name} has no subset {subset!r}.", f"It has {listed(list(splits))}.")
        splits = splits[subset]
    split = split or task.metadata.eval_splits[0]
    if split not in splits:
        raise UsageError(f"{task.metadata.name} ({subset}) has no split {split!r}.", f"It has {listed(list(splits))}.")
    name, place = _label(task.metadata.name, subset), task.metadata.dataset
    source = f"{place['path']}@{place['revision']}" + (f" ({subset})" if subset != "default" else "")
    train = getattr(task, "train_split", "train") if kind == "Classification" else "train"
    with refusing(f"{name} of mteb cannot be read as a task", "Are its columns those of its kind?"):
        tables = {"validation": _columns(task, splits[split], kind)}
        if train in splits and train != split:
            tables["train"] = _columns(task, splits[train], kind)
        labels = [label for *_, column in tables.values() for label in column]
        if kind == "STS":
            values: dict[Any, float] = {label: float(label) for label in labels}
            names: tuple[str, ...] = ()
        else:
            order = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
            values, names = {label: i for i, label in enumerate(order)}, tuple(map(str, order))
        dtype = np.float64 if kind == "STS" else np.int64
        made = {
            side: Split(
                side, first, second, np.array([values[label] for label in column], dtype),
                tuple(f"{split if side == 'validation' else train}/{i}" for i in range(len(first))),
            )
            for side, (first, second, column) in tables.items()
        }  # fmt: skip
        return Task(
            name,
            "regression" if kind == "STS" else "classification",
            made.get("train"),
            made["validation"],
            names,
            "spearman" if kind == "STS" else "accuracy",
            positive_label=names.index("1") if kind == "PairClassification" and "1" in names else None,
            source=source,
            notes=(f"mteb, {kind}, split {split}",),
            revision=place["revision"],
        )


def _columns(task: Any, rows: Any, kind: str) -> tuple[tuple[str, ...], tuple[str, ...] | None, list[Any]]:
    """First texts, second texts and labels of a split."""
    first: Any
    second: Any
    if kind == "Classification":
        first, second, label = task.input_column_name, None, task.label_column_name
    elif kind == "STS":
        (first, second), label = task.column_names, "score"
    else:
        first, second, label = task.input1_column_name, task.input2_column_name, task.label_column_name
        if len(rows) == 1 and isinstance(rows[0][first], list):  # the form of older data sets
            rows = rows[0]
    texts = tuple(map(_text, rows[first]))
    return texts, None if second is None else tuple(map(_text, rows[second])), list(rows[label])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is of type {type(value).__name__}")
    return value


def _loaded(task: Any) -> Any:
    """A task of mteb with its data."""
    if isinstance(task, str):
        try:
            mteb = importlib.import_module("mteb")
        except ImportError:
            raise InputError("mteb is not installed.", "pip install mteb") from None
        with refusing(f"mteb has no task {task!r}", "mteb.get_tasks() lists its tasks."):
            task = mteb.get_task(task)
    with refusing(f"The data of {task.metadata.name} cannot be loaded", "Download them first, or go online."):
        if not task.data_loaded:
            task.load_data()
    return task


def _converted(source: Any, each: Scored) -> Task | None:
    """The task of a score as ours, None where it cannot be one or was not given."""
    if source is None:
        return None
    try:
        return replace(as_task(source, subset=each.subset, split=each.split), name=each.label)
    except UsageError:
        return None


# --- both together, and ours in its format ----------------------------------------------------------------------------


def join(results: Results, theirs: Results, models: Mapping[str, str] | None = None) -> Results:
    """Our results of some models with mteb's scores of the same models, as numbers of the last layer.

    Parameters
    ----------
    results : Results
        Of `gp.analyze` or `gp.compare`.
    theirs : Results
        Of `read`.
    models : mapping of str to str, optional
        Name in `theirs` -> name in `results`. Default: the models of equal content hash (given to mteb as the
        revision), or of equal hub id and revision.

    Raises
    ------
    UsageError
        No model is in both.
    """
    ours = {entry["name"]: entry for entry in results.run["models"] if not entry.get("of")}
    chosen = dict(models) if models is not None else _same(ours, theirs)
    if wrong := [name for name in chosen.values() if name not in ours]:
        raise UsageError(f"The results have no model {wrong[0]!r}.", f"They have {listed(list(ours))}.")
    known = theirs.results[theirs.results["model"].isin(chosen)]
    if known.empty:
        raise UsageError(
            f"No model is in both: {listed(list(ours))}; {listed([e['name'] for e in theirs.run['models']])}.",
            "Give models={name in mteb: name in the results}, or score by docs/how-to/share-a-checkpoint.md.",
        )
    taken = {entry["name"]: entry["fingerprint"] for entry in results.run["tasks"]}
    renamed = {
        entry["name"]: entry["name"] if taken.get(entry["name"], entry["fingerprint"]) == entry["fingerprint"] else
        f"{entry['name']} (mteb)"
        for entry in theirs.run["tasks"]
    }  # fmt: skip
    depth = {name: int(entry.get("n_layers") or 1) for name, entry in ours.items()}
    tables: dict[str, Any] = {}
    for kind, columns in (("results", RESULT_COLUMNS), ("influences", INFLUENCE_COLUMNS)):
        added = getattr(theirs, kind)
        added = added[added["model"].isin(chosen)].copy()
        added["model"] = added["model"].map(chosen)
        added["layer"] = added["model"].map(depth)
        added["task"] = added["task"].map(renamed)
        if kind == "results":
            added["model_hash"] = added["model"].map({name: entry.get("hash") for name, entry in ours.items()})
        tables[kind] = table(pd.concat([getattr(results, kind), added], ignore_index=True), columns)
    scored = set(known["task"])
    new_tasks = [e | {"name": renamed[e["name"]]} for e in theirs.run["tasks"] if e["name"] in scored]
    run = results.run
    left = [entry["name"] for entry in theirs.run["models"] if entry["name"] not in chosen]
    notes = [f"mteb: {note}" for note in theirs.run.get("notes", ())]
    notes += [f"mteb's scores of other models left out: {listed(left)}"] if left else []
    poolings = run["poolings"]
    return replace(
        results,
        **tables,
        definitions=results.definitions | theirs.definitions,
        run=run
        | {
            "tasks": [*run["tasks"], *(entry for entry in new_tasks if entry["name"] not in taken)],
            "poolings": [*poolings, *([_POOLING_ENTRY] if POOLING not in [p["name"] for p in poolings] else [])],
            "notes": [*run.get("notes", ()), *notes],
        },
    )


def _same(ours: Mapping[str, Any], theirs: Results) -> dict[str, str]:
    """Name in theirs -> name in ours of the models that are the same."""
    found = {}
    for entry in theirs.run["models"]:
        for name, own in ours.items():
            pinned = own.get("revision") and (str(own.get("source")).partition("@")[0], own["revision"])
            if own.get("hash") == entry["hash"] or pinned == (entry["source"], entry["revision"]):
                found[entry["name"]] = name
    return found


def write(results: Results, folder: str | Path, name: str, *, model: str) -> list[Path]:
    """Write the headline numbers of a model as results of mteb, a task a file, and return the files.

    The tasks are called ``geomprobe-TASK``: their scores are ours, and not those of mteb's own tasks.

    Parameters
    ----------
    folder : path
        The cache of mteb (``mteb.ResultCache(folder)``).
    name : str
        The model in `results`.
    model : str
        Its name for mteb, with a slash; the revision is the content hash.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"mteb knows models as owner/name, not as {model[:80]!r}.", "For example model='me/encoder'.")
    of = Measured.of(results, name)
    revision = str(of.entry.get("hash") or "no_revision_available")
    place = Path(folder) / "results" / model.replace("/", "__") / revision
    written = []
    for entry in of.facts.task_entries:
        rows = {number: row for number in of.numbers if (row := of.row(entry["name"], *number))}
        if not rows:
            continue
        scores: dict[str, Any] = {}
        for number, row in rows.items():
            key = "_".join(filter(None, number)).replace("-", "_")
            scores |= {key: row["value"], f"{key}_ci_low": row["ci_low"], f"{key}_ci_high": row["ci_high"]}
        of_task = [number for number in rows if of.facts.part_of(number[0]) == "semantic"]
        main = rows[(of_task or list(rows))[0]]
        scores |= {
            MAIN: main["value"],
            "hf_subset": "default",
            "languages": ["und-Zyyy"],
            "layer": of.layer,
            "pooling": of.pooling,
        }
        document = {
            "dataset_revision": str(entry.get("fingerprint") or entry.get("revision") or "unknown"),
            "task_name": f"geomprobe-{slug(entry['name'])}",
            "mteb_version": None,
            "scores": {main.get("split") or "validation": [scores]},
            "evaluation_time": None,
            "kg_co2_emissions": None,
        }
        written.append(place / f"{document['task_name']}.json")
        write_json(written[-1], document)
    write_json(place / "model_meta.json", {"name": model, "revision": revision, "loader": None, "modalities": ["text"]})
    return written
