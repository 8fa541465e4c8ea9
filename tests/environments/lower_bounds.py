"""Print the lower bounds that pyproject.toml declares, as constraints for pip: `make check-lowest`."""

import re
import tomllib
from pathlib import Path

EXTRAS = ("sentence-transformers", "adapters")  # the ones for users


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in sum((project["optional-dependencies"][extra] for extra in EXTRAS), project["dependencies"]):
        bound = re.match(r"([\w.-]+)>=([\w.]+)", requirement)
        if not bound:
            raise SystemExit(f"{requirement} declares no lower bound.")
        print(f"{bound[1]}=={bound[2]}")


if __name__ == "__main__":
    main()
