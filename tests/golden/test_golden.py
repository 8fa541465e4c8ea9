"""Every number that the commands and the public functions give for tiny fixed inputs is the number that it was.

The net under changes that mean to change no number. Numbers and sentences are two tests, since sentences are rewritten
on purpose. Intended: `python tests/golden/make.py`, and read the differences in review.

With the versions and the processor that the goldens were made with, numbers are compared bit for bit; elsewhere,
columns and keys are, and the test is skipped with what differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cases import names
from compare import Change, changes, differing, read_tree
from run import run

GOLDENS = Path(__file__).with_name("goldens")
SHOWN = 25


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The folder of what the cases freeze now, and what differs from where the goldens were made."""
    folder = tmp_path_factory.mktemp("golden")
    run(folder)
    return folder, differing(GOLDENS, folder)


def of_case(fresh, name: str) -> tuple[list[Change], str]:
    folder, elsewhere = fresh
    how = f"columns and keys alone, since this differs: {elsewhere}" if elsewhere else "bit for bit"
    return changes(read_tree(GOLDENS / name), read_tree(folder / name), exact=not elsewhere), f"Compared {how}."


def check(found: list[Change], how: str) -> None:
    more = [f"… and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
    lines = [*map(str, found[:SHOWN]), *more, how, "Intended? python tests/golden/make.py makes the goldens anew."]
    assert not found, "\n".join(["changed:", *lines])


@pytest.mark.parametrize("name", names())
def test_numbers_and_keys(fresh, name):
    found, how = of_case(fresh, name)
    check([change for change in found if change.file != "sentences.txt"], how)
    if fresh[1]:
        pytest.skip(how)


@pytest.mark.parametrize("name", names())
def test_sentences(fresh, name):
    found, how = of_case(fresh, name)
    check([change for change in found if change.file == "sentences.txt"], how)
    if fresh[1]:
        pytest.skip(how)


def test_every_golden_has_its_case():
    assert {path.name for path in GOLDENS.iterdir() if path.is_dir()} == set(names()) - {"reread"}
