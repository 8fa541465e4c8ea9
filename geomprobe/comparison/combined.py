"""Several results folders as one, as if a single analysis had made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.common import InputError, UsageError, hash_file, listed
from geomprobe.comparison.combined_maps import joined_maps, map_entries
from geomprobe.comparison.sides import Side, task_hashes
from geomprobe.results import TABLES, Results, count_failures, provenance, table

MEANING = ("formula", "definitions")
"""Fields of a definition that say which number a metric is."""
ORIGIN = ("created", "geomprobe_version", "versions", "hardware", "command")
"""Fields of run.json that are kept of each folder."""


def combined(sides: Sequence[Side]) -> tuple[Results, list[str]]:
    """Results of all sides, and the names of the sides in them.

    What not all sides have (tasks, poolings), or what is something else in some (metrics, trained poolings), is left
    out; ``run["notes"]`` says so.

    Raises
    ------
    UsageError
        The sides have no task or no pooling in common.
    InputError
        A run.json does not say how many layers a model has.
    """
    kept = distinct_names(with_company(sides))
    if unknown := next((side for side in kept.values() if side.entry.get("n_layers") is None), None):
        raise InputError(
            f"{unknown}: run.json does not say how many layers it has (n_layers).", "Repeat the command that wrote it."
        )
    names = list(kept)[: len(sides)]
    first, notes = sides[0], [*differing_versions(sides), *without_influences(dict(zip(names, sides, strict=True)))]
    notes += differing_refits(sides) + differing_probes(sides)
    tasks = common("task", {name: list(task_hashes(kept[name])) for name in names}, notes)
    measured = {name: kept[name].part("results")["pooling"].dropna().unique().tolist() for name in names}
    poolings = common("pooling", measured, notes)
    for task in tasks:
        if any(side.task_entry(task).get("notes") != first.task_entry(task).get("notes") for side in sides):
            notes.append(f"the rows of task {task} are the same, but the folders say different things of it")
    if unlike := [p for p in poolings if any(trained_on(s, p, tasks) != trained_on(first, p, tasks) for s in sides)]:
        notes.append(f"left out, for it was trained in one folder and not in another: pooling {listed(unlike)}")
        poolings = [pooling for pooling in poolings if pooling not in unlike]
        if not poolings:
            raise UsageError(f"The results have no other pooling in common: {notes[-1]}.", ANEW)
    definitions = {name: entry for side in reversed(sides) for name, entry in side.results.definitions.items()}
    if other := [name for name in definitions if len({meaning(side, name) for side in sides} - {None}) > 1]:
        notes.append(f"left out, for the folders define it in different ways: {listed(other)}")
    tables = {}
    # an order of models is not the order of some of them
    for kind in (kind for kind, columns in TABLES.items() if "model" in columns and kind != "rankings"):
        frame = pd.concat([side.part(kind).assign(model=name) for name, side in kept.items()])
        frame = frame[frame["task"].isin(tasks) & frame["pooling"].isin(poolings)]
        frame = frame[~frame["metric"].isin(other)] if "metric" in frame else frame
        tables[kind] = table(frame.reset_index(drop=True), TABLES[kind])
    tables |= joined_maps(tables, kept, notes)
    entries = map_entries(tables, kept)
    logs = {name: side.results.training.get(side.name) for name, side in kept.items()}
    results = Results(
        **tables,
        definitions={name: entry for name, entry in definitions.items() if name not in other},
        run=run_of(kept, names, tasks, poolings) | {"maps": entries, "notes": notes},
        training={name: log for name, log in logs.items() if log},
    )
    results.run["failed_cells"] = count_failures(results.results, results.similarities)
    return results, names


ANEW = "Repeat one of the two analyze commands with the options of the other."


def with_company(sides: Sequence[Side]) -> list[Side]:
    """Sides, then the baselines of their folders, then the variants of their vectors: the order of an analysis.

    A baseline that several folders have stands once: of equal weights, rows and choices, its numbers are equal.
    """
    hashes = {side.entry.get("hash") for side in sides}
    baselines, variants = [], []
    for side in sides:
        others = [Side(side.folder, side.results, entry) for entry in side.run.get("models", ())]
        variants += [other for other in others if other.entry.get("of") == side.name]
        for other in others:
            if other.name in side.run.get("baselines", {}) and (known := other.entry.get("hash")) not in hashes:
                hashes.add(known)
                baselines.append(other)
    return [*sides, *baselines, *variants]


def distinct_names(sides: Sequence[Side]) -> dict[str, Side]:
    """Sides by name; names that coincide get as much of the folder before them as distinguishes them, else a number."""
    names = [side.name for side in sides]
    folders = [side.folder.resolve().parts[1:] for side in sides]
    for depth in range(1, max(map(len, folders)) + 1):
        longer = ["/".join((*folder[-depth:], name)) for folder, name in zip(folders, names, strict=True)]
        found = [more if names.count(name) > 1 else name for name, more in zip(names, longer, strict=True)]
        if len(set(found)) == len(found):
            return dict(zip(found, sides, strict=True))
    # one model of one folder, given twice
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return {f"{name} ({k + 1})" if k else name: side for name, k, side in zip(names, again, sides, strict=True)}


def common(what: str, have: Mapping[str, Sequence[str]], notes: list[str]) -> list[str]:
    """What all models have, in the order of the first; `notes` gets what only some have.

    Raises
    ------
    UsageError
        They have nothing in common.
    """
    for each in dict.fromkeys(each for own in have.values() for each in own):
        holders = [name for name, own in have.items() if each in own]
        if len(holders) < len(have):
            whose = f"{holders[0]} alone has it" if len(holders) == 1 else f"{len(holders)} of {len(have)} have it"
            notes.append(f"{what} {each} is left out: {whose}")
    found = [each for each in next(iter(have.values())) if all(each in own for own in have.values())]
    if not found:
        lists = "; ".join(f"{name} has {listed(own)}" for name, own in have.items())
        raise UsageError(f"The results have no {what} in common: {lists}.", ANEW)
    return found


def trained_on(side: Side, pooling: str, tasks: Sequence[str]) -> list[str] | None:
    """Tasks that a pooling was trained on; None of one without parameters."""
    entry = side.pooling_entry(pooling)
    if entry.get("trained") is None:
        return None
    return [task for task in tasks if entry["trained"] and task not in entry.get("untrained_on", {})]


def meaning(side: Side, metric: str) -> str | None:
    """What decides which number a metric is in a folder; None where the folder does not have it."""
    entry = side.results.definitions.get(metric)
    return None if entry is None else repr([entry.get(field) for field in MEANING])


def differing_versions(sides: Sequence[Side]) -> list[str]:
    """Note that the folders were made by different versions of geomprobe or of packages that add to it, if so."""
    made = []
    for side in sides:
        added = [f"{each['package']} {each['version']}" for each in side.run.get("plugins", ())]
        made.append(" with ".join([f"geomprobe {side.run.get('geomprobe_version')}", *dict.fromkeys(added)]))
    return [f"measured by different versions: {listed(list(dict.fromkeys(made)))}"] if len(set(made)) > 1 else []


def differing_refits(sides: Sequence[Side]) -> list[str]:
    """Note that probes were refitted in some folders only, or not as often in all, if so."""
    counts = list(dict.fromkeys(side.run.get("refits", 0) for side in sides))
    shown = listed([str(count) if count else "none" for count in counts])
    what = "differences of probes are of these fitted probes, over scored rows"
    return [f"--refits differs between the folders ({shown}): {what}"] if len(counts) > 1 else []


def differing_probes(sides: Sequence[Side]) -> list[str]:
    """Note that some folders have fewer probes than others, if so."""
    chosen = list(dict.fromkeys(side.run.get("probes", "all") for side in sides))
    what = "probes that one of them lacks are compared nowhere"
    return [f"--probes differs between the folders ({listed(chosen)}): {what}"] if len(chosen) > 1 else []


def without_influences(sides: Mapping[str, Side]) -> list[str]:
    """Notes on the sides whose folders lack influences.parquet."""
    what = "its folder has no influences.parquet, so most differences have no interval"
    what += "; copy the file from where it was measured, or repeat the analyze command"
    return [f"{name}: {what}" for name, side in sides.items() if not (side.folder / "influences.parquet").is_file()]


def run_of(kept: Mapping[str, Side], chosen: Sequence[str], tasks: Sequence[str], poolings: Sequence[str]) -> dict:
    """run.json of the combined results."""
    sides = list(kept.values())
    runs, named = [side.run for side in sides], {(side.folder, side.name): name for name, side in kept.items()}
    models = [{**side.entry, "name": name} for name, side in kept.items()]
    for side, entry in zip(sides, models, strict=True):
        if of := entry.get("of"):
            entry["of"] = named[side.folder, of]
        if "baseline_of" in entry:
            entry["baseline_of"] = [
                name
                for name in chosen
                for other in kept[name].run["models"]
                if other.get("hash") == entry.get("hash") and kept[name].name in other.get("baseline_of", ())
            ]
    same = [
        key
        for key in ("protocol", "seed", "limit", "refits", "probes", "layers")
        if all(run.get(key) == runs[0].get(key) for run in runs)
    ]
    kinds = {name: side.run.get("baselines", {}).get(side.name) for name, side in kept.items() if name not in chosen}
    plugins = {repr(sorted(each.items())): each for run in runs for each in run.get("plugins", ())}
    return {
        **provenance.environment(),
        "command": provenance.command_line(),
        **{key: runs[0].get(key) for key in same if key in runs[0]},
        "models": models,
        "baselines": {name: kind for name, kind in kinds.items() if kind},
        "tasks": [task_entry(kept, task) for task in tasks],
        "poolings": [pooling_entry(sides, pooling, tasks) for pooling in poolings],
        "compared": None,
        "groups": None,
        "similarity": [],
        **({"plugins": list(plugins.values())} if plugins else {}),
        "sources": [source_entry(kept, folder) for folder in dict.fromkeys(side.folder for side in sides)],
    }


def task_entry(kept: Mapping[str, Side], task: str) -> dict[str, Any]:
    """What the first folder says of a task, and how many texts were cut or divided for each model."""
    entry = {**next(iter(kept.values())).task_entry(task)}
    entry.pop("chunked", None)
    for key in ("truncated", "chunked"):
        counts = {name: (side.task_entry(task).get(key) or {}).get(side.name) for name, side in kept.items()}
        known = {name: count for name, count in counts.items() if count is not None}
        entry |= {key: known} if known or key == "truncated" else {}
    return entry


def pooling_entry(sides: Sequence[Side], pooling: str, tasks: Sequence[str]) -> dict[str, Any]:
    """What the first folder says of a pooling, as far as it holds for these tasks and all folders."""
    entry, trained = {**sides[0].pooling_entry(pooling)}, trained_on(sides[0], pooling, tasks)
    entry["trained"] = None if trained is None else bool(trained)
    entry["untrained_on"] = {task: why for task, why in entry.get("untrained_on", {}).items() if task in tasks}
    if any(side.pooling_entry(pooling).get("equals") != entry.get("equals") for side in sides):
        entry.pop("equals", None)
    return entry


def source_entry(kept: Mapping[str, Side], folder: Path) -> dict[str, Any]:
    """What run.json says of a folder that models were taken from."""
    here = {name: side for name, side in kept.items() if side.folder == folder}
    run = next(iter(here.values())).run
    return {
        "folder": provenance.public_path(folder),
        "hash": hash_file(folder / "run.json"),
        "models": {name: side.name for name, side in here.items()},
        **{key: run[key] for key in ORIGIN if key in run},
    }
