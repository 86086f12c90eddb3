"""The cut: which channels stay, and that a network without channels that had no effect computes what it computed before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from timm.models.convnext import ConvNeXt
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.pruning.apply import cut, select, select_first
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.records import GroupWidth, Selection, WidthPlan
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny

Removed = dict[str, list[int]]
"""Group name → dense channels that go."""


def planned(model: nn.Module, spec: PruneSpec, size: tuple[int, int, int]) -> tuple[Planner, WidthPlan, Selection, Removed]:
    """A plan and a random selection of what it keeps."""
    planner = Planner(model, size)
    plan = planner.plan(spec).plan
    generator = torch.Generator().manual_seed(3)
    chosen = select(planner.groups, plan, {g.name: torch.rand(g.channels, generator=generator) for g in planner.groups})
    removed = {g.name: sorted(set(range(g.channels)) - set(chosen.kept[g.name])) for g in planner.groups}
    return planner, plan, chosen, removed


def cut_away(model: nn.Module, planner: Planner, plan: WidthPlan, chosen: Selection) -> nn.Module:
    """A narrowed copy of `model`."""
    narrowed = copy.deepcopy(model)
    cut(narrowed, planner.groups, plan, chosen)
    return narrowed


def difference(first: nn.Module, second: nn.Module, size: tuple[int, int, int]) -> float:
    """Largest difference of two networks' outputs, relative to the outputs' spread."""
    x = tiny.images(size)
    with torch.no_grad():
        ours, theirs = first(x), second(x)
    return float((ours - theirs).abs().max() / theirs.std())


def drop_inputs(layer: nn.Module, channels: Iterable[int]) -> None:
    """Take away what these input channels of a layer do."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    layer.weight.data[:, list(channels)] = 0


def silence_residual(model: tiny.Residual, removed: Removed) -> None:
    for layer in (model.reduce[0], model.expand[0], model.head):
        drop_inputs(layer, removed["stem.0"])
    # Four groups of four input channels each: the weight knows the position within its group only.
    drop_inputs(model.grouped[0], {channel % 4 for channel in removed["reduce.0"]})
    drop_inputs(model.restore[0], removed["grouped.0"])
    drop_inputs(model.squeeze, removed["expand.0"])
    drop_inputs(model.project[0], removed["expand.0"])
    drop_inputs(model.excite, removed["squeeze"])


def silence_concat(model: tiny.Concat, removed: Removed) -> None:
    drop_inputs(model.both[0], removed["left.0"])
    drop_inputs(model.both[0], [16 + channel for channel in removed["right.0"]])
    drop_inputs(model.head, removed["both.0"])


def silence_flattened(model: tiny.Flattened, removed: Removed) -> None:
    drop_inputs(model.hidden, [64 * channel + pixel for channel in removed["conv.0"] for pixel in range(64)])
    drop_inputs(model.head, removed["hidden"])


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    ("build", "silence", "groups"),
    [
        (tiny.Residual, silence_residual, {"stem.0", "reduce.0", "grouped.0", "expand.0", "squeeze"}),
        (tiny.Concat, silence_concat, {"left.0", "right.0", "both.0"}),
        (tiny.Flattened, silence_flattened, {"conv.0", "hidden"}),
    ],
)
def test_removing_channels_without_effect_changes_no_output(
    build: Callable[[], nn.Module], silence: Callable[[nn.Module, Removed], None], groups: set[str], ratio: float
) -> None:
    dense = tiny.lively(build())
    planner, plan, chosen, removed = planned(dense, PruneSpec(ratio=ratio, round_to=1), tiny.SIZE)
    assert {name for name, channels in removed.items() if channels} == groups
    silenced = copy.deepcopy(dense)
    silence(silenced, removed)
    assert difference(silenced, dense, tiny.SIZE) > 1e-2, "the channels should have had an effect before"
    narrowed = cut_away(silenced, planner, plan, chosen)
    assert difference(narrowed, silenced, tiny.SIZE) < 1e-5


def attention_groups(model: nn.Module) -> list[str]:
    """Names of attention modules, in model order."""
    return [name for name, module in model.named_modules() if hasattr(module, "qkv")]


def attention_of(model: nn.Module, name: str) -> Any:
    """One attention module of timm's."""
    return model.get_submodule(name)


