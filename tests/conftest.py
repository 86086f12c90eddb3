"""Settings shared by all tests."""

from __future__ import annotations

import os

# One thread per process, here and in every subprocess: parallel test processes do not fight for cores, and sums are added in the same
# order everywhere. It has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
