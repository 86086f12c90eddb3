"""Dependency groups: which channels of which layers go together, read from real traces of small networks."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

from prune_deploy.errors import PruningError
from prune_deploy.pruning.groups.channel_group import ChannelGroup, Member
from prune_deploy.pruning.groups.depgraph import first_line, trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from support.models import tiny_models as tiny


def groups_of(model: nn.Module, size: tuple[int, int, int] = tiny.SIZE) -> dict[str, ChannelGroup]:
    """The model's groups by name."""
    return {g.name: g for g in trace_groups(make_meta_copy(model), example_input(size))}


def member(group: ChannelGroup, name: str, *, output: bool) -> Member:
    """One member of a group."""
    (found,) = (m for m in group.members if m.name == name and m.is_output is output)
    return found


def pairs(m: Member) -> dict[int, int]:
    """Layer channel → root channel."""
    return dict(zip(m.positions, m.roots, strict=True))


def test_a_chain_has_one_group_per_layer_with_its_norm_and_its_consumer() -> None:
    groups = groups_of(tiny.Plain())
    assert {name: g.channels for name, g in groups.items()} == {"first.0": 16, "second.0": 24, "head": 5}
    first = groups["first.0"]
    assert {(m.name, m.is_output) for m in first.members} == {("first.0", True), ("first.1", True), ("second.0", False)}
    assert first.outputs == ("first.0", "first.1")
    assert all(pairs(m) == {i: i for i in range(16)} for m in first.members)


def test_a_group_is_named_after_its_first_layer_in_model_order() -> None:
    order = [name for name, _ in tiny.Residual().named_modules()]
    for g in groups_of(tiny.Residual()).values():
        layers = [m.name for m in g.members if m.is_output and not m.is_parameter]
        assert g.name == min(layers, key=order.index)


def test_layers_that_are_added_share_a_group() -> None:
    stream = groups_of(tiny.Residual())["stem.0"]
    assert {"stem.0", "restore.0", "project.0"} <= set(stream.outputs)
    assert {m.name for m in stream.members if not m.is_output} == {"reduce.0", "expand.0", "head"}


def test_a_depthwise_convolution_and_a_gate_follow_their_channels() -> None:
    inner = groups_of(tiny.Residual())["expand.0"]
    assert {"expand.0", "depthwise.0", "depthwise.1", "excite"} <= set(inner.outputs)
    assert {m.name for m in inner.members if not m.is_output} >= {"squeeze", "project.0"}
    assert inner.blocks == 1, "depthwise channels go one by one"


def test_grouped_convolutions_tie_equal_positions_of_their_blocks() -> None:
    groups = groups_of(tiny.Residual())
    assert groups["reduce.0"].blocks == 4  # feeds it
    assert groups["grouped.0"].blocks == 4  # leaves it
    assert groups["stem.0"].blocks == 1


def test_only_streams_that_layers_add_to_are_residual() -> None:
    assert {name for name, g in groups_of(tiny.Residual()).items() if g.residual} == {"stem.0"}
    assert not any(g.residual for g in groups_of(tiny.Concat()).values())
    assert {name for name, g in groups_of(tiny.vit(), tiny.VIT_SIZE).items() if g.residual} == {"patch_embed.proj"}
    swin = groups_of(tiny.swin(), tiny.SWIN_SIZE)
    assert {name for name, g in swin.items() if g.residual} == {"patch_embed.proj", "layers.1.downsample"}


