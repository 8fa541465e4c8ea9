"""`geomprobe corpus`: prepare text for pretraining, and look at what was prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.errors import guard
from geomprobe.cli.output import Output

app = typer.Typer(no_args_is_help=True, help="Prepare text for pretraining.")


@app.command()
@guard
def build(
    source: Annotated[
        str, typer.Argument(help="docstrings, wikipedia, a parquet, jsonl or txt file, a folder of them, or a hub id.")
    ],
    tokenizer: Annotated[
        str,
        typer.Option(
            help="A folder, a hub id, or train:N. Default: train:8192 for docstrings, else bert-base-uncased."
        ),
    ] = "",
    limit_tokens: Annotated[int, typer.Option(help="Stop after so many training tokens; 0 takes all.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tokenise a source once, into shards that training reads from disk."""
    from geomprobe.cli.siblings import sibling

    build_corpus = sibling("pretrain.corpus").build_corpus
    output = Output(json)
    with output.progress("corpus") as bar:
        corpus = build_corpus(
            source, tokenizer, limit_tokens=limit_tokens, progress=lambda stage, done, total: bar(done, total)
        )
    _show(output, corpus)


@app.command()
@guard
def info(
    folder: Annotated[Path, typer.Argument(help="A corpus folder, as printed by `corpus build`.")],
    verify: Annotated[bool, typer.Option(help="Also compare every file with its recorded hash.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what a prepared corpus holds."""
    from geomprobe.cli.siblings import sibling
    from geomprobe.common import InputError

    corpora = sibling("pretrain.corpus")
    corpus = corpora.open_corpus(folder)
    if verify and (bad := corpora.verify_corpus(corpus)):
        raise InputError(f"{folder} is damaged: {', '.join(bad)}.", f"Remove {folder} and build it again.")
    _show(Output(json), corpus)


def _show(output: Output, corpus) -> None:
    document = {"path": str(corpus.path)} | {key: value for key, value in corpus.info.items() if key != "chunks"}
    facts = {
        "path": corpus.path,
        "source": corpus.info["source"],
        "tokenizer": f"{corpus.info['tokenizer']} ({corpus.vocab_size:,} entries)",
        "documents": "{train:,} to train on, {heldout:,} held out".format(**corpus.info["documents"]),
        "duplicates": f"{corpus.info['duplicates']:,} left out",
        "tokens": "{train:,} to train on, {heldout:,} held out".format(**corpus.info["tokens"]),
        "unigram entropy": f"{corpus.info['unigram_entropy']:.3f} nat",
        "fingerprint": corpus.info["fingerprint"][:16],
    }
    output.result(document, "\n".join(f"{name:16} {value}" for name, value in facts.items()))
