"""A sweep of which nearly everything that can go wrong while things are made does go wrong. About two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import here, spawn
from support.fakes.faulty_backends import install

pytestmark = pytest.mark.release

__all__ = ["here"]  # a fixture


def test_a_variant_that_cannot_be_made_is_a_record_and_the_rest_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in install(here / "path").items():
        monkeypatch.setenv(name, value)
    methods = "l1,faulty-segfault,faulty-hang,faulty-hungry,faulty-raise,bn-scale"
    grid = ("--models", "test_vit", "--num-classes", "10", "--methods", methods, "--ratios", "0.5", "--backends", "null")
    limits = ("--build-limit-s", "90", "--memory-limit", "3000", "--budget-s", "0.5", "--share-machine", "--json")
    done = spawn("sweep", *grid, *limits, "--together", "6", folder=here)
    assert done.code == 1, done.stderr
    found = {each["bundle"].removeprefix("test_vit-"): each for each in done.document["cases"]}
    assert {name: each["status"] for name, each in found.items()} == {
        "dense": "ok",
        "l1-r0.50": found["l1-r0.50"]["status"],
        "faulty-segfault-r0.50": "failed",
        "faulty-hang-r0.50": "timeout",
        "faulty-hungry-r0.50": "failed",
        "faulty-raise-r0.50": "failed",
        "bn-scale-r0.50": "failed",
    }
    assert found["l1-r0.50"]["latency_ms"] is not None
    assert "SIGSEGV" in found["faulty-segfault-r0.50"]["reason"]
    assert "`build_limit_s`" in found["faulty-hang-r0.50"]["fix"]
    assert "MiB" in found["faulty-hungry-r0.50"]["reason"]
    assert "the kernel returned 42" in found["faulty-raise-r0.50"]["reason"]
    assert "nothing would be removed" in found["bn-scale-r0.50"]["reason"]
