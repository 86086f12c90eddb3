"""Odd things in the place of a file are not waited for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import nn

from fuzz.oracle import attempt
from fuzz.originals import BUNDLE, copy_run
from fuzz.places import ODD, clear, put
from prune_deploy.cli.actions.compatibility import _parts
from prune_deploy.data import calibration_images, open_images
from prune_deploy.data.files import calibration_sha256
from prune_deploy.data.preprocessing import open_image
from prune_deploy.evaluation.classify import classify
from prune_deploy.evaluation.verify import verify_bundle
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.export.bundle import load, load_module
from prune_deploy.export.int8.calibration import _cached
from prune_deploy.export.onnx import load_graph
from prune_deploy.interfaces import Silent
from prune_deploy.models import load_weights
from prune_deploy.presets import read_sweep
from prune_deploy.pruning.imported_plans import read_plan
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.reporting.figures.report import read_report
from prune_deploy.reporting.renderers import render
from prune_deploy.runs import mend_records, read_run
from prune_deploy.store import read_bundle
from prune_deploy.workflows.compatibility import read_rows
from support.training import HOW

_BUNDLE_USES: dict[str, Callable[[Path], object]] = {
    "load": load,
    "load module": load_module,
    "verify": lambda folder: list(verify_bundle(folder)),
    "run": lambda folder: classify(folder, None, backend="eager"),
    "plan": read_loaded_bundle,
}
_RUN_USES: dict[str, Callable[[Path], object]] = {
    "page": lambda folder: render(read_report([folder]), "html", folder),
    "reanalyze": lambda folder: list(reanalyze(read_run(folder))),
    "mend": lambda folder: mend_records(read_run(folder)),
}
_FILE_USES: dict[str, Callable[[Path], object]] = {
    "sweep": read_sweep,
    "plan": lambda path: read_plan(str(path)),
    "image": open_image,
    "ONNX": load_graph,
    "weights.safetensors": lambda path: load_weights(nn.Linear(3, 2), path),
    "weights.pt": lambda path: load_weights(nn.Linear(3, 2), path),
    "ranges": lambda path: _cached(path, Silent()),
    "rows": read_rows,
    "marks": _parts,
    "labelled images": lambda path: open_images(f"imagefolder:{path}"),
    "Fashion-MNIST": lambda path: open_images(f"fashion-mnist:{path}"),
    "CIFAR": lambda path: open_images(f"cifar10:{path}"),
    "calibration": lambda path: calibration_sha256(str(path), 3),
    "calibration images": lambda path: calibration_images(str(path), HOW, 2),
    "bundle": read_bundle,
    "run": read_run,
}


def _every(original: Path, uses: dict[str, Callable[[Path], object]], tmp_path: Path) -> None:
    """Use copies of `original` with odd things in every file's place."""
    folder = tmp_path / "copy"
    for path in sorted(original.rglob("*")):
        for kind in ODD:
            shutil.copytree(original, folder)
            place = folder / path.relative_to(original)
            clear(place)
            put(place, kind, b"")
            for name, call in uses.items():
                with _named(f"{name} with {kind} as {path.name}"):
                    attempt(lambda call=call: call(folder), tmp_path)  # type: ignore[misc]
            clear(folder)


@contextmanager
def _named(text: str) -> Iterator[None]:
    """Say what was tried when it fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(text)
        raise


def test_a_bundle_with_odd_files_is_refused_or_used(tmp_path: Path) -> None:
    _every(BUNDLE, _BUNDLE_USES, tmp_path)


def test_a_run_with_odd_files_is_refused_or_shown(tmp_path: Path) -> None:
    _every(copy_run(tmp_path / "run"), _RUN_USES, tmp_path)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_thing_in_the_place_of_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    for name, use in _FILE_USES.items():
        path = tmp_path / name
        put(path, kind, b"")
        with _named(f"{name} from {kind}"):
            attempt(lambda use=use, path=path: use(path), tmp_path)  # type: ignore[misc]
