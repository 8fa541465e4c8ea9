"""Which documents are held out: a validation split where there is one, else a small part by the hash of the text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from geomprobe.common import InputError
from geomprobe.pretrain.corpus.shards import document_hash
from geomprobe.pretrain.corpus.sources import Source

Rule = Callable[[str], bool]  # of a document's hash: is it held out?

ONE_IN = 100  # one document in a hundred, by the hash of its text
PEEK = 2000  # a corpus with fewer documents holds out one in twenty, for one in a hundred could be none
MOST, LEAST = 0.05, 0.01  # of the characters, where documents differ so much in length that one in twenty is no guide
STANDS = 0.10  # one document in twenty may be as much of the characters
REFUSED = 0.20
WAYS = (
    "Give more documents, a folder with a validation file next to train, or for .txt files another unit: "
    "--documents lines or paragraphs."
)


def plan_held_out(source: Source) -> tuple[Source, Rule]:
    """Rule that says of a document's hash whether it is held out, and the source to read with it.

    The source differs from the given one only where a long document had to be cut in two: then it yields the two
    pieces, and a note says so.

    Raises
    ------
    InputError
        No text, or so few documents that a large part of the text would be held out.
    """
    if source.validation is not None:
        held_out = {document_hash(text) for text in source.validation() if text and text.strip()}
        if not held_out:
            raise InputError(f"The validation files of {source.name} hold no text.", "Remove them, or fill them.")
        return source, held_out.__contains__
    few = list(itertools.islice((text for text in source.read(0) if text and text.strip()), PEEK))
    if not few:
        raise InputError(f"{source.name} holds no text.", "A corpus needs at least two different documents.")
    if len(few) == PEEK:
        return source, lambda digest: int(digest[:8], 16) % ONE_IN == 0
    return _plan_few(source, {document_hash(text): text.strip() for text in few})


def _plan_few(source: Source, texts: dict[str, str]) -> tuple[Source, Rule]:
    total = sum(map(len, texts.values()))
    hashes = sorted(texts)
    usual = hashes[: max(1, len(hashes) // 20)]
    if len(hashes) > 1 and sum(len(texts[digest]) for digest in usual) <= STANDS * total:
        limit = usual[-1]
        return source, lambda digest: digest <= limit
    chosen: set[str] = set()
    size = 0
    for digest in hashes:
        if size + len(texts[digest]) <= MOST * total:
            chosen.add(digest)
            size += len(texts[digest])
    if size >= LEAST * total:
        return source, chosen.__contains__
    if cut := _cut(max(texts.values(), key=len), total):
        return _with_pieces(source, *cut, total)
    if len(hashes) < 2:
        raise InputError(f"{source.name} holds one document only.", f"A part must be held out. {WAYS}")
    if not chosen:
        shortest = min(hashes, key=lambda digest: (len(texts[digest]), digest))
        chosen, size = {shortest}, len(texts[shortest])
    if size > REFUSED * total:
        few = f"{source.name} holds {len(hashes)} documents only"
        raise InputError(f"{few}: to hold out the shortest would take {size / total:.0%} of the text.", WAYS)
    return source, chosen.__contains__


def _cut(text: str, total: int) -> tuple[str, str] | None:
    """A document in two pieces, the second 1 to 5 % of all characters, cut at a blank line or a line's end."""
    first, last = len(text) - int(MOST * total), len(text) - int(LEAST * total)
    for boundary in ("\n\n", "\n"):
        place = text.find(boundary, max(0, first), last)
        if place > 0:
            return text[:place].strip(), text[place:].strip()
    return None


def _with_pieces(source: Source, head: str, tail: str, total: int) -> tuple[Source, Rule]:
    """A source that yields a document as two, the second of which is held out."""

    def pieces() -> Iterator[str | None]:
        for text in source.read(0):
            stripped = text.strip() if text else ""
            if len(stripped) > len(tail) and stripped.startswith(head) and stripped[len(head) :].strip() == tail:
                yield head
                yield tail
            else:
                yield text

    note = (
        f"few long documents: the last {len(tail):,} characters of the longest ({len(tail) / total:.1%} of the text) "
        "are held out, cut off at the end of a line"
    )
    cut = replace(source, read=lambda start: itertools.islice(pieces(), start, None), notes=[*source.notes, note])
    return cut, {document_hash(tail)}.__contains__
