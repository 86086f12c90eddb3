"""When an engine's parity is checked, at which batches, and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.backends.run_options import out_of_memory
from prune_deploy.errors import CannotRunError
from prune_deploy.evaluation import engine_parity
from prune_deploy.evaluation.parity import Remembered
from prune_deploy.records import EngineProfile, EngineRecord, Parity
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import OUTPUT_NAME, Arrays, only

SIZE = (3, 8, 8)
ENGINE = "model.fp32.sm86.b1.tensorrt-11.4.engine"


class Engine:
    """Runs the module where the backend would run an engine; `scale` spoils the answer."""

    def __init__(self, module: nn.Module, scale: float = 1.0, error: Exception | None = None) -> None:
        self.module, self.scale, self.error, self.batches = module, scale, error, list[int]()

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions) -> Iterator[Engine]:
        assert options.device == "cuda"
        yield self

    def bind(self, inputs: Arrays) -> None:
        images = only(inputs)
        self.batches.append(len(images))
        with torch.inference_mode():
            self.logits = self.module(torch.from_numpy(images)).numpy() * self.scale

    def run(self) -> None:
        """Done already."""
        if self.error is not None:
            raise self.error

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def outputs(self) -> Arrays:
        return {OUTPUT_NAME: self.logits}


def record(*batches: int, target: str = "sm86") -> EngineRecord:
    return EngineRecord(
        library="TensorRT",
        library_version="11.4.0",
        target=target,
        precision="fp32",
        tf32=False,
        profiles=tuple(EngineProfile(minimum=1, optimum=batch, maximum=batch) for batch in batches),
        workspace_mib=None,
        optimization_level=3,
        build_s=1.0,
        layer_types={"Float": 1},
        layer_source="inspector",
        warnings=(),
        trtexec="trtexec",
    )


def look(
    monkeypatch: pytest.MonkeyPatch,
    engine: EngineRecord,
    *,
    local: str | None = "sm86",
    scale: float = 1.0,
    name: str = ENGINE,
    error: Exception | None = None,
) -> Any:
    """The parity on a machine whose GPU is `local`, and the batches that were run."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)).eval()
    runtime = Engine(module, scale, error)
    monkeypatch.setattr(engine_parity, "local_target", lambda: local)
    monkeypatch.setattr(engine_parity, "usable", lambda name: runtime)
    monkeypatch.setattr(engine_parity, "read_plan", lambda path: b"ftrt")
    monkeypatch.setattr(engine_parity, "library_for", lambda path, label: SimpleNamespace(tag="tensorrt-11.4"))
    parity: Parity = engine_parity.check_engine_parity(module, Path(name), engine, SIZE)
    return SimpleNamespace(parity=parity, batches=runtime.batches)


@pytest.mark.parametrize(("optima", "expected"), [((1,), [1, 1, 1]), ((2,), [2, 2]), ((1, 8), [1, 8]), ((4, 1, 4), [1, 4])])
def test_each_profile_is_run_at_its_batch(monkeypatch: pytest.MonkeyPatch, optima: tuple[int, ...], expected: list[int]) -> None:
    seen = look(monkeypatch, record(*optima))
    assert seen.parity.status == "passed"
    assert seen.batches == expected
    assert seen.parity.response_cosine == pytest.approx(1)


def test_an_engine_that_computes_something_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, record(1, 4), scale=1.1).parity.status == "failed"


@pytest.mark.parametrize(("local", "reason"), [(None, "no CUDA device"), ("sm90", "engine built for sm86, the GPU here is sm90")])
def test_where_it_cannot_run_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch, local: str | None, reason: str) -> None:
    seen = look(monkeypatch, record(1), local=local)
    assert (seen.parity.status, seen.parity.reason) == ("not_run", reason)
    assert seen.batches == []


def test_a_library_that_is_not_here_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_parity, "local_target", lambda: "sm86")

    def missing(name: str) -> Any:
        raise CannotRunError("backend trt cannot run here: not installed", fix="pip install tensorrt")

    monkeypatch.setattr(engine_parity, "usable", missing)
    monkeypatch.setattr(engine_parity, "read_plan", lambda path: b"ftrt")
    parity = engine_parity.check_engine_parity(nn.Identity(), Path("model.engine"), record(1), SIZE)
    assert (parity.status, parity.reason) == ("not_run", "backend trt cannot run here: not installed")


REFUSED = CannotRunError("TensorRT refused: execute_async_v3: no kernel image", fix="see: prune-deploy doctor")


@pytest.mark.parametrize(
    ("name", "error", "status"),
    [
        (ENGINE, REFUSED, "failed"),
        ("renamed.engine", REFUSED, "failed"),
        (ENGINE.replace("11.4", "10.9"), REFUSED, "not_run"),  # another version of the library may refuse it
        (ENGINE, out_of_memory("TensorRT"), "not_run"),
    ],
)
def test_an_engine_that_its_own_gpu_refuses_to_run_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, status: str
) -> None:
    parity = look(monkeypatch, record(1), name=name, error=error).parity
    assert parity.status == status
    assert parity.reason == str(error).partition("\n")[0]


def test_the_module_computes_each_batch_of_images_once() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return images.mean((2, 3))

    answers = Remembered(Counted())
    images = torch.rand(4, *SIZE)
    first = answers(images)
    assert torch.equal(answers(images.clone()), first)
    assert not torch.equal(answers(images + 1), first)
    assert calls == [4, 4]
