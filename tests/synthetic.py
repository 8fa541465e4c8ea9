"""Results folders with made-up numbers and every shape that a report meets. Only the report's own tests use them."""

from __future__ import annotations

import math
import zlib
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.api import every_metric
from geomprobe.inference.letters import letters
from geomprobe.results import (
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    EXAMPLE_COLUMNS,
    RANKING_COLUMNS,
    RESULT_COLUMNS,
    TEXT_COLUMNS,
    Results,
    table,
)

MODELS = ("mlm", "hybrid")
TASKS = ("sst2", "mrpc", "mnli", "cola", "stsb")
POOLINGS = ("mean", "max", "weighted", "attention")
ROWS = {"sst2": 872, "mrpc": 779, "mnli": 13143, "cola": 1042, "stsb": 2552}
PAIRS = ("mrpc", "mnli", "stsb")
DIM = 256
REFERENCE = -3.9688
PLACES = ("order", "headline", "phrases", "against", "reference", "rank", "stage", "score")
NO_VERDICT = "no valid interval, no verdict"

# name: (views, family, value, effect of the second model, spread, direction)
METRICS: dict[str, tuple[tuple[str, ...], str, float, float, float, str]] = {
    "effective_rank": (("raw",), "spectrum", 84.0, 31.0, 6.0, "higher"),
    "rankme": (("raw",), "spectrum", 71.0, 33.0, 6.0, "higher"),
    "spectral_entropy": (("raw",), "spectrum", 0.61, 0.08, 0.02, "higher"),
    "participation_ratio": (("raw",), "spectrum", 18.0, 9.0, 2.0, "higher"),
    "stable_rank": (("raw",), "spectrum", 5.1, 2.2, 0.6, "higher"),
    "rank_90": (("raw",), "spectrum", 96.0, 28.0, 6.0, "higher"),
    "mean_cosine": (("raw",), "isotropy", 0.62, -0.21, 0.03, "lower"),
    "isoscore": (("raw", "centred"), "isotropy", 0.066, 0.03, 0.006, "higher"),
    "partition_isotropy": (("raw", "centred"), "isotropy", 0.31, 0.12, 0.03, "higher"),
    "uniformity_reference": (("raw",), "hypersphere", REFERENCE, 0.0, 0.0, "none"),
    "alignment": (("raw",), "hypersphere", 0.33, 0.09, 0.02, "lower"),
    "class_alignment": (("raw",), "hypersphere", 0.72, 0.2, 0.03, "none"),
    "class_separation": (("raw",), "hypersphere", 0.78, 0.25, 0.03, "higher"),
    "semantic_accuracy": (("raw",), "semantic", 0.74, 0.012, 0.01, "higher"),
    "semantic_skill": (("raw",), "semantic", 0.36, 0.02, 0.02, "higher"),
    "lexical_word_content": (("raw",), "lexical", 0.83, -0.05, 0.01, "none"),
    "lexical_length_r2": (("raw",), "lexical", 0.71, -0.08, 0.02, "none"),
}
CONTROLS = {
    "semantic_accuracy": {"majority": 0.62, "stratified": 0.53, "tfidf": 0.7, "random-init": 0.66},
    "semantic_skill": {"majority": 0.0, "tfidf": 0.21},
    "lexical_word_content": {"majority": 0.04, "random-init": 0.61},
}
FORMULAS = {
    "effective_rank": "exp H(sigma / sum sigma), centred",
    "rankme": "exp H(sigma / sum sigma), uncentred",
    "uniformity": "log mean exp(-2 ||z_i - z_j||^2) over all pairs i < j",
    "uniformity_jensen": "-4 (1 - mean cosine)",
    "mean_cosine": "mean z_i . z_j over all pairs i < j",
}


def jitter(*key: object) -> float:
    """Return a number in [-1, 1] that depends on the key alone."""
    return zlib.crc32("|".join(map(str, key)).encode()) / 2**31 - 1


