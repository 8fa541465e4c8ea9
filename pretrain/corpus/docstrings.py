"""English prose from the docstrings of the installed packages: a corpus that every machine has, with no download.

Sources are parsed, never imported. Code, signatures, parameter lists and tables are left out.
"""

from __future__ import annotations

import ast
import gc
import inspect
import multiprocessing
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

_SKIPPED_FOLDERS = {"tests", "test", "testing", "__pycache__", "_vendor", "vendor", "node_modules"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MARKUP = (
    (re.compile(r":[\w:+-]+:`~?!?([^`<]+?)\s*(?:<[^`>]*>)?`"), r"\1"),  # :class:`~pkg.Name`
    (re.compile(r"`+([^`]+?)`+_*"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"\s*\[[\w.*#-]+\]_"), ""),  # footnotes
    (re.compile(r"\s+"), " "),
)
_CODE = re.compile(
    r">>>|\.\. |::|https?:|[{}<>=|\\#@]|\w\(\w*\)\.|__|-->|---|===|~~~|^[-*+\d]+[.)]? |[$^]|\bcopyright\b", re.I
)
_WORD = re.compile(r"[A-Za-z]+(?:['’-][a-z]+)*")


def documents(progress: Callable[[int, int], None] | None = None) -> Generator[str, None, None]:
    """Yield the prose of one docstring at a time: package after package, the one with most source first, by file name.

    So the first part, where a limit of tokens takes no more, is in few manners of writing.
    """
    from loky import cpu_count

    files = _sources(Path(sysconfig.get_paths()["purelib"]))
    seen: set[str] = set()  # by paragraph: packages repeat the same sentences in many docstrings
    # Under `spawn` the children would import the caller's main module, which an unguarded script breaks.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    workers = min(8, cpu_count())
    # Syntax trees have no cycles to collect, and a collection would go through all that the parent had loaded.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), initializer=gc.disable)
    try:
        for done, found in enumerate(pool.map(_prose_of_file, files, chunksize=64), start=1):
            if progress:
                progress(done, len(files))
            for paragraphs in found:
                if fresh := [text for text in dict.fromkeys(paragraphs) if text not in seen]:
                    seen.update(fresh)
                    yield "\n".join(fresh)
    finally:  # also where the caller has enough
        pool.shutdown(cancel_futures=True)


def _sources(root: Path) -> list[str]:
    """Source files under a folder of packages, in the order in which they are read."""
    files, sizes = [], Counter[str]()
    for folder, folders, names in os.walk(root):
        folders[:] = (name for name in folders if name not in _SKIPPED_FOLDERS and not name.endswith("-info"))
        for name in names:
            if name.endswith(".py") and not name.startswith("test_"):
                path = os.path.join(folder, name)
                package = os.path.relpath(path, root).split(os.sep)[0]
                files.append((package, path))
                sizes[package] += os.path.getsize(path)
    return [path for package, path in sorted(files, key=lambda file: (-sizes[file[0]], *file))]


def _prose_of_file(path: str) -> list[list[str]]:
    """Prose paragraphs of every docstring of a source file; nothing for a file that does not parse."""
    try:
        source = Path(path).read_text(encoding="utf-8")
        if '"""' not in source and "'''" not in source:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
            tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    docstrings = (ast.get_docstring(node, clean=False) for node in _definitions(tree))
    return [found for docstring in docstrings if docstring and (found := prose(docstring))]


def _definitions(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the module and the classes and functions in it, without walking every expression."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, _DOCUMENTED):
            yield node
        stack += [
            child for child in reversed(getattr(node, "body", [])) if isinstance(child, (*_DOCUMENTED, ast.If, ast.Try))
        ]


def prose(docstring: str) -> list[str]:
    """Paragraphs of a docstring that are English sentences, without markup."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        text = block.strip()
        for pattern, replacement in _MARKUP:
            text = pattern.sub(replacement, text)
        words = _WORD.findall(text)
        sentence = len(words) >= 8 and text[0].isupper() and text[-1] in ".!?" and " : " not in text
        # the rest of an English sentence is spaces and punctuation
        if sentence and sum(map(len, words)) >= 0.74 * len(text) and not _CODE.search(text):
            paragraphs.append(text.strip())
    return paragraphs
