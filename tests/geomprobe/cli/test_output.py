"""What the command line prints while it works, where stderr is no terminal."""

from geomprobe.cli.output import Output
from geomprobe.cli.pretrain import Reporter


def test_every_stage_of_a_pretraining_shows_its_progress(capsys):
    output = Output()
    with output.progress("pretrain mlm") as bar:
        report = Reporter(output, bar)
        for done in (50, 100):
            report({"stage": "tokenising", "done": done, "total": 100})
        report({"stage": "training the tokenizer", "done": 0, "total": 0})
        for step in (1, 10, 20):
            report({"step": step, "steps": 20})
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "tokenising …",
        "pretrain mlm: 50/100",
        "pretrain mlm: 100/100",
        "training the tokenizer …",
        "pretrain mlm: 0/?",
        "pretrain mlm: 1/20",
        "pretrain mlm: 10/20",
        "pretrain mlm: 20/20",
    ]


def test_every_pass_shows_its_progress_and_what_is_left(capsys, monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("geomprobe.cli.output.time.monotonic", lambda: next(clock))
    with Output().progress("reading") as bar:
        for _ in range(2):
            for done in (1, 5, 10):
                bar(done, 10)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 1/10, 3 min left",
        "reading: 5/10, 40 s left",
        "reading: 10/10",
        "reading: 1/10",
        "reading: 5/10, 20 s left",
        "reading: 10/10",
    ]


def test_json_has_no_progress(capsys):
    with Output(as_json=True).progress("pretrain mlm") as bar:
        bar(1, 2)
    assert capsys.readouterr().err == ""
