"""The files around the code: workflows run what exists, the site has every page, the citation is of this version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import geomprobe

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def steps(name: str) -> list[dict]:
    jobs = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_tests_run_on_three_systems():
    matrix = yaml.safe_load(WORKFLOWS["test"].read_text(encoding="utf-8"))["jobs"]["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"][0] == "3.11"  # which pyproject.toml asks for at least


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_run_what_exists(name):
    commands = "\n".join(step.get("run", "") for step in steps(name))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"make ([\w-]+)", commands))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r'-e "\.\[(\w+)\]"', commands)) <= set(extras)


def test_a_release_needs_no_secret():
    workflow = yaml.safe_load(WORKFLOWS["release"].read_text(encoding="utf-8"))
    publish = workflow["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in WORKFLOWS["release"].read_text(encoding="utf-8")
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")


def test_the_site_has_every_page():
    named = set(re.findall(r"[\w./-]+\.(?:md|ipynb)\b", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in (*docs.rglob("*.md"), *docs.rglob("*.ipynb"))}
    assert pages <= named
    assert named - pages == {"changelog.md", "contributing.md"}  # which docs/site_hooks.py adds


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == geomprobe.__version__
    assert {"cff-version", "message", "title", "authors", "abstract", "license", "type"} <= set(cited)
