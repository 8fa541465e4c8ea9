"""Pictures of a report: `python -m geomprobe.reports.render.screenshots RESULTS_DIR OUT_DIR` (chromium, poppler)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from PIL import Image

from geomprobe.common import UsageError

SHOTS = {"wide": (1920, 1080), "middle": (1280, 800), "narrow": (390, 2000)}
SCHEMES = {"": 1, "-dark": 0}
"""The end of a picture's name -> how chromium numbers the colour scheme."""
PAGES = 4


def take(results: Path, out: Path) -> list[Path]:
    """Write screenshots of report.html, each width light and dark, and the first pages of report.pdf as PNG."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None or shutil.which("pdftoppm") is None:
        raise UsageError("Pictures need chromium and pdftoppm.", "apt-get install chromium poppler-utils")
    out.mkdir(parents=True, exist_ok=True)
    for (shot, (width, height)), (end, scheme) in product(SHOTS.items(), SCHEMES.items()):
        name = shot + end
        # headless chromium opens no window narrower than 500 px, so the narrow page is framed
        page = (results / "report.html").resolve()
        with tempfile.TemporaryDirectory() as profile:
            frame = Path(profile) / "frame.html"
            look = f"width:{width}px;height:{height}px;border:0"
            frame.write_text(f"<body style='margin:0'><iframe src='{page.as_uri()}' style='{look}'></iframe>")
            command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            command += [f"--blink-settings=preferredColorScheme={scheme}", "--hide-scrollbars"]
            command += [f"--user-data-dir={profile}", f"--window-size={max(width, 500)},{height}"]
            command += [f"--screenshot={(out / f'{name}.png').resolve()}", frame.as_uri()]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
        if width < 500:
            with Image.open(out / f"{name}.png") as image:
                image.crop((0, 0, width, height)).save(out / f"{name}.png", optimize=True)
    pages = ["pdftoppm", "-r", "80", "-png", "-l", str(PAGES), str(results / "report.pdf"), str(out / "page")]
    subprocess.run(pages, check=True, capture_output=True, timeout=300)
    return sorted(out.glob("*.png"))


if __name__ == "__main__":
    for picture in take(Path(sys.argv[1]), Path(sys.argv[2])):
        print(picture)
