"""What a command promises, whatever it is given: `obeys` runs one in this process and checks every promise."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from typer.testing import CliRunner

EXAMPLES = int(os.environ.get("GEOMPROBE_EXAMPLES", "0"))
"""Examples of each property; 0, the default run, leaves the small number that each test names."""
LONGEST = 4000
"""Characters of an error message with its notes."""


def _module(name: str, path: Path):
    """Load a module of the tests under the name fuzz_NAME, by which this folder's tests import it."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"fuzz_{name}"] = module
    spec.loader.exec_module(module)
    return module


sys.modules["fuzz_contract"] = sys.modules[__name__]  # what is in this file, for the tests beside it
_module("damage", Path(__file__).with_name("damage.py"))
_module("encoders", Path(__file__).parents[1] / "geomprobe" / "conftest.py")

SECONDS = 300
"""A command on small inputs that takes longer hangs, say on a pipe that nobody writes to."""


class Hangs(BaseException):
    """No Exception, so that no command takes it for an error of its own."""


class Runner(CliRunner):
    """Streams as `geomprobe.__main__` opens them."""

    @contextmanager
    def isolation(self, *args, **kwargs):
        from geomprobe.cli.process import _open_streams

        with super().isolation(*args, **kwargs) as streams:
            _open_streams()
            yield streams


def _stop(*_: object) -> None:
    raise Hangs


def examples(few: int, cost: int = 1) -> settings:
    """Hypothesis' settings for a property: `few` examples by default, GEOMPROBE_EXAMPLES / cost in `make fuzz`.

    What is drawn is small already and a command takes a second, so nothing is shrunk.
    """
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate]
    number = EXAMPLES // cost or few
    return settings(max_examples=number, deadline=None, suppress_health_check=checks, database=None, phases=phases)


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
    prints no result. What it printed is `obeys.done`; `codes` are exit codes that are allowed, too.
    """
    from geomprobe.cli.main import app

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEOMPROBE_DATA", raising=False)
    counts: dict[int, int] = {}

    def run(*args: str, folder: Path, may_change: tuple[str, ...] = (), codes: tuple[int, ...] = ()) -> int:
        before = snapshot(folder)
        monkeypatch.chdir(folder)
        signal.signal(signal.SIGALRM, _stop)
        signal.alarm(SECONDS)
        try:
            run.done = done = Runner().invoke(app, list(args))
        except Hangs:
            pytest.fail(f"geomprobe {args!r} hangs")
        finally:
            signal.alarm(0)
        said = f"geomprobe {args!r}: exit {done.exit_code}\n{done.output[-6000:]}"
        assert done.exception is None or isinstance(done.exception, SystemExit), f"{said}\n{done.exception!r}"
        assert done.exit_code in (0, 2, 3, 4, *codes), said
        assert "Internal error" not in done.output, said
        assert "Traceback (most recent call last)" not in done.output, said
        after = snapshot(folder)
        for path, content in before.items():
            if not any(Path(path).is_relative_to(folder / allowed) for allowed in may_change):
                assert after.get(path) == content, f"{path} was changed by {said}"
        assert not [path for path in after if ".geomprobe-" in path or path.endswith(".tmp")], said
        if done.exit_code in (2, 3):
            assert after == before, f"a refusal wrote {sorted(set(after) ^ set(before))}: {said}"
            assert done.stdout == "" or json.loads(done.stdout)["error"], said
            assert len(done.stderr) < LONGEST, said
            assert done.stderr.strip(), said
        counts[done.exit_code] = counts.get(done.exit_code, 0) + 1
        return done.exit_code

    yield run
    if log := os.environ.get("GEOMPROBE_FUZZ_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.writelines(f"{code} {count}\n" for code, count in counts.items())
