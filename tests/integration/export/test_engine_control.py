"""Watching, cancelling and interrupting real builds, and the logger that all builds of a process share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt import engine
from prune_deploy.export.tensorrt import log as tensorrt_log
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.export.tensorrt.library import TensorRTLibrary, choose_library
from prune_deploy.export.tensorrt.log import process_logger
from prune_deploy.records import EngineRecord
from support.fakes.recorded_progress import RecordedProgress
from support.models.engine_models import models, refused, spec

pytestmark = pytest.mark.locked

__all__ = ["models"]  # a fixture


def test_one_logger_serves_all_builds_and_keeps_them_apart(models: Path, tmp_path: Path) -> None:
    library = choose_library("tensorrt-rtx", "sm86")
    before = process_logger(library.module)
    assert "workspace" in refused(BuildError, models / "resnet.onnx", spec(workspace_mib=1), tmp_path).message
    # The errors of the build before would make this one fail, were they still there.
    record = build_engine(models / "resnet.onnx", spec(), tmp_path / "model.engine")
    assert record.warnings == (), "a second logger would be a warning"
    assert process_logger(library.module) is before
    assert before.sink is None


def test_an_error_that_is_only_logged_is_an_error(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure = engine._configure

    def with_a_bad_flag(library: TensorRTLibrary, *arguments: Any) -> Any:
        config = configure(library, *arguments)
        config.set_flag(library.module.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
        return config

    monkeypatch.setattr(engine, "_configure", with_a_bad_flag)
    error = refused(BuildError, models / "resnet.onnx", spec(), tmp_path)
    assert "could not build resnet.onnx" in error.message
    assert "LEAN_RUNTIME" in error.message


def test_progress_advances_and_names_nested_phases(models: Path, tmp_path: Path) -> None:
    progress = RecordedProgress()
    build_engine(models / "resnet.onnx", spec(), tmp_path / "model.engine", progress=progress)
    done = [share for share, _, _ in progress.advances]
    assert done == sorted(done)
    assert len(progress.advances) > 10
    assert progress.advances[0][2] == progress.advances[-1][2] == "Building engine"
    assert progress.advances[-1][0] == progress.advances[-1][1]
    assert "Timing tactics" in {detail for _, _, detail in progress.advances}


def test_progress_can_cancel(models: Path, tmp_path: Path) -> None:
    failure = RuntimeError("enough")
    with pytest.raises(RuntimeError) as caught:
        build_engine(models / "resnet.onnx", spec(), tmp_path / "model.engine", progress=RecordedProgress(failure))
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []


PROFILES = 30


def test_ctrl_c_ends_the_build_and_leaves_nothing(models: Path, tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from prune_deploy.export.tensorrt.engine import build_engine
        from prune_deploy.interfaces import Silent
        from prune_deploy.specs import EngineBuild

        class Printed(Silent):
            last = ""

            def advance(self, done, total, detail=""):
                if detail != self.last:
                    print(detail, flush=True)
                self.last = detail

        try:
            # So many profiles that the build takes seconds, and the signal arrives in its midst.
            asked = EngineBuild(library="tensorrt-rtx", batches=tuple(range(1, {PROFILES + 1})))
            build_engine(Path({str(models / "vit.onnx")!r}), asked, Path({str(tmp_path / "model.engine")!r}), progress=Printed())
        except KeyboardInterrupt:
            raise SystemExit(130)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        # The phase comes once per profile: at its third time the builder is well on its way.
        phases = (line.strip() for line in child.stdout)
        for _ in range(3):
            assert "Determining refit engines" in phases
        child.send_signal(signal.SIGINT)
        rest, message = child.communicate(timeout=500)
    assert (child.returncode, message) == (130, "")
    assert rest.count("Determining refit engines") < PROFILES - 3, "the build did not go on to its end"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_logger_is_not_swallowed(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(tensorrt_log.BuildLog):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "messages" and value == 500:  # of about 640, so after parsing
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(tensorrt_log, "BuildLog", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_engine(models / "resnet.onnx", spec(), tmp_path / "model.engine")
    assert list(tmp_path.iterdir()) == []


def test_other_threads_can_build(models: Path, tmp_path: Path) -> None:
    built: list[EngineRecord] = []
    paths = [tmp_path / f"{index}.engine" for index in range(2)]
    threads = [
        threading.Thread(target=lambda path=path: built.append(build_engine(models / "resnet.onnx", spec(), path)))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.layer_types for record in built] == [built[0].layer_types] * 2
    assert all(path.stat().st_size > 1_000_000 for path in paths)


def test_a_logger_that_other_code_registered_first_is_refused(models: Path, tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        import tensorrt_rtx
        from prune_deploy.errors import BuildError
        from prune_deploy.export.tensorrt.engine import build_engine
        from prune_deploy.specs import EngineBuild

        other = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR))
        try:
            build_engine(Path({str(models / "resnet.onnx")!r}), EngineBuild(library="tensorrt-rtx"), Path({str(tmp_path / "m.engine")!r}))
        except BuildError as error:
            print(error.fix)
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert child.stdout.strip() == "build engines in a process of their own"
