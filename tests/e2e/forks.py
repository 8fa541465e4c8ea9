"""Runs console commands as forks of a process that has imported what they import, so that a run is the work alone.

    python forks.py     reads a request a line from stdin (JSON), answers each with a number on stdout

A request with `command` starts one and is answered with its process id; one with `wait` is answered with the exit code
of that process, negative for a signal.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

LOADED = (
    "geomprobe.cli.main",
    "geomprobe.analysis.analyze",
    "geomprobe.comparison.table",
    "geomprobe.predict_reconstruct.checkpoints",
    "geomprobe.distributed",
    "geomprobe.encoders.opening",
    "geomprobe.pretrain.corpus",
    "geomprobe.pretrain.loop",
    "geomprobe.reports.write",
    "geomprobe.reports.render.pdf",
    "geomprobe.reports.pages.claims",
    "typst",
    "transformers.models.bert",
    "transformers.models.modernbert",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "matplotlib.pyplot",
)
CHANGES = ("mkdir", "replace", "rename", "unlink", "rmdir", "fsync")


def count_changes(log, last):
    """Write down every call that changes a disk before it is made; at the one numbered `last` the process dies."""
    count = 0
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def counted(name, function):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            what = Path(os.fsdecode(args[-1])).name if not isinstance(args[-1], int) else ""
            os.write(opened, f"{name} {what}\n".encode())
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, counted(name, getattr(os, name)))


def become(request):
    """Turn this fork into the console command."""
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["geomprobe", *request["command"]]
    from geomprobe import __main__
    from geomprobe.cli import process

    process._process = os.getpid()
    exec(request.get("first", ""), {})
    if "changes" in request:
        count_changes(request["changes"], request.get("last"))
    __main__.main()


def serve():
    for name in LOADED:
        importlib.import_module(name)
    print(0, flush=True)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            become(request)
            return


if __name__ == "__main__":
    serve()
