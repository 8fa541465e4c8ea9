"""What only POSIX systems have is used where it is there, and missed by nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geomprobe

ROOT = Path(geomprobe.__file__).parents[1]
PACKAGES = ("geomprobe", "pretrain", "reports")
POSIX = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")

# Only our own imports fail: other people's packages look at the system themselves.
WITHOUT_POSIX = f"""
import builtins, os, signal

python_import = builtins.__import__
def without_posix(name, globals=None, *args, **kwargs):
    if name in {POSIX!r} and (globals or {{}}).get("__name__", "").split(".")[0] in {PACKAGES!r}:
        raise ModuleNotFoundError(name)
    return python_import(name, globals, *args, **kwargs)
builtins.__import__ = without_posix
del signal.SIGALRM, signal.setitimer, os.posix_fallocate

import geomprobe.pretrain, geomprobe.reports.write
import geomprobe.cli.main
from geomprobe.cli import process
from geomprobe.common import write_text
from geomprobe.pretrain.device import peak_memory

process.prepare()
process.raise_on_signals()
write_text("file.txt", "written")
print(open("file.txt").read(), peak_memory())
process.leave_on_signals()
"""


def test_commands_are_imported_and_files_written_without_posix_modules(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("written None", "")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_needs_a_posix_module_to_be_imported(package):
    """An import inside a function or a `try` is the caller's own business; one at the top would end every command."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)]
            assert not set(names) & set(POSIX), f"{path}:{node.lineno}"
