"""Masked models on the whole road: weights, recipe, ONNX, engine, bundle, and a row beside the dense model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file

from prune_deploy.data import synthetic_images
from prune_deploy.export.bundle import load
from prune_deploy.models import create_model
from prune_deploy.pruning.masks import set_to_zero
from prune_deploy.records import NO_DENSE_SPEEDUP
from prune_deploy.runs import read_run
from prune_deploy.specs import MaskSpec
from prune_deploy.store import read_bundle
from support.commands import Result, call, here, refused, remains, spawn

pytestmark = pytest.mark.release

__all__ = ["here"]  # a fixture

MODEL = ("--model", "test_resnet", "--num-classes", "10")
MASKED = ("export", *MODEL, "--precision", "fp32", "--mask", "l1-unstructured", "--ratio", "0.3", "--engine", "none")
SPARSE = (
    "export",
    *MODEL,
    "--precision",
    "fp32",
    "--mask",
    "2:4",
    "--batch",
    "1",
    "--engine",
    "tensorrt-rtx",
    "--target",
    "a2000",
)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An unstructured bundle and what its making printed."""
    folder = tmp_path_factory.mktemp("masked")
    result = spawn(*MASKED, "--json", folder=folder)
    assert result.code == 0, result.stderr
    return folder / result.document["bundle"], result


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2:4 bundle with an engine for an RTX A2000."""
    folder = tmp_path_factory.mktemp("sparse")
    result = spawn(*SPARSE, folder=folder)
    assert result.code == 0, result.stderr
    return folder / "engines" / "test_resnet-10classes-mask-2to4-r0.50"


def test_a_masked_bundle_has_all_its_shapes_and_fewer_weights(masked: tuple[Path, Result]) -> None:
    folder, result = masked
    document = result.document
    assert document["bundle"] == "engines/test_resnet-10classes-mask-l1-unstructured-r0.30"
    assert document["params_before"] == document["params_after"]
    assert document["macs_before"] == document["macs_after"]
    assert document["receipt"]["mask"] == {"kind": "l1-unstructured", "ratio": 0.3}
    assert NO_DENSE_SPEEDUP in document["receipt"]["warnings"][0]
    record = read_bundle(folder)
    assert "plan.json" not in document["files"]
    tensors = load_file(folder / "weights.safetensors")
    parameters = {name for name, _ in load(folder).named_parameters()}
    nonzero = sum(np.count_nonzero(tensors[name]) for name in parameters)
    assert record.receipt.nonzero_params == nonzero
    assert 0.69 < nonzero / record.receipt.after.params < 0.71
    assert {artifact.role: artifact.parity.status for artifact in record.artifacts if artifact.parity} == {"onnx": "passed"}


def test_the_onnx_file_has_the_zeros(masked: tuple[Path, Result]) -> None:
    folder, _ = masked
    matrices = [numpy_helper.to_array(each) for each in onnx.load(folder / "model.onnx").graph.initializer if len(each.dims) > 1]
    assert len(matrices) > 10
    for weight in matrices:
        assert (weight == 0).sum() == round(0.3 * weight.size)


def test_the_module_is_loaded_as_it_was_masked(masked: tuple[Path, Result]) -> None:
    folder, _ = masked
    record = read_bundle(folder)
    made = create_model(record.request.model).module
    set_to_zero(made, MaskSpec(kind="l1-unstructured", ratio=0.3))
    found = load(folder)
    expected = made.state_dict()
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    images = synthetic_images(2, record.preprocessing.input_size, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(found(images), made(images))


def test_a_masked_bundle_verifies_and_is_made_once(masked: tuple[Path, Result], here: Path) -> None:
    shutil.copytree(masked[0], here / "engines" / masked[0].name)
    again = call(*MASKED)
    assert again.code == 0
    assert "was there already" in again.stderr
    assert NO_DENSE_SPEEDUP in " ".join(again.stdout.split())
    assert "parameters not zero M" in again.stdout
    assert call("verify", Path("engines") / masked[0].name).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask", "l1-unstructured", "--ratio", "0.5"), "mask ratio 0.3 there, 0.5 asked for"),
        (("--mask", "2:4"), "mask kind l1-unstructured there, 2:4 asked for"),
        (("--dense",), "the dense model asked for, a masked one there"),
        (("--ratio", "0.3"), "a pruned model asked for, a masked one there"),
        (("--mask", "l1-unstructured", "--ratio", "0.3", "--sparse-weights"), "engine sparse_weights None there, True asked for"),
    ],
)
def test_another_request_is_another_bundle(
    masked: tuple[Path, Result], here: Path, options: tuple[str, ...], message: str
) -> None:
    shutil.copytree(masked[0], here / "bundle")
    before = remains(here)
    refused(call("export", *MODEL, *options, "--engine", "none", "--out", "bundle"), 2, message)
    assert remains(here) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask", "l1-unstructured"), "--mask l1-unstructured needs --ratio"),
        (("--mask", "2:4", "--ratio", "0.3"), "a 2:4 mask zeroes one half, not 0.3"),
        (("--mask", "l1-unstructured", "--ratio", "1.5"), "--ratio must lie between 0 and 1"),
        (("--mask", "2:4", "--dense"), "--mask contradicts --dense"),
        (("--mask", "2:4", "--method", "l2"), "--mask contradicts --method"),
        (("--mask", "2:4", "--target-macs", "0.5x"), "--mask contradicts --target-macs"),
        (("--mask", "2:4", "--target-params", "0.5x"), "--mask contradicts --target-params"),
        (("--mask", "2:4", "--plan", "plan.json"), "--mask contradicts --plan"),
        (("--mask", "2:4", "--round-to", "8"), "--mask contradicts --round-to"),
        (("--mask", "2:4", "--heads"), "--mask contradicts --heads"),
    ],
)
def test_options_that_contradict_a_mask_are_refused(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call("export", *MODEL, *options), 2, message, here)


def test_a_ratio_that_zeroes_nothing_is_an_error(here: Path) -> None:
    result = call("export", *MODEL, "--mask", "l1-unstructured", "--ratio", "0.000001", "--engine", "none")
    refused(result, 1, "sets no weight of this model to zero", here)


def test_the_engine_of_a_2_4_bundle_is_built_for_sparse_weights(sparse: Path) -> None:
    record = read_bundle(sparse)
    (engine,) = (artifact.engine for artifact in record.artifacts if artifact.engine is not None)
    assert engine.sparse_weights
    assert "--sparsity=enable" in engine.trtexec
    assert (engine.sparse_layers is None) == any("says nothing of sparse weights" in warning for warning in engine.warnings)
    assert record.request.engine.sparse_weights is None
    module = load(sparse)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.shape[1] % 4 == 0:
            fours = layer.weight.detach().movedim(1, -1).reshape(-1, 4)
            assert int((fours == 0).sum(dim=1).min()) == 2


def test_a_masked_bundle_is_measured_as_a_candidate_and_labelled(masked: tuple[Path, Result], here: Path) -> None:
    bundle = Path(shutil.copytree(masked[0], here / "engines" / "masked"))
    result = call("bench", bundle, "--backends", "null", "--rigor", "quick", "--budget-s", "1", "--json")
    assert result.code == 0, result.stderr
    dense, candidate = read_run(here / result.document["run"]).cases
    assert (dense.role, dense.label, dense.nonzero_params) == ("dense", "test_resnet-10classes-dense", None)
    assert NO_DENSE_SPEEDUP not in dense.warnings
    assert (candidate.role, candidate.label) == ("candidate", "masked")
    assert candidate.warnings[0] == NO_DENSE_SPEEDUP
    assert candidate.counts == candidate.dense_counts
    assert candidate.nonzero_params == read_bundle(bundle).receipt.nonzero_params
    assert dense.variant is not None
    assert candidate.variant is not None
    assert (dense.variant.method, candidate.variant.method) == ("dense", "mask-l1-unstructured")
    assert candidate.variant.name == masked[0].name.replace("-10classes", "")
