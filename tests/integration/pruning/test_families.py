"""The seven families shrink for real: timm's own networks, pruned, run, written, and loaded back by another process."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.data import synthetic_images
from prune_deploy.export.bundle import load_module, write_module
from prune_deploy.models import create_model
from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import Pruned, prune
from prune_deploy.records import Artifact
from prune_deploy.specs import ModelSpec, PruneSpec
from support.reloading import UNCHANGED, reload, write_expected

pytestmark = pytest.mark.release

# Everything here shares the modules that one process prunes.

FAMILIES: dict[str, tuple[int, int, int]] = {
    "resnet26d": (3, 96, 96),
    "resnext50_32x4d": (3, 96, 96),
    "convnext_atto": (3, 96, 96),
    "efficientnet_b0": (3, 96, 96),
    "mobilenetv4_conv_small": (3, 96, 96),
    "vit_tiny_patch16_224": (3, 96, 96),
    "swin_tiny_patch4_window7_224": (3, 224, 224),  # its windows divide no smaller map
}
"""A small member of each family that has the blocks of the large one, and the input it is tried with."""

RATIOS = (0.1, 0.5, 0.9)
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
CLASSES = 10
WRITTEN = [(name, ratio) for name in FAMILIES for ratio in RATIOS]


@dataclass(frozen=True)
class Written:
    """A pruned module on disk, and what it was when it was written."""

    folder: Path
    pruned: Pruned
    shapes: tuple[tuple[int, ...], ...]
    artifacts: tuple[Artifact, ...]


def pruned_model(name: str, **options: Any) -> tuple[nn.Module, Pruned]:
    """A family's member with random weights, pruned."""
    loaded = create_model(ModelSpec(name=name, num_classes=CLASSES, input_size=FAMILIES[name]))
    return loaded.module, prune(loaded.module, PruneSpec(**({"ratio": 0.5} | options)), FAMILIES[name])


def write(name: str, ratio: float, folder: Path) -> Written:
    """Prune, run at batch 1 and 2, and write the module beside the outputs that it must give again."""
    loaded = create_model(ModelSpec(name=name, num_classes=CLASSES, input_size=FAMILIES[name]))
    result = prune(loaded.module, PruneSpec(ratio=ratio), FAMILIES[name])
    folder.mkdir(parents=True)
    artifacts = write_module(loaded.module, loaded.resolved, result, folder)
    images = synthetic_images(2, FAMILIES[name], torch.Generator().manual_seed(0))
    shapes = write_expected(loaded.module, images, folder)
    return Written(folder, result, tuple(shapes), tuple(artifacts))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, ratio) → what was written; each is made once, when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return functools.cache(lambda name, ratio: write(name, ratio, root / f"{name}-{ratio}"))


@pytest.fixture(scope="module")
def reloaded(written: Any) -> dict[str, Any]:
    """What a fresh process found in every written folder, by the folder's name."""
    return reload([written(name, ratio).folder for name, ratio in WRITTEN])


@pytest.mark.parametrize(("name", "ratio"), WRITTEN)
def test_every_family_runs_at_batch_one_and_two(written: Any, name: str, ratio: float) -> None:
    assert written(name, ratio).shapes == ((1, CLASSES), (2, CLASSES))


@pytest.mark.parametrize(("name", "ratio"), WRITTEN)
def test_every_group_of_every_family_shrinks_as_asked(written: Any, name: str, ratio: float) -> None:
    receipt = written(name, ratio).pruned.receipt
    assert receipt.shortfalls == ()
    assert receipt.after.params < receipt.before.params
    for width in receipt.groups:
        if width.reason == "ignored":
            assert width.name in {"head", "fc", "classifier", "head.fc"}
        elif width.reason == "minimum":
            # Inside attention, every head keeps eight positions; elsewhere, the layer keeps the smallest aligned width.
            least = 8 * width.blocks if width.name.endswith("qkv") else math.lcm(8, width.blocks)
            assert width.kept == min(least, width.channels)
        else:
            assert width.kept / width.channels <= 1 - ratio + 1e-9, width
            assert width.reason in ("as-asked", "rounded")