def definitions() -> dict[str, Any]:
    """Return registry entries in the form of definitions.json."""
    names = [*METRICS, "uniformity", "uniformity_jensen"]
    family = {name: entry[1] for name, entry in METRICS.items()}
    direction = {name: entry[5] for name, entry in METRICS.items()}
    known = every_metric()
    return {
        name: {
            **{key: known[name][key] for key in PLACES if key in known.get(name, {})},
            "name": name,
            "title": name.replace("_", " ").capitalize(),
            "formula": FORMULAS.get(name, f"the formula of {name}"),
            "range": "[0, inf)",
            "direction": direction.get(name, "lower"),
            "invariances": ["rotation", "row order"],
            "source": "Made up for a test (2026)",
            "family": family.get(name, "hypersphere"),
        }
        for name in names
    }


def values(model: int, task: str, pooling: str, depth: float) -> dict[tuple[str, str], float]:
    """Return (metric, view) -> value of one cell; ``model`` is the place in the list, ``depth`` in [0, 1]."""
    twist = 0.4 if pooling == "max" else 1.0  # the effect is weaker under max pooling
    cell = {}
    for name, (views, _, base, effect, spread, _) in METRICS.items():
        if name == "alignment" and task not in PAIRS:
            continue
        if name.startswith("class_") and task in PAIRS:
            continue
        for view in views:
            value = base + effect * twist * min(model, 1) * (0.3 + 0.7 * depth) + spread * jitter(task, pooling, name)
            value += 0.25 * spread * jitter(model, task, pooling, name, view, depth)
            cell[name, view] = value * (1.5 if view == "centred" else 1.0)
    cosine = cell["mean_cosine", "raw"] = min(max(cell["mean_cosine", "raw"] + 0.15 * (1 - depth), 0.0), 0.98)
    cell["uniformity_jensen", "raw"] = -4 * (1 - cosine)
    cell["uniformity", "raw"] = -4 * (1 - cosine) * 0.88
    cell["uniformity_jensen", "centred"] = -4.0
    cell["uniformity", "centred"] = -3.62 - 0.05 * model + 0.04 * jitter(model, task, pooling, depth)
    return cell


def wording(diff: float, p: float) -> str:
    """Return a verdict in the style of the compare command."""
    if p < 0.05:
        return "higher" if diff > 0 else "lower"
    return "no difference" if abs(diff) < 0.01 else "no clear difference"


