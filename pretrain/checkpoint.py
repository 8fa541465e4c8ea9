"""Checkpoint folders: an export that the ecosystem loads, and an exact training state, in safetensors and JSON only."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from geomprobe.common import InputError, atomic_path, hash_file, read_json, write_json, write_text
from geomprobe.common.atomic import final_path, temporary_folder
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.objectives.base import Objective

STATE_FILES = ("model.safetensors", "optimizer.safetensors")
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
POOLING = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": False}
# What it keeps of a model as a whole, but its own version, which made nothing here.
SENTENCE_TRANSFORMERS = {
    "model_type": "SentenceTransformer",
    "__version__": {"transformers": transformers.__version__, "pytorch": torch.__version__},
    "prompts": {},
    "default_prompt_name": None,
    "similarity_fn_name": "cosine",
}
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")  # the encoder, its MLM head
SECOND_NAMES = {part: part.replace("model-", "model-next-") for part in PARTS}
SETTINGS = "sentence_bert_config.json"
NAMING_PARTS = (INDEX, SETTINGS)
IGNORED = "# not part of what is shared; `hf upload` and git leave these out\ntrainer/\ncheckpoint-*/\n.*.tmp/\n"


# --- export ----------------------------------------------------------------------------------------------------------


def export(out: Path, objective: Objective, corpus: Corpus) -> None:
    """Write the encoder to ``out`` and the target encoder to ``out/ema``, each a plain Hugging Face folder.

    A head that was not trained is not written (`Objective.exported`); one that was gets a file of its own. A
    `.gitignore` keeps the training states out of an upload; one that is there stays as it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / ".gitignore").exists():
        write_text(out / ".gitignore", IGNORED)
    _export_model(out, objective.exported(), corpus, objective.max_length)
    if objective.target is not None:
        _export_model(out / "ema", objective.target, corpus, objective.max_length)


def export_step(out: Path, step: int, objective: Objective, corpus: Corpus) -> None:
    """Write the encoder as it is after a step to ``out/checkpoint-N``, a plain Hugging Face folder that stays."""
    _export_model(out / f"checkpoint-{step}", objective.exported(), corpus, objective.max_length)


def _export_model(out: Path, model: PreTrainedModel, corpus: Corpus, max_length: int) -> None:
    """Write one model folder, so that whoever loads it gets the export before or this one whenever a process dies."""
    out.mkdir(parents=True, exist_ok=True)
    with temporary_folder(out) as holder:
        temporary = holder / "model"
        transformers_logging.disable_progress_bar()
        model.save_pretrained(temporary)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            if (corpus.path / name).is_file():
                shutil.copyfile(corpus.path / name, temporary / name)
        write_json(temporary / "modules.json", MODULES)
        write_json(temporary / "config_sentence_transformers.json", SENTENCE_TRANSFORMERS)
        transformer: dict[str, Any] = {"max_seq_length": max_length, "do_lower_case": False}
        if model.base_model is not model:
            _move_head(temporary, f"{model.base_model_prefix}.")
            transformer["config_args"] = {"transformers_weights": PARTS[0]}
        write_json(temporary / SETTINGS, transformer)
        pooling = {"word_embedding_dimension": model.config.hidden_size, **POOLING}
        write_json(temporary / "1_Pooling" / "config.json", pooling)
        for file in temporary.glob("*.safetensors"):
            _as_newly_created(file, temporary / "modules.json")
        _put_in_place(temporary, out)


def _put_in_place(new: Path, out: Path) -> None:
    """Move the files of an export into the folder, each in one rename, config.json last.

    No rename replaces two files of weights at once: they come under second names, to which the files that name them are
    turned, until they have their own.
    """
    (out / "1_Pooling").mkdir(exist_ok=True)
    files = {str(file.relative_to(new)) for file in new.rglob("*") if file.is_file()}
    in_parts = PARTS[0] in files
    for name in files:
        final_path(out / name)  # refuses what cannot be written before anything is moved
    for name in sorted(files - {"config.json", *(PARTS + NAMING_PARTS if in_parts else ())}):
        os.replace(new / name, out / name)
    if in_parts:
        _give_own_names(out, new)  # where a process died before it did
        for part, second in SECOND_NAMES.items():
            os.replace(new / part, out / second)
        for name in NAMING_PARTS:
            text = (new / name).read_text(encoding="utf-8")
            write_text(out / name, re.sub("|".join(PARTS), lambda part: SECOND_NAMES[part[0]], text))
        _give_own_names(out, new)
    os.replace(new / "config.json", out / "config.json")
    for name in (WHOLE, *SECOND_NAMES.values()) if in_parts else (INDEX,):  # WHOLE: of an earlier version
        (out / name).unlink(missing_ok=True)


