"""GPU tests fail, rather than skip, on a machine without a GPU: a green run must mean that they ran."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


def pytest_configure() -> None:
    """Refuse to start without a CUDA device."""
    if not torch.cuda.is_available():
        raise pytest.UsageError("tests/gpu needs a CUDA device, and torch sees none here; see: prune-deploy doctor")


@pytest.fixture(scope="module", autouse=True)
def own_compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give torch.compile a cache that no other test file uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield
