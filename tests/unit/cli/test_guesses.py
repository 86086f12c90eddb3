"""Options as people guess them."""

from __future__ import annotations

import pytest

from prune_deploy.backends import offered
from prune_deploy.cli.options.values import RATIO, backend_words, precision_words
from prune_deploy.errors import InputError
from support.commands import call


def test_backends_and_precisions_have_other_names() -> None:
    assert backend_words("TensorRT, onnxruntime,torch.compile,trt:cuda-graph") == ("trt", "ort", "compile", "trt:cuda-graph")
    assert precision_words("FP16,half,bfloat16,int8") == ("fp16", "fp16", "bf16", "int8")


def test_a_ratio_may_be_a_percentage() -> None:
    assert [RATIO.convert(text, None, None) for text in ("0.5", "50%", "12.5%")] == [0.5, 0.5, 0.125]
    with pytest.raises(InputError, match="`ratio` got 'half', not a share"):
        RATIO.convert("half", None, None)


def test_the_harness_own_backend_is_not_offered() -> None:
    assert "null" not in offered()
    assert "null" not in call("backends").stdout
    refused = call("bench", "nowhere", "--backend", "nosuch")
    assert "null" not in refused.stderr


@pytest.mark.parametrize(("target", "told"), [("sm87", "sm87"), ("sm90", "sm90")])
def test_targets_that_the_builder_does_not_have_are_answered(target: str, told: str) -> None:
    result = call("export", "--model", "test_byobnet", "--ratio", "0.5", "--target", target, "--engine", "tensorrt-rtx")
    assert result.code == 4, result.stderr
    assert told in result.stderr
    assert "Fix: " in result.stderr


def test_models_are_filtered() -> None:
    shown = call("models", "--filter", "*resnet18*").stdout
    assert "resnet18d" in shown
    assert "vit_large" not in shown
    assert "no model of timm" in call("models", "--filter", "*qqq*").stderr
