"""`progress`: nothing where nobody watches, a bar where somebody does, the caller's own callable everywhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import geomprobe as gp
from geomprobe.common import UsageError, progress

Z = np.random.default_rng(0).normal(size=(40, 6))
CALLS = {
    "measure": lambda **how: gp.measure(Z, **how),
    "compare": lambda **how: gp.compare({"a": Z, "b": 2 * Z}, **how),
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("name", CALLS)
def test_a_terminal_gets_a_bar_and_the_numbers_stay(name, monkeypatch):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    with_bar = CALLS[name]()
    assert "measuring" in stderr.getvalue()
    assert not stderr.getvalue().split("\r")[-1].strip()  # it is gone at the end
    assert with_bar.equals(CALLS[name](progress=None))


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_printed_where_nobody_watches(name, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    CALLS[name]()
    assert capsys.readouterr() == ("", "")


def test_what_is_done_in_a_second_shows_no_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", 1000)
    gp.measure(Z)
    assert stream.getvalue().strip() == ""


def test_a_notebook_gets_a_bar(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress._watched()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not progress._watched()


def test_a_callable_hears_of_all_rows(model_folder):
    heard = []
    gp.measure(Z, progress=lambda done, total: heard.append((done, total)))
    assert (40, 40) in heard
    heard.clear()
    gp.embed(model_folder("bert"), ["the cat", "a dog"], progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (2, 2)
    with pytest.raises(UsageError, match="progress is 'yes'"):
        gp.measure(Z, progress="yes")
