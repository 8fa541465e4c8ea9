"""What `make docs` does besides: two pages from the top of the repository, and links that leave docs/ as their text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ADDED = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
LINK = re.compile(r"^```.*?^```|`[^`\n]*`|(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)
"""A link, with label and target; or code, in which nothing is one."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for name, source in ADDED.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to the added pages there, and theirs into docs/; others that leave docs/ become their text."""
    home = ROOT / ADDED[page.file.src_uri] if page.file.src_uri in ADDED else ROOT / "docs" / page.file.src_uri
    added = {(ROOT / source).resolve(): name for name, source in ADDED.items()}

    def led(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        if target is None:
            return found[0]
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return found[0]
        place = (home.parent / path).resolve()
        docs = ROOT / "docs"
        inside = added.get(place) or (place.relative_to(docs).as_posix() if place.is_relative_to(docs) else "")
        if not inside:
            return label
        up = "../" * page.file.src_uri.count("/")
        return f"[{label}]({up}{inside}{hash_}{anchor})"

    return LINK.sub(led, markdown)
