"""Trains in forked processes that are killed, and trains on; test_exactness.py runs this in a process of its own.

    python kill.py SETTINGS FOLDER KILLS     SETTINGS as JSON; KILLS is a number, or "writing"

FOLDER/whole gets a run that is never stopped. The killed runs lie beside it, and their names are printed. A fork of a
process that has imported torch starts at once, so that the runs are what takes the time.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from geomprobe.pretrain import checkpoint, loop
from geomprobe.pretrain.config import make_config

# A function, and the call of it (from 0) at which the process dies. Four states are saved, each with two files of
# weights, and as many exports, with two as well.
MOMENTS = {
    "weights-half-written": ("save_file", 8),
    "optimizer-half-written": ("save_file", 9),
    "not-renamed": ("hash_file", 5),
    "before-pruning": ("_states", 2),
    "export": ("export", 1),
    "export-half-written": ("save_file", 11),
    "last-state": ("save_file", 13),
    "last-export": ("export", 3),
    "end-of-the-run": ("finish_run", 0),
}


def start(settings, moment=None, last=None):
    """Train in a fork, up to a moment where one is given, or to the log of a step; return its process id."""
    child = os.fork()
    if child == 0:
        if moment:
            die_at(*moment)

        def wait_for_the_kill(record):
            if last is not None and record.get("step", 0) >= last:
                while True:
                    signal.pause()

        loop.train(make_config(settings), resume=True, progress=wait_for_the_kill)
        os._exit(0)
    return child


def ended(child):
    """Wait for a fork and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(name, calls):
    """Make a function kill the process when it is called for the last time."""
    module = loop if name == "finish_run" else checkpoint
    function = getattr(module, name)

    def counted(*args, **kwargs):
        nonlocal calls
        if calls == 0:
            if name == "save_file":
                Path(args[1]).write_bytes(bytes(1000))
            os.kill(os.getpid(), signal.SIGKILL)
        calls -= 1
        return function(*args, **kwargs)

    setattr(module, name, counted)


def kill_while_writing(settings, folder):
    """Kill one run at each of the moments."""
    for name, moment in MOMENTS.items():
        mine = settings | {"out": str(folder / name)}
        assert ended(start(mine, moment)) == -signal.SIGKILL, name
        assert ended(start(mine)) == 0, name
        print(name)


def kill_at_random(settings, folder, kills):
    """Kill one run so many times, each time a random number of steps after the last and anywhere within a step.

    However late the kill comes on a busy machine, the run has not ended: it waits a few steps later.
    """
    random_ = random.Random(kills)
    mine = settings | {"out": str(folder / "killed")}
    steps = int(settings["budget"].removesuffix("-steps"))
    log = folder / "killed" / "metrics.jsonl"
    for _ in range(kills):
        wanted = min(last_step(log) + random_.randint(1, steps // kills), steps - 1)
        child = start(mine, last=min(wanted + 5, steps - 1))
        while last_step(log) < wanted:
            assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, "it ended by itself"
            time.sleep(0.002)
        time.sleep(random_.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        print("killed after step", last_step(log), file=sys.stderr)
    assert ended(start(mine)) == 0
    print("killed")


def last_step(log):
    """Return the step of the last whole line of a training log, 0 where there is none."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def main():
    settings, folder, kills = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    assert ended(start(settings | {"out": str(folder / "whole")})) == 0
    if kills == "writing":
        kill_while_writing(settings, folder)
    else:
        kill_at_random(settings, folder, int(kills))


if __name__ == "__main__":
    main()
