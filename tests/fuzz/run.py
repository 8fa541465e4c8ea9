"""Run the fuzzing suite again and again with fresh seeds, and count what was tried: `make fuzz`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--examples", type=int, default=100, help="examples of each property in a round")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first round's; the next adds one")
    asked = parser.parse_args()
    start, failed, rounds = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "counts"
        log.touch()
        env = {**os.environ, "GEOMPROBE_EXAMPLES": str(asked.examples), "GEOMPROBE_FUZZ_LOG": str(log)}
        while time.monotonic() - start < 60 * asked.minutes:
            seed = asked.seed + rounds
            command = ["-m", "pytest", "-q", "-n", "2", f"--hypothesis-seed={seed}", str(Path(__file__).parent)]
            if subprocess.run([sys.executable, *command], env=env).returncode:
                failed.append(seed)
            rounds += 1
            counts: Counter[str] = Counter()
            for line in log.read_text().splitlines():
                code, count = line.split()
                counts[code] += int(count)
            minutes = (time.monotonic() - start) / 60
            codes = ", ".join(f"exit {code}: {count:,}" for code, count in sorted(counts.items()))
            print(f"{minutes:.0f} min, {rounds} rounds, {counts.total():,} commands ({codes}), failed seeds: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
