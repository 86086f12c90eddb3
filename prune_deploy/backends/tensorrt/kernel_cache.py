"""Cache of the kernels that TensorRT-RTX compiles on the user's GPU.

Every process compiles them anew without it: seconds per network and launch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from prune_deploy.files import resolved

FOLDER_VARIABLE = "PRUNE_DEPLOY_KERNEL_CACHE"
"""Environment variable that names the caches' folder. Without it there are none."""


def cache_file(artifact: Path) -> Path | None:
    """Return the cache of an engine file, None if caching is off."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    digest = hashlib.sha256(os.fsencode(resolved(artifact))).hexdigest()[:16]
    return Path(folder) / f"{artifact.stem}-{digest}.kernels"


class KernelCache:
    """Kernels of one engine in a file, which other processes may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cache: Any = None
        self.is_warm = False

    def attach(self, config: Any) -> None:
        """Let a runtime configuration of TensorRT-RTX use the kernels.

        TensorRT-RTX itself refuses those of another GPU or version. Then it compiles them again.
        """
        self._cache = config.create_runtime_cache()
        if self._path.is_file():
            self.is_warm = bool(self._cache.deserialize(self._path.read_bytes()))
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write the kernels, unless the file held them already.

        The file appears whole or not at all.
        """
        if self.is_warm:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(bytes(memoryview(self._cache.serialize())))
        temporary.replace(self._path)
