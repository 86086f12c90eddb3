"""What a masked model is called: its bundle, its engine, its rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.execution.baseline import is_dense
from prune_deploy.execution.comparison import run_comparison
from prune_deploy.execution.failure import Failure
from prune_deploy.execution.loaded_bundle import LoadedBundle
from prune_deploy.execution.planning import PlannedCase, PlannedComparison
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.export.tensorrt.engine import allow_sparse_weights
from prune_deploy.export.tensorrt.layers import sparse_counts
from prune_deploy.export.tensorrt.library import TensorRTLibrary, probe_library
from prune_deploy.export.tensorrt.log import collecting
from prune_deploy.export.tensorrt.trtexec import trtexec_command
from prune_deploy.interfaces import Silent
from prune_deploy.records import NO_DENSE_SPEEDUP, Artifact, CaseRecord, EngineRecord
from prune_deploy.specs import Case, EngineSpec, ExportSpec, MaskSpec, MeasureSpec, ModelSpec, PruneSpec, RunOptions
from prune_deploy.store import bundle_name, read_bundle
from support import GOLDEN

UNSTRUCTURED = MaskSpec(kind="l1-unstructured", ratio=0.3)
GLOBAL = MaskSpec(kind="global-unstructured", ratio=0.3)
TWO_OF_FOUR = MaskSpec(kind="2:4")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (UNSTRUCTURED, "resnet50-mask-l1-unstructured-r0.30"),
        (GLOBAL, "resnet50-mask-global-unstructured-r0.30"),
        (MaskSpec(kind="ln-structured", ratio=0.123), "resnet50-mask-ln-structured-r0.123"),
        (TWO_OF_FOUR, "resnet50-mask-2to4-r0.50"),
    ],
)
def test_a_masked_bundle_says_so_by_its_name(spec: MaskSpec, name: str) -> None:
    assert bundle_name(ExportSpec(model=ModelSpec(name="resnet50"), prune=None, engine=EngineSpec(), mask=spec)) == name


@pytest.mark.parametrize(
    ("mask_spec", "asked", "built"),
    [
        (TWO_OF_FOUR, None, True),
        (TWO_OF_FOUR, False, False),
        (UNSTRUCTURED, None, False),
        (UNSTRUCTURED, True, True),
        (None, None, False),
    ],
)
def test_the_engine_of_a_2_4_mask_may_use_sparse_kernels(mask_spec: MaskSpec | None, asked: bool | None, built: bool) -> None:
    engine = EngineSpec(sparse_weights=asked)
    spec = ExportSpec(model=ModelSpec(name="resnet50"), prune=None, engine=engine, mask=mask_spec)
    assert spec.engines[0].sparse_weights is built
    line = trtexec_command(spec.engines[0], onnx_name="m.onnx", engine_name="m.engine", inputs={"x": (3,)}, rtx=True)
    assert ("--sparsity=enable" in line) == built


SAID = (
    "(Sparsity) Found 39 layer(s) eligible to use sparse tactics: a, b",
    "(Sparsity) Chose 4 layer(s) using sparse tactics: a",
    "(Sparsity) Found 40 layer(s) eligible to use sparse tactics",
    "(Sparsity) Chose 0 layer(s) using sparse tactics",
    "(Sparsity) Please provide sparse weights if you want to refit sparse layers",
)
"""As TensorRT 10 logs it, twice."""


@pytest.mark.parametrize(
    ("messages", "found"), [(SAID, (40, 0)), (SAID[:2], (39, 4)), (SAID[:1], (39, None)), ((), (None, None))]
)
def test_the_last_word_on_sparse_kernels_counts(messages: tuple[str, ...], found: tuple[int | None, int | None]) -> None:
    assert sparse_counts(messages) == found


@pytest.mark.locked
def test_the_builders_words_on_sparse_kernels_are_kept() -> None:
    library = probe_library("tensorrt-rtx")
    assert isinstance(library, TensorRTLibrary)
    with collecting(library) as log:
        log.logger.log(library.module.ILogger.Severity.INFO, SAID[0])
        log.logger.log(library.module.ILogger.Severity.INFO, "something else")
    assert log.sparsity == [SAID[0]]


def test_a_library_without_the_flag_cannot_build_for_sparse_weights() -> None:
    flags = SimpleNamespace(__members__={"TF32": 0})
    library = TensorRTLibrary(name="TensorRT", version="12.0.1", module=SimpleNamespace(BuilderFlag=flags))
    with pytest.raises(CannotRunError, match=r"TensorRT 12.0.1 knows no sparse weights") as caught:
        allow_sparse_weights(library, SimpleNamespace())
    assert "`sparse_weights=False`" in caught.value.fix


def test_a_model_is_pruned_or_masked() -> None:
    with pytest.raises(InputError, match="either pruned or masked"):
        ExportSpec(model=ModelSpec(name="resnet50"), prune=PruneSpec(ratio=0.5), engine=EngineSpec(), mask=TWO_OF_FOUR)


BUNDLE_V1 = GOLDEN / "bundle_v1"
ENGINE = EngineRecord(
    library="TensorRT",
    library_version="11.4",
    target="sm86",
    precision="tf32",
    tf32=True,
    profiles=(),
    workspace_mib=None,
    optimization_level=3,
    build_s=1.0,
    layer_types={"Float": 3},
    layer_source="inspector",
    warnings=(),
    trtexec="",
    sparse_weights=True,
)


def record_of(spec: MaskSpec | None, sparse_layers: int | None, tmp_path: Path) -> CaseRecord:
    """The record of a case that could not run, of a bundle that was masked like this."""
    bundle = read_bundle(BUNDLE_V1)
    request = dataclasses.replace(bundle.request, prune=None, mask=spec)
    receipt = dataclasses.replace(bundle.receipt, mask=spec, nonzero_params=None if spec is None else 7)
    engine = dataclasses.replace(ENGINE, sparse_layers=sparse_layers)
    artifact = Artifact(name="m.engine", role="engine", size_bytes=0, sha256="", engine=engine)
    bundle = dataclasses.replace(bundle, request=request, receipt=receipt, artifacts=(*bundle.artifacts, artifact))
    assert is_dense(bundle) == (spec is None)
    case = PlannedCase(
        case=Case(bundle="b", backend="trt", precision="tf32", batch=1, options=RunOptions()),
        role="candidate",
        bundle=LoadedBundle(folder=BUNDLE_V1, record=bundle),
        artifact=artifact,
        failure=Failure(status="unavailable", reason="no CUDA device", fix="get one"),
    )
    planned = PlannedComparison(name="c", cases=(case,))
    with Watchdog() as watchdog:
        records = run_comparison(planned, MeasureSpec(), tmp_path, watchdog, Silent())
    return records[0]


@pytest.mark.parametrize(
    ("spec", "sparse_layers", "warnings"),
    [
        (None, None, ()),
        (UNSTRUCTURED, None, (NO_DENSE_SPEEDUP,)),
        (TWO_OF_FOUR, None, (NO_DENSE_SPEEDUP,)),
        (TWO_OF_FOUR, 0, (NO_DENSE_SPEEDUP,)),
        (TWO_OF_FOUR, 3, ("kernels for 2:4 sparse weights in 3 layers of the engine",)),
    ],
)
def test_a_masked_case_is_labelled(
    spec: MaskSpec | None, sparse_layers: int | None, warnings: tuple[str, ...], tmp_path: Path
) -> None:
    record = record_of(spec, sparse_layers, tmp_path)
    assert record.warnings == warnings
    assert record.nonzero_params == (None if spec is None else 7)
    assert record.variant is not None
    assert record.variant.mask == spec
