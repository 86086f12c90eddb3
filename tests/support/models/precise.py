"""The one bundle that the tests of precisions share.

It has every file that one can have, of a small network for the digits.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import artifact_for, parse_run_configs
from prune_deploy.records import Artifact
from support.commands import call
from support.shared import made_once

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
SIZE = (3, 32, 32)
NETWORK = ("export", "--model", "test_resnet", "--num-classes", "10", "--input-size", "3,32,32", "--dense", "--engine", "none")


@pytest.fixture(scope="session")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a file of each precision.

    INT8 is calibrated on digits. No test may change it.
    """
    return made_once(tmp_path_factory, "precise", _make) / "bundle"


def _make(folder: Path) -> None:
    calibration = ("--calib", "digits", "--calib-samples", "16")
    ended = call(*NETWORK, "--precision", ",".join(PRECISIONS), *calibration, "--out", folder / "bundle", "--json")
    assert ended.code == 0, ended.stderr


def file_of(folder: Path, precision: str, backend: str = "ort") -> Artifact:
    """Return the path that a backend opens in a precision."""
    bundle: LoadedBundle = read_loaded_bundle(folder)
    return artifact_for(bundle, parse_run_configs((backend,), (precision,))[0], 1)
