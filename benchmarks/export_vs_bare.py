"""Wall time and peak memory of an export of half a ViT-Large against a bare script, pair by pair, interleaved.

    python benchmarks/export_vs_bare.py [PAIRS]

The machine's speed drifts, so each pair runs back to back, in alternating order, and the ratio is taken within the pair. Also times
the repeated export (which finds its bundle) and `--help`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("prune-deploy")


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    peak_gib: float


def cost(arguments: list[str]) -> Cost:
    """Run a process to its end and let the kernel say what it took."""
    start = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(arguments)} ended with status {status}")
    return Cost(time.monotonic() - start, usage.ru_maxrss / 2**20)


def main() -> None:
    """Measure and print."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as temporary:
        ours_dir, bare_dir = Path(temporary, "ours"), Path(temporary, "bare")
        ours_line = [str(COMMAND), "export", "--model", "v", "--ratio", "0.5", "--precision", "fp32", "--target", "sm86"]
        ours_line += ["--out", str(ours_dir)]
        bare_line = [sys.executable, str(HERE / "bare_export.py"), str(bare_dir)]
        rows = []
        for pair in range(pairs):
            shutil.rmtree(ours_dir, ignore_errors=True)
            order = (ours_line, bare_line) if pair % 2 == 0 else (bare_line, ours_line)
            costs = {line[0]: cost(line) for line in order}
            ours, bare = costs[ours_line[0]], costs[bare_line[0]]
            rows.append((ours, bare))
            print(
                f"pair {pair + 1}: {ours.wall_s:6.1f} s against {bare.wall_s:6.1f} s ({ours.wall_s / bare.wall_s:.2f}x), "
                f"{ours.peak_gib:.2f} GiB against {bare.peak_gib:.2f} GiB ({ours.peak_gib / bare.peak_gib:.2f}x)"
            )
        print(f"median ratio: wall {statistics.median(o.wall_s / b.wall_s for o, b in rows):.2f}x, ", end="")
        print(f"peak memory {statistics.median(o.peak_gib / b.peak_gib for o, b in rows):.2f}x")
        again = statistics.median(cost(ours_line).wall_s for _ in range(5))
        print(f"the same export again: {again:.2f} s (median of 5)")
    help_s = statistics.median(cost([str(COMMAND), "--help"]).wall_s for _ in range(10))
    print(f"--help: {help_s:.2f} s (median of 10)")


if __name__ == "__main__":
    main()
