"""`geomprobe corpus`: prepare text for pretraining, and look at what was prepared."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.errors import guard
from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import TEXT

app = typer.Typer(no_args_is_help=True, help="Prepare text for pretraining.")


DOCUMENTS_HELP = (
    "Document of a .txt file: lines, paragraphs (between blank lines) or files; auto decides by the content."
)
TEXT_HELP = "Column (parquet) or key (jsonl) with the texts."


@app.command()
@functools.partial(guard, group="corpus")
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="docstrings, wikipedia, a parquet, jsonl or txt file, a folder of these, or a hub id. In a folder "
            "with splits, train is trained on, validation is held out and test is left out."
        ),
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            **TEXT, help="A folder, a hub id, or train:N. [default: train:8192 for docstrings, else bert-base-uncased]"
        ),
    ] = None,
    documents: Annotated[str, typer.Option(**TEXT, help=DOCUMENTS_HELP)] = "auto",
    text: Annotated[str, typer.Option(**TEXT, help=TEXT_HELP)] = "text",
    limit_tokens: Annotated[int, typer.Option(help="Stop after this many training tokens; 0: no limit.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Tokenise a source into shards that training reads from disk."""
    from geomprobe.pretrain.corpus import build_corpus

    output = Output(as_json)
    with output.progress("preparing the corpus") as bar:
        corpus = build_corpus(
            source,
            tokenizer or "",
            documents=documents,
            text=text,
            limit_tokens=limit_tokens,
            progress=lambda stage, done, total: bar(done, total, stage),
            tell=output.note,
        )
    _show(output, corpus)


@app.command()
@functools.partial(guard, group="corpus")
def info(
    folder: Annotated[Path, typer.Argument(help="Corpus folder, as printed by `corpus build`.")],
    verify: Annotated[bool, typer.Option(help="Compare every file with its recorded hash.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a prepared corpus holds."""
    from geomprobe.pretrain.corpus import open_corpus, refuse_damaged

    corpus = open_corpus(folder)
    if verify:
        refuse_damaged(corpus)
    output = Output(as_json)
    for note in corpus.info.get("notes", []):
        output.note(note)
    _show(output, corpus)


def _show(output: Output, corpus) -> None:
    info = corpus.info
    document = {"path": str(corpus.path)} | {key: value for key, value in info.items() if key != "chunks"}
    counts, tokens = "{train:,} to train on, {heldout:,} held out", info["tokens"]
    mean = tokens["train"] / max(1, info["documents"]["train"])
    facts = {
        "path": corpus.path,
        "source": info["source"],
        "tokenizer": f"{info['tokenizer']} ({corpus.vocab_size:,} entries)",
        "documents": counts.format(**info["documents"]),
        "a document": f"{info.get('document', 'a text')}, {mean:,.0f} tokens on average",
        "duplicates": f"{info['duplicates']:,} left out",
        "tokens": f"{counts.format(**tokens)} ({tokens['heldout'] / max(1, sum(tokens.values())):.1%})",
        "unigram entropy": f"{info['unigram_entropy']:.3f} nat",
        "fingerprint": info["fingerprint"][:16],
    }
    output.result(document, "\n".join(f"{name:16} {value}" for name, value in facts.items()))