class SideBySide(tiny.Pooled):
    """Two convolutions of the same input, added: their widths are tied, but nothing runs past them."""

    def __init__(self) -> None:
        super().__init__(16)
        self.stem = tiny.conv_bn(3, 8)
        self.left = nn.Conv2d(8, 16, 3, padding=1)
        self.right = nn.Conv2d(8, 16, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        result: torch.Tensor = self.left(x) + self.right(x)
        return result


def test_branches_that_are_added_are_no_stream() -> None:
    groups = groups_of(SideBySide())
    assert {"left", "right"} <= set(groups["left"].outputs)
    assert not any(g.residual for g in groups.values())


def test_a_concatenation_shifts_the_second_branch() -> None:
    groups = groups_of(tiny.Concat())
    assert pairs(member(groups["left.0"], "both.0", output=False)) == {i: i for i in range(16)}
    assert pairs(member(groups["right.0"], "both.0", output=False)) == {16 + i: i for i in range(24)}


def test_flattening_gives_each_channel_its_pixels() -> None:
    hidden = member(groups_of(tiny.Flattened())["conv.0"], "hidden", output=False)
    assert pairs(hidden) == {64 * c + pixel: c for c in range(16) for pixel in range(64)}


def test_an_attention_is_counted_where_one_channel_is_one_position_of_one_head() -> None:
    group = groups_of(tiny.vit(), tiny.VIT_SIZE)["blocks.0.attn.qkv"]
    assert (group.channels, group.blocks, group.heads, group.unusable) == (48, 3, "blocks.0.attn", "")
    assert pairs(member(group, "blocks.0.attn.proj", output=False)) == {i: i for i in range(48)}
    assert pairs(member(group, "blocks.0.attn.qkv", output=True)) == {part * 48 + i: i for part in range(3) for i in range(48)}


def test_the_stream_of_a_vit_holds_its_embeddings() -> None:
    stream = groups_of(tiny.vit(), tiny.VIT_SIZE)["patch_embed.proj"]
    embeddings = {m.name: m for m in stream.members if m.is_parameter}
    assert {"cls_token", "pos_embed"} <= set(embeddings)
    assert all(pairs(m) == {i: i for i in range(48)} for m in embeddings.values())


def test_patch_merging_is_one_layer_between_two_streams() -> None:
    groups = groups_of(tiny.swin(), tiny.SWIN_SIZE)
    assert pairs(member(groups["patch_embed.proj"], "layers.1.downsample", output=False)) == {i: i for i in range(32)}
    assert pairs(member(groups["layers.1.downsample"], "layers.1.downsample", output=True)) == {i: i for i in range(64)}
    inside = {"layers.1.downsample.norm", "layers.1.downsample.reduction"}
    assert not any(m.name in inside for g in groups.values() for m in g.members)


def test_position_bias_tables_are_not_mistaken_for_channels() -> None:
    groups = groups_of(tiny.swin(), tiny.SWIN_SIZE)
    assert not any("relative_position" in m.name for g in groups.values() for m in g.members)


class OnlyAttention(nn.Module):
    """Attention whose output is the network's output: nothing follows that could count its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(x.shape[0], -1, 3, self.num_heads, 8).permute(2, 0, 3, 1, 4).unbind(0)
        result: torch.Tensor = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return result.transpose(1, 2).flatten(2)


def test_an_attention_that_cannot_be_read_is_marked_unusable_with_the_reason() -> None:
    (group,) = groups_of(OnlyAttention(), (16, 4, 4)).values()
    assert group.heads == ""  # the module itself is the attention
    assert group.unusable


class Encoder(nn.Module):
    """torch's own attention module, whose heads divide the stream itself."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 4, 4)
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        logits: torch.Tensor = self.head(tokens.mean(1))
        return logits


def test_the_heads_of_torchs_attention_lose_equal_positions() -> None:
    stream = groups_of(Encoder())["patch"]
    assert "attention" in stream.outputs
    assert (stream.channels, stream.blocks) == (24, 3)


def test_equal_structures_have_equal_signatures() -> None:
    groups = groups_of(tiny.vit(), tiny.VIT_SIZE)
    assert groups["blocks.0.mlp.fc1"].signature == groups["blocks.1.mlp.fc1"].signature
    assert groups["blocks.0.attn.qkv"].signature == groups["blocks.1.attn.qkv"].signature
    assert len({groups[n].signature for n in ("blocks.0.mlp.fc1", "blocks.0.attn.qkv", "patch_embed.proj", "head")}) == 4


@pytest.mark.parametrize(("build", "size"), [(tiny.Residual, tiny.SIZE), (tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE)])
def test_every_output_channel_belongs_to_exactly_one_group(build: Callable[[], nn.Module], size: tuple[int, int, int]) -> None:
    model = build()
    claimed: dict[str, list[int]] = {}
    for g in groups_of(model, size).values():
        for m in g.members:
            if m.is_output and isinstance(model.get_submodule(m.name) if not m.is_parameter else None, (nn.Conv2d, nn.Linear)):
                claimed.setdefault(m.name, []).extend(m.positions)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and "downsample" not in n}
    assert set(claimed) - {"layers.1.downsample"} == set(layers)
    for name, layer in layers.items():
        assert sorted(claimed[name]) == list(range(layer.weight.shape[0])), name


def test_tracing_twice_or_another_model_between_changes_nothing() -> None:
    before = groups_of(tiny.Residual())
    groups_of(tiny.vit(), tiny.VIT_SIZE)
    assert stripped(groups_of(tiny.Residual())) == stripped(before)


def stripped(groups: dict[str, ChannelGroup]) -> list[object]:
    """All of the groups but the handlers, which are objects of each trace."""
    return [
        (g.name, g.channels, g.blocks, g.residual, g.signature, [(m.name, m.is_output, m.positions, m.roots) for m in g.members])
        for g in groups.values()
    ]


def test_frozen_weights_and_training_mode_do_not_change_the_graph() -> None:
    frozen = tiny.Residual().requires_grad_(False)
    assert stripped(groups_of(frozen)) == stripped(groups_of(tiny.Residual().eval()))
    assert frozen.training
    assert not any(p.requires_grad for p in frozen.parameters())


def test_a_forward_pass_that_sleeps_ends_at_the_time_limit() -> None:
    with pytest.raises(PruningError, match=r"dependency graph of Sleeper did not end within 0\.2 s") as caught:
        trace_groups(make_meta_copy(tiny.Sleeper()), example_input(tiny.SIZE), limit_s=0.2)
    assert not tiny.Sleeper.awake, "its sleep was broken off"
    assert "`graph_limit_s`" in caught.value.fix
    assert caught.value.exit_code == 1


class Tangled(nn.Module):
    """Sums of sums: the number of paths through the graph doubles with every layer."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        earlier = [x]
        for layer in self.layers:
            earlier.append(layer(torch.stack(earlier).sum(0)).repeat(1, 2, 1, 1).view(x.shape[0], 2, 3, *x.shape[2:]).sum(1))
        return earlier[-1]


def test_a_graph_that_explodes_ends_at_the_time_limit() -> None:
    # Its graph would take years, so that what ends it is the limit.
    with pytest.raises(PruningError, match="did not end within"):
        trace_groups(make_meta_copy(Tangled(400)), example_input((3, 4, 4)), limit_s=0.5)


def test_a_forward_pass_that_fails_is_reported_in_one_line() -> None:
    with pytest.raises(PruningError, match="graph of Untraceable cannot be built: RuntimeError: no way through") as caught:
        groups_of(tiny.Untraceable())
    assert "more lines" not in caught.value.message
    assert "`prune=None`" in caught.value.fix


def test_tracing_works_outside_the_main_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(groups_of(tiny.Plain()))))
    thread.start()
    thread.join()
    assert found == [3]


def test_an_error_is_told_in_its_first_line_or_by_its_type() -> None:
    assert first_line(RuntimeError("a\nb")) == "RuntimeError: a"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 1000))) < 250