def _give_own_names(out: Path, scratch: Path) -> None:
    """Give the weights that are named by second names their own."""
    naming = {name: (out / name).read_text(encoding="utf-8") for name in NAMING_PARTS if (out / name).is_file()}
    if not any(second in text for second in SECOND_NAMES.values() for text in naming.values()):
        return
    for part, second in SECOND_NAMES.items():
        _link(out / second, scratch / second)
        os.replace(scratch / second, out / part)
    for name, text in naming.items():
        for part, second in SECOND_NAMES.items():
            text = text.replace(second, part)
        write_text(out / name, text)


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, or a copy of it where the disk has no second names."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)


def _move_head(folder: Path, prefix: str) -> None:
    """Move the weights outside the encoder, whose names begin with ``prefix``, into a file of their own.

    transformers reports the weights in a file that a model has no place for. The index names both files, and is what
    config.json asks for; sentence-transformers, which wants the encoder alone, is sent to the first.
    """
    weights = load_file(folder / WHOLE)
    (folder / WHOLE).unlink()
    places = {name: PARTS[not name.startswith(prefix)] for name in weights}
    for part in PARTS:
        save_file({n: w for n, w in weights.items() if places[n] == part}, folder / part, metadata={"format": "pt"})
    size = sum(w.numel() * w.element_size() for w in weights.values())
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
    # as every loader would do by itself; only a setting that is there can be overruled
    write_json(folder / "config.json", read_json(folder / "config.json") | {"transformers_weights": INDEX})


def _as_newly_created(file: Path, example: Path) -> None:
    """Give a file the mode of another one, which `open` made: safetensors lets only the owner read what it writes."""
    file.chmod(stat.S_IMODE(example.stat().st_mode))


# --- exact state -----------------------------------------------------------------------------------------------------


def save_state(out: Path, step: int, objective: torch.nn.Module, optimizer: torch.optim.Optimizer, keep: int) -> Path:
    """Write all that the next step depends on to ``out/trainer/step-N``; keep this and the ``keep`` − 1 before it.

    Later states, which a run that went back to an older one had passed over as damaged, are removed.
    """
    folder = out / "trainer" / f"step-{step}"
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        save_file(_unshared(objective.state_dict()), temporary / "model.safetensors")
        moments = {
            f"{number}.{key}": value.contiguous()
            for number, entry in optimizer.state_dict()["state"].items()
            for key, value in entry.items()
        }
        save_file(moments, temporary / "optimizer.safetensors")
        hashes = {name: hash_file(temporary / name) for name in STATE_FILES}
        write_json(temporary / "state.json", {"step": step, "files": hashes})
        for name in hashes:
            _as_newly_created(temporary / name, temporary / "state.json")
    states = _states(out)
    newest = states.index(folder)
    for other in states[:newest] + states[newest + keep :]:
        shutil.rmtree(other)
    return folder


def load_state(
    out: Path, objective: torch.nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """Restore the newest good state and return its record, or None where there is none.

    Damaged states are named in a warning and passed over.

    Raises
    ------
    InputError
        There are states, but every one is damaged.
    """
    remove_leftovers(out)
    states = _states(out)
    for folder in states:
        try:
            record = read_json(folder / "state.json")
            if folder.name != f"step-{record['step']}":
                raise InputError(f"{folder / 'state.json'} is not of this step.")
            for name in STATE_FILES:
                if hash_file(folder / name) != record["files"][name]:
                    raise InputError(f"{folder / name} does not match its recorded hash.")
            weights, moments = (load_file(folder / name) for name in STATE_FILES)
        except (InputError, OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            warn(f"{folder} is damaged and is passed over: {error}")
            continue
        missing, unexpected = objective.load_state_dict(weights, strict=False)
        if unexpected or set(missing) & set(_unshared(objective.state_dict())):
            hint = "Choose another --out, or the settings this run was started with."
            raise InputError(f"{folder} belongs to another model.", hint)
        _load_moments(optimizer, moments)
        return record
    if states:
        hint = "Start again without --resume in another folder (--out)."
        raise InputError(f"No state under {out / 'trainer'} can be read.", hint)
    return None


def remove_leftovers(out: Path) -> None:
    """Remove what a killed process was writing."""
    for folder in (out, out / "ema", out / "trainer", *out.glob("checkpoint-*")):
        for left in folder.glob(".*.tmp"):
            shutil.rmtree(left, ignore_errors=True)


def _states(out: Path) -> list[Path]:
    """State folders, newest first."""
    folders = [path for path in (out / "trainer").glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(folders, key=lambda path: int(path.name[5:]), reverse=True)


def _unshared(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State with every storage once: a tied head is the embedding under a second name."""
    first: dict[int | str, str] = {}
    for name, value in state.items():
        first.setdefault(value.data_ptr() if value.numel() else name, name)
    return {name: state[name].detach().contiguous() for name in first.values()}


def _load_moments(optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> None:
    state = optimizer.state_dict()
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in moments.items():
        number, _, key = name.partition(".")
        entries.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": entries, "param_groups": state["param_groups"]})
