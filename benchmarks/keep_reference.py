"""Keep a run as a reference: `python benchmarks/keep_reference.py RUN NAME` copies what is small and telling to profiles/reference/NAME.

Records, samples, explanations and per-layer tables go along; bundles, logs and Chrome traces do not. A file over 1 MB is refused.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from prune_deploy.runs import EXPLANATIONS_DIR, RECORDS_FILE, RUN_FILE, SAMPLES_DIR, TRACES_DIR, read_run

REFERENCE = Path(__file__).parents[1] / "profiles" / "reference"
KEPT = (RUN_FILE, RECORDS_FILE, f"{SAMPLES_DIR}/*.npz", f"{EXPLANATIONS_DIR}/*.json", f"{TRACES_DIR}/*.layers.json")
LARGEST_BYTES = 1_000_000


def keep(run: Path, target: Path) -> int:
    """Copy the run; the number of bytes copied."""
    read_run(run)
    files = [path for pattern in KEPT for path in sorted(run.glob(pattern))]
    too_large = [path for path in files if path.stat().st_size > LARGEST_BYTES]
    if too_large:
        sys.exit(f"{too_large[0]} has {too_large[0].stat().st_size / 1e6:.1f} MB: measure with a smaller budget")
    if target.exists():
        shutil.rmtree(target)
    for path in files:
        place = target / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    size = keep(arguments.run, REFERENCE / arguments.name)
    print(f"{REFERENCE / arguments.name}: {size / 1e6:.2f} MB")