def make_results(
    models: tuple[str, ...] = MODELS,
    tasks: tuple[str, ...] = TASKS,
    poolings: tuple[str, ...] = POOLINGS,
    layers: tuple[int, ...] = (4,),
    *,
    intervals: bool = False,
    training: bool = True,
    failed: bool = False,
    compared: bool | None = None,
    groups: dict[str, list[str]] | None = None,
    spectrum_points: int = DIM,
) -> Results:
    """Return made-up results for the given grid.

    With ``intervals`` every number has a standard error and every difference a verdict, and models that are not
    compared have letters; with ``failed`` one cell of the last model failed; ``groups`` adds comparisons at the level
    of objectives.
    """
    n_layers = max(layers)
    compared = len(models) == 2 if compared is None else compared
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    found: dict[tuple[str, str, int, str, str, str], float] = {}
    fields = [(m, name) for m, name in enumerate(models)]
    broken = (models[-1], tasks[-1], poolings[-1])
    for (m, model), task, pooling, layer in product(fields, tasks, poolings, layers):
        place = {"model": model, "task": task, "layer": layer, "pooling": pooling}
        n = ROWS.get(task, 500)
        common = place | {
            "model_hash": f"{zlib.crc32(model.encode('utf-8', 'replace')):08x}" * 8,
            "task_hash": f"{zlib.crc32(task.encode('utf-8', 'replace')):08x}" * 8,
            "split": "validation",
            "protocol": "strict",
            "n": n,
            "d": DIM,
            "seed": 0,
        }
        if failed and (model, task, pooling) == broken:
            reason = "OutOfMemory: 3.1 GB wanted, 1.9 GB free"
            rows.append(common | {"metric": "embedding", "n": None, "d": None, "status": "failed", "note": reason})
            continue
        depth = layer / n_layers if n_layers else 1.0
        for (name, view), value in values(m, task, pooling, depth).items():
            found[model, task, layer, pooling, view, name] = value
            se = 0.004 * abs(value) + 1e-4 if intervals and name not in ("uniformity_reference",) else None
            rows.append(
                common
                | {"metric": name, "view": view, "definition": name, "value": value, "se": se, "status": "ok"}
                | ({} if se is None else {"ci_low": value - 1.96 * se, "ci_high": value + 1.96 * se})
                | {"ci_method": "influence function, clustered" if se else None}
            )  # fmt: skip
            for control, level in CONTROLS.get(name, {}).items():
                rows.append(
                    common
                    | {"metric": name, "view": view, "definition": name, "control": control, "status": "ok"}
                    | {"value": level + 0.03 * jitter(task, control)}
                )
        if layer == n_layers:
            curves += _curves(place, m, values(m, task, pooling, depth)["mean_cosine", "raw"], spectrum_points)
            examples += [
                place
                | {
                    "probe": "semantic",
                    "row_id": f"validation/{i}",
                    "label": i % 2,
                    "prediction": i % 2,
                    "log_loss": 0.5,
                }
                for i in range(3)
            ]
    comparisons = []
    if compared:
        comparisons += _comparisons(models[0], models[1], "checkpoint", found, intervals)
    if groups:
        a, b = groups
        comparisons += _comparisons(groups[a][0], groups[b][0], "objective", found, intervals, (a, b))
    return Results(
        table(rows, RESULT_COLUMNS),
        table(comparisons, COMPARISON_COLUMNS),
        table(curves, CURVE_COLUMNS),
        table(examples, EXAMPLE_COLUMNS),
        definitions(),
        _run(models, tasks, poolings, layers, compared, groups, failed * len(layers)),
        {model: _log(m, model) for m, model in fields} if training else {},
        rankings=table(_rankings(rows, n_layers) if intervals and not comparisons else [], RANKING_COLUMNS),
    )


def _rankings(rows: list[dict[str, Any]], layer: int) -> list[dict[str, Any]]:
    """Return the order of the models under each number; two are told apart where their intervals do not overlap."""
    cells: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        if row["layer"] == layer and row.get("ci_low") is not None:
            cells.setdefault((row["task"], row["pooling"], row["metric"], row["view"]), []).append(row)
    found = []
    for cell in cells.values():
        direction = METRICS.get(cell[0]["metric"], ("",) * 6)[5] or "lower"
        cell.sort(key=lambda row: row["value"], reverse=direction != "lower")
        apart = [[a["ci_low"] > b["ci_high"] or b["ci_low"] > a["ci_high"] for b in cell] for a in cell]
        for place, (row, own) in enumerate(zip(cell, letters(apart), strict=True), 1):
            kept = {column: row[column] for column in RANKING_COLUMNS if column in row}
            found.append(kept | {"rank": place, "letters": own, "untested": 0, "tests": 40})
    return found


def _comparisons(a, b, level, found, intervals, names=None) -> list[dict[str, Any]]:
    rows = []
    for (model, task, layer, pooling, view, metric), value_a in found.items():
        value_b = found.get((b, task, layer, pooling, view, metric))
        if model != a or value_b is None or metric == "uniformity_reference":
            continue
        diff = value_b - value_a
        row = {"a": (names or (a, b))[0], "b": (names or (a, b))[1], "level": level, "task": task, "layer": layer}
        row |= {"pooling": pooling, "view": view, "metric": metric, "value_a": value_a, "value_b": value_b}
        family = METRICS.get(metric, ((), "hypersphere"))[1]
        row |= {"diff": diff, "n": ROWS.get(task, 500), "family": family, "verdict": NO_VERDICT}
        if intervals:
            se = 0.003 * abs(value_a) + 2e-3
            low, high = diff - 2.2 * se, diff + 2.2 * se
            p = math.erfc(abs(diff) / se / math.sqrt(2))
            row |= {"se": se, "ci_low": low, "ci_high": high, "ci_method": "paired influence function, clustered"}
            row |= {"p": p, "p_holm": min(1.0, 40 * p), "margin": 0.01, "p_tost": 0.5, "mdd": 2.8 * se}
            row["verdict"] = wording(diff, row["p_holm"])
        rows.append(row)
    return rows


