"""Real TensorRT-RTX builds of small real models: what is built, what is refused, and what is left on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import onnx
import pytest

from prune_deploy.errors import BuildError, CannotRunError, InputError, StorageError
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.records import EngineProfile, EngineRecord
from prune_deploy.specs import EngineSpec
from support.models.engine_models import models, refused, spec

pytestmark = pytest.mark.locked

__all__ = ["models"]  # a fixture


@pytest.fixture(scope="module")
def resnet_fp32(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EngineRecord]:
    """resnet.onnx built for an RTX A2000 and two batches."""
    path = tmp_path_factory.mktemp("built") / "model.engine"
    return path, build_engine(models / "resnet.onnx", spec(batches=(1, 8), workspace_mib=256), path)


def test_an_engine_and_its_record(resnet_fp32: tuple[Path, EngineRecord]) -> None:
    path, record = resnet_fp32
    assert path.read_bytes()[:4] == b"vtrt"
    assert [file.name for file in path.parent.iterdir()] == ["model.engine"]
    assert (record.library, record.target, record.precision, record.tf32) == ("TensorRT-RTX", "sm86", "fp32", False)
    assert record.profiles == tuple(EngineProfile(minimum=b, optimum=b, maximum=b) for b in (1, 8))
    assert record.layer_source == "build log"
    assert set(record.layer_types) == {"Float"}
    assert (record.workspace_mib, record.optimization_level, record.warnings) == (256, 3, ())
    assert record.build_s > 0
    assert "--onnx=resnet.onnx --saveEngine=model.engine --computeCapabilities=86" in record.trtexec
    assert "--profile=1 --minShapes=input:8x3x160x160" in record.trtexec


def test_the_log_table_covers_every_profile(resnet_fp32: tuple[Path, EngineRecord], models: Path, tmp_path: Path) -> None:
    one = build_engine(models / "resnet.onnx", spec(), tmp_path / "one.engine")
    # 13 convolutions and a dense layer at least; two profiles list them twice.
    assert one.layer_types["Float"] > 14
    assert resnet_fp32[1].layer_types["Float"] > 1.5 * one.layer_types["Float"]


def test_another_target_is_another_engine(resnet_fp32: tuple[Path, EngineRecord], models: Path, tmp_path: Path) -> None:
    record = build_engine(models / "resnet.onnx", spec(target="sm120", batches=(1, 8)), tmp_path / "model.engine")
    assert record.target == "sm120"
    assert "--computeCapabilities=120" in record.trtexec
    assert (tmp_path / "model.engine").read_bytes() != resnet_fp32[0].read_bytes()


def test_a_transformer_with_three_batches_in_tf32(models: Path, tmp_path: Path) -> None:
    record = build_engine(models / "vit.onnx", spec("tf32", batches=(1, 4, 16)), tmp_path / "model.engine")
    assert record.tf32
    assert set(record.layer_types) == {"Float"}
    assert [profile.optimum for profile in record.profiles] == [1, 4, 16]


def test_fp16_layers_are_counted_as_half(resnet_fp32: tuple[Path, EngineRecord], models: Path, tmp_path: Path) -> None:
    record = build_engine(models / "resnet.fp16.onnx", spec("fp16"), tmp_path / "model.engine")
    assert record.layer_types["Half"] >= 14
    assert record.layer_types.get("Float", 0) <= 2, "only the casts of the input and the output stay in FP32"
    assert "Half" not in resnet_fp32[1].layer_types


def test_int8_layers_are_counted_as_int8(models: Path, tmp_path: Path) -> None:
    record = build_engine(models / "resnet.int8.onnx", spec("int8"), tmp_path / "model.engine")
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(models / "resnet.onnx").graph.node)
    # TensorRT-RTX pools in INT8 too, so there may be one or two more than convolutions.
    assert convolutions <= record.layer_types["Int8"] <= convolutions + 2


@pytest.mark.parametrize(
    ("model", "label", "message"),
    [
        ("resnet.onnx", "fp16", "no layer of the engine computes in Half"),
        ("resnet.onnx", "int8", "no layer of the engine computes in Int8"),
        ("resnet.fp16.onnx", "fp32", "compute in Half"),
        ("resnet.int8.onnx", "tf32", "compute in Int8"),
    ],
)
def test_a_label_that_does_not_hold_is_refused(models: Path, tmp_path: Path, model: str, label: str, message: str) -> None:
    assert message in refused(BuildError, models / model, spec(label), tmp_path).message


def test_unknown_targets_and_precisions(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sm42"):
        EngineSpec(target="sm42")
    with pytest.raises(InputError, match="fp12"):
        spec("fp12")
    error = refused(CannotRunError, models / "resnet.onnx", spec(target="sm90"), tmp_path)
    assert "does not build for sm90" in error.message
    assert "sm86" in error.fix


def test_what_a_card_lacks_is_said_in_tensorrts_words(models: Path, tmp_path: Path) -> None:
    error = refused(BuildError, models / "resnet.onnx", spec(target="sm75"), tmp_path)
    assert "FP32 GEMM is not supported" in error.message
    assert "/_src/" not in error.message
    assert "`library='none'`" in error.fix


def test_too_small_a_workspace_names_the_option(models: Path, tmp_path: Path) -> None:
    error = refused(BuildError, models / "resnet.onnx", spec(workspace_mib=1), tmp_path)
    assert "within workspace limit" in error.message
    assert "`workspace_mib`" in error.fix


@pytest.mark.parametrize(("batch", "message"), [(2**31 - 1, "volume"), (2**31, "refused"), (2**63, "refused")])
def test_absurd_batches_end_in_an_error_that_says_so(models: Path, tmp_path: Path, batch: int, message: str) -> None:
    error = refused(BuildError, models / "resnet.onnx", spec(batches=(batch,)), tmp_path)
    assert message in error.message
    assert "`batches`" in error.fix


def test_an_optimization_level_that_would_be_clamped_is_refused(models: Path, tmp_path: Path) -> None:
    assert "no optimization level 9" in refused(InputError, models / "resnet.onnx", spec(optimization_level=9), tmp_path).message


def damaged(models: Path, folder: Path) -> dict[str, Path]:
    """Files that are no usable ONNX model, by what is wrong with them."""
    whole = (models / "resnet.onnx").read_bytes()
    for name, content in {"truncated": whole[: len(whole) // 2], "text": b"hello world\n" * 99, "empty": b""}.items():
        (folder / f"{name}.onnx").write_bytes(content)
    external = folder / "external.onnx"
    onnx.save(onnx.load(models / "resnet.onnx"), external, save_as_external_data=True, location="external.onnx.data")
    (folder / "external.onnx.data").unlink()
    fixed = onnx.load(models / "resnet.onnx")
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(fixed, folder / "fixed batch.onnx")
    names = ("truncated", "text", "empty", "external", "fixed batch", "absent")
    return {name: folder / f"{name}.onnx" for name in names}


def test_damaged_files_are_bad_input(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for what, path in damaged(models, tmp_path).items():
        error = refused(InputError, path, spec(), out)
        assert error.exit_code == 2, what
        assert path.name in error.message, what


def test_external_weights_are_found_beside_the_file(models: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(models / "resnet.onnx"), tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data")
    record = build_engine(tmp_path / "m.onnx", spec(), tmp_path / "model.engine")
    assert record.layer_types["Float"] > 14


def test_an_unknown_operator_is_named(models: Path, tmp_path: Path) -> None:
    model = onnx.load(models / "resnet.onnx")
    model.graph.node[1].op_type = "Quux"
    onnx.save(model, tmp_path / "quux.onnx")
    (tmp_path / "out").mkdir()
    error = refused(BuildError, tmp_path / "quux.onnx", spec(), tmp_path / "out")
    assert "Quux" in error.message
    assert error.exit_code == 1


def test_a_full_disk_is_a_storage_error_and_the_old_engine_stays(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "model.engine"
    path.write_bytes(b"an older engine")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        build_engine(models / "resnet.onnx", spec(), path)
    assert path.read_bytes() == b"an older engine"
    assert [file.name for file in tmp_path.iterdir()] == ["model.engine"]


def test_a_missing_folder_is_said_before_the_build(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no directory"):
        build_engine(models / "resnet.onnx", spec(), tmp_path / "absent" / "model.engine")