@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_the_channels_is_at_least_65_percent_of_parameters_and_macs(written: Any, name: str) -> None:
    receipt = written(name, 0.5).pruned.receipt
    assert receipt.after.params <= 0.35 * receipt.before.params
    assert receipt.after.macs <= 0.35 * receipt.before.macs


@pytest.mark.parametrize("name", FAMILIES)
def test_a_larger_ratio_leaves_less(written: Any, name: str) -> None:
    after = [written(name, ratio).pruned.receipt.after for ratio in RATIOS]
    assert after[0].params > after[1].params > after[2].params
    assert after[0].macs > after[1].macs > after[2].macs
    assert after[0].macs_with_attention > after[1].macs_with_attention > after[2].macs_with_attention


@pytest.mark.parametrize(("name", "ratio"), WRITTEN)
def test_a_fresh_process_gives_bit_identical_outputs(written: Any, reloaded: dict[str, Any], name: str, ratio: float) -> None:
    assert reloaded[written(name, ratio).folder.name] == UNCHANGED


def test_loaded_tensors_lie_where_kernels_want_them(written: Any) -> None:
    # At other addresses they run slower, and on some processors round differently; a file's own offsets are no such addresses.
    module = load_module(written("resnet26d", 0.5).folder)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in (*module.parameters(), *module.buffers()))


def test_swins_buffers_outside_its_state_dict_are_among_those_compared(written: Any) -> None:
    recipe = json.loads((written(SWIN, 0.5).folder / "recipe.json").read_text())
    leaves = {name.rpartition(".")[2] for name in recipe["buffers"]}
    assert leaves >= {"relative_position_index", "attn_mask"}


def test_what_is_written_is_described_and_holds_no_pickle(written: Any) -> None:
    result = written("resnet26d", 0.5)
    assert {(a.name, a.role) for a in result.artifacts} == {
        ("weights.safetensors", "weights"),
        ("recipe.json", "recipe"),
        ("plan.json", "plan"),
    }
    for artifact in result.artifacts:
        content = (result.folder / artifact.name).read_bytes()
        assert len(content) == artifact.size_bytes
        assert not content.startswith((b"PK", b"\x80"))  # a zip of torch.save, a bare pickle


@pytest.mark.parametrize("name", ["resnet26d", "resnext50_32x4d", "efficientnet_b0", "mobilenetv4_conv_small"])
def test_removing_channels_without_effect_changes_no_output(name: str) -> None:
    """Batch norms treat channels one by one, so a channel that no layer reads can go without a trace: if the mapping is right."""
    dense = create_model(ModelSpec(name=name, num_classes=CLASSES, input_size=FAMILIES[name])).module
    planner = Planner(dense, FAMILIES[name])
    plan = planner.plan(PruneSpec(ratio=0.25)).plan
    generator = torch.Generator().manual_seed(0)
    chosen = select(planner.groups, plan, {g.name: torch.rand(g.channels, generator=generator) for g in planner.groups})
    images = synthetic_images(2, FAMILIES[name], torch.Generator().manual_seed(0))
    with torch.no_grad():
        untouched = dense(images)
        for group in planner.groups:
            gone = set(range(group.channels)) - set(chosen.kept[group.name])
            for member in group.members:
                layer: Any = dense.get_submodule(member.name)
                if isinstance(layer, (nn.Conv2d, nn.Linear)) and not member.is_output and layer.weight.shape[1] > 1:
                    lost = [p for p, root in zip(member.positions, member.roots, strict=True) if root in gone]
                    layer.weight[:, [p % layer.weight.shape[1] for p in lost]] = 0  # a grouped one knows positions in its block
        silenced = dense(images)
        cut(dense, planner.groups, plan, chosen)
        narrowed = dense(images)
    assert float((silenced - untouched).abs().max()) > 0.1 * float(untouched.std())
    response = float((silenced[0] - silenced[1]).abs().max())  # what the network still makes of its input
    assert response > 1e-3 * float(silenced.std())
    assert float((narrowed - silenced).abs().max()) < 1e-3 * response


