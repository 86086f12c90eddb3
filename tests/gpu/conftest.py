"""GPU tests fail, rather than skip, on a machine without a GPU: a green run must mean that they ran."""

from __future__ import annotations

import pytest
import torch


def pytest_configure() -> None:
    """Refuse to start without a CUDA device."""
    if not torch.cuda.is_available():
        raise pytest.UsageError("tests/gpu needs a CUDA device, and torch sees none here; see: prune-deploy doctor")