def head_width(attention: Any) -> int:
    """Channels of one head, from the fused projection itself."""
    return int(attention.qkv.out_features // (3 * attention.num_heads))


def inner_groups_only(build: Callable[[], nn.Module]) -> tuple[str, ...]:
    """`ignore` for the residual streams: only inner widths of attention and MLPs are left to narrow."""
    return ("head", "patch_embed.proj") if build is tiny.vit else ("head", "patch_embed.proj", "layers.*.downsample")


def silence_mlps(model: nn.Module, removed: Removed) -> None:
    for name, channels in removed.items():
        if name.endswith("fc1"):
            drop_inputs(model.get_submodule(name.replace("fc1", "fc2")), channels)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("build", "size"), [(tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE)])
def test_removing_head_positions_without_effect_changes_no_output(
    build: Callable[[], nn.Module], size: tuple[int, int, int], fused: bool
) -> None:
    dense = tiny.lively(build())
    spec = PruneSpec(ratio=0.5, round_to=4, ignore=inner_groups_only(build))
    planner, plan, chosen, removed = planned(dense, spec, size)
    silenced = copy.deepcopy(dense)
    silence_mlps(silenced, removed)
    for name in attention_groups(dense):
        attention, gone = attention_of(silenced, name), removed[f"{name}.qkv"]
        assert gone
        drop_inputs(attention.proj, gone)  # the values go nowhere
        attention.qkv.weight.data[gone] = 0  # the queries add nothing to the products with keys
        attention.qkv.bias.data[gone] = 0
    narrowed = cut_away(silenced, planner, plan, chosen)
    for name in attention_groups(dense):
        narrow, wide = attention_of(narrowed, name), attention_of(silenced, name)
        narrow.fused_attn = wide.fused_attn = fused
        assert head_width(narrow) == head_width(wide) // 2
        # Attention divides by the square root of the head's width, which is now smaller; the wide queries make up for it.
        queries = wide.qkv.out_features // 3
        wide.qkv.weight.data[:queries] *= (head_width(wide) / head_width(narrow)) ** 0.5
        wide.qkv.bias.data[:queries] *= (head_width(wide) / head_width(narrow)) ** 0.5
    assert difference(silenced, dense, size) > 1e-2
    assert difference(narrowed, silenced, size) < 1e-5


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("build", "size"), [(tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE)])
def test_removing_whole_heads_without_effect_changes_no_output(
    build: Callable[[], nn.Module], size: tuple[int, int, int], fused: bool
) -> None:
    dense = tiny.lively(build())
    spec = PruneSpec(ratio=0.5, round_to=4, heads=True, ignore=inner_groups_only(build))
    planner, plan, chosen, removed = planned(dense, spec, size)
    silenced = copy.deepcopy(dense)
    silence_mlps(silenced, removed)
    for name in attention_groups(dense):
        drop_inputs(attention_of(silenced, name).proj, removed[f"{name}.qkv"])
    narrowed = cut_away(silenced, planner, plan, chosen)
    for name in attention_groups(dense):
        narrow, wide = attention_of(narrowed, name), attention_of(silenced, name)
        narrow.fused_attn = wide.fused_attn = fused
        assert narrow.num_heads == wide.num_heads // 2
        assert head_width(narrow) == head_width(wide)
        if hasattr(wide, "relative_position_bias_table"):
            assert narrow.relative_position_bias_table.shape[1] == narrow.num_heads
    assert difference(silenced, dense, size) > 1e-2
    assert difference(narrowed, silenced, size) < 1e-5


class NormOver(nn.Module):
    """A layer norm that sees only some channels of its input, the last axis or the second, and leaves zeros in the others."""

    def __init__(self, norm: nn.LayerNorm, removed: Sequence[int], axis: int) -> None:
        super().__init__()
        self.norm, self.axis = norm, axis
        self.mask = torch.ones(norm.normalized_shape)
        self.mask[list(removed)] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.movedim(self.axis, -1)
        count = self.mask.sum()
        mean = (x * self.mask).sum(-1, keepdim=True) / count
        variance = ((x - mean).square() * self.mask).sum(-1, keepdim=True) / count
        normal = (x - mean) / (variance + self.norm.eps).sqrt() * self.norm.weight + self.norm.bias
        return (normal * self.mask).movedim(-1, self.axis)


