"""The view model's types: the whole report, its header, and the answer that is its first screen."""

from __future__ import annotations

from typing import Literal, TypedDict

from geomprobe.reports.document.blocks import Figure, Section, Table
from geomprobe.results.summary.findings.rules import Finding

VIEW_VERSION = 2


class ModelHeading(TypedDict):
    """A model, or a group of seeds, as the header names it."""

    letter: str
    name: str
    series: int
    lines: list[str]


class Stated(TypedDict):
    """What one headline metric says, of a typical cell and over all cells.

    ``figure`` is the value, or the difference B − A, with its interval; ``where`` counts the cells, ``place`` names the
    typical one, ``values`` are its A → B. ``margin``, ``detectable`` and ``seeds`` are what a difference is held
    against: the largest that counts as none, the smallest that would have been found, and what another seed alone
    moves. Each is empty where unknown.
    """

    title: str
    term: str
    judgement: str
    glyph: str
    word: str
    says: str
    figure: str
    where: str
    place: str
    values: str
    margin: str
    detectable: str
    needed: str
    seeds: str
    note: str


class Told(TypedDict):
    """One list of the answer: what differs, is equal or cannot be told; values of a model; an order; a series."""

    name: Literal["differs", "equal", "cannot_tell", "values", "rankings", "courses"]
    heading: str
    items: list[Stated]


class Answer(TypedDict):
    """The first screen: one sentence, one picture, the lists, what to beware of, what it covers."""

    code: Literal["difference", "no difference", "no verdict", "description", "ranking", "series"]
    sentence: str
    picture: Figure | None
    lists: list[Told]
    table: Table | None
    beware: list[Finding]
    scope: str
    limits: str


class Document(TypedDict):
    """The whole report; ``findings`` are shown where a section has the block of that type."""

    view_version: int
    kind: str
    title: str
    subtitle: str
    created: str
    sides: list[ModelHeading]
    answer: Answer
    findings: list[Finding]
    selectors: dict[str, list[str]]
    sections: list[Section]
