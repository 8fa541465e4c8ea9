"""`geomprobe pretrain`: text goes in, a checkpoint folder comes out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from geomprobe.cli.corpus import DOCUMENTS_HELP, TEXT_HELP, refuse_empty
from geomprobe.cli.output import Output, Progress


def pretrain(
    objective: Annotated[str | None, typer.Option(help="mlm, jepa or hybrid.")] = None,
    preset: Annotated[str, typer.Option(help="demo, small, paper, paper-faithful or base, or a TOML file.")] = "small",
    corpus: Annotated[
        str | None, typer.Option(help="docstrings, wikipedia, a file, a folder, a hub id, or a prepared corpus.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A folder, a hub id, or train:N: train one of N entries.")
    ] = None,
    documents: Annotated[str | None, typer.Option(help=f"{DOCUMENTS_HELP} [default: auto]")] = None,
    text: Annotated[str | None, typer.Option(help=f"{TEXT_HELP} [default: text]")] = None,
    out: Annotated[str | None, typer.Option(help="Checkpoint folder. [default: runs/pretrain/<objective>]")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Length of training: 50M-tokens, 2000-steps, 30-minutes or 1e17-flops.")
    ] = None,
    match: Annotated[str | None, typer.Option(metavar="RUN", help="Train for as long as this run.")] = None,
    by: Annotated[str | None, typer.Option(help="What to match: flops, tokens or steps. [default: flops]")] = None,
    save_every: Annotated[
        str | None, typer.Option(help="Save a state every N steps, or every N minutes (10m).")
    ] = None,
    monitor_every: Annotated[int | None, typer.Option(help="Log the monitors every N steps.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest good state in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data order and masks.", min=0)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting of the preset; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a text encoder.

    The objective is masked language modelling (mlm), joint-embedding prediction (jepa), or both (hybrid).
    """
    from geomprobe.common import UsageError, read_json
    from geomprobe.pretrain.config import load_config
    from geomprobe.pretrain.loop import train

    output = Output(json)
    flags = {
        "objective": objective,
        "corpus": corpus,
        "tokenizer": tokenizer,
        "documents": documents,
        "text": text,
        "out": out,
        "budget": budget,
        "match": match,
        "match_by": by,
        "save_every": save_every,
        "monitor_every": monitor_every,
        "seed": seed,
        "device": device,
    }
    refuse_empty(**{"by" if name == "match_by" else name: value for name, value in flags.items()})
    if budget and match:
        raise UsageError("--budget and --match both say how long to train.", "Leave one out.")
    config = load_config(preset, flags, set_ or [])
    if by and not config.match:
        raise UsageError("--by says what to match, but no run to match is given.", "Give --match RUN, or leave it out.")
    with output.progress(f"pretrain {config.objective}") as bar:
        folder = train(config, resume=resume, progress=_Reporter(output, bar), on_monitor=_geometry)
    run = read_json(folder / "run.json")
    output.result({"checkpoint": str(folder), **run["final"]}, _summary(str(folder), run["final"]))


def _geometry(record: dict[str, Any]) -> dict[str, float]:
    """Geometry of the mean-pooled held-out rows, for the training log."""
    import torch

    from geomprobe.api import measure

    with torch.no_grad():
        parts = [record["model"](ids).last_hidden_state.float().mean(1) for ids in record["ids"].split(32)]
    names = ["effective_rank", "uniformity", "uniformity_jensen", "mean_cosine"]
    rows = measure(torch.cat(parts).cpu(), metrics=names, views=["raw", "centred"], intervals=False)
    rows = rows[rows["status"] == "ok"]
    labels = rows["metric"] + "_" + rows["view"]
    return dict(zip(labels, rows["value"].astype(float), strict=True))


class _Reporter:
    """Shows the trainer's records as a bar and occasional lines."""

    def __init__(self, output: Output, bar: Progress):
        self.output, self.bar = output, bar
        self.stage = ""

    def __call__(self, record: dict[str, Any]) -> None:
        if "warning" in record:
            self.output.warning(record["warning"])
        elif "note" in record:
            self.output.note(record["note"])
        elif "stage" in record:
            if record["stage"] != self.stage:
                self.stage = record["stage"]
                self.output.note(f"{self.stage} …")
            self.bar(record["done"], record["total"])
        else:
            self.bar(record["step"], record["steps"])
            if any(name.startswith("held_out_") for name in record):
                self.output.note(
                    f"{_losses(record)}  {record['tokens_per_s']:,.0f} tokens/s  {_duration(record['eta_s'])} left"
                )


def _losses(record: dict[str, Any]) -> str:
    held_out = {name: name.removeprefix("held_out_").upper() for name in record if name.startswith("held_out_")}
    parts = [f"held-out {loss} loss {record[name]:.3f}" for name, loss in held_out.items()]
    parts += [f"λ {record['lambda']:.3f}"] if "lambda" in record else []
    return f"step {record['step']}: " + ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _summary(folder: str, final: dict[str, Any]) -> str:
    text = f"{folder}\n{_losses(final)}"
    if "held_out_mlm" in final and "unigram_entropy" in final:
        gain = final["unigram_entropy"] - final["held_out_mlm"]
        learned = f"{gain:.3f} nat below" if gain > 0 else f"nothing learned yet: {-gain:.3f} nat above"
        text += f"\n{learned} the corpus's unigram entropy ({final['unigram_entropy']:.3f} nat)"
    return text
