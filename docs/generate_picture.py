"""Draw docs/images/report.png, the report of a committed run, with headless Chromium.

Run by `make docs`. Without Chromium the script says so and keeps the picture that is there.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from prune_deploy.reporting.figures.report import read_report
from prune_deploy.reporting.renderers.html import render_html

ROOT = Path(__file__).parents[1]
RUN = ROOT / "profiles" / "reference" / "cpu-bench-resnet50"
PICTURE = ROOT / "docs" / "images" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE_PX = (1360, 960)
COLORS = 128
"""Colors of the picture's palette. The page has few, and a palette halves the file."""


def draw(browser: str) -> bytes:
    """The top of the report's page as a PNG file.

    Raises:
        CalledProcessError: the browser failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page, picture = folder / "report.html", folder / "report.png"
        page.write_bytes(render_html(read_report([RUN]), folder))
        flags = (
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--virtual-time-budget=10000",
        )
        size = f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}"
        command = (browser, *flags, f"--user-data-dir={folder / 'profile'}", size, f"--screenshot={picture}", page.as_uri())
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return shrink(picture.read_bytes())


def shrink(picture: bytes) -> bytes:
    """The same picture with a palette."""
    written = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS).save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> int:
    """Write the picture, or say why not, and return the exit code."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"no Chromium found: {PICTURE.relative_to(ROOT)} stays as it is (Debian: apt install chromium)", file=sys.stderr)  # noqa: T201
        return 0
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(draw(browser))
    return 0


if __name__ == "__main__":
    sys.exit(main())