def blind_norms(model: nn.Module, removed_at: Callable[[str], Sequence[int]]) -> nn.Module:
    """A copy whose layer norms do not see the channels that `removed_at(norm's name)` lists."""
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm):
            owner, _, leaf = name.rpartition(".")
            axis = 1 if type(module).__name__ == "LayerNorm2d" else -1
            setattr(model.get_submodule(owner), leaf, NormOver(module, removed_at(name), axis))
    return model


def only(*names: str) -> Callable[[list[str]], tuple[str, ...]]:
    """`ignore` that leaves just these groups to be narrowed."""
    return lambda groups: tuple(name for name in groups if name not in names)


def narrow_streams(
    model: nn.Module, streams: Sequence[str], size: tuple[int, int, int], ratio: float
) -> tuple[nn.Module, Removed]:
    """The model with only its residual streams narrowed, and what they lost."""
    everything = [g.name for g in Planner(model, size).groups]
    spec = PruneSpec(ratio=ratio, round_to=1, ignore=only(*streams)(everything))
    planner, plan, chosen, removed = planned(model, spec, size)
    assert {name for name, channels in removed.items() if channels} == set(streams)
    return cut_away(model, planner, plan, chosen), removed


STREAM_RATIOS = [0.25, 0.5, 0.8]


@pytest.mark.parametrize("ratio", STREAM_RATIOS)
def test_a_narrowed_vit_computes_what_norms_blind_to_the_lost_channels_compute(ratio: float) -> None:
    dense = tiny.lively(tiny.vit())
    narrowed, removed = narrow_streams(dense, ["patch_embed.proj"], tiny.VIT_SIZE, ratio)
    reference = blind_norms(dense, lambda name: removed["patch_embed.proj"])
    assert difference(reference, dense, tiny.VIT_SIZE) > 1e-2
    assert difference(narrowed, reference, tiny.VIT_SIZE) < 1e-4


@pytest.mark.parametrize("ratio", STREAM_RATIOS)
def test_a_narrowed_swin_computes_what_norms_blind_to_the_lost_channels_compute(ratio: float) -> None:
    dense = tiny.lively(tiny.swin())
    narrowed, removed = narrow_streams(dense, ["patch_embed.proj", "layers.1.downsample"], tiny.SWIN_SIZE, ratio)
    first, second = removed["patch_embed.proj"], removed["layers.1.downsample"]

    def lost(norm: str) -> list[int]:
        if norm == "layers.1.downsample.norm":  # four neighbouring pixels side by side, 32 channels each
            return [channel + 32 * neighbour for neighbour in range(4) for channel in first]
        return second if norm.startswith(("layers.1", "norm")) else first

    reference = blind_norms(dense, lost)
    assert difference(reference, dense, tiny.SWIN_SIZE) > 1e-2
    assert difference(narrowed, reference, tiny.SWIN_SIZE) < 1e-4


@pytest.mark.parametrize("ratio", STREAM_RATIOS)
def test_a_narrowed_convnext_computes_what_norms_blind_to_the_lost_channels_compute(ratio: float) -> None:
    dense = tiny.lively(ConvNeXt(num_classes=5, depths=(1, 2, 1, 1), dims=(24, 32, 40, 48), ls_init_value=1.0))
    streams = ["stem.0", *(f"stages.{stage}.downsample.1" for stage in (1, 2, 3))]
    narrowed, removed = narrow_streams(dense, streams, (3, 32, 32), ratio)

    def lost(norm: str) -> list[int]:
        if norm.startswith("stages"):  # a downsampling norm still sees the stream of the stage before
            return removed[streams[int(norm.split(".")[1]) - ("downsample" in norm)]]
        return removed[streams[0 if norm.startswith("stem") else -1]]

    reference = blind_norms(dense, lost)
    assert difference(reference, dense, (3, 32, 32)) > 1e-2
    assert difference(narrowed, reference, (3, 32, 32)) < 1e-4


@pytest.mark.parametrize("kept", [[3, 40, 9, 17, 63], [0, 62, 61], [50, 2, 1, 33, 34, 8, 16, 24]])
def test_a_layer_norm_keeps_its_scales_with_their_channels(kept: list[int]) -> None:
    from prune_deploy.pruning.groups.families import narrow_layer_norm

    norm = nn.LayerNorm(64)
    norm.weight.data, norm.bias.data = torch.arange(64.0), -torch.arange(64.0)
    narrow_layer_norm(norm, [channel for channel in range(64) if channel not in kept])
    assert norm.weight.tolist() == sorted(kept)
    assert norm.bias.tolist() == [-channel for channel in sorted(kept)]
    assert norm.normalized_shape == (len(kept),)


