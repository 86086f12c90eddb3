"""What is asked of precisions: requests that make sense, cases they become, labels that rows carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.errors import InputError
from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import PlannedComparison, artifact_for, parse_run_configs, plan, planning_warnings
from prune_deploy.records import (
    LATENCY_ONLY,
    RTX_INT8,
    Artifact,
    Calibration,
    EngineProfile,
    EngineRecord,
    LayerShare,
    QdqPlacement,
    Quantization,
    from_json,
    to_json,
)
from prune_deploy.reporting.figures.rows import row
from prune_deploy.specs import (
    EngineSpec,
    ExportSpec,
    MaskSpec,
    MeasureSpec,
    ModelSpec,
    Precision,
    QuantizeSpec,
    RunOptions,
    parse_calibration,
)
from support import GOLDEN
from support.run_records import case_record

BUNDLE_V1 = GOLDEN / "bundle_v1"
MODEL = ModelSpec(name="test_resnet")
SYNTHETIC = Calibration(data="synthetic", images=8, method="minmax", sha256="")


def request(*precisions: Precision, **fields: Any) -> ExportSpec:
    return ExportSpec(model=MODEL, prune=None, engine=EngineSpec(), precisions=precisions, **fields)


@pytest.mark.parametrize(
    ("precisions", "fields", "message"),
    [
        ((), {}, "each precision once"),
        (("fp32", "fp32"), {}, "each precision once"),
        (("fp8",), {}, "unknown precision 'fp8'"),
        (("int8",), {}, "images to calibrate on"),
        (("fp16",), {"quantize": QuantizeSpec()}, "calibration without int8"),
    ],
)
def test_requests_that_make_no_sense_are_refused(precisions: tuple[Any, ...], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        request(*precisions, **fields)


@pytest.mark.parametrize(
    "fields",
    [{"samples": 0}, {"keep_top": -1}, {"max_drop": 1.0}, {"max_drop": float("nan")}, {"keep_top": 1, "max_drop": 0.1}],
)
def test_calibrations_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        QuantizeSpec(**fields)


def test_each_precision_gets_an_engine_and_2_to_4_masks_their_kernels() -> None:
    spec = request("fp32", "int8", quantize=QuantizeSpec(), mask=MaskSpec(kind="2:4"))
    assert [(each.precision, each.sparse_weights) for each in spec.engines] == [("fp32", True), ("int8", True)]
    assert from_json(ExportSpec, to_json(spec), source="test") == spec


def test_words_for_calibration_images() -> None:
    assert parse_calibration("synthetic") == ("synthetic", None)
    assert parse_calibration("digits") == ("digits", None)
    assert parse_calibration("imagefolder:a/b") == ("imagefolder", Path("a/b"))
    assert parse_calibration("photos") == ("images", Path("photos"))
    with pytest.raises(InputError):
        parse_calibration("")


def with_files(*files: Artifact) -> LoadedBundle:
    """The golden bundle with other files."""
    bundle = read_loaded_bundle(BUNDLE_V1)
    kept = tuple(each for each in bundle.record.artifacts if each.role not in ("onnx", "engine"))
    return replace(bundle, record=replace(bundle.record, artifacts=(*kept, *files)))


def onnx(name: str, precision: Precision, placement: QdqPlacement | None = None) -> Artifact:
    made = None
    if placement is not None:
        made = Quantization(placement=placement, rest="fp32", calibration=SYNTHETIC, quantized=5, layers=6)
    return Artifact(name=name, role="onnx", size_bytes=1, sha256="", precision=precision, quantization=made)


def test_onnx_runtime_gets_the_int8_file_that_was_made_for_it() -> None:
    for_both = with_files(onnx("model.int8.onnx", "int8", "tensorrt"), onnx("model.int8.ort.onnx", "int8", "onnxruntime"))
    (config,) = parse_run_configs(("ort",), ("int8",))
    assert artifact_for(for_both, config, 1).name == "model.int8.ort.onnx"
    given = with_files(onnx("model.int8.onnx", "int8", "tensorrt"))
    assert artifact_for(given, config, 1).name == "model.int8.onnx"


@pytest.mark.parametrize(
    ("backend", "precision", "message"),
    [
        ("eager", "int8", "runs no int8"),
        ("compile", "int8", "runs no int8"),
        ("ort", "int8", "no int8"),
        ("ort", "bf16", "no bf16"),
    ],
)
def test_what_a_backend_or_a_bundle_has_not_is_told(backend: str, precision: str, message: str) -> None:
    (config,) = parse_run_configs((backend,), (precision,))
    with pytest.raises(InputError, match=message):
        artifact_for(with_files(onnx("model.onnx", "fp32")), config, 1)


@pytest.mark.parametrize("names", [(), ("fp32", "fp8")])
def test_precisions_that_mean_nothing_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        parse_run_configs(("ort",), names)


def test_precisions_come_in_the_order_they_were_asked_for() -> None:
    assert [config.precision for config in parse_run_configs(("null",), ("fp16", "fp32"))] == ["fp16", "fp32"]


def across(bundle: LoadedBundle) -> list[PlannedComparison]:
    return plan(
        bundle, [bundle], parse_run_configs(("null", "eager"), ("fp32", "bf16")), (1,), MeasureSpec(), across="precisions"
    )


def test_across_precisions_there_is_one_comparison_per_backend_with_one_baseline() -> None:
    bundle = read_loaded_bundle(BUNDLE_V1)
    first, second = across(bundle)
    assert first.name == f"{bundle.label}-null-across-precisions-b1"
    assert second.name == f"{bundle.label}-eager-across-precisions-b1"
    assert [(case.role, case.case.precision) for case in second.cases] == [
        ("dense", "fp32"),
        ("candidate", "fp32"),
        ("candidate", "bf16"),
        ("candidate", "bf16"),
    ]
    assert [case.case.options.precision for case in second.cases] == ["fp32", "fp32", "bf16", "bf16"]


def test_int8_says_what_its_reader_must_know() -> None:
    engine = EngineRecord(
        library="TensorRT-RTX",
        library_version="1.7",
        target="sm86",
        precision="int8",
        tf32=False,
        profiles=(EngineProfile(minimum=1, optimum=1, maximum=1),),
        workspace_mib=None,
        optimization_level=3,
        build_s=1.0,
        layer_types={"Int8": 53},
        layer_source="build log",
        warnings=(),
        trtexec="",
        share=LayerShare(computing=53, layers=54, source="build log"),
    )
    built = Artifact(name="m.engine", role="engine", size_bytes=1, sha256="", precision="int8", engine=engine)
    bundle = with_files(onnx("model.int8.onnx", "int8", "tensorrt"), built)
    (comparison,) = plan(bundle, [], parse_run_configs(("trt:cuda-graph",), ("int8",)), (1,), MeasureSpec())
    (case,) = comparison.cases
    if case.artifact is None:  # a GPU is here, and the engine is for another one
        pytest.skip("needs a machine without a GPU")
    assert planning_warnings(case) == (f"INT8 {LATENCY_ONLY}", RTX_INT8)
    assert case.failure is not None
    assert "int8 in 53/54 layers" in case.failure.reason


def test_rows_say_how_many_layers_have_the_precision() -> None:
    record = case_record(share=LayerShare(computing=50, layers=54, source="build log"))
    assert row(record).precision_text == "fp32"
    half = replace(record, case=replace(record.case, precision="int8"))
    assert row(half).precision_text == "int8 50/54"
    assert row(replace(half, settings={"precision_layers": "53/54"})).precision_text == "int8 53/54", "what ran counts"


def test_tf32_is_a_label_of_its_own() -> None:
    bundle = with_files(onnx("model.onnx", "fp32"))
    configs = parse_run_configs(("ort", "eager"), ("tf32",))
    on_gpu = MeasureSpec(options=RunOptions(device="cuda"))
    for config in configs:
        (here,) = plan(bundle, [], (config,), (1,), MeasureSpec())[0].cases
        assert here.failure is not None
        assert "TF32 is a GPU's" in here.failure.reason
        (there,) = plan(bundle, [], (config,), (1,), on_gpu)[0].cases
        assert there.artifact is not None
        assert there.artifact.name in ("model.onnx", "weights.safetensors")
