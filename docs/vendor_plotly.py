"""Fetch plotly.js with its licence for the HTML report.

    python docs/vendor_plotly.py

Run by `make vendor`, which needs npm. It is the basic bundle, a quarter of the full one: reports draw with `scatter` and `bar` alone.
Another version is a change of VERSION and of both hashes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "plotly.js-basic-dist-min", "4.1.1"
SHA256 = {
    "plotly-basic.min.js": "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba",
    "LICENSE": "8c45d9eaf50c2f72dd9c7ab9ef440788ba58a3538484b5c51c1f17d5128752e7",
}
FOLDER = Path(__file__).parents[1] / "prune_deploy" / "reporting" / "renderers" / "assets" / "plotly"


def fetch() -> dict[str, bytes]:
    """The files of the package by their names.

    Raises:
        CalledProcessError: npm failed.
        ValueError: a file is not the one that was reviewed.
    """
    with tempfile.TemporaryDirectory() as name:
        command = ("npm", "pack", "--silent", f"{PACKAGE}@{VERSION}")
        subprocess.run(command, cwd=name, check=True, stdout=subprocess.DEVNULL, timeout=300)
        with tarfile.open(Path(name) / f"{PACKAGE}-{VERSION}.tgz") as archive:
            found = {each: archive.extractfile(f"package/{each}") for each in SHA256}
            return {each: check(each, b"" if stream is None else stream.read()) for each, stream in found.items()}


def check(name: str, content: bytes) -> bytes:
    """The content, if it is what the hash says.

    Raises:
        ValueError: it is not.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise ValueError(f"{name} of {PACKAGE} {VERSION} has the SHA-256 {digest}, expected {SHA256[name]}")
    return content


def main() -> int:
    """Write the files, and return the exit code."""
    files = fetch()
    FOLDER.mkdir(exist_ok=True)
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
