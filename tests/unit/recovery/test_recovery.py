"""Folds and batch norms: against definitions, at their limits, and with what users get wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Silent
from prune_deploy.pruning.find_groups import find_groups
from prune_deploy.pruning.pruner import prune
from prune_deploy.recovery.batchnorm import recalibrate
from prune_deploy.recovery.fold import RIDGE, fold
from prune_deploy.recovery.moments import Moments
from prune_deploy.recovery.recover import Images, fold_all, recover
from prune_deploy.recovery.sites import Site, find_sites
from prune_deploy.specs import PruneSpec
from support.fakes.recorded_progress import RecordedProgress
from support.models import tiny_models as tiny


def images(count: int, seed: int = 0, size: tuple[int, int, int] = tiny.SIZE) -> torch.Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed))


def cut(model: nn.Module, ratio: float, size: tuple[int, int, int] = tiny.SIZE) -> tuple[nn.Module, list[Site]]:
    """A pruned copy of a model, and the sites of its dense form."""
    pruned = copy.deepcopy(model)
    done = prune(pruned, PruneSpec(ratio=ratio, round_to=1, allow_shortfall=True), size)
    groups, _ = find_groups(model, size)
    return pruned, find_sites(model, groups, done.plan, done.selection)


def moments(dense: torch.Tensor, pruned: torch.Tensor) -> Moments:
    found = Moments()
    for part in range(0, len(dense), 100):  # in batches, as they come
        found.add(dense[part : part + 100], pruned[part : part + 100])
    return found


def test_a_fold_is_the_ridge_solution_of_the_layers_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=generator)
    dense_inputs = torch.randn(500, 12, generator=generator) @ mixing + 0.5
    kept = torch.tensor([0, 2, 3, 7, 8, 11])
    layer = nn.Linear(12, 5)
    site = Site(name="layer", inputs=kept, outputs=torch.arange(5))
    found = fold(layer, site, *[moments(dense_inputs, dense_inputs[:, kept])] * 2, before_norm=False)

    x, weight = dense_inputs.double(), layer.weight.detach().double()
    centred, left = x - x.mean(0), (x - x.mean(0))[:, kept]
    gram = left.T @ left / len(x)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    missed = (centred @ weight.T - left @ weight[:, kept].T).T @ left / len(x)
    expected = weight[:, kept] + missed @ torch.linalg.inv(gram + ridge)
    torch.testing.assert_close(found.weight, expected, rtol=1e-4, atol=1e-5)
    assert found.bias is not None
    outputs = x[:, kept] @ found.weight.T + found.bias
    torch.testing.assert_close(outputs.mean(0), (x @ weight.T + layer.bias.double()).mean(0).detach(), rtol=1e-4, atol=1e-4)

    power = (centred @ weight.T).square().sum()
    error = (centred @ weight.T - left @ found.weight.T).square().sum() / power
    assert found.error_after == pytest.approx(float(error), rel=1e-3)
    assert found.error_after < found.error_before


def test_channels_that_others_can_replace_are_made_up_for() -> None:
    generator = torch.Generator().manual_seed(1)
    kept_inputs = torch.randn(800, 6, generator=generator)
    dense_inputs = torch.cat([kept_inputs, kept_inputs @ torch.randn(6, 4, generator=generator)], 1)
    layer = nn.Linear(10, 3)
    site = Site(name="layer", inputs=torch.arange(6), outputs=torch.arange(3))
    found = fold(layer, site, *[moments(dense_inputs, kept_inputs)] * 2, before_norm=False)
    assert found.error_before > 0.1
    assert found.error_after < 1e-5


@pytest.mark.parametrize("build", [tiny.Residual, tiny.Plain, tiny.Flattened, tiny.Concat])
def test_where_nothing_is_missing_nothing_changes(build: Any) -> None:
    dense = tiny.lively(build())
    same = copy.deepcopy(dense)
    groups, _ = find_groups(dense, tiny.SIZE)
    sites = [
        Site(name=name, inputs=torch.arange(layer.weight.shape[1]), outputs=torch.arange(layer.weight.shape[0]))
        for name, layer in dense.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]
    assert groups
    assert sites
    # In eval mode both networks have the same activations, so batch statistics must not come between them.
    for module in same.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean, module.running_var = None, None
    twin = copy.deepcopy(same)
    folds = fold_all(twin, same, sites, images(64), Silent())
    assert not any(each.helps for each in folds.values())
    for name, tensor in same.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("build", [tiny.Residual, tiny.Plain, tiny.Flattened, tiny.Concat])
def test_a_pruned_network_comes_nearer_to_its_dense_form(build: Any) -> None:
    dense = tiny.lively(build())
    pruned, sites = cut(dense, 0.3)
    seen = Images("noise", images(192), images(96, seed=7), None)
    progress = RecordedProgress()
    found = recover(dense, pruned, sites, seen, "linear", progress)
    steps = {step.name: step for step in found.steps}
    assert steps["fold"].kl < steps["pruned"].kl
    assert any(each.kept and each.error_after < each.error_before for each in found.folds)
    assert all(each.error_after >= each.error_before for each in found.folds if not each.kept)
    assert (found.images, found.judged, found.dense_top1) == (192, 96, None)
    assert progress.advances


def test_recovery_is_the_same_with_the_same_images() -> None:
    dense = tiny.lively(tiny.Residual())
    seen = Images("noise", images(96), images(48, seed=7), None)
    results = []
    for _ in range(2):
        pruned, sites = cut(dense, 0.5)
        recover(dense, pruned, sites, seen, "linear", Silent())
        results.append(pruned.state_dict())
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_statistics_of_batch_norms_are_those_of_one_pass_over_all_images() -> None:
    model, whole = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), images(60)
    assert recalibrate(model.eval(), torch.split(whole, 20)) == 1
    outputs, norm = model[0](whole).detach(), model[1]
    torch.testing.assert_close(norm.running_mean, outputs.mean((0, 2, 3)))
    spread = torch.stack([part.var((0, 2, 3)) for part in torch.split(outputs, 20)]).mean(0)
    torch.testing.assert_close(norm.running_var, spread)
    assert norm.momentum == 0.1
    assert not model.training
    assert not norm.training
    assert recalibrate(nn.Sequential(nn.Linear(3, 3)), [torch.zeros(1, 3)]) == 0


def test_labels_of_another_kind_give_no_accuracy() -> None:
    dense = tiny.lively(tiny.Plain())
    pruned, sites = cut(dense, 0.3)
    many = torch.full((48,), 1000)
    found = recover(dense, pruned, sites, Images("noise", images(96), images(48, seed=7), many), "bn", Silent())
    assert found.dense_top1 is None
    assert all(step.top1 is None for step in found.steps)
    assert found.folds == ()


def test_activations_that_are_no_numbers_are_refused() -> None:
    dense = tiny.lively(tiny.Plain())
    pruned, sites = cut(dense, 0.3)
    broken = images(96)
    broken[3, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="are no numbers") as caught:
        recover(dense, pruned, sites, Images("noise", broken, images(48), None), "linear", Silent())
    assert "calibration" in caught.value.fix


def test_passes_are_shared_where_time_is_short() -> None:
    dense = tiny.lively(tiny.Residual())
    counts = []
    for limit_s in (60.0, 0.0):
        pruned, sites = cut(dense, 0.5)
        progress = RecordedProgress()
        folds = fold_all(dense, pruned, sites, images(64), progress, limit_s=limit_s)
        counts.append(len(progress.advances))
        assert len(folds) >= 3
    assert counts[1] == 2 < counts[0], "the first pass tells how long one takes"
