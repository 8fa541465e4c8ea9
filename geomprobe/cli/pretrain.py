"""`geomprobe pretrain`: text goes in, a checkpoint folder comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.corpus import DOCUMENTS_HELP, TEXT_HELP
from geomprobe.cli.options import Json, expanded, option
from geomprobe.cli.output import Output, split_list
from geomprobe.cli.progress import Progress
from geomprobe.cli.values import LIST, TEXT
from geomprobe.common import UsageError, read_json, torchrun_place
from geomprobe.common.training_log import label


@dataclass(frozen=True)
class Settings:
    """Settings of a training that have an option of their own; None where the preset decides."""

    objective: str | None = option("--objective", "mlm, jepa or hybrid.", **TEXT)
    start_from: str | None = option(
        "--from",
        "Continue from a masked language model: a folder or hub id (name@revision pins), with its own tokenizer, "
        "--objective mlm, learning rate 5e-5 unless --set lr; jepa and hybrid from our own checkpoints only.",
        **TEXT | {"metavar": "MODEL"},
    )
    corpus: str | None = option(
        "--corpus", "docstrings, wikipedia, a file, a folder, a hub id, or a prepared corpus.", **TEXT
    )
    tokenizer: str | None = option("--tokenizer", "A folder, a hub id, or train:N: train one of N entries.", **TEXT)
    documents: str | None = option("--documents", f"{DOCUMENTS_HELP} [default: auto]", **TEXT)
    text: str | None = option("--text", f"{TEXT_HELP} [default: text]", **TEXT)
    out: str | None = option("--out", "Checkpoint folder. [default: runs/pretrain/<objective>]", **TEXT)
    budget: str | None = option(
        "--budget", "Length of training: 50M-tokens, 2000-steps, 30-minutes or 1e17-flops.", **TEXT
    )
    match: str | None = option("--match", "Train for as long as this run.", **TEXT | {"metavar": "RUN"})
    match_by: str | None = option("--by", "What to match: flops, tokens or steps. [default: flops]", **TEXT)
    save_every: str | None = option("--save-every", "Save a state every N steps, or every N minutes (10m).", **TEXT)
    monitor_every: int | None = option("--monitor-every", "Log the monitors every N steps.", min=1)
    seed: int | None = option("--seed", "Seed of weights, data order and masks.", min=0)
    device: str | None = option("--device", "auto, cpu, cuda or mps.", **TEXT)


@expanded()
def pretrain(
    preset: Annotated[
        str, typer.Option(**TEXT, help="demo, small, paper, base, blocks, paper-faithful, or a TOML file.")
    ] = "small",
    *,
    options: Settings,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting of the preset; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest good state in --out.")] = False,
    report_to: Annotated[
        list[str] | None,
        typer.Option("--report-to", help="Log to tensorboard, wandb, trackio or mlflow as well.", **LIST),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a text encoder.

    The objective is masked language modelling (mlm), joint-embedding prediction (jepa), or both (hybrid).
    """
    output = Output(as_json)
    if options.budget and options.match:
        raise UsageError("--budget and --match both say how long to train.", "Leave one out.")
    folder, final = train_encoder(
        output, preset, asdict(options), set_ or [], resume=resume, report_to=split_list(report_to)
    )
    if torchrun_place()[0] == 0:  # the others did the same
        output.result({"checkpoint": str(folder), **final}, summary(folder, final))


def train_encoder(
    output: Output,
    preset: str,
    settings: Mapping[str, Any],
    replaced: Sequence[str] = (),
    *,
    resume: bool,
    report_to: Sequence[str] = (),
) -> tuple[Path, dict[str, Any]]:
    """Checkpoint folder of a trained encoder, and the last record of its log."""
    from geomprobe.integrations.trackers import Trackers
    from geomprobe.pretrain.config import load_config, unread_settings
    from geomprobe.pretrain.loop import train

    config = load_config(preset, settings, replaced)
    if torchrun_place()[0] == 0:
        unread = unread_settings(asdict(config))
        for key in dict.fromkeys(item.partition("=")[0].strip() for item in replaced):
            if key in unread:
                output.warning(f"{key} has no effect with {unread[key]}")
    if settings.get("match_by") and not config.match:
        raise UsageError("--by says what to match, but no run to match is given.", "Give --match RUN, or leave it out.")
    trackers = Trackers(report_to, config.folder, asdict(config), resume, output.warning)
    with output.progress(f"preparing {config.objective}") as bar, trackers:
        shown = Reporter(output, bar)

        def progress(record: dict[str, Any]) -> None:
            shown(record)
            trackers(record)

        folder = train(config, resume=resume, progress=progress, on_monitor=_geometry)
    return folder, read_json(folder / "run.json")["final"]


def prepare_corpus(output: Output, preset: str, settings: Mapping[str, Any]) -> None:
    """Build the corpus that trainings with these settings read."""
    from geomprobe.pretrain import prepare
    from geomprobe.pretrain.config import load_config

    with output.progress("preparing the corpus") as bar:
        prepare.prepare_corpus(load_config(preset, settings), Reporter(output, bar))


def _geometry(record: dict[str, Any]) -> dict[str, float]:
    """Geometry of the mean-pooled held-out rows, for the training log; nothing of a single row, which has none."""
    if len(record["ids"]) < 2:
        return {}
    import torch

    from geomprobe.api import measure

    with torch.no_grad():
        parts = [record["model"](ids).last_hidden_state.float().mean(1) for ids in record["ids"].split(32)]
    names = ["effective_rank", "uniformity", "uniformity_jensen", "mean_cosine"]
    rows = measure(torch.cat(parts).cpu(), metrics=names, views=["raw", "centred"], intervals=False)
    rows = rows[rows["status"] == "ok"]
    labels = rows["metric"] + "_" + rows["view"]
    return dict(zip(labels, rows["value"].astype(float), strict=True))


class Reporter:
    """Shows the trainer's records: how far each stage is, and now and then the losses on held-out rows."""

    def __init__(self, output: Output, progress: Progress):
        self.output, self.progress = output, progress

    def __call__(self, record: dict[str, Any]) -> None:
        if "warning" in record:
            self.output.warning(record["warning"])
        elif "note" in record:
            self.output.note(record["note"])
        elif "stage" in record:
            self.progress(record["done"], record["total"], record["stage"])
        elif any(name.startswith("held_out_") for name in record):
            self.output.note(f"{_losses(record)}  {record['tokens_per_s']:,.0f} tokens/s")


def _losses(record: dict[str, Any]) -> str:
    parts = [f"{label(name)} {record[name]:.3f}" for name in record if name.startswith("held_out_")]
    parts += [f"λ {record['lambda']:.3f}"] if "lambda" in record else []
    return f"step {record['step']}: " + ", ".join(parts)


def summary(folder: Path, final: dict[str, Any]) -> str:
    """What a training came to, in two or three lines."""
    text = f"{folder}\n{_losses(final)}"
    if "held_out_mlm" in final and "unigram_entropy" in final:
        gain = final["unigram_entropy"] - final["held_out_mlm"]
        learned = f"{gain:.3f} nat below" if gain > 0 else f"nothing learned yet: {-gain:.3f} nat above"
        text += f"\n{learned} the corpus's unigram entropy ({final['unigram_entropy']:.3f} nat)"
    return text
