"""Networks with several outputs, from the module through ONNX and engines to a comparison output by output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.backends.compile import CompiledSession
from prune_deploy.backends.pytorch.session import TorchSession
from prune_deploy.errors import InputError
from prune_deploy.evaluation.logits import scores_of
from prune_deploy.evaluation.parity import check_parity, onnx_parity
from prune_deploy.export.half.convert import convert
from prune_deploy.export.int8.quality import cosine
from prune_deploy.export.onnx import export_onnx
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import EngineBuild, PruneSpec, RunOptions
from prune_deploy.tensors import named_input, output_tensors
from support.models import tiny_models as tiny
from support.models.int8_models import SIZE as INT8_SIZE
from support.models.int8_models import own_cache, quantized
from support.models.output_models import PACKS, SIZE, Detector

__all__ = ["own_cache"]  # a fixture

NAMES = {
    "list": ["0", "1"],
    "tuple": ["0", "1"],
    "nested": ["all.0", "all.1.boxes"],
    "dataclass": ["classes", "boxes.0"],
}
"""Names of a detector's outputs, where they are not those of its heads."""


def images(batch: int, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(0))


def exported(module: nn.Module, folder: Path, size: tuple[int, int, int] = SIZE) -> Path:
    return export_onnx(module, size, folder / "model.onnx")[0]


def names_in(path: Path) -> list[str]:
    return [tensor.name for tensor in onnx.load(path, load_external_data=False).graph.output]


@pytest.mark.parametrize("pack", PACKS)
def test_each_output_keeps_its_name_and_is_compared(tmp_path: Path, pack: str) -> None:
    module = tiny.lively(Detector(PACKS[pack]))
    prune(module, PruneSpec(ratio=0.5), SIZE)
    path = exported(module, tmp_path)
    names = NAMES.get(pack, ["classes", "boxes"])
    assert names_in(path) == names
    parity = onnx_parity(module, path, SIZE, "fp32")
    assert (parity.status, parity.reason) == ("passed", "")
    assert [(check.output, check.batch) for check in parity.checks] == [(name, batch) for name in names for batch in (1, 2, 5)]
    assert type(module(images(1))) is type(PACKS[pack](images(1), images(1))), "the export left the module as it was"


