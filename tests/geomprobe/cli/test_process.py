"""The process around a command: signals, closed and narrow streams, warnings of libraries."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GEOMPROBE = [sys.executable, "-m", "geomprobe"]
THOROUGH = functools.partial(pytest.param, marks=pytest.mark.thorough)


def shell(command, **env):
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, env={**os.environ, "G": " ".join(GEOMPROBE), **env}, check=False
    )


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.random.default_rng(0).normal(size=(300, 8)))
    return path


# The command itself is replaced by one that says when it runs, and waits: no test depends on how fast anything is.
WAITING = """
import sys, time
from geomprobe.cli import main, process
from geomprobe.cli.errors import guard
from geomprobe import __main__

@main.app.command("wait")
@guard
def wait(swallow: bool = False):
    process.AGAIN_SECONDS = 1
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        if not swallow:
            raise
        print("swallowed", flush=True)
    time.sleep(60)

sys.argv = ["geomprobe", "wait", *sys.argv[1:]]
__main__.main()
"""


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]
)
@pytest.mark.parametrize("swallow", [[], ["--swallow"]])
def test_signals_end_a_command_in_words_even_where_a_library_swallows_them(number, code, said, swallow):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *swallow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert bool(swallow) == ("swallowed" in out)
    assert err.startswith(said)
    assert "Traceback" not in err


IMPORTING = """
import builtins, os, signal, sys
from geomprobe import __main__
real = builtins.__import__
def slow(name, *args, **kwargs):
    if name == "typer":
        os.kill(os.getpid(), int(sys.argv[1]))
    return real(name, *args, **kwargs)
builtins.__import__ = slow
__main__.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_commands_are_imported_leaves_no_traceback(number, code):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, str(int(number))], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr in ("Interrupted.\n", "Terminated.\n")


BETWEEN = """
import os, sys
from typing import Annotated
import typer
from geomprobe import __main__
from geomprobe.cli import main, process
from geomprobe.cli.errors import guard

number, where = int(sys.argv[1]), sys.argv[2]

def send(here):
    global where
    if here == where:
        where = ""
        os.kill(os.getpid(), number)
        print("went on", flush=True)

def before(name, function):
    def called():
        send(name)
        function()
    return called

class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == "absent_module":
            send("a command imports")

sys.meta_path.insert(0, Importing())
raising, leaving = process.raise_on_signals, process.leave_on_signals
process.raise_on_signals = before("a command is about to start", raising)

def parsed(value: int) -> int:
    send("options are read")
    return value

@main.app.command("run")
@guard
def run(option: Annotated[int, typer.Option(callback=parsed)] = 0):
    process.leave_on_signals = before("a command has ended", leaving)
    try:
        import absent_module
    except ImportError:
        pass

sys.argv = ["geomprobe", "run"]
__main__.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "where", ["options are read", "a command is about to start", "a command imports", "a command has ended"]
)
def test_a_signal_between_the_imports_and_the_end_of_a_command_leaves_no_traceback(number, code, where):
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN, str(int(number)), where], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[0] in ("Interrupted.", "Terminated.")
    assert "Traceback" not in done.stderr


LATE = """
import os, sys
from geomprobe.cli import process
process.prepare()
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=int(sys.argv[1])):
        kill(pid, number)
late = Late()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_takes_itself_down_changes_nothing(number):
    done = subprocess.run([sys.executable, "-c", LATE, str(int(number))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ignored_signals_stay_ignored():
    code = (
        "import os, signal\nfrom geomprobe.cli import process\nprocess.prepare(); process.raise_on_signals()\n"
        "for number in (signal.SIGINT, signal.SIGTERM): os.kill(os.getpid(), number)\nprint('on')"
    )
    done = shell('trap "" INT TERM; exec "$P" -c "$C"', P=sys.executable, C=code)
    assert (done.returncode, done.stdout) == (0, b"on\n")


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", *map(THOROUGH, ("<&-", ">&-", "2>&-"))])
def test_closed_streams_do_no_harm(vectors, closed):
    out = vectors.parent / "out.csv"
    done = shell(f"$G measure {vectors} --metric effective_rank --out {out} {closed}")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert out.read_text().startswith("metric,definition,view,")


def test_a_pipe_that_closes_early_is_no_error():
    done = shell("$G ls metrics | head -n 1; exit ${PIPESTATUS[0]}")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", THOROUGH("latin-1"), THOROUGH("utf-8")])
def test_text_that_the_terminal_cannot_show_does_not_end_a_command(tmp_path, encoding):
    path = tmp_path / "vectors-δ.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 4)))
    for more in ("", "--json"):
        done = shell(f"$G measure {path} --metric effective_rank {more}", PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode(encoding))["n"] == 50


def test_the_c_locale_does_not_end_a_command():
    assert shell("$G ls metrics", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").returncode == 0


def test_a_warning_of_a_library_is_one_line_without_its_path():
    code = "from geomprobe.cli import process; process.prepare(); import warnings; warnings.warn('two\\nlines')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: two lines\n"
    assert str(Path(sys.executable).parent) not in done.stderr


def test_a_name_that_is_no_utf_8_is_said():
    from geomprobe.cli.errors import explain

    with pytest.raises(UnicodeEncodeError) as caught:
        "cache/\udcff".encode()
    code, said, hint = explain(caught.value)
    assert (code, said) == (3, "The name 'cache/\\udcff' is not UTF-8, and a library needs that.")
    assert "Rename" in hint
