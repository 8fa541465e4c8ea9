"""What is carried to a machine with a GPU and back: folders in small files, and the figures of trainings and analyses.

    carry.py pack FOLDER STEM               FOLDER as STEM.0, STEM.1, …: a compressed archive in pieces of at most 16 MB
    carry.py unpack STEM FOLDER             the folder again
    carry.py trained RUN STEM FIGURES       the encoder of a training in bf16, packed, and its figures
    carry.py analysed RESULTS STEM FIGURES  a finished results folder without its cells, packed, and its figures

A piece holds whole blocks, so pieces are compressed and read in parallel, by the standard library alone.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIECE = 16_000_000
BLOCK = 1_000_000
# Two bytes an item, as of bf16 and uint16: bytes of odd and even places are coded apart. Of bf16 weights the exponents
# are predictable, so a file shrinks to about two thirds.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 3, "lp": 1, "pb": 1}]


def pack(folder: Path, stem: Path) -> list[Path]:
    """Pieces of at most 16 MB that hold a folder; earlier ones are replaced."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(file, str(file.relative_to(folder)))
    content = archive.getbuffer()
    with ThreadPoolExecutor() as pool:
        blocks = pool.map(
            lambda start: lzma.compress(content[start : start + BLOCK], filters=FILTERS),
            range(0, len(content), BLOCK),
        )
        pieces = [b""]
        for block in blocks:
            if len(pieces[-1]) + len(block) > PIECE:
                pieces.append(b"")
            pieces[-1] += block
    for old in pieces_of(stem):
        old.unlink()
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_name(f"{stem.name}.{number}") for number in range(len(pieces))]
    for file, piece in zip(files, pieces, strict=True):
        file.write_bytes(piece)
    return files


def unpack(stem: Path, folder: Path) -> None:
    """Write the folder that the pieces hold, whole or not at all."""
    if not (files := pieces_of(stem)):
        raise SystemExit(f"{stem}.0 is not there.")
    with ThreadPoolExecutor() as pool:
        content = b"".join(pool.map(lambda file: lzma.decompress(file.read_bytes()), files))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as holder:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(f"{holder}/new", filter="data")
        if folder.exists():
            shutil.rmtree(folder)
        Path(holder, "new").rename(folder)


def pieces_of(stem: Path) -> list[Path]:
    """The pieces of a stem, in order.

    Raises
    ------
    SystemExit
        One in the middle is missing.
    """
    found = sorted(
        (int(path.suffix[1:]), path) for path in stem.parent.glob(f"{stem.name}.*") if path.suffix[1:].isdigit()
    )
    if [number for number, _ in found] != list(range(len(found))):
        raise SystemExit(f"Pieces of {stem} are missing: there are only {', '.join(path.name for _, path in found)}.")
    return [path for _, path in found]


def keep_encoder(run: Path, out: Path) -> None:
    """Copy a trained checkpoint without its MLM head, target encoder and training states, its weights in bf16."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in (path for path in run.iterdir() if path.suffix in (".json", ".jsonl", ".md")):
        if file.name != "model.safetensors.index.json":
            shutil.copyfile(file, out / file.name)
    shutil.copytree(run / "1_Pooling", out / "1_Pooling")
    settings = json.loads((run / "sentence_bert_config.json").read_text(encoding="utf-8"))
    settings.pop("config_args", None)  # names the file of the encoder where the head has one of its own
    (out / "sentence_bert_config.json").write_text(json.dumps(settings), encoding="utf-8")
    weights = next(
        run / name for name in ("model-00001-of-00002.safetensors", "model.safetensors") if (run / name).is_file()
    )
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(weights).items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})


def trained(run: Path, stem: Path) -> dict[str, Any]:
    """Pack the encoder of a finished training; return the figures of the training."""
    from geomprobe.results import read_log

    with tempfile.TemporaryDirectory() as folder:
        keep_encoder(run, Path(folder))
        pieces = pack(Path(folder), stem)
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    speeds = sorted(line["tokens_per_s"] for line in read_log(run / "metrics.jsonl") if "tokens_per_s" in line)
    return {
        "objective": about["config"]["objective"],
        "seed": about["seed"],
        "steps": about["steps"],
        "tokens": about["tokens"],
        "passes": about["tokens"] / about["corpus"]["tokens"]["train"],
        "flops": about["flops"],
        "median_tokens_per_s": speeds[len(speeds) // 2],
        "final": about["final"],
        "corpus": about["corpus"]["fingerprint"],
        "pieces": sizes(pieces),
    }


def analysed(results: Path, stem: Path) -> dict[str, Any]:
    """Pack a finished results folder; return what it holds."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept")
        shutil.copytree(results, kept, ignore=shutil.ignore_patterns("cells", ".*"))
        pieces = pack(kept, stem)
    about = json.loads((results / "run.json").read_text(encoding="utf-8"))
    return {
        "models": [entry["name"] for entry in about["models"]],
        "tasks": [entry["name"] for entry in about["tasks"]],
        "poolings": [entry["name"] for entry in about["poolings"]],
        "failed_cells": about["failed_cells"],
        "pieces": sizes(pieces),
    }


def sizes(files: list[Path]) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in files}


def main() -> None:
    verb, first, second, *rest = sys.argv[1:]
    if verb == "pack":
        found = sizes(pack(Path(first), Path(second)))
        print(f"{sum(found.values()) / 1e6:.1f} MB in {len(found)} pieces: {second}.0 …")
    elif verb == "unpack":
        unpack(Path(first), Path(second))
    else:
        from figures import machine

        from geomprobe.common import read_json, write_json

        file, device = Path(rest[0]), rest[1]
        figures = read_json(file) if file.is_file() else {}
        made = {"trained": trained, "analysed": analysed}[verb](Path(first), Path(second))
        write_json(file, figures | {"machine": machine(device), made.get("objective", "results"): made})
        print(json.dumps(made))


if __name__ == "__main__":
    main()
