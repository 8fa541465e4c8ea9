"""The documents: every link leads somewhere, the index names every page, every example in a docstring is true."""

import doctest
import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import geomprobe as gp
from tests.geomprobe.conftest import tiny_model, word_tokenizer
from tests.synthetic import make_results

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
GROUPS = ("tutorial", "how-to", "reference", "explanation")

CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """Targets of the links of a page, code left out."""
    return LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", LINK.sub("]", heading).lower()).replace(" ", "-")
        repeats = 0
        while (name if not repeats else f"{name}-{repeats}") in found:
            repeats += 1
        found.add(name if not repeats else f"{name}-{repeats}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_the_index_names_every_page():
    named = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    pages = {page.resolve() for group in GROUPS for page in (DOCS / group).glob("*.md")}
    assert len(pages) > 15
    assert pages <= named


def test_documents_that_are_named_exist():
    """Help texts, errors, docstrings and pages name files, such as docs/reference/audit.md."""
    sources = [ROOT / "Makefile", *PAGES, *(ROOT / "geomprobe").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    sources += [path for name in ("pretrain", "reports") for path in (ROOT / name).rglob("*") if path.is_file()]
    dead = set()
    for source in sources:
        if source.suffix in (".py", ".toml", ".md", "") and source.is_file():
            named = re.findall(r"\bdocs/[\w/.-]+\.(?:md|toml)\b", source.read_text(encoding="utf-8"))
            dead |= {(source.name, name) for name in named if not (ROOT / name).exists()}
    assert not dead


def modules_with_examples() -> list[str]:
    """Names of the modules whose docstrings hold examples."""
    homes = {ROOT / "geomprobe": "geomprobe", **{ROOT / name: f"geomprobe.{name}" for name in ("pretrain", "reports")}}
    return sorted(
        ".".join([name, *path.relative_to(home).with_suffix("").parts]).removesuffix(".__init__")
        for home, name in homes.items()
        for path in home.rglob("*.py")
        if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Iterator[Path]:
    """The folder of the examples: my-encoder, my-training, reviews.csv, results of one model, a copy, and of two."""
    from geomprobe.tasks import load_file

    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        tiny_model("bert").save_pretrained(folder / "my-encoder")
        word_tokenizer().save_pretrained(folder / "my-encoder")
        for step in (10, 20):
            shutil.copytree(folder / "my-encoder", folder / "my-training" / f"checkpoint-{step}")
        subjects, verbs = ("the cat", "a dog", "the red bird", "a small tree"), ("sat on", "saw", "who saw")
        objects = ("the mat", "a cat", "the big dog", "a bird", "the tree")
        rows = [f"{a} {b} {c},{'saw' in b:d}" for a in subjects for b in verbs for c in objects]
        (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
        mine = folder / "runs" / "analyze" / "mine"
        gp.analyze([folder / "my-encoder"], [load_file(folder / "reviews.csv")], out=mine)
        shutil.copytree(mine, mine.with_name("other"))
        compared = make_results(poolings=("mean", "max"), layers=(0, 2, 4), intervals=True)
        gp.write_results(folder / "runs" / "compare" / "mine", compared)
        yield folder


def test_every_public_name_has_an_example():
    assert all(">>> " in getattr(gp, name).__doc__ for name in gp.__all__ if name != "__version__")


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_are_true(name, workplace, monkeypatch):
    from geomprobe.metrics import REGISTRY

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(REGISTRY, "_registered", {})  # what an example registers, other tests do not see
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (ROOT / "geomprobe" / "py.typed").exists()
