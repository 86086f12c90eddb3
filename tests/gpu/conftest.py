"""GPU tests fail, rather than skip, on a machine without a GPU: a green run must mean that they ran.

With PRUNE_DEPLOY_REHEARSE=1 they run on the CPU, as far as it goes, to see that the tests themselves are right.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from support.gpu import REHEARSAL, require_builder


def pytest_configure() -> None:
    """Refuse to start without a CUDA device."""
    if not torch.cuda.is_available() and not REHEARSAL:
        raise pytest.UsageError("tests/gpu needs a CUDA device, and torch sees none here; see: prune-deploy doctor")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that needs an engine where no library builds one for this card."""
    if item.get_closest_marker("engine") is not None:
        require_builder()


@pytest.fixture(scope="module", autouse=True)
def own_compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give torch.compile a cache that no other test file uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield
