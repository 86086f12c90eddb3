"""A backend costs one file: it is found, planned and named without a change anywhere else."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prune_deploy import backends
from prune_deploy.execution.candidate import CandidateOutcome, startup_of
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.execution.planning import parse_run_configs, plan
from prune_deploy.records import Artifact, Startup
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.specs import MeasureSpec
from support import GOLDEN

MODULE = """
from contextlib import contextmanager

from prune_deploy.backends.null import NullSession
from prune_deploy.interfaces import Availability


class Throwaway:
    name = "throwaway"
    title = "A Throw-away Runtime"
    summary = "opens files of a role that this package does not know"
    consumes = "torchscript"
    variants = ("", "fast")
    reported = ("",)
    needs_own_process = True
    compiles = False

    def available(self):
        return Availability(available=True)

    def environment(self, options):
        return {}

    @contextmanager
    def open(self, artifact, inputs, options=None):
        yield NullSession(inputs)


BACKEND = Throwaway()
"""


@pytest.fixture
def throwaway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The backend's file beside those of the package."""
    (tmp_path / "throwaway.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    backends.discover.cache_clear()
    yield "throwaway"
    sys.modules.pop("prune_deploy.backends.throwaway", None)
    monkeypatch.undo()
    backends.discover.cache_clear()


def test_it_is_found_and_has_a_title(throwaway: str) -> None:
    assert throwaway in backends.discover()
    assert backend_title("throwaway:fast") == "A Throw-away Runtime (fast)"
    assert backends.usable(throwaway).summary


def test_it_opens_a_file_of_its_own_role(throwaway: str) -> None:
    bundle = read_loaded_bundle(GOLDEN / "bundle_v1")
    own = Artifact(name="model.ts", role="torchscript", size_bytes=1, sha256="", precision="fp32")
    record = dataclasses.replace(bundle.record, artifacts=(*bundle.record.artifacts, own))
    bundle = dataclasses.replace(bundle, record=record)
    (case,) = plan(bundle, [], parse_run_configs((throwaway,), ("fp32",)), (1,), MeasureSpec())[0].cases
    assert case.candidate is not None
    assert case.candidate.artifact == bundle.folder / "model.ts"
    assert (case.candidate.needs_own_process, case.candidate.compiles) == (True, False)


def test_a_process_of_its_own_is_no_compilation() -> None:
    launches = [Startup(process_s=1.0, open_s=1.0, first_run_s=second) for second in (9.0, 2.0)]
    outcome = CandidateOutcome(starts=launches)
    alone, compiled = startup_of(outcome, compiles=False), startup_of(outcome, compiles=True)
    assert alone is not None
    assert compiled is not None
    assert (alone.compile_cold_s, alone.compile_warm_s) == (None, None)
    assert (compiled.compile_cold_s, compiled.compile_warm_s) == (9.0, 2.0)


def test_a_backend_that_is_not_installed_keeps_its_name() -> None:
    assert backend_title("throwaway") == "throwaway"


def test_helpers_in_folders_are_no_backends() -> None:
    assert set(backends.discover()) >= {"compile", "eager", "null", "ort", "trt"}
    assert not {"pytorch", "onnxruntime", "tensorrt"} & set(backends.discover())
