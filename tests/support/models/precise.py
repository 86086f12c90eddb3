"""The one bundle that the tests of precisions share.

It has every file that one can have, of a small network for the digits.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import artifact_for, parse_run_configs
from prune_deploy.records import Artifact
from support.commands import call

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
SIZE = (3, 32, 32)
NETWORK = ("export", "--model", "test_resnet", "--num-classes", "10", "--input-size", "3,32,32", "--dense", "--engine", "none")


@pytest.fixture(scope="session")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a file of each precision.

    INT8 is calibrated on digits. No test may change it.
    """
    return _make(tmp_path_factory.getbasetemp())


@functools.cache  # pytest makes a fixture again for each module that imports it
def _make(base: Path) -> Path:
    folder = base / "precise" / "bundle"
    ended = call(
        *NETWORK, "--precision", ",".join(PRECISIONS), "--calib", "digits", "--calib-samples", "16", "--out", folder, "--json"
    )
    assert ended.code == 0, ended.stderr
    return folder


def file_of(folder: Path, precision: str, backend: str = "ort") -> Artifact:
    """Return the path that a backend opens in a precision."""
    bundle: LoadedBundle = read_loaded_bundle(folder)
    return artifact_for(bundle, parse_run_configs((backend,), (precision,))[0], 1)
