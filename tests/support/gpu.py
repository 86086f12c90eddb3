"""Device of the GPU tests, and the libraries with engines for it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from prune_deploy import EngineSpec
from prune_deploy.export.tensorrt.library import TensorRTLibrary, available_libraries
from prune_deploy.gpus import local_target
from prune_deploy.specs import Device, RunOptions

REHEARSAL = os.environ.get("PRUNE_DEPLOY_REHEARSE") == "1"
"""Whether the tests run on a CPU, to see that they themselves are right. It says nothing of a GPU."""

DEVICE: Device = "cpu" if REHEARSAL else "cuda"

needs_engine = pytest.mark.engine
"""Tests that need an engine. They fail where no library builds for the card, and `-m "not engine"` leaves them out."""

needs_cuda = pytest.mark.skipif(REHEARSAL, reason="a CPU has no streams, events, device memory or CUDA graphs")


def options(**wanted: Any) -> RunOptions:
    """Return run options on the device of these tests."""
    return RunOptions(device=DEVICE, **wanted)


def builders() -> list[TensorRTLibrary]:
    """Return the libraries that build for this card, preferred first."""
    target = local_target()
    if target is None:
        return []
    every = available_libraries()
    return [each for each in every if not each.is_rtx or target.upper() in each.module.ComputeCapability.__members__]


def require_builder() -> TensorRTLibrary:
    """Return the preferred library, or fail the test that needs one."""
    found = builders()
    if not found:
        pytest.fail(f"no TensorRT library here builds for {local_target() or 'this machine, which has no GPU'}")
    return found[0]


def engine_spec(library: TensorRTLibrary | None = None, **wanted: Any) -> EngineSpec:
    """Return the spec of an engine for the card that is here.

    It asks for none where no library builds for it. It is built by `library`, or by the preferred one.
    """
    target = local_target()
    library = library or next(iter(builders()), None)
    if library is None or target is None:
        return EngineSpec(library="none")
    return EngineSpec(library="tensorrt-rtx" if library.is_rtx else "tensorrt", target=target, **wanted)
