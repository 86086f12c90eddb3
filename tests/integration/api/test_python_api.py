"""The Python API on real small models: every function, by keywords and by spec, and its refusals."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import prune_deploy as pd
from prune_deploy.interfaces import Stage
from prune_deploy.pipeline import Exported
from prune_deploy.runs import Run

MODEL = pd.ModelSpec(name="test_byobnet", num_classes=10)
NO_ENGINE = pd.EngineSpec(library="none")
QUICK: dict[str, Any] = {"rigor": "quick", "budget_s": 2.0, "threads": 1}


class Recorder:
    """Progress that keeps the stages."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Keep it."""
        self.stages.append(stage)

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Do nothing."""

    def note(self, message: str, /) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def bundle(engines: Path) -> Exported:
    return pd.export_bundle(MODEL, engines / "half", ratio=0.5, precisions=("fp32",), engine=NO_ENGINE)


@pytest.fixture(scope="module")
def run(bundle: Exported, engines: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(engines)
        return pd.bench(bundle, backend="null,ort", batch=(1, 2), out=engines / "run", **QUICK)


def test_a_model_is_pruned_in_place_by_keywords() -> None:
    model = pd.build_model("test_byobnet", num_classes=10, seed=3)
    before = sum(p.numel() for p in model.module.parameters())
    pruned = pd.prune(model, ratio=0.5)
    after = sum(p.numel() for p in model.module.parameters())
    assert (pruned.receipt.before.params, pruned.receipt.after.params) == (before, after)
    assert after < 0.5 * before
    assert pruned.receipt.request == pd.PruneSpec(ratio=0.5)


def test_a_spec_says_the_same_as_its_fields() -> None:
    by_fields = pd.prune(pd.build_model("test_byobnet"), ratio=0.25, method="l1")
    by_spec = pd.prune(pd.build_model(pd.ModelSpec(name="test_byobnet")), pd.PruneSpec(ratio=0.25, method="l1"))
    assert by_spec.selection == by_fields.selection


def test_a_timm_module_says_its_input_itself_and_any_other_needs_it() -> None:
    import timm

    pruned = pd.prune(timm.create_model("test_resnet").eval(), ratio=0.5)
    assert pruned.receipt.after.params < pruned.receipt.before.params
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 8, 3)).eval()
    with pytest.raises(pd.PruneDeployError, match="does not say what input it takes") as refusal:
        pd.prune(plain, ratio=0.5)
    assert refusal.value.field == "input_size"
    assert pd.prune(plain, ratio=0.5, input_size=(3, 16, 16), ignore=("none",)).receipt.after.params < 3_000


def test_widths_in_memory_are_cut_exactly() -> None:
    first = pd.prune(pd.build_model("test_byobnet", num_classes=10), ratio=0.5)
    again = pd.prune(pd.build_model("test_byobnet", num_classes=10), plan=first.plan)
    assert [group.kept for group in again.plan.groups] == [group.kept for group in first.plan.groups]
    assert again.receipt.after == first.receipt.after


def test_python_errors_speak_of_fields() -> None:
    with pytest.raises(pd.PruneDeployError) as refusal:
        pd.PruneSpec(ratio=2)
    assert refusal.value.field == "ratio"
    assert "--" not in str(refusal.value)
    with pytest.raises(pd.PruneDeployError, match="both a PruneSpec and its fields"):
        pd.prune(pd.build_model("test_byobnet"), pd.PruneSpec(ratio=0.5), ratio=0.5)


def test_a_bundle_is_a_path_wherever_one_is_asked_for(bundle: Exported, engines: Path) -> None:
    assert not bundle.reused
    assert pd.load(bundle)(torch.zeros(2, *bundle.record.preprocessing.input_size)).shape == (2, 10)
    assert {finding.status for finding in pd.verify_bundle(bundle)} <= {"passed", "not_run"}
    again = pd.export_bundle(MODEL, engines / "half", ratio=0.5, precisions=("fp32",), engine=NO_ENGINE)
    assert again.reused


def test_a_module_in_memory_is_exported_as_it_is(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(engines)
    model = pd.build_model("test_byobnet", num_classes=10)
    pruned = pd.prune(model, ratio=0.5)
    how: dict[str, Any] = {"pruned": pruned, "precisions": ("fp32",), "engine": NO_ENGINE}
    progress = Recorder()
    made = pd.export_bundle(model, engines / "memory", progress=progress, **how)
    assert progress.stages[:2] == ["write weights", "export onnx"]
    images = torch.rand(2, *made.record.preprocessing.input_size)
    with torch.inference_mode():
        assert torch.equal(pd.load(made)(images), model.module(images))
    assert made.record.receipt == pruned.receipt
    assert pd.export_bundle(model, engines / "memory", **how).reused
    with torch.no_grad():
        next(model.module.parameters()).add_(1.0)
    with pytest.raises(pd.PruneDeployError, match="holds another bundle"):
        pd.export_bundle(model, engines / "memory", **how)


def test_widths_in_memory_need_a_folder_to_be_exported_to() -> None:
    widths = pd.prune(pd.build_model("test_byobnet"), ratio=0.5).plan
    model = pd.build_model("test_byobnet")
    pruned = pd.prune(model, plan=widths)
    with pytest.raises(pd.PruneDeployError, match="no name") as refusal:
        pd.export_bundle(model, pruned=pruned)
    assert refusal.value.field == "out"


def test_bench_measures_beside_the_dense_model_and_returns_the_run(run: Run, engines: Path) -> None:
    assert run.folder == engines / "run"
    seen = [(case.case.backend, case.case.batch, case.role) for case in run.cases]
    assert seen == [(b, n, role) for n in (1, 2) for b in ("null", "ort") for role in ("dense", "candidate")]
    assert all(case.latency is not None for case in run.cases)
    assert pd.read_run(str(run.folder)).cases == run.cases
    assert run.record.spec.options.threads == 1


def test_compare_takes_two_bundles_or_two_runs(bundle: Exported, run: Run, engines: Path) -> None:
    pairs = pd.compare(run, run)
    assert {pair.ratio.value for pair in pairs if pair.ratio is not None} == {1.0}
    compared = pd.compare(bundle, bundle, backend="null", out=engines / "pair", **QUICK)
    assert [case.role for case in compared.cases] == ["dense", "candidate"]
    with pytest.raises(pd.PruneDeployError, match="one of the two is a run"):
        pd.compare(run, bundle)  # type: ignore[call-overload]  # the mistake is the test


@pytest.mark.release
def test_a_sweep_goes_on_where_it_ended(engines: Path) -> None:
    spec = pd.SweepSpec(
        blocks=(pd.Block(models=("test_byobnet",), methods=("l2",), ratios=(0.5,), num_classes=10),),
        backends=("null",),
        engine=NO_ENGINE,
        measure=pd.MeasureSpec(rigor="quick", budget_s=2.0),
    )
    first = pd.sweep(spec, engines / "sweep", share_machine=True)
    assert [case.label for case in first.cases] == ["test_byobnet-dense", "test_byobnet-l2-r0.50"]
    assert pd.sweep(spec, engines / "sweep", share_machine=True).cases == first.cases


@pytest.mark.release
def test_evaluate_and_finetune_return_rows_and_a_bundle(engines: Path) -> None:
    small = pd.export_bundle(
        pd.ModelSpec(name="test_byobnet", num_classes=10, input_size=(3, 32, 32)),
        engines / "digits",
        ratio=0.5,
        precisions=("fp32",),
        engine=NO_ENGINE,
    )
    tuned = pd.finetune(small, data="digits", epochs=1, samples=64, warmup_epochs=0.0, out=engines / "tuned")
    assert tuned.training.parent.name == "digits"
    (row,) = pd.evaluate(tuned, "digits", backend="ort", data_samples=50)
    assert row.accuracy is not None
    assert (row.artifact, row.accuracy.images) == ("model.onnx", 50)


@pytest.mark.parametrize("name", [name for name in pd.__all__ if name[0].islower()])
def test_every_function_documents_its_errors(name: str) -> None:
    text = inspect.getdoc(getattr(pd, name)) or ""
    assert text.splitlines()[0].endswith(".")
    assert "Raises:" in text


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pd.PruneSpec(ratio=0.5).ratio = 0.6  # type: ignore[misc]  # the mistake is the test
