"""Bad input to `prune-deploy export`: a short refusal with its fix and the documented code, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import TINY, call, here, refused, remains

__all__ = ["here"]  # a fixture


HALF = ("--ratio", "0.5")
NO_ENGINE = ("--engine", "none")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt50", "did you mean resnet50"),
        ("vit_larg_patch16_224", "vit_large_patch16_224"),
        ("test_vitt", "test_vit"),
        ("zzzzqqqq", "prune-deploy models --filter"),
        ("", "the model's name is empty"),
        ("../../etc/passwd", "unknown model"),
        ("hf-hub:nobody/nothing", "unknown model"),
    ],
)
def test_an_unknown_model_is_answered_with_the_nearest_names(here: Path, name: str, message: str) -> None:
    refused(call("export", "--model", name, *HALF, *NO_ENGINE), 2, message, here)


@pytest.mark.parametrize("ratio", ["0", "1", "-1", "2", "nan", "inf", "-inf", "1e-400"])
def test_a_ratio_outside_0_and_1_is_refused(here: Path, ratio: str) -> None:
    refused(call(*TINY, "--ratio", ratio, *NO_ENGINE), 2, "--ratio must lie between 0 and 1", here)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "got none"),
        (("--ratio", "0.5", "--target-macs", "0.5x"), "got --ratio and --target-macs"),
        (("--target-macs", "0.5x", "--target-params", "0.5x"), "got --target-macs and --target-params"),
        (("--ratio", "0.5", "--plan", "plan.json"), "got --ratio and --plan"),
        (("--dense", "--ratio", "0.5"), "--dense contradicts --ratio"),
        (("--dense", "--target-macs", "0.5x"), "--dense contradicts --target-macs"),
    ],
)
def test_exactly_one_amount_is_asked_for(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call(*TINY, *options, *NO_ENGINE), 2, message, here)


@pytest.mark.parametrize("option", ["--target-macs", "--target-params"])
@pytest.mark.parametrize("amount", ["", "x", "ax", "1/2", "0", "0x", "1x", "2x", "-0.5x", "nanx", "inf", "99G", "../../up"])
def test_targets_that_are_no_amount_of_the_model_are_refused(here: Path, option: str, amount: str) -> None:
    refused(call(*TINY, option, amount, *NO_ENGINE), 2, option, here)


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        ("nonsense", "--ignore nonsense matches no module and no parameter"),
        ("head,block*", "--ignore 'block*' matches no module"),
        ("", "--ignore got an empty list"),
        ("none,head", "--ignore got none,head"),
    ],
)
def test_an_ignored_name_that_matches_nothing_is_refused(here: Path, ignore: str, message: str) -> None:
    refused(call(*TINY, *HALF, "--ignore", ignore, *NO_ENGINE), 2, message, here)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("test_vit", "3,200,200", "test_vit refuses an input of 3x200x200: patches of 16x16 do not divide it"),
        ("vit_tiny_patch16_224", "200", "patches of 16x16 do not divide it"),
        ("vgg11", "3,8,8", "Output size is too small"),
        ("inception_v3", "32", "inception_v3 refuses an input of 3x32x32: "),
        ("test_vit", "3,0,160", "three positive numbers"),
        ("test_vit", "3,-16,160", "three positive numbers"),
        ("test_vit", "3,160", "--input-size got '3,160'"),
        ("test_vit", "big", "--input-size got 'big'"),
        ("test_vit", "", "--input-size got ''"),
    ],
)
def test_an_input_size_that_the_model_refuses(here: Path, model: str, size: str, message: str) -> None:
    refused(call("export", "--model", model, *HALF, "--input-size", size, *NO_ENGINE), 2, message, here)


@pytest.mark.parametrize("target", ["sm99", "sm8", "86", "a2001", "nonsense", ""])
def test_an_unknown_card_is_answered_with_the_known_ones(here: Path, target: str) -> None:
    refused(call(*TINY, *HALF, "--target", target), 2, "sm89, sm120, sm121 or a card: t4", here)


@pytest.mark.parametrize("batch", ["0", "x", "1:1", "", "1:-1", "1:", "1.5", "8:1:8", "1-8"])
def test_batches_that_are_no_list_of_different_sizes_are_refused(here: Path, batch: str) -> None:
    refused(call(*TINY, *HALF, "--batch", batch), 2, f"--batch got '{batch}'", here)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "l3"), "one of bn-scale, fpgm, l1, l2, lamp, random"),
        (("--method", "../l2"), "unknown pruning method"),
        (("--round-to", "0"), "--round-to"),
        (("--steps", "0"), "--steps"),
        (("--group-cap", "0"), "--group-cap"),
        (("--group-cap", "nan"), "--group-cap"),
        (("--num-classes", "-1"), "--num-classes must be at least 0"),
        (("--workspace", "0"), "'--workspace': 0 is not in the range"),
        (("--seed", "-1"), "'--seed': -1 is not in the range"),
        (("--seed", str(2**70)), "'--seed'"),
        (("--graph-limit-s", "0"), "not a positive number of seconds"),
        (("--graph-limit-s", "nan"), "not a positive number of seconds"),
        (("--ratio", "half"), "--ratio got 'half', not a share"),
        (("--engine", "openvino"), "'openvino' is not one of 'auto', 'tensorrt', 'tensorrt-rtx', 'none'"),
        (("--scope", "everywhere"), "is not one of"),
        (("--rati", "0.5"), "No such option '--rati'"),
        (("--weights", "imagenet"), "--weights imagenet: no such file"),
        (("--weights", ""), "--weights '': no such file"),
        (("--weights", "."), "--weights .: no such file"),
    ],
)
def test_other_options_that_make_no_sense_are_refused(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call(*TINY, *HALF, *options, *(() if "--engine" in options else NO_ENGINE)), 2, message, here)


@pytest.mark.parametrize("arguments", [("exprot",), ("verify",), ("run", "--no-such"), ("run", "x", "--top", "0"), ("export",)])
def test_usage_errors_name_the_help_to_read(here: Path, arguments: tuple[str, ...]) -> None:
    refused(call(*arguments), 2, "--help", here)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "not valid JSON"),
        ("[1, 2]", "not a WidthPlan"),
        ('{"model": "x", "groups": [{"name": "stem.conv", "channels": 24, "kept": 0}]}', "0 of 24 channels"),
        ('{"model": "x", "groups": [{"name": "stem.conv", "channels": 24, "kept": 25}]}', "25 of 24 channels"),
        ('{"model": "x", "groups": [{"name": "stem.conv", "channels": 48, "kept": 24}]}', "the model has 24"),
        ('{"model": "x", "groups": [{"name": "no.such", "channels": 24, "kept": 8}]}', "no.such"),
        ('{"model": "x", "groups": [], "schema_version": 99}', "schema version 99"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(here: Path, content: str | None, message: str) -> None:
    if content is not None:
        Path("plan.json").write_text(content)
    result = call(*TINY, "--plan", "plan.json", *NO_ENGINE)
    refused(result, 2, message if content is not None else "plan.json: No such file")
    assert remains(here) == ([] if content is None else ["plan.json"])


def test_a_library_that_is_not_here_is_told_before_any_work(here: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    if subprocess.run([sys.executable, "-c", "import tensorrt"], capture_output=True, check=False).returncode == 0:
        pytest.skip("TensorRT is installed here")
    result = call(*TINY, *HALF, "--engine", "tensorrt")
    refused(result, 4, "pip install 'prune-deploy[tensorrt]", here)
    assert "building" not in result.stderr
