"""The golden cases: what is run through the public command line and the public functions, and what is read of it.

Nothing here names a module inside geomprobe, so that the package can be rearranged under these cases.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freeze import Frozen, read_folder

COMMANDS = {
    "strict": "compare plain-0 shifted-0 --task mrpc --data data --baseline bow",
    "groups": "compare --group plain=plain-0,plain-1,plain-2 --group shifted=shifted-0,shifted-1,shifted-2 "
    "--task sst2 --data data --limit 24",
    "paper": "compare plain-0 shifted-0 --task sst2,stsb --data data --protocol paper",
    "one-choice": "analyze plain-0 --task mnli --data data --limit 30 --protocol paper --set protocol.pairs=separate",
    "poolings": "analyze plain-0 --task cola --data data --pool weighted,attention",
    "untrained": "analyze plain-0 --task small.jsonl --pool weighted,attention,max,cls,last --untrained --layer 0,last",
    "controlled": "analyze plain-0 --task controlled --limit 48",
    "baselines": "analyze plain-0 --task small.jsonl --baseline random-init,static,bow,tfidf",
    "own-pairs": "compare plain-0 shifted-0 --task own.csv --text left --text right "
    "--label score --positive 4 --id key",
    "own-labels": "analyze plain-0 --task reviews.jsonl --seed 3",
    "few-rows": "analyze plain-0 --task few.jsonl --layer all",
    "failed": "compare plain-0 broken --task small.jsonl --layer all",
    "many": "analyze plain-0 plain-1 shifted-0 --task sst2 --data data --pool mean,max --limit 40 "
    "--baseline random-init",
    "stored": "analyze plain-0 --task small.jsonl --dim 8 --precision float32,int8,binary",
    "audit": "audit plain-0 shifted-0 --task mrpc --data data --limit 24",
}
"""A command that writes a results folder: --out is added."""

REPORTS = ("strict", "groups", "failed", "audit")
DEFINITIONS = ("strict", "paper")
FAILED = {"failed": 4}
"""Exit codes other than 0."""


def names() -> list[str]:
    """Return the names of all cases, in the order in which they are run."""
    return [*COMMANDS, *OTHERS]


def run_case(name: str, out: Path) -> Frozen:
    """Run a case in the current folder, which holds the inputs, and return what it froze."""
    if name in OTHERS:
        frozen = Frozen()
        OTHERS[name](frozen, out)
        return frozen
    geomprobe(f"{COMMANDS[name]} --out {out}", FAILED.get(name, 0))
    return read_folder(out, report=name in REPORTS, definitions=name in DEFINITIONS)


def geomprobe(command: str, expected: int = 0) -> str:
    """Run a command in this process, as the console script does; return what it printed."""
    from geomprobe.__main__ import main

    printed, said, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["geomprobe", *shlex.split(command)]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = before
    if code != expected:
        raise AssertionError(f"geomprobe {command}\nended with {code}, not {expected}:\n{said.getvalue()[-3000:]}")
    return printed.getvalue()


# ---- without a model -------------------------------------------------------------------------------------------------


def measure_files(frozen: Frozen, out: Path) -> None:
    """`geomprobe measure`: the default views, all views, a table of text, too few rows."""
    frozen.document("vectors", json.loads(geomprobe("measure vectors.npy --json")))
    views = "raw,centred,standardised,all-but-top-k,whitened"
    for name, command in {
        "views": f"vectors.npy --view {views} --no-intervals",
        "text": "vectors.csv --columns e* --metric uniformity,effective_rank,isoscore",
        "few": "few.npy",
    }.items():
        geomprobe(f"measure {command} --out {out / name}.csv")
        frozen.table(name, pd.read_csv(out / f"{name}.csv"))


def measure_arrays(frozen: Frozen, out: Path) -> None:
    """`gp.measure`, `gp.Moments`, `gp.truncate`, `gp.quantise`: labels, positives, clusters, states."""
    import geomprobe as gp

    Z = np.load("vectors.npy").astype(np.float64)
    labels, pairs = np.arange(len(Z)) % 2, np.arange(len(Z)).reshape(-1, 2)
    clusters = np.arange(len(Z)) // 4
    frozen.table("labels", gp.measure(Z, labels=labels))
    frozen.table("positives", gp.measure(Z, positives=pairs, clusters=clusters, metrics=["alignment", "uniformity"]))
    frozen.table("clusters", gp.measure(Z, labels=labels, positives=pairs, clusters=clusters))
    state = gp.Moments().update(Z[:20]).merge(gp.Moments().update(Z[20:]))
    frozen.table("state", gp.measure(state))
    for name, stored in {
        "truncated": gp.truncate(Z, 4, renormalise=True),
        "int8": gp.quantise(Z, "int8"),
        "binary": gp.quantise(Z, "binary"),
    }.items():
        frozen.table(name, gp.measure(stored, metrics=["uniformity", "mean_cosine", "participation_ratio"]))


def compare_arrays(frozen: Frozen, out: Path) -> None:
    """`gp.compare` of two sets of vectors of other widths, and of two that are all but the same."""
    import geomprobe as gp

    Z = np.load("vectors.npy").astype(np.float64)
    ids = [f"row{i}" for i in range(len(Z))]
    labels, pairs = np.arange(len(Z)) % 2, np.arange(len(Z)).reshape(-1, 2)
    turned = Z[:, :6] * np.linspace(1, 2, 6)
    frozen.table("widths", gp.compare({"a": Z, "b": turned}, rows=ids, labels=labels, positives=pairs))
    near = Z + 0.01 * np.random.default_rng(1).standard_normal(Z.shape)
    clusters = np.arange(len(Z)) // 2
    frozen.table(
        "near", gp.compare({"a": Z, "b": near}, rows=ids, clusters=clusters, margins={"uniformity": gp.Margin(0.05)})
    )


def embed_texts(frozen: Frozen, out: Path) -> None:
    """`gp.load_encoder` and `gp.embed`: every pooling without parameters, two layers."""
    import geomprobe as gp

    encoder = gp.load_encoder("plain-0", device="cpu")
    texts = ["The big cat sees a dog .", "Who runs !", "a zebra and an old owl", ""]
    for pooling in ("mean", "max", "cls", "last"):
        for layer in (0, -1):
            Z = gp.embed(encoder, texts, pooling=pooling, layer=layer)
            frozen.table(f"{pooling}-layer{layer}", pd.DataFrame(Z.astype(np.float64)).rename(columns=str))


def audit_published(frozen: Frozen, out: Path) -> None:
    """`geomprobe audit --published`."""
    geomprobe(f"audit --published published.json --out {out / 'audit.json'}")
    frozen.document("audit", json.loads((out / "audit.json").read_text(encoding="utf-8")))


def reread(frozen: Frozen, out: Path) -> None:
    """`gp.read_results`, `gp.write_results` and `geomprobe report` on a folder that another case wrote."""
    import geomprobe as gp

    results = gp.read_results(out.parent / "failed")
    gp.write_results(out, results)
    geomprobe(f"report {out} --html --json", 4)
    again = read_folder(out)
    first = read_folder(out.parent / "failed")
    assert again.files() == first.files(), "a results folder read and written again differs"


OTHERS: dict[str, Callable[[Frozen, Path], None]] = {
    "measure-files": measure_files,
    "measure-arrays": measure_arrays,
    "compare-arrays": compare_arrays,
    "embed-texts": embed_texts,
    "audit-published": audit_published,
    "reread": reread,
}