class Awkward(nn.Module):
    """Outputs that are the same tensor, the input, or named as tensors inside the graph are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = self.conv(x).relu()
        return {"add": y, "relu": y + 1, "conv2d": y, "input": x, "features": [y, y.mean((2, 3))]}


def test_a_tensor_that_is_returned_twice_and_names_that_are_taken(tmp_path: Path) -> None:
    module = Awkward().eval()
    path = exported(module, tmp_path)
    assert names_in(path) == ["add", "relu", "conv2d", "input.out", "features.0", "features.1"]
    assert onnx_parity(module, path, SIZE, "fp32").status == "passed"


class Spoiled(nn.Module):
    """A detector whose second output is off by a hundredth, or whose first is missing."""

    def __init__(self, module: nn.Module, *, drops: bool) -> None:
        super().__init__()
        self.module, self.drops = module, drops

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        classes, boxes = self.module(x)
        return {"1": boxes} if self.drops else {"0": classes, "1": boxes * 1.01}


def test_one_wrong_or_missing_output_of_several_fails(tmp_path: Path) -> None:
    module = tiny.lively(Detector(PACKS["tuple"]))
    path = exported(module, tmp_path)
    wrong = onnx_parity(Spoiled(module, drops=False), path, SIZE, "fp32")
    assert wrong.status == "failed"
    assert wrong.reason.startswith("output 1, batch 1: differs by")
    missing = onnx_parity(Spoiled(module, drops=True), path, SIZE, "fp32")
    assert (missing.status, missing.reason) == ("failed", "the outputs are 0, 1 instead of 1")


@pytest.mark.parametrize("name", ["features", "lraspp"])
def test_feature_maps_and_torchvisions_segmentation(tmp_path: Path, name: str) -> None:
    size = (3, 64, 64)
    if name == "features":
        module: nn.Module = timm.create_model("test_resnet", features_only=True).eval()
    else:
        module = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        ).eval()
    prune(module, PruneSpec(ratio=0.25), size)
    path = exported(module, tmp_path, size)
    expected = output_tensors(module(images(2, size)))
    assert names_in(path) == list(expected) == (["out"] if name == "lraspp" else ["0", "1", "2", "3", "4"])
    assert onnx_parity(module, path, size, "fp32").status == "passed"
    with usable("ort").open(path, named_input(images(2, size).numpy())) as session:
        session.run()
        got = session.outputs()
        with pytest.raises(InputError, match=r"outputs|not \(images, classes\)"):
            scores_of(got)
    assert {key: array.shape for key, array in got.items()} == {key: tuple(tensor.shape) for key, tensor in expected.items()}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_files_have_all_outputs(tmp_path: Path, precision: Any) -> None:
    module = tiny.lively(Detector(PACKS["dict"]))
    paths, _ = convert(exported(module, tmp_path), tmp_path / f"model.{precision}.onnx", precision)
    graph = onnx.load(paths[0]).graph
    assert [(each.name, each.type.tensor_type.elem_type) for each in graph.output] == [
        ("classes", onnx.TensorProto.FLOAT),
        ("boxes", onnx.TensorProto.FLOAT),
    ]
    if precision == "fp16":
        parity = check_parity(module, usable("ort"), paths[0], SIZE, precision=precision)
        assert (parity.status, len(parity.checks)) == ("passed", 6)


@pytest.mark.locked
def test_an_engine_has_all_outputs(tmp_path: Path) -> None:
    module = tiny.lively(Detector(PACKS["dict"]))
    spec = EngineBuild(library="tensorrt-rtx", target="sm86", batches=(1, 4))
    record = build_engine(exported(module, tmp_path), spec, tmp_path / "model.engine")
    assert record.layer_types["Float"] > 0


def test_int8_is_as_close_as_its_worst_output(tmp_path: Path) -> None:
    size = (3, INT8_SIZE, INT8_SIZE)
    source = exported(tiny.lively(Detector(PACKS["dict"])), tmp_path, size)
    file = quantized(source, tmp_path, "onnxruntime")
    assert names_in(file.paths[0]) == ["classes", "boxes"]
    batch = images(4, size).numpy()
    with usable("ort").open(source, named_input(batch)) as plain, usable("ort").open(file.paths[0], named_input(batch)) as small:
        for session in (plain, small):
            session.run()
        expected, got = plain.outputs(), small.outputs()
    assert 0.98 < cosine(list(expected.values()), list(got.values())) < 1
    assert cosine([expected["classes"], expected["boxes"]], [got["classes"], -got["boxes"]]) < -0.98
    with pytest.raises(InputError, match="does not classify"):
        quantized(source, tmp_path, "onnxruntime", max_drop=0.1)


@pytest.mark.parametrize(("kind", "options"), [(TorchSession, {}), (TorchSession, {"precision": "bf16"}), (CompiledSession, {})])
def test_pytorch_answers_with_named_outputs(kind: type[TorchSession], options: Any) -> None:
    module = tiny.lively(Detector(PACKS["dict"]))
    expected = {name: tensor.detach().numpy() for name, tensor in module(images(2)).items()}
    session = kind(module, named_input(images(2).numpy()), RunOptions(**options))
    session.run()
    session.check()
    got = session.outputs()
    assert list(got) == ["classes", "boxes"]
    for name, array in got.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected[name], atol=0.1 if options else 1e-4)


class TwoInputs(nn.Module):
    """Tokens and an image, of ranks 2 and 4."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.conv = nn.Embedding(10, 4), nn.Conv2d(3, 4, 1)

    def forward(self, tokens: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.words(tokens).mean(1) + self.conv(picture).mean((2, 3))
        return result


def test_inputs_are_bound_by_name_whatever_their_rank_and_type(tmp_path: Path) -> None:
    module, path = TwoInputs().eval(), tmp_path / "two.onnx"
    tokens, picture = torch.arange(6).reshape(2, 3), images(2)
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        module,
        (tokens, picture),
        dynamo=True,
        input_names=["tokens", "picture"],
        output_names=["logits"],
        dynamic_shapes=({0: batch}, {0: batch}),
        verbose=False,
    )
    assert program is not None
    program.save(path)
    expected = module(tokens, picture).detach().numpy()
    inputs = {"tokens": tokens.numpy(), "picture": picture.numpy()}
    with usable("ort").open(path, dict(reversed(inputs.items()))) as session:
        session.run()
        np.testing.assert_allclose(session.outputs()["logits"], expected, atol=1e-5)
        session.bind({name: array[:1] for name, array in inputs.items()})
        session.run()
        np.testing.assert_allclose(session.outputs()["logits"], expected[:1], atol=1e-5)
        with pytest.raises(InputError, match="takes tokens, picture, and not input"):
            session.bind(named_input(picture.numpy()))
    eager = TorchSession(module, inputs, RunOptions(channels_last=True))
    eager.run()
    np.testing.assert_allclose(eager.outputs()["logits"], expected, atol=1e-5)
