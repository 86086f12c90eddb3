"""Settings shared by all tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# One thread per process, here and in every subprocess: parallel test processes do not fight for cores, and sums are added in the same
# order everywhere. It has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Calibrations are cached for the user; a test must neither find nor leave one there.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="prune-deploy-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
