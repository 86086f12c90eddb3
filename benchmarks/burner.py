"""Keep one core busy now and then: on and off for random times between 0.2 and 2 s, the same ones for the same seed.

    python benchmarks/burner.py SEED

It runs until it is ended, or until whoever started it is gone.
"""

from __future__ import annotations

import os
import random
import sys
import time

SHORTEST_S, LONGEST_S = 0.2, 2.0


def main() -> None:
    """Burn and rest by turns."""
    periods = random.Random(sys.argv[1])
    parent = os.getppid()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    while os.getppid() == parent:
        ends_s = time.monotonic() + periods.uniform(SHORTEST_S, LONGEST_S)
        while time.monotonic() < ends_s:
            sum(range(1_000))
        time.sleep(periods.uniform(SHORTEST_S, LONGEST_S))


if __name__ == "__main__":
    main()
