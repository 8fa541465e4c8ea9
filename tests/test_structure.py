"""The structure of the code, read from its imports: one direction, no circle (docs/architecture.md)."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("common",),
    ("vectors",),
    ("distributed", "results"),
    ("encoders", "tasks"),
    ("embedding", "metrics"),
    ("inference",),
    ("probes",),
    ("comparison",),
    ("analysis",),
    ("predict_reconstruct",),
    ("api",),
    ("integrations",),
    ("cli",),
)
"""Rooms of geomprobe from the ground up; a room imports rooms of lower floors only."""
OTHER_PACKAGES = {"pretrain": {"common"}, "reports": {"common", "results"}}
"""What the two other packages may import of geomprobe."""
REPORT_FLOORS = (("document",), ("data", "render"), ("sections",), ("pages", "plot"), ("write",))
"""Rooms of reports from the ground up."""


def modules() -> dict[str, Path]:
    """Every module by its dotted name; the folders pretrain and reports are subpackages of geomprobe."""
    found = {}
    for folder, prefix in (("geomprobe", ()), ("pretrain", ("geomprobe",)), ("reports", ("geomprobe",))):
        for file in (ROOT / folder).rglob("*.py"):
            if not {"pretrain", "reports"} & set(file.relative_to(ROOT / folder).parts[:-1]):
                parts = (*prefix, *file.relative_to(ROOT).with_suffix("").parts)
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """Modules that a file imports, inside functions and for type checkers too.

    `from package import submodule` imports both: inside that package it makes a circle.
    """
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(known)


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(file, known) - {name, "geomprobe"} for name, file in known.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_no_circle(edges):
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_import_goes_down(edges):
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    wrong = []
    for module, imported in edges.items():
        if module in ("geomprobe", "geomprobe.__main__"):
            continue
        for other in imported:
            here, there = room(module), room(other)
            if here == there or here == "cli":
                continue
            allowed = OTHER_PACKAGES[here] if here in OTHER_PACKAGES else {n for n in floor if floor[n] < floor[here]}
            if there not in allowed:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_every_room_has_a_floor(edges):
    rooms = {room(module) for module in edges if module not in ("geomprobe", "geomprobe.__main__")}
    assert rooms == {name for names in FLOORS for name in names} | set(OTHER_PACKAGES)
    assert len(rooms - set(OTHER_PACKAGES)) <= 16


def test_every_import_inside_reports_goes_down(edges):
    floor = {name: i for i, names in enumerate(REPORT_FLOORS) for name in names}
    inside = {module: others for module, others in edges.items() if module.startswith("geomprobe.reports.")}
    assert {module.split(".")[2] for module in inside} == set(floor)
    wrong = [
        f"{module} imports {other}"
        for module, others in inside.items()
        for other in others & set(inside)
        if (here := module.split(".")[2]) != (there := other.split(".")[2]) and floor[there] >= floor[here]
    ]
    assert wrong == []
