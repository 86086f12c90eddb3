"""Each function of the Python API, called wrongly: an error of ours with a fix, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

import prune_deploy as pd
from prune_deploy.models import LoadedModel, create_model
from prune_deploy.pipeline import Exported

SIZE = (3, 64, 64)
pd_any: Any = pd  # what a caller without a type checker sees


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return pd.build_model("test_byobnet", num_classes=10)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("engines") / "half"
    return pd.export_bundle("test_byobnet", folder, prune=0.5, precisions="fp32", engine="none")


def module() -> nn.Module:
    made: nn.Module = timm.create_model("test_resnet").eval()
    return made


Call = Callable[[LoadedModel, Exported], Any]
MISUSES: dict[str, tuple[Call, str, str]] = {
    "ratio as per cent": (lambda m, b: pd_any.prune(m, "50%"), "`ratio` must be a number", "`ratio=0.5`"),
    "ratio of fifty": (lambda m, b: pd_any.prune(m, 50), "between 0 and 1", "not per cent: `ratio=0.5`"),
    "size in place of the ratio": (lambda m, b: pd_any.prune(m, SIZE), "a PruneSpec is asked for", "by name"),
    "other spec": (lambda m, b: pd_any.prune(m, pd.ModelSpec("a")), "a PruneSpec is asked for", "by name"),
    "spec and fields": (lambda m, b: pd_any.prune(m, pd.PruneSpec(0.5), seed=1), "both a PruneSpec", "one of the two"),
    "mistyped field": (lambda m, b: pd_any.prune(m, 0.5, metod="l1"), "has no `metod`", "`method`"),
    "example input": (lambda m, b: pd_any.prune(m, 0.5, example_inputs=torch.zeros(1, *SIZE)), "not needed", "`input_size="),
    "tensor as size": (lambda m, b: pd_any.prune(module(), 0.5, torch.zeros(1, *SIZE)), "must be 3 whole", "`input_size="),
    "array as size": (lambda m, b: pd_any.prune(module(), 0.5, np.zeros(3)), "must be 3 whole", "`input_size="),
    "sizes of two inputs": (lambda m, b: pd_any.prune(module(), 0.5, (SIZE, SIZE)), "must be 3 whole", "`input_size="),
    "size with a batch": (lambda m, b: pd_any.prune(module(), 0.5, (1, *SIZE)), "three positive", "of one image"),
    "negative size": (lambda m, b: pd_any.prune(module(), 0.5, (3, -1, 64)), "three positive", "of one image"),
    "name as model": (lambda m, b: pd_any.prune("resnet18", 0.5), "a model is asked for", "build_model('resnet18')"),
    "bundle as model": (lambda m, b: pd_any.prune(b, 0.5), "a model is asked for", "load(bundle)"),
    "state dict as model": (lambda m, b: pd_any.prune(module().state_dict(), 0.5), "a model is asked for", "weights=PATH"),
    "array as model": (lambda m, b: pd_any.prune(np.zeros(3), 0.5), "numpy.ndarray", "a torch module"),
    "class as model": (lambda m, b: pd_any.prune(nn.Linear, 0.5), "a model is asked for", "a torch module"),
    "nothing as model": (lambda m, b: pd_any.prune(None, 0.5), "got None", "a torch module"),
    "file as plan": (lambda m, b: pd_any.prune(m, plan="plan.json"), "must be a WidthPlan", "PruneSpec(plan=PATH)"),
    "number as name": (lambda m, b: pd_any.build_model(5), "name of a timm model", "'resnet50'"),
    "spec as name": (lambda m, b: pd_any.build_model(pd.PruneSpec(0.5)), "name of a timm model", "'resnet50'"),
    "other spec and fields": (lambda m, b: pd_any.build_model(pd.PruneSpec(0.5), seed=1), "name of a timm model", "'resnet50'"),
    "mistyped field of a model": (lambda m, b: pd_any.build_model("a", classes=4), "no `classes`", "`num_classes`"),
    "number as name, inside": (lambda m, b: create_model(5), "name of a timm model", "'resnet50'"),  # type: ignore[arg-type]
    "module to export": (lambda m, b: pd_any.export_bundle(module()), "a module alone", "build_model(name, weights=PATH)"),
    "number to export": (lambda m, b: pd_any.export_bundle(5), "name of a timm model", "'resnet50'"),
    "folder as number": (lambda m, b: pd_any.export_bundle("test_byobnet", 5), "a folder is asked for", "its path"),
    "unknown engine": (lambda m, b: pd_any.export_bundle("a", engine="onnx"), "`library` got 'onnx'", "tensorrt-rtx"),
    "unknown precision": (lambda m, b: pd_any.export_bundle("a", precisions="fp8"), "unknown precision", "fp16"),
    "ratio as pruned": (lambda m, b: pd_any.export_bundle(m, pruned=0.5), "must be a Pruned", "what `prune` returned"),
    "function as progress": (lambda m, b: pd_any.export_bundle("a", progress=print), "stage, advance and note", "Progress"),
    "number to load": (lambda m, b: pd_any.load(5), "a folder is asked for", "its path"),
    "model to load": (lambda m, b: pd_any.load(m), "LoadedModel", "its path"),
    "number to verify": (lambda m, b: list(pd_any.verify_bundle(5)), "a folder is asked for", "its path"),
    "list to read": (lambda m, b: pd_any.read_run(["a"]), "a folder is asked for", "its path"),
    "number to report": (lambda m, b: pd_any.read_report(5), "a folder is asked for", "its path"),
    "nothing to report": (lambda m, b: pd_any.read_report([]), "no run was given", "what `bench` returned"),
    "nothing to measure": (lambda m, b: pd_any.bench([]), "no bundle was given", "folder of one"),
    "model to measure": (lambda m, b: pd_any.bench(m), "LoadedModel", "its path"),
    "models to measure": (lambda m, b: pd_any.bench([m, m]), "LoadedModel", "its path"),
    "number as backend": (lambda m, b: pd_any.bench(b, backend=5), "sequence of texts", "`backend='ort'`"),
    "text as batch": (lambda m, b: pd_any.bench(b, batch="1"), "whole numbers", "`batch=(1, 8)`"),
    "fraction as batch": (lambda m, b: pd_any.bench(b, batch=1.5), "whole numbers", "`batch=(1, 8)`"),
    "no batch": (lambda m, b: pd_any.bench(b, backend="ort", batch=-1), "must be positive", "`batch=(1, 8)`"),
    "mistyped rigor": (lambda m, b: pd_any.bench(b, measure="quik"), "`rigor` got", "quick, full"),
    "mistyped field of a measurement": (lambda m, b: pd_any.bench(b, rigour="quick"), "no `rigour`", "`rigor`"),
    "text as threads": (lambda m, b: pd_any.bench(b, threads="4"), "whole number", "`threads=4`"),
    "number as options": (lambda m, b: pd_any.bench(b, threads=4, options=5), "must be a RunOptions", "RunOptions(threads=4)"),
    "number as run's folder": (lambda m, b: pd_any.bench(b, backend="null", out=5), "a folder is asked for", "its path"),
    "numbers to compare": (lambda m, b: pd_any.compare(5, 6), "a folder is asked for", "its path"),
    "one to compare": (lambda m, b: pd_any.compare(b, None), "a folder is asked for", "its path"),
    "name as sweep": (lambda m, b: pd_any.sweep("quick"), "must be a SweepSpec", "preset('quick')"),
    "number as data": (lambda m, b: pd_any.evaluate(b, 5), "`data` must be a text", "`data='digits'`"),
    "mistyped field of an evaluation": (lambda m, b: pd_any.evaluate(b, "digits", samples=5), "no `samples`", "`data_samples`"),
    "number to evaluate": (lambda m, b: pd_any.evaluate(5, "digits"), "a folder is asked for", "its path"),
    "nothing to train on": (lambda m, b: pd_any.finetune(b), "needs `data`", "`data='digits'`"),
    "unknown device": (lambda m, b: pd_any.finetune(b, "digits", device="gpu"), "`device` got 'gpu'", "cpu, cuda"),
    "number to train": (lambda m, b: pd_any.finetune(5, "digits"), "a folder is asked for", "its path"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_a_misuse_is_refused_with_a_fix(
    case: str, model: LoadedModel, bundle: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, message, fix = MISUSES[case]
    with pytest.raises(pd.PruneDeployError) as refusal:
        call(model, bundle)
    assert message in refusal.value.message
    assert fix in refusal.value.fix
    assert refusal.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_every_function_has_a_misuse() -> None:
    names = {name for call, _, _ in MISUSES.values() for name in call.__code__.co_names}
    assert names >= {name for name in pd.__all__ if name[0].islower()}


def test_a_torchscript_module_is_refused() -> None:
    # PyTorch calls it deprecated, but files of it are there
    scripted = torch.jit.trace(module(), torch.zeros(1, *SIZE))  # type: ignore[no-untyped-call]
    with pytest.raises(pd.PruneDeployError, match="TorchScript"):
        pd.prune(scripted, 0.5)


@pytest.mark.parametrize("ratio", [0.5, np.float32(0.5), pd.PruneSpec(0.5)])
@pytest.mark.parametrize("size", [SIZE, list(SIZE)])
def test_ratio_and_size_may_stand_without_their_names(ratio: Any, size: Any) -> None:
    pruned = pd.prune(module(), ratio, size)
    assert pruned.receipt.request == pd.PruneSpec(ratio=0.5)


def test_a_compiled_module_is_pruned_inside() -> None:
    inner = module()
    compiled = torch.compile(inner)
    pruned = pd_any.prune(compiled, 0.5, SIZE)
    assert sum(each.numel() for each in inner.parameters()) == pruned.receipt.after.params
    assert pruned.receipt.after.params < pruned.receipt.before.params
