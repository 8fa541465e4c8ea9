"""Make the goldens anew and say what changed: `python tests/golden/make.py [--check] [CASE…]`.

Prints each number that changed (file, row, column, old, new), then replaces the goldens; --check replaces nothing and
ends with 1 where something changed. Made on another machine or with other versions, last bits change: make them where
they were made, or on purpose.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from cases import names
from compare import changes, differing, read_tree
from run import run

GOLDENS = Path(__file__).with_name("goldens")
SHOWN = 60


def main() -> int:
    """Run the cases, print the changes, replace the goldens."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all. {', '.join(names())}")
    parser.add_argument("--check", action="store_true", help="replace nothing; end with 1 where something changed")
    asked = parser.parse_args()
    chosen = asked.cases or names()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        run(fresh, chosen)
        if GOLDENS.is_dir() and (elsewhere := differing(GOLDENS, fresh)):
            print(f"Last bits may differ, for the goldens were made elsewhere: {elsewhere}")
        found = {name: changes(read_tree(GOLDENS / name), read_tree(fresh / name), exact=True) for name in chosen}
        for name, changed in found.items():
            for change in changed[:SHOWN]:
                print(f"{name}/{change}")
            if len(changed) > SHOWN:
                print(f"{name}: … and {len(changed) - SHOWN} more")
        for name, changed in found.items():
            by_column = Counter(f"{each.file} {each.column}".strip() for each in changed)
            said = ", ".join(f"{count} in {where}" for where, count in by_column.most_common(6))
            print(f"{name}: {len(changed)} changes{': ' if said else ''}{said}")
        if asked.check:
            return int(any(found.values()))
        for name in chosen:
            shutil.rmtree(GOLDENS / name, ignore_errors=True)
            if (fresh / name).is_dir():  # a case may freeze nothing of its own
                shutil.copytree(fresh / name, GOLDENS / name)
        if not asked.cases:
            for old in GOLDENS.iterdir():
                if old.is_dir() and old.name not in chosen:
                    shutil.rmtree(old)
        if not asked.cases or not (GOLDENS / "environment.json").is_file():
            shutil.copy(fresh / "environment.json", GOLDENS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
