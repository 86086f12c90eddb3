"""Precisions on a GPU: every backend computes in what its label says, close to FP32, and scores as the FP32 module does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_deploy import ExportSpec, ModelSpec, export_bundle
from prune_deploy.backends import discover, usable
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.execution.planning import artifact_for, parse_run_configs
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Silent
from prune_deploy.pipeline import Exported
from prune_deploy.specs import PRECISIONS, Precision, QuantizeSpec
from prune_deploy.tensors import named_input, only
from prune_deploy.workflows.evaluate import EvaluationRequest, evaluate_all, plan_evaluation
from support.gpu import REHEARSAL, engine_spec, needs_cuda, needs_engine, options

SIZE = (3, 64, 64)
COMPUTED = {
    ("eager", "fp32"),
    ("eager", "fp16"),
    ("compile", "fp32"),
    ("compile", "fp16"),
    ("ort", "fp32"),
    ("ort", "fp16"),
    ("trt", "fp32"),
    ("trt", "fp16"),
    ("trt", "int8"),
}
"""What every GPU of these libraries computes in; BF16 and TF32 need Ampere, and of ONNX Runtime's CUDA provider INT8 is not asked."""

Images = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small network with a file of each precision that this GPU has, and engines where a library builds them."""
    modern = int((local_target() or "sm0").removeprefix("sm")) >= 80
    spec = ExportSpec(
        model=ModelSpec(name="test_resnet", num_classes=10, input_size=SIZE),
        prune=None,
        precisions=tuple(PRECISIONS) if modern else ("fp32", "fp16", "int8"),
        quantize=QuantizeSpec(calibration="digits", samples=32),
        engine=engine_spec(batches=(4,)),
    )
    return export_bundle(spec, tmp_path_factory.mktemp("precisions") / "bundle")


def images() -> Images:
    return np.random.default_rng(0).standard_normal((4, *SIZE), dtype=np.float32)


def answer(folder: Path, name: str, precision: Precision) -> tuple[Images, dict[str, str]]:
    """Logits and settings of a checked session."""
    config = parse_run_configs((name,), (precision,))[0]
    backend = usable(name)
    artifact = folder if backend.consumes == "module" else folder / artifact_for(read_loaded_bundle(folder), config, 4).name
    with backend.open(artifact, named_input(images()), options(precision=precision)) as session:
        session.run()
        session.synchronize()
        session.check()
        return only(session.outputs()), session.settings()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=[needs_engine] if name == "trt" else [])
        for name, precision in sorted(COMPUTED | {("eager", "bf16"), ("trt", "bf16"), ("eager", "tf32")})
    ],
)
def test_a_backend_computes_in_what_its_label_says(exported: Exported, name: str, precision: Precision) -> None:
    expected, _ = answer(exported.folder, "eager", "fp32")
    try:
        logits, settings = answer(exported.folder, name, precision)
    except CannotRunError:
        if (name, precision) in COMPUTED and not REHEARSAL:
            raise
        pytest.skip(f"this GPU has no {precision}")
    assert settings["precision"].startswith(precision)
    assert np.abs(logits - expected).max() < PRECISIONS[precision].parity.relative_diff * expected.std(axis=1).mean()
    if precision == "tf32":
        assert settings["tf32"] == "matmul tf32, conv tf32"
    if "precision_layers" in settings and precision != "fp32":
        computing, _, layers = settings["precision_layers"].partition("/")
        assert int(computing) >= int(layers) - 1, "the CUDA provider casts nothing to FP32"


def test_no_backend_lends_itself_to_a_label_that_is_not_true(exported: Exported) -> None:
    for name in ("eager", "compile"):
        with (
            pytest.raises(CannotRunError, match="runs no INT8"),
            usable(name).open(exported.folder, named_input(images()), options(precision="int8")),
        ):
            pass


@needs_cuda
def test_onnx_runtime_multiplies_nothing_in_int8_and_says_so(exported: Exported) -> None:
    with pytest.raises(BuildError, match="int8 was asked for, 0 of"):
        answer(exported.folder, "ort", "int8")


def test_artifacts_are_scored_on_the_gpu_and_agree_with_the_fp32_module(exported: Exported) -> None:
    backends = tuple(name for name in ("eager", "ort", "trt") if discover()[name].available().available)
    asked = EvaluationRequest(
        bundles=(exported.folder,),
        backends=backends,
        precisions=("fp32",) if REHEARSAL else ("fp32", "fp16"),
        data="digits",
        data_samples=64,
        options=options(),
    )
    rows = list(evaluate_all(plan_evaluation(asked), asked, Silent()))
    assert [row.reason for row in rows if row.status != "ok"] == []
    assert all(row.accuracy is not None and row.accuracy.agreement is not None for row in rows)
    assert all(row.accuracy.agreement > 0.95 for row in rows if row.accuracy is not None and row.accuracy.agreement is not None)
