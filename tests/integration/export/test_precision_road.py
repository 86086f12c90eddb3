"""One bundle in three precisions, the way a user goes: export with the default, with INT8, then bench, explain, verify and compare."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.records import LATENCY_ONLY, RTX_INT8
from prune_deploy.runs import TRACES_DIR
from support.commands import Result, call, here, refused

__all__ = ["here"]  # a fixture

NETWORK = ("export", "--model", "test_resnet", "--num-classes", "10", "--input-size", "3,32,32", "--ratio", "0.5", "--batch", "4")
QUICK = ("--rigor", "quick", "--budget-s", "2", "--threads", "1", "--device", "cpu")


@functools.cache
def _export(base: Path) -> tuple[Path, Result]:
    folder = base / "road" / "net"
    asked = ("--precision", "fp32,fp16,int8", "--calib", "synthetic", "--calib-samples", "8", "--target", "a2000")
    return folder, call(*NETWORK, *asked, "--out", folder, "--json")


@pytest.fixture
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The bundle and what its making printed."""
    folder, result = _export(tmp_path_factory.getbasetemp())
    assert result.code == 0, result.stderr
    return folder, result.document


@pytest.mark.locked
def test_each_precision_has_its_file_its_engine_and_its_count(road: tuple[Path, dict[str, Any]]) -> None:
    _, document = road
    names = set(document["files"])
    assert {"model.onnx", "model.fp16.onnx", "model.int8.onnx", "model.int8.ort.onnx"} < names
    engines = {each["precision"]: each for each in document["engines"].values()}
    assert list(engines) == ["fp32", "fp16", "int8"]
    shares = {name: (each["share"]["computing"], each["share"]["layers"]) for name, each in engines.items()}
    assert shares["fp32"][0] == shares["fp32"][1] == shares["fp16"][0]
    assert 0 < shares["int8"][0] < shares["int8"][1], "narrow layers stay out"
    assert {parity["status"] for name, parity in document["parity"].items() if name.endswith(".onnx")} == {"passed"}
    assert RTX_INT8 in document["engine_note"]


def test_int8_from_made_images_says_so(road: tuple[Path, dict[str, Any]], here: Path) -> None:
    folder, document = road
    assert all(each["calibration"]["data"] == "synthetic" for each in document["quantization"].values())
    result = call("eval", folder, "--data", "digits", "--data-samples", "20", "--backends", "ort", "--precisions", "int8")
    assert result.code == 0, result.stderr
    assert LATENCY_ONLY in " ".join(result.stdout.split())


@pytest.mark.release
def test_precisions_are_measured_against_each_other(road: tuple[Path, dict[str, Any]], here: Path) -> None:
    result = call(
        "bench",
        road[0],
        "--backends",
        "ort",
        "--precisions",
        "fp32,fp16,int8",
        "--across-precisions",
        "--batch",
        "4",
        *QUICK,
        "--json",
    )
    assert result.code == 0, result.stderr
    rows = {(row["role"], row["precision"]): row for row in result.document["cases"] if "dense" not in row["bundle"]}
    assert rows["candidate", "fp32"]["speedup"] is not None
    int8 = rows["candidate", "int8"]
    assert int8["speedup"] is not None
    computing, layers = map(int, int8["precision_layers"].split("/"))
    assert 0 < computing < layers
    assert any(LATENCY_ONLY in warning for warning in int8["warnings"])
    half = rows["candidate", "fp16"]
    assert half["status"] == "unavailable"
    assert "in FP32" in half["reason"]
    assert {row["comparison"] for row in rows.values()} == {"test_resnet-10classes-32px-dense-ort-across-precisions-b4"}


@pytest.mark.release
def test_a_bundle_is_explained_against_itself(road: tuple[Path, dict[str, Any]], here: Path) -> None:
    asked = ("--backend", "ort", "--precision", "int8", "--against", "fp32", "--batch", "4")
    result = call("explain", road[0], *asked, *QUICK, "--out", "run", "--json")
    assert result.code == 0, result.stderr
    (found,) = result.document["explanations"]
    assert found["against"] == "fp32"
    assert found["macs_ratio"] == 1.0
    joined = [layer["name"] for layer in found["layers"] if layer["op"] == "QLinearConv" and layer["dense_us"] > 0]
    assert len(joined) > 5, "eight-bit convolutions are recognised as the layers they were"
    total = found["predicted_ms"] + sum(step["delta_ms"] for step in found["steps"])
    assert total == pytest.approx(found["measured_ms"])
    assert len(list((here / "run" / TRACES_DIR).glob("*.layers.json"))) == 2
    refused(call("explain", road[0], "--against", "fp32", "--precision", "fp32", *QUICK), 2, "is what it is compared with itself")


def test_verify_holds_every_precision_against_the_module(road: tuple[Path, dict[str, Any]]) -> None:
    result = call("verify", road[0], "--json")
    assert result.code == 0, result.stderr
    found = {each["name"]: each["status"] for each in result.document["findings"] if each["check"] == "parity"}
    assert {name: status for name, status in found.items() if name.endswith(".onnx")} == dict.fromkeys(
        ("model.onnx", "model.fp16.onnx", "model.int8.onnx", "model.int8.ort.onnx"), "passed"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "fp32,int8"), "int8 needs images to calibrate on"),
        (("--precision", "fp8"), "unknown precision 'fp8'"),
        (("--precision", ""), "must name each precision once, got none"),
        (("--precision", "fp16,fp16"), "each precision once"),
        (("--calib", "digits"), "--calib is for INT8"),
        (("--precision", "int8", "--calib", "nowhere"), "nowhere"),
        (("--precision", "int8", "--calib", "digits", "--max-drop", "much"), "--max-drop got 'much'"),
        (("--precision", "int8", "--calib", "digits", "--max-drop", "1%", "--int8-keep-top", "2"), "both say how many"),
        (("--precision", "int8", "--onnx", "x.onnx", "--calib", "digits"), "--onnx contradicts --calib"),
        (("--precision", "int8", "--onnx", "x.onnx"), "x.onnx"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call(*NETWORK, "--engine", "none", *options), 2, message, here)


def test_half_precision_comes_by_default(here: Path) -> None:
    result = call(*NETWORK, "--engine", "none", "--json")
    assert result.code == 0, result.stderr
    assert {"model.onnx", "model.fp16.onnx"} < set(result.document["files"])
    again = call(*NETWORK, "--engine", "none", "--precision", "fp32", "--json")
    assert again.code == 2
    assert "precisions" in again.stderr