def _curves(place, model, cosine, points) -> list[dict[str, Any]]:
    ranks = np.arange(1, points + 1)
    share = ranks ** -(1.35 - 0.25 * min(model, 1)) * np.exp(-ranks / (points / 2))
    share /= share.sum()
    centres = np.linspace(-0.99, 0.99, 100)
    density = np.exp(-0.5 * ((centres - cosine) / 0.13) ** 2) / (0.13 * math.sqrt(2 * math.pi))
    curves = {"spectrum": (ranks, share), "cosine_histogram": (centres, density)}
    return [
        place | {"view": "raw", "curve": curve, "x": float(x), "y": float(y)}
        for curve, (xs, ys) in curves.items()
        for x, y in zip(xs, ys, strict=True)
    ]


def _log(m: int, model: str) -> list[dict[str, Any]]:
    records = []
    for step in range(50, 4001, 50):
        progress = step / 4000
        mlm = 3.9 + 6.2 * math.exp(-5 * progress) + 0.05 * jitter(model, step)
        record = {
            "step": step,
            "steps": 4000,
            "tokens": step * 4096,
            "loss": mlm,
            "mlm": mlm,
            "lr": 1e-3 * (1 - progress),
        }
        record |= {"tokens_per_s": 61000 + 800 * jitter(step, model), "flops": step * 4.1e11}
        if m:
            jepa = 0.12 + 0.5 * math.exp(-6 * progress) + 0.01 * jitter(model, step, 1)
            weight = 0.5 + 0.2 * progress
            record |= {"jepa": jepa, "lambda": weight, "loss": weight * jepa + (1 - weight) * mlm}
        if step % 200 == 0:
            record |= {"effective_rank": 40 + 60 * progress + 10 * m, "uniformity": -1.0 - progress - 0.4 * m}
        records.append(record)
    return records


def _run(models, tasks, poolings, layers, compared, groups, n_failed) -> dict[str, Any]:
    return {
        "created": "2026-11-22T21:14:03+00:00",
        "command": "geomprobe compare runs/pretrain/mlm runs/pretrain/hybrid --pool all",
        "geomprobe_version": "0.1.0",
        "versions": {"python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.1"},
        "hardware": {"device": "cpu", "processor": "x86_64", "cores": 2, "memory_gb": 7.7},
        "wall_seconds": 812.4,
        "protocol": "strict",
        "seed": 0,
        "models": [
            {
                "name": model,
                "source": f"runs/pretrain/{model}",
                "kind": "checkpoint folder",
                "hash": f"{zlib.crc32(model.encode('utf-8', 'replace')):08x}" * 8,
                "objective": "hybrid" if "hybrid" in model else "mlm",
                "parameters": 11_172_864,
                "dim": DIM,
                "n_layers": max(layers),
                "training": {"tokens": 16_384_000, "steps": 4000, "seed": 0}
                | {"flops": 1.64e15 * (1 + ("hybrid" in model))},
                "dtype": "float32",
                "notes": [],
            }
            for model in models
        ],
        "tasks": [
            {
                "name": task,
                "source": f"glue/{task}/validation.parquet",
                "fingerprint": f"{zlib.crc32(task.encode('utf-8', 'replace')):08x}" * 8,
                "rows": ROWS.get(task, 500),
                "geometry_rows": ROWS.get(task, 500),
                "row_ids_hash": f"{zlib.crc32((task + 'ids').encode('utf-8', 'replace')):08x}" * 8,
                "truncated": dict.fromkeys(models, 3 if task == "mnli" else 0),
                "notes": [],
            }
            for task in tasks
        ],
        "poolings": [
            {"name": p, "trained": p not in ("weighted", "attention"), "note": ""}
            for p in poolings
        ],
        "layers": list(layers),
        "compared": list(models[:2]) if compared else None,
        "groups": groups,
        "failed_cells": n_failed,
    }  # fmt: skip


