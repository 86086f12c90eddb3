"""The table of precisions: its rows fit numpy, torch, ONNX and TensorRT, and no other module keeps a table of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import ml_dtypes  # noqa: F401 - gives numpy its bfloat16
import numpy as np
import onnx
import pytest
import torch

from prune_deploy.errors import InputError
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.export.tensorrt.types import ENGINE_TYPES, NARROW_TYPES
from prune_deploy.specs import (
    PRECISIONS,
    EngineSpec,
    ExportSpec,
    ModelSpec,
    Precision,
    QuantizeSpec,
    need_calibration,
    parse_precisions,
    require_calibration,
)
from support import ROOT


def test_every_precision_has_a_row() -> None:
    assert tuple(PRECISIONS) == get_args(Precision)


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_row_names_types_that_exist(name: Precision) -> None:
    found = PRECISIONS[name]
    code = onnx.TensorProto.DataType.Value(found.onnx_type)
    dtype = np.dtype(found.array_type)
    assert onnx.helper.tensor_dtype_to_np_dtype(code) == dtype
    assert dtype.itemsize * 8 == found.bits
    assert getattr(torch, found.array_type).itemsize * 8 == found.bits
    assert ENGINE_TYPES[found.engine_type].dtype == found.array_type
    assert found.engine_types_allowed <= NARROW_TYPES
    assert (found.engine_type in found.engine_types_allowed) == (found.engine_type in NARROW_TYPES)
    assert PRECISIONS[found.runs_file_of].onnx_type == found.onnx_type


@pytest.mark.parametrize(
    ("name", "code", "infinity", "schema"),
    [
        ("fp16", onnx.TensorProto.FLOAT16, 0x7C00, "tensor(float16)"),
        ("bf16", onnx.TensorProto.BFLOAT16, 0x7F80, "tensor(bfloat16)"),
    ],
)
def test_half_types_come_from_their_rows(name: Precision, code: int, infinity: int, schema: str) -> None:
    half = HalfType.of(name)
    assert (half.name, half.code, half.infinity, half.schema) == (name, code, infinity, schema)


def test_bounds_of_parity_loosen_with_fewer_bits() -> None:
    bounds = [PRECISIONS[name].parity for name in get_args(Precision)]
    assert [each.relative_diff for each in bounds] == sorted(each.relative_diff for each in bounds)
    assert [each.cosine for each in bounds] == sorted((each.cosine for each in bounds), reverse=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fp8",), "unknown precision 'fp8'"),
        ((), "must name each precision once, got none"),
        (("fp32", "fp32"), "must name each precision once, got fp32,fp32"),
    ],
)
def test_words_that_name_no_precisions(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_precisions(words)
    assert "fp32, tf32, fp16, bf16, int8" in caught.value.fix
    assert parse_precisions(("int8", "fp32")) == ("int8", "fp32"), "the order is the caller's"


def test_int8_alone_needs_images() -> None:
    assert [name for name in PRECISIONS if need_calibration([name])] == ["int8"]
    require_calibration(("fp32", "fp16"), None)
    require_calibration(("int8",), QuantizeSpec())
    with pytest.raises(InputError, match="int8 needs images"):
        require_calibration(("fp32", "int8"), None)


def tables(tree: ast.Module) -> Iterator[tuple[int, set[str]]]:
    """Dictionaries whose keys name two precisions or more."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
            if len(keys & set(get_args(Precision))) > 1:
                yield node.lineno, keys


def test_the_search_for_tables_finds_one() -> None:
    assert list(tables(ast.parse('WIDTH = {"fp16": 2, "bf16": 2}'))) == [(1, {"fp16", "bf16"})]


def test_no_module_keeps_a_table_of_its_own() -> None:
    package = ROOT / "prune_deploy"
    found = {
        f"{path.relative_to(package)}:{line}"
        for path in sorted(package.rglob("*.py"))
        for line, _ in tables(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {Path(each.partition(":")[0]) for each in found} == {Path("specs/precision.py")}, found


def test_messages_are_said_in_one_place() -> None:
    for words in ("unknown precision", "needs images to calibrate"):
        holders = [path for path in (ROOT / "prune_deploy").rglob("*.py") if words in path.read_text(encoding="utf-8")]
        assert [path.name for path in holders] == ["precision.py"], words


def test_an_export_says_them_too() -> None:
    with pytest.raises(InputError, match="unknown precision"):
        ExportSpec(model=ModelSpec(name="resnet18"), prune=None, engine=EngineSpec(), precisions=("fp12",))  # type: ignore[arg-type]
