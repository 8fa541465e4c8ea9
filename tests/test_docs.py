"""The documents: every link leads somewhere, the index names every page, every example in a docstring is true."""

import re
from pathlib import Path

import pytest

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


def test_paths_of_pages_in_the_code_exist():
    """Help texts, errors and docstrings name pages, such as docs/reference/audit.md."""
    sources = [ROOT / "Makefile", *(ROOT / "geomprobe").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    sources += [path for name in ("pretrain", "reports") for path in (ROOT / name).rglob("*") if path.is_file()]
    dead = set()
    for source in sources:
        if source.suffix in (".py", ".toml", "") and source.is_file():
            named = re.findall(r"\bdocs/[\w/.-]+\.(?:md|toml)\b", source.read_text(encoding="utf-8"))
            dead |= {(source.name, name) for name in named if not (ROOT / name).exists()}
    assert not dead