def with_maps(results: Results, n: int = 40, texts: tuple[str, ...] = (), *, keep_texts: bool = True) -> Results:
    """Return results with maps of n rows of each task by each model, as `analyze` makes them of made-up vectors."""
    from geomprobe.analysis import maps

    models = [entry["name"] for entry in results.run["models"]]
    layers = {entry["name"]: entry["n_layers"] for entry in results.run["models"]}
    pooling = results.run["poolings"][0]["name"]
    frames: dict[str, list[Any]] = {name: [] for name in (*maps.COLUMNS, "texts")}
    entries = []
    ids = [f"validation/{i}" for i in range(n)]
    rng = np.random.default_rng(0)
    for task in (entry["name"] for entry in results.run["tasks"]):
        base = rng.standard_normal((n, 12)) + 3 * np.eye(12)[np.arange(n) % 3]
        made, left_out = maps.measure_maps(
            {m: base + i * rng.standard_normal((n, 12)) for i, m in enumerate(models)}, ids
        )
        where = {"task": task, "pooling": pooling}
        placed = {name: maps.in_place(frame, layers, where, maps.COLUMNS[name]) for name, frame in made.items()}
        rows = [
            {"task": task, "row_id": row, "label": ("yes", "no", None)[i % 3], "length": 10 + i}
            | {"text": (texts[i % len(texts)] if texts else f"text {i} of {task}") if keep_texts else None}
            for i, row in enumerate(ids)
        ]
        for name, frame in (placed | {"texts": table(rows, TEXT_COLUMNS)}).items():
            frames[name].append(frame)
        entry = where | {"point": "one text", "rows": n, "of": 7 * n, "neighbours": 10, "onto": models[0]}
        entry |= {"shown": maps.shown(placed["maps"], placed["neighbours"]), "left_out": left_out}
        entries.append(entry | {"overlap": maps.mean_overlap(placed["neighbour_overlap"])})
    for name, parts in frames.items():
        setattr(results, name, pd.concat(parts, ignore_index=True))
    results.run["maps"] = entries
    return results


HOSTILE = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "</style></svg><svg onload=window.pwned=1>",
    '#panic("typst") #eval("1") $x$ @ref <label> *b* _i_ `raw` \\ //',
    "{{ 7*7 }}{% raw %} &amp; ]]> <!-- --",
    "x" * 10_000,
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "emoji \U0001f9ec\U0001f469\u200d\U0001f52c \U0001f3f3\ufe0f",
    "null\x00bell\x07escape\x1b[31m \ufffe",
    "$\\frac{1}{0}$ %s {0} \u2028 \n newline",
)


def hostile_results() -> Results:
    """Return results whose every text of a user tries to be something else."""
    models, tasks = HOSTILE[1:3], (HOSTILE[0], HOSTILE[3], HOSTILE[5], HOSTILE[6], HOSTILE[7], HOSTILE[8])
    poolings = ("mean", HOSTILE[4], HOSTILE[9])
    results = make_results(models, tasks, poolings, intervals=True, training=False, failed=True, spectrum_points=16)
    everything = " ".join(h[:80] for h in HOSTILE)
    results.results["note"] = everything
    results.results.loc[results.results["control"] == "tfidf", "control"] = HOSTILE[0]
    results.training = {models[0]: [{"step": s, "tokens": s, HOSTILE[0]: float(s), "loss": 1.0} for s in range(1, 9)]}
    for entry in results.definitions.values():
        entry |= {
            "formula": HOSTILE[3],
            "direction": f"higher: {HOSTILE[0]}",
            "source": HOSTILE[1],
            "range": HOSTILE[4],
        }
    results.run |= {
        "command": everything,
        "hardware": {HOSTILE[0]: HOSTILE[1]},
        "protocol": HOSTILE[0],
        "extra": everything,
    }
    results.run["verdict"] = None
    for entry in [*results.run["models"], *results.run["tasks"]]:
        entry |= {
            "source": HOSTILE[2],
            "kind": HOSTILE[0],
            "dtype": HOSTILE[3],
            "hash": HOSTILE[1],
            "notes": [everything],
        }
    return with_maps(results, n=12, texts=HOSTILE)
