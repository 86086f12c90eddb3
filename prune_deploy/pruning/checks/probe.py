"""Probe with weights: renumbering a group's channels must keep the outputs.

This holds for every network, whatever norms and attention do, if and only if the group's mapping names each channel wherever it
is used. Shapes alone cannot show that, because a wrong mapping may have shapes that fit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from prune_deploy.pruning.channel_tracing.narrowing import NarrowAttribute, NarrowTensor
from prune_deploy.pruning.checks.trial import first_breaking
from prune_deploy.pruning.groups.channel_group import ChannelGroup, Member
from prune_deploy.pruning.meta_copy import parameter_owner
from prune_deploy.tensors import output_tensors

# A channel in the wrong place changes the outputs by about as much as another image. Sums in another order differ by rounding,
# which some networks amplify. Images that differ in their last digits show by how much.
_TOLERANCE = 0.01
_NUDGE, _NOISE_MARGIN, _MOST = 1e-6, 20.0, 0.5
_REASON = "its channels cannot be renumbered without changing the outputs: the mapping is wrong"
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_SEED = 20


def wrongly_mapped(model: nn.Module, groups: Sequence[ChannelGroup], input_size: tuple[int, int, int]) -> dict[str, str]:
    """Return the groups whose channels cannot change places, with reasons.

    The model is left as it was, bit by bit. `input_size` is (channels, height, width). Two images are run three times, and again
    to find the groups that are wrong. A network whose outputs ignore its input proves nothing. A group with a layer of unknown
    type is left out.
    """
    probed = [g for g in groups if not g.unusable and _moves(model, g) is not None]
    images = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(_SEED))
    with torch.no_grad(), _evaluating(model):
        images = images.to(next(model.parameters()))
        expected = _answers(model, images)
        nudged = _answers(model, images * (1 + _NUDGE))
        allowed = {name: _allowed(answer, nudged[name]) for name, answer in expected.items()}
        telling = {name: most for name, most in allowed.items() if most is not None}
        if not telling:
            return {}

        def differs(chosen: Sequence[ChannelGroup]) -> str:
            with _renumbered(model, chosen):
                answers = _answers(model, images)
            return "" if all(_off(answers[name], expected[name]) <= most for name, most in telling.items()) else _REASON

        return first_breaking(probed, differs)


def _answers(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the floating-point outputs with a row for each image, by name."""
    tensors = output_tensors(model(images))
    return {
        name: tensor.float()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.shape[:1] == images.shape[:1]
    }


def _allowed(answer: torch.Tensor, nudged: torch.Tensor) -> float | None:
    """Return how far an output may be off.

    It is None where the output is not finite, ignores the images, or is too noisy to tell.
    """
    response = _off(answer[0], answer[1])
    allowed = max(_TOLERANCE * response, _NOISE_MARGIN * _off(nudged, answer))
    return allowed if 0 < allowed < _MOST * response else None


def _off(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


_Move = tuple[torch.Tensor, int, torch.Tensor]
"""Tensor, axis, and the source of each position of that axis."""


@contextlib.contextmanager
def _renumbered(model: nn.Module, groups: Sequence[ChannelGroup]) -> Iterator[None]:
    moves = [move for group in groups for move in _moves(model, group) or []]
    for tensor, axis, source in moves:
        tensor.copy_(tensor.index_select(axis, source.to(tensor.device)))
    try:
        yield
    finally:
        for tensor, axis, source in reversed(moves):
            tensor.copy_(tensor.index_select(axis, torch.argsort(source).to(tensor.device)))


def _moves(model: nn.Module, group: ChannelGroup) -> list[_Move] | None:
    """Return the moves of a fixed renumbering of the group's positions.

    It is None if the type of a layer is unknown.
    """
    size = group.channels // group.blocks
    generator = torch.Generator().manual_seed(_SEED + size)
    order = torch.randperm(size, generator=generator).tolist()
    result: dict[tuple[int, int], _Move] = {}
    for member in group.members:
        tensors = _member_tensors(model, member)
        if tensors is None:
            return None
        for tensor, axis in tensors:
            source = _sources(member, order, tensor.shape[axis])
            if source is None:
                return None
            result[id(tensor), axis] = (tensor, axis, source)
    return list(result.values())


def _sources(member: Member, order: Sequence[int], length: int) -> torch.Tensor | None:
    """Return the source of each of `length` positions.

    It is None if channels have unequal shares of them.
    """
    size, places = len(order), dict[int, list[int]]()
    for position, root in sorted(zip(member.positions, member.roots, strict=True)):
        if position < length:  # a grouped convolution's inputs are counted over all blocks, and its weight holds one
            places.setdefault(root % size, []).append(position)
    if len({len(taken) for taken in places.values()}) > 1 or (len(places) < size and set(order) != set(places)):
        return None
    source = torch.arange(length)
    for unit, taken in places.items():
        source[taken] = torch.tensor(places[order[unit]])
    return source


def _member_tensors(model: nn.Module, member: Member) -> list[tuple[torch.Tensor, int]] | None:
    if isinstance(member.handler, NarrowAttribute):
        return []
    if member.is_parameter:
        owner, leaf = parameter_owner(model, member.name)
        axis = member.handler.axis if isinstance(member.handler, NarrowTensor) else member.pruning_dim
        return [(getattr(owner, leaf), axis)]
    layer: Any = model.get_submodule(member.name)
    if isinstance(layer, _NORMS):
        axis = member.pruning_dim if isinstance(layer, nn.LayerNorm) else 0
        leaves = ("weight", "bias", "running_mean", "running_var")
        return [(t, axis) for leaf in leaves if (t := getattr(layer, leaf, None)) is not None]
    if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
        return _two_sided(layer, member)
    return None


def _two_sided(layer: Any, member: Member) -> list[tuple[torch.Tensor, int]]:
    depthwise = not isinstance(layer, nn.Linear) and layer.groups > 1 and layer.groups == layer.in_channels
    transposed = getattr(layer, "transposed", False)
    if member.is_output or depthwise:
        weight = [(layer.weight, 1 if transposed else 0)]
        return weight if layer.bias is None else [*weight, (layer.bias, 0)]
    return [(layer.weight, 0 if transposed else 1)]