BUILDERS = [
    (tiny.Residual, tiny.SIZE),
    (tiny.Concat, tiny.SIZE),
    (tiny.Flattened, tiny.SIZE),
    (tiny.vit, tiny.VIT_SIZE),
    (tiny.swin, tiny.SWIN_SIZE),
]


@pytest.mark.parametrize(("build", "size"), BUILDERS)
def test_the_order_of_groups_does_not_matter(build: Callable[[], nn.Module], size: tuple[int, int, int]) -> None:
    dense = tiny.lively(build())
    planner, plan, chosen, _ = planned(dense, PruneSpec(ratio=0.5, round_to=2), size)
    forwards, backwards = copy.deepcopy(dense), copy.deepcopy(dense)
    cut(forwards, planner.groups, plan, chosen)
    cut(backwards, planner.groups[::-1], plan, chosen)
    assert difference(forwards, backwards, size) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(forwards.parameters(), backwards.parameters(), strict=True))


@pytest.mark.parametrize(("build", "size"), BUILDERS)
def test_a_weightless_twin_is_cut_to_the_same_shapes(build: Callable[[], nn.Module], size: tuple[int, int, int]) -> None:
    dense = tiny.lively(build())
    planner, plan, chosen, _ = planned(dense, PruneSpec(ratio=0.4, round_to=2), size)
    meta_copy = make_meta_copy(dense)
    cut(meta_copy, planner.groups, plan, select_first(planner.groups, plan))
    shapes = {name: p.shape for name, p in meta_copy.named_parameters()}
    assert shapes == {name: p.shape for name, p in cut_away(dense, planner, plan, chosen).named_parameters()}


def test_a_plan_that_keeps_everything_leaves_the_model_as_it_is() -> None:
    dense = tiny.lively(tiny.Residual())
    planner = Planner(dense, tiny.SIZE)
    widths = [GroupWidth(name=g.name, channels=g.channels, kept=g.channels) for g in planner.groups]
    plan = WidthPlan(groups=tuple(widths), model="m")
    narrowed = cut_away(dense, planner, plan, select_first(planner.groups, plan))
    assert difference(narrowed, dense, tiny.SIZE) == 0.0


def test_what_is_kept_is_copied_bit_by_bit() -> None:
    dense: Any = tiny.lively(tiny.Plain())
    planner, plan, chosen, _ = planned(dense, PruneSpec(ratio=0.5, round_to=1), tiny.SIZE)
    narrowed: Any = cut_away(dense, planner, plan, chosen)
    first, second = (torch.tensor(chosen.kept[name]) for name in ("first.0", "second.0"))
    assert torch.equal(narrowed.first[0].weight, dense.first[0].weight[first])
    assert torch.equal(narrowed.second[0].weight, dense.second[0].weight[second][:, first])
    assert torch.equal(narrowed.head.weight, dense.head.weight[:, second])
    assert torch.equal(narrowed.head.bias, dense.head.bias)
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(narrowed.second[1], leaf), getattr(dense.second[1], leaf)[second])


def test_frozen_parameters_modes_hooks_and_buffers_survive_a_cut() -> None:
    model: Any = tiny.lively(tiny.Residual())
    model.train()
    model.stem.eval()
    model.stem.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    model.register_buffer("scale", torch.ones(3))
    seen: list[int] = []
    model.head.register_forward_hook(lambda *_: seen.append(1))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    training = {name for name, module in model.named_modules() if module.training}
    prune(model, PruneSpec(ratio=0.5), tiny.SIZE)
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen
    assert {name for name, module in model.named_modules() if module.training} == training
    assert torch.equal(model.scale, torch.ones(3))
    seen.clear()
    model(tiny.images(tiny.SIZE))
    assert seen == [1]


def test_a_model_cut_within_inference_mode_can_be_trained() -> None:
    model = tiny.lively(tiny.Plain())
    with torch.inference_mode():
        prune(model, PruneSpec(ratio=0.5), tiny.SIZE)
    model(tiny.images(tiny.SIZE)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_made_within_inference_mode_is_refused_with_a_fix() -> None:
    with torch.inference_mode():
        model = tiny.Plain()
    with pytest.raises(InputError, match=r"within torch.inference_mode") as caught:
        prune(model, PruneSpec(ratio=0.5), tiny.SIZE)
    assert "outside" in caught.value.fix
