"""The view model's types: the whole report, its header, verdict, cards and findings."""

from __future__ import annotations

from typing import Literal, TypedDict

from geomprobe.reports.document.blocks import Section, Table
from geomprobe.results.summary.findings.rules import Finding

VIEW_VERSION = 1


class ModelHeading(TypedDict):
    """A model, or a group of seeds, as the header names it."""

    letter: str
    name: str
    series: int
    lines: list[str]


class Verdict(TypedDict):
    """The answer in one sentence, and what it covers."""

    code: Literal["difference", "no difference", "no verdict", "description", "ranking"]
    sentence: str
    scope: str
    limits: str


class Card(TypedDict):
    """One difference, or one number of a single model."""

    title: str
    term: str
    glyph: str
    judgement: str
    meaning: str
    main: str
    interval: str
    detail: str
    cells: str


class Document(TypedDict):
    """The whole report."""

    view_version: int
    kind: str
    title: str
    subtitle: str
    created: str
    sides: list[ModelHeading]
    verdict: Verdict
    claims: Table | None
    findings: list[Finding]
    shown_findings: int
    cards: list[Card]
    selectors: dict[str, list[str]]
    sections: list[Section]
