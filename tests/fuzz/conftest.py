"""What a command promises, whatever it is given: `obeys` runs one in this process and checks every promise."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

EXAMPLES = int(os.environ.get("GEOMPROBE_EXAMPLES", "0"))
"""Examples of each property; 0, the default run, leaves the small number that each test names."""
LONGEST = 4000
"""Characters of an error message with its notes."""


def examples(few: int) -> settings:
    """Hypothesis' settings for a property: `few` examples by default, GEOMPROBE_EXAMPLES in `make fuzz`."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=EXAMPLES or few, deadline=None, suppress_health_check=checks, database=None)


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of its bytes, the target of its link, or its kind."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            seen[str(path)] = f"-> {os.readlink(path)}"
        elif path.is_file():
            seen[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            seen[str(path)] = "folder" if path.is_dir() else "special"
    return seen


@pytest.fixture
def obeys(tmp_path, monkeypatch) -> Iterator[Callable[..., int]]:
    """A function that runs `geomprobe *args` in an empty home and asserts what holds for every command.

    The exit code is 0, 2, 3 or 4; no exception, traceback or "Internal error" comes out; the message is short; what
    lay in the current folder is unchanged, no temporary file is left; a refusal (2, 3) writes nothing at all and
    prints nothing on stdout.
    """
    from geomprobe.cli.main import app

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEOMPROBE_DATA", raising=False)
    counts: dict[int, int] = {}

    def run(*args: str, folder: Path, may_change: tuple[str, ...] = ()) -> int:
        before = snapshot(folder)
        monkeypatch.chdir(folder)
        done = CliRunner().invoke(app, list(args))
        said = f"geomprobe {args!r}: exit {done.exit_code}\n{done.output[-6000:]}"
        assert done.exception is None or isinstance(done.exception, SystemExit), f"{said}\n{done.exception!r}"
        assert done.exit_code in (0, 2, 3, 4), said
        assert "Internal error" not in done.output, said
        assert "Traceback (most recent call last)" not in done.output, said
        after = snapshot(folder)
        for path, content in before.items():
            if not any(Path(path).is_relative_to(folder / allowed) for allowed in may_change):
                assert after.get(path) == content, f"{path} was changed by {said}"
        assert not [path for path in after if ".geomprobe-" in path or path.endswith(".tmp")], said
        if done.exit_code in (2, 3):
            assert after == before, f"a refusal wrote {sorted(set(after) ^ set(before))}: {said}"
            assert done.stdout == "", said
            assert len(done.stderr) < LONGEST, said
            assert done.stderr.strip(), said
        counts[done.exit_code] = counts.get(done.exit_code, 0) + 1
        return done.exit_code

    yield run
    if log := os.environ.get("GEOMPROBE_FUZZ_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.writelines(f"{code} {count}\n" for code, count in counts.items())
