"""The model card of a checkpoint: README.md with metadata that the hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geomprobe.common import model_name, read_json, write_text
from geomprobe.common.text import amount, count, markdown, markdown_table, number, power
from geomprobe.common.training_log import in_order, label
from geomprobe.pretrain.config import OF_JEPA, PretrainConfig, unread_settings
from geomprobe.pretrain.objectives import objective_class
from geomprobe.pretrain.runlog import EARLIER

HUB_SOURCE = re.compile(r"([\w.-]+/[\w.-]+)@[0-9a-f]{7,}")
LOSSES = ("loss", "mlm", "jepa", "held_out_mlm", "held_out_jepa", "unigram_entropy", "lambda", "skill_context")

OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon and AdamW"}

LOAD = """```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("PATH_OR_HUB_ID").encode(["a text"])  # mean pooling
```

```python
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("PATH_OR_HUB_ID"), AutoModel.from_pretrained("PATH_OR_HUB_ID")
```
"""


def write_card(out: Path, last: Mapping[str, Any], step: int | None = None) -> None:
    """Write README.md into a run's folder, or into its checkpoint-STEP; `last` is the last line of the log so far."""
    folder = out if step is None else out / f"checkpoint-{step}"
    write_text(folder / "README.md", model_card(read_json(out / "run.json"), last, folder, step))


def model_card(run: Mapping[str, Any], last: Mapping[str, Any], out: Path, step: int | None = None) -> str:
    """Model card of a checkpoint: data, objective, budget, losses, how to load it.

    `step` is given for a checkpoint that stays while the training goes on; by default it is the step of `last`.
    No path of this machine is in it: of a local corpus, and of a local tokenizer, only the last part of the name.
    """
    from huggingface_hub import ModelCard, ModelCardData

    config = asdict(PretrainConfig()) | EARLIER | run["config"]  # runs of earlier versions have fewer settings
    corpus, objective = run["corpus"], config["objective"]
    hub_source, origin = HUB_SOURCE.match(str(corpus.get("source"))), config["start_from"]
    hub_origin, kind = HUB_SOURCE.match(origin), read_json(out / "config.json")["model_type"]
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction",
        tags=["geomprobe", kind, objective, "sentence-similarity"],
        base_model=hub_origin[1] if hub_origin else None,
        datasets=[hub_source[1]] if hub_source else None,
    )
    logged, steps = last.get("step", 0), run["steps"]
    name, this = (model_name(out, 2), "This") if step else (model_name(out), "Training has not ended: this")
    step = step or logged
    state = "" if step >= steps else f" {this} is step {count(step)} of {count(steps)}."
    losses = [(label(key), number(last[key])) for key in in_order({*LOSSES} & {*last})]
    earlier = f"These losses are of step {count(logged)}, the last one logged until then. "
    begun = f"Continued from {markdown(_without_path(origin))}" if origin else "Pretrained from random weights"
    target = (out / "ema").is_dir()
    body = [
        f"# {markdown(name) or 'Text encoder'}",
        f"A text encoder of the architecture `{kind}`: {config['layers']} layers, {config['hidden']} dimensions, "
        f"{amount(run.get('parameters'))} parameters, texts of up to {config['max_length']} tokens. {begun} "
        f"with geomprobe {markdown(run['versions'].get('geomprobe'))}.{state}",
        "## How to load it",
        LOAD + ("\n`ema/` holds the target encoder, a moving average of this one.\n" if target else ""),
        "## Data",
        _table(_data(corpus)),
        "## Training",
        _table(_training(run, config, step)),
        "## Losses",
        _table(losses or [("none yet", "")])
        + f"\n{earlier if losses and logged != step else ''}Held-out losses are measured on texts that were not "
        "trained on. A held-out MLM loss above the entropy of the corpus's tokens means that nothing was learned "
        "yet.\n",
        "## Limits",
        f"The encoder knows the languages and domains of its corpus {'and its origin ' if origin else ''}only, and was "
        "not tuned for a task here. No quality is "
        "claimed here; `geomprobe analyze` measures it, and `geomprobe card` adds the numbers to this page.",
    ]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(part.rstrip() for part in body) + "\n"))


def _data(corpus: Mapping[str, Any]) -> list[tuple[str, str]]:
    documents, tokens = corpus.get("documents", {}), corpus.get("tokens", {})
    return [
        ("corpus", markdown(_without_path(corpus.get("source")))),
        ("documents", f"{count(documents.get('train'))} trained on, {count(documents.get('heldout'))} held out"),
        ("tokens", f"{count(tokens.get('train'))} trained on, {count(tokens.get('heldout'))} held out"),
        ("tokenizer", f"{markdown(_without_path(corpus.get('tokenizer')))}, {count(corpus.get('vocab_size'))} entries"),
        ("content hash", markdown(corpus.get("fingerprint"))),
    ]


def _training(run: Mapping[str, Any], config: Mapping[str, Any], step: int) -> list[tuple[str, str]]:
    objective, done = config["objective"], step / run["steps"]
    read = [key for key in OF_JEPA if key not in unread_settings(config)]
    return [
        ("objective", f"{objective}: {markdown(objective_class(objective).about)}"),
        *([("JEPA", markdown(", ".join(f"{key}={config[key]}" for key in read)))] if read else []),
        ("budget", f"{count(step)} steps, {amount(done * run['tokens'])} tokens, {power(done * run['flops'])} FLOPs"),
        ("batch", f"{count(config['batch_rows'])} rows of {count(config['row_length'])} tokens"),
        ("optimizer", f"{OPTIMIZERS[config['optimizer']]}, learning rate {config['lr']:g} ({config['schedule']}), "
                      f"weight decay {config['weight_decay']:g}"),
        ("precision", markdown(config["precision"])),
        ("seed", str(run["seed"])),
        ("hardware", markdown(run["hardware"].get("name"))),
    ]  # fmt: skip


def _table(rows: list[tuple[str, str]]) -> str:
    return markdown_table(("", ""), rows)


def _without_path(source: Any) -> str:
    """A source without the folders of this machine: a path's last part, all else as it is."""
    text = str(source)
    return text if HUB_SOURCE.match(text) else re.split(r"[/\\]", text.rstrip("/\\"))[-1]
