"""What long work says of itself: stages, how far, how long; by lines where stderr is no terminal, else by a bar."""

import io

import pytest

from geomprobe.cli import progress as module
from geomprobe.cli.output import Output
from geomprobe.cli.pretrain import Reporter


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until `clock.now` is set."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


def counted(clock, bar, *, seconds, step=1, start=0, total=0, stage=""):
    """Count up by one every `step` seconds."""
    for n in range(seconds // step + 1):
        clock.now += step if n else 0
        bar(start + n, total, stage)


def printed(capsys):
    return capsys.readouterr().err.splitlines()


def test_lines_come_after_ten_seconds_and_then_ever_more_rarely(capsys, clock):
    with Output().progress("measuring") as bar:
        for n in range(601):
            clock.now = n
            bar(n, 600)
    lines = printed(capsys)
    assert lines[:4] == [
        "measuring …",
        "measuring: 1 %, 10 min left",
        "measuring: 4 %, 10 min left",
        "measuring: 8 %, 9 min left",
    ]
    assert len(lines) == 13  # after 10, 25, 48, 82 and 133 s, then every minute


def test_short_work_says_only_what_it_is(capsys, clock):
    with Output().progress("measuring") as bar:
        counted(clock, bar, seconds=9, total=9)
    assert printed(capsys) == ["measuring …"]


def test_the_stages_of_a_pretraining_are_named(capsys, clock):
    output = Output()
    with output.progress("preparing mlm") as bar:
        report = Reporter(output, bar)
        for done in (50, 100):
            report({"stage": "reading docstrings", "done": done, "total": 100})
        report({"stage": "training the tokenizer", "done": 0, "total": 0})
        for step in range(21):
            report({"stage": "training mlm", "done": step, "total": 20})
            clock.now += 1
        report({"step": 20, "steps": 20, "held_out_mlm": 5.0, "tokens_per_s": 1234.5})
    assert printed(capsys) == [
        "preparing mlm …",
        "reading docstrings …",
        "training the tokenizer …",
        "training mlm …",
        "training mlm: 50 %, 10 s left",
        "step 20: held-out MLM loss 5.000  1,234 tokens/s",
    ]


def test_the_time_left_counts_neither_an_earlier_run_nor_what_was_found_finished(capsys, clock):
    with Output().progress("training") as bar:
        counted(clock, bar, seconds=20, start=900, total=1000)  # the run was resumed at 900
    assert "training: 91 %, 90 s left" in printed(capsys)
    clock.now = 0.0
    with Output().progress("measuring") as bar:
        bar(0, 1000)
        clock.now = 1
        bar(800, 1000)  # kept cells
        counted(clock, bar, seconds=30, start=800, total=1000)
    assert "measuring: 80 %, 3 min left" in printed(capsys)


def test_a_total_that_is_not_known_has_no_share_and_no_time_left(capsys, clock):
    with Output().progress("tokenising") as bar:
        counted(clock, bar, seconds=10, start=1_234_500)
    assert printed(capsys) == ["tokenising …", "tokenising: 1,234,510 so far"]


def test_passes_over_the_same_rows_are_counted(capsys, clock):
    with Output().progress("reading the rows") as bar:
        for _ in range(3):
            counted(clock, bar, seconds=6, total=10)
    assert printed(capsys) == [
        "reading the rows …",
        "reading the rows: pass 2, 40 %, 6 s left",
    ]


def test_a_terminal_shows_the_same_words(monkeypatch, clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Output().progress("preparing mlm") as bar:
        counted(clock, bar, seconds=30, total=60, stage="training mlm")
        clock.now += 1
        bar(31, 60, "training mlm")
    assert "training mlm" in terminal.getvalue()
    assert "51 %, 29 s left" in terminal.getvalue()


@pytest.mark.parametrize("how", [{"as_json": True}, {}])
def test_json_and_all_but_the_first_process_show_no_progress(capsys, how):
    with Output(**how).progress("measuring", quiet=not how) as bar:
        bar(1, 2)
    assert printed(capsys) == []
