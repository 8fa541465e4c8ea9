"""How many seeds there are, and the comparison of the objectives as soon as there are three.

`python docs/gallery/paper-scale/compare.py [FOLDER]` reads the results folders `seed-*` next to it, or in FOLDER, and
writes `comparison` there. What compares is `geomprobe compare`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

OBJECTIVES = ("mlm", "hybrid")
ENOUGH = 3  # with fewer seeds nothing is said of objectives


def main(folder: Path) -> None:
    seeds = sorted(path for path in folder.glob("seed-*") if (path / "run.json").is_file())
    print(f"{len(seeds)} of {ENOUGH} seeds: {', '.join(path.name for path in seeds) or 'none'}")
    if len(seeds) < ENOUGH:
        return
    lengths = {f"{seed.name}/{name}": steps(seed, name) for seed in seeds for name in OBJECTIVES}
    if len(set(lengths.values())) > 1:
        raise SystemExit(f"Not all trained for as many steps: {lengths}.")
    sides = [f"{name}={','.join(f'{seed}#{name}' for seed in seeds)}" for name in OBJECTIVES]
    command = [sys.executable, "-m", "geomprobe", "compare", "--out", str(folder / "comparison")]
    sys.exit(subprocess.run([*command, *(part for side in sides for part in ("--group", side))]).returncode)


def steps(seed: Path, name: str) -> int:
    """Steps that an encoder of a results folder was trained for."""
    lines = (seed / "training" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return int(json.loads(lines[-1])["step"])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
