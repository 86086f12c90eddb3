"""`models`, `methods`, `backends` and `doctor`: what can be asked for, and what this machine can do."""

from __future__ import annotations

import re

import pytest

from prune_deploy.backends import offered
from support.commands import call

DENSE_PARAMS = {
    "c": ("convnext_large", 196_245_706),
    "e": ("efficientnet_b4", 17_566_546),
    "s": ("swin_large_patch4_window7_224", 195_010_846),
    "v": ("vit_large_patch16_224", 303_311_882),
    "m": ("mobilenetv4_conv_large", 31_322_674),
    "r": ("resnet152d", 58_183_530),
    "x": ("resnext101_32x8d", 86_762_826),
}


def test_models_lists_the_seven_codes_with_their_exact_sizes_and_matching_names() -> None:
    result = call("models", "--filter", "*resnet50*", "--json")
    assert result.code == 0
    assert result.document["short_codes"] == []
    codes = {entry["code"]: (entry["model"], entry["params"]) for entry in call("models", "--json").document["short_codes"]}
    assert codes == DENSE_PARAMS
    assert "resnet50" in result.document["timm"]
    assert all("resnet50" in name for name in result.document["timm"])


def test_methods_lists_the_six_with_their_sources() -> None:
    document = call("methods", "--json").document
    assert {"bn-scale", "fpgm", "l1", "l2", "lamp", "random"} <= {method["name"] for method in document}
    assert all(method["summary"] and method["source"] for method in document)
    table = call("methods").stdout
    assert all(re.search(rf"^{method['name']} ", table, flags=re.MULTILINE) for method in document)


def test_backends_lists_those_that_are_there_and_no_other() -> None:
    document = call("backends", "--json").document
    assert [backend["name"] for backend in document] == list(offered())
    assert all(backend["available"] or backend["fix"] for backend in document)
    assert "ort" in call("backends").stdout


@pytest.mark.locked
def test_doctor_ends_well_where_an_export_can_run_and_names_a_fix_for_the_rest() -> None:
    result = call("doctor", "--json")
    assert result.code == 0, result.stderr
    assert result.document["ok"] is True
    checks = {check["name"]: check for check in result.document["checks"]}
    assert {
        "Python",
        "torch",
        "ONNX Runtime",
        "TensorRT",
        "TensorRT-RTX",
        "NVIDIA driver",
        "C++ compiler",
        "disk",
    } <= checks.keys()
    assert all(check["fix"] for check in checks.values() if check["status"] != "ok")
    text = call("doctor").stdout
    assert all(check["name"] in text for check in result.document["checks"])