# --- options ---------------------------------------------------------------------------------------------------------------------


def runs(model: nn.Module, name: str) -> bool:
    """Whether the model answers batches of 1 and 2 with finite logits."""
    images = synthetic_images(2, FAMILIES[name], torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = [model(images[:batch]) for batch in (1, 2)]
    return [tuple(o.shape) for o in outputs] == [(1, CLASSES), (2, CLASSES)] and all(bool(o.isfinite().all()) for o in outputs)


@pytest.mark.parametrize("name", [VIT, SWIN])
def test_whole_heads_go_and_the_others_keep_their_width(name: str) -> None:
    dense: Any = create_model(ModelSpec(name=name, num_classes=CLASSES, input_size=FAMILIES[name])).module
    model, result = pruned_model(name, heads=True)
    attentions = [n for n, m in dense.named_modules() if hasattr(m, "qkv")]
    assert len(attentions) == 12
    for attention in attentions:
        before: Any = dense.get_submodule(attention)
        after: Any = model.get_submodule(attention)
        width = before.qkv.out_features // (3 * before.num_heads)
        assert after.num_heads < before.num_heads
        assert after.num_heads == before.num_heads // 2
        assert after.qkv.out_features == 3 * width * after.num_heads
        if name == SWIN:
            assert after.relative_position_bias_table.shape[1] == after.num_heads
    assert all(w.whole_blocks for w in result.plan.groups if w.name.endswith("qkv"))
    assert runs(model, name)


@pytest.mark.parametrize("name", [VIT, SWIN, "resnet26d", "mobilenetv4_conv_small"])
def test_bottleneck_narrows_inside_and_leaves_the_streams(name: str) -> None:
    model, result = pruned_model(name, bottleneck=True)
    reasons = {w.name: w.reason for w in result.plan.groups}
    streams = {n for n, reason in reasons.items() if reason == "bottleneck"}
    expected = {
        VIT: {"patch_embed.proj"},
        SWIN: {"patch_embed.proj", *(f"layers.{i}.downsample" for i in (1, 2, 3))},
        "resnet26d": {f"layer{i}.0.conv3" for i in (1, 2, 3, 4)},
    }
    assert streams == expected.get(name, streams)
    assert streams
    assert all(w.kept == w.channels for w in result.plan.groups if w.name in streams)
    assert all(w.kept < w.channels for w in result.plan.groups if w.reason == "as-asked")
    assert result.receipt.shortfalls == ()
    assert runs(model, name)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "efficientnet_b0", "convnext_atto", VIT])
def test_groups_compete_in_the_global_scope(name: str) -> None:
    model, result = pruned_model(name, scope="global", group_cap=0.9)
    shares = {w.kept / w.channels for w in result.plan.groups if w.reason != "ignored"}
    assert len(shares) > 3, "no common share"
    assert min(shares) >= 0.1
    assert result.receipt.after.params < 0.8 * result.receipt.before.params
    assert runs(model, name)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "mobilenetv4_conv_small", SWIN])
def test_three_steps_end_at_the_widths_of_one(written: Any, name: str) -> None:
    model, result = pruned_model(name, steps=3)
    once = written(name, 0.5).pruned
    assert result.plan == once.plan
    assert result.receipt.after == once.receipt.after
    assert runs(model, name)


@pytest.mark.parametrize("method", ["l1", "random", "lamp", "fpgm", "bn-scale"])
def test_every_method_prunes_a_grouped_network(method: str) -> None:
    model, result = pruned_model("resnext50_32x4d", method=method)
    assert result.receipt.shortfalls == ()
    assert runs(model, "resnext50_32x4d")


@pytest.mark.parametrize("name", ["resnet26d", "convnext_atto"])
def test_a_target_of_macs_is_met_within_one_percent(name: str) -> None:
    model, result = pruned_model(name, ratio=None, target_macs="0.5x")
    assert result.receipt.after.macs == pytest.approx(0.5 * result.receipt.before.macs, rel=0.01)
    assert runs(model, name)
