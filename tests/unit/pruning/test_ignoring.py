"""`ignore` and `bottleneck`: which groups are left alone, and what is said of each."""

from __future__ import annotations

import pytest
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.ignoring import classifiers, ignored_names, left_alone
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny


def kept(
    model: nn.Module, *ignore: str, size: tuple[int, int, int] = tiny.SIZE, bottleneck: bool = False
) -> dict[str, tuple[str, str]]:
    """Group → (reason, detail) of all that are left alone."""
    groups = trace_groups(make_meta_copy(model), example_input(size))
    spec = PruneSpec(ratio=0.5, ignore=ignore, bottleneck=bottleneck)
    return {name: (k.reason, k.detail) for name, k in left_alone(model, groups, spec).items()}


def test_none_leaves_nothing_alone() -> None:
    assert kept(tiny.Residual(), "none") == {}


def test_head_is_the_classifier() -> None:
    assert kept(tiny.vit(), "head", size=tiny.VIT_SIZE) == {"head": ("ignored", "`ignore=('head',)`")}
    assert kept(tiny.swin(), "head", size=tiny.SWIN_SIZE) == {"head.fc": ("ignored", "`ignore=('head',)`")}


def test_norm_takes_every_group_that_holds_one_with_it() -> None:
    found = kept(tiny.Residual(), "norm")
    assert set(found) == {"stem.0", "reduce.0", "grouped.0", "expand.0"}
    assert found["stem.0"] == ("ignored-member", "shares channels with stem.1 (`ignore=('norm',)`)")
    assert set(kept(tiny.vit(), "norm", size=tiny.VIT_SIZE)) == {"patch_embed.proj"}


def test_attention_is_every_attention_module_with_all_inside() -> None:
    found = kept(tiny.vit(), "attention", size=tiny.VIT_SIZE)
    assert found["blocks.0.attn.qkv"] == ("ignored", "`ignore=('attention',)`")
    # The projection writes into the residual stream, so that cannot shrink either.
    reason, detail = found["patch_embed.proj"]
    assert reason == "ignored-member"
    assert detail == "shares channels with blocks.0.attn.proj (`ignore=('attention',)`)"
    assert set(found) == {"patch_embed.proj", "blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    assert len([name for name in kept(tiny.swin(), "attention", size=tiny.SWIN_SIZE) if name.endswith("qkv")]) == 4


def test_patterns_match_whole_names_and_bring_a_modules_inside_along() -> None:
    assert set(kept(tiny.vit(), "blocks.1.mlp", size=tiny.VIT_SIZE)) == {"blocks.1.mlp.fc1", "patch_embed.proj"}
    assert set(kept(tiny.vit(), "blocks.*.mlp.fc1", size=tiny.VIT_SIZE)) == {"blocks.0.mlp.fc1", "blocks.1.mlp.fc1"}
    assert set(kept(tiny.Plain(), "first")) == {"first.0"}


def test_a_parameter_can_be_ignored_by_name() -> None:
    found = kept(tiny.vit(), "pos_embed", size=tiny.VIT_SIZE)
    assert found == {"patch_embed.proj": ("ignored-member", "shares channels with pos_embed (`ignore=('pos_embed',)`)")}


def test_the_first_word_that_matches_is_named() -> None:
    assert ignored_names(tiny.vit(), ["head", "h*"])["head"] == "head"
    assert ignored_names(tiny.vit(), ["h*", "head"])["head"] == "h*"


def test_the_default_is_replaced_not_extended() -> None:
    assert set(kept(tiny.Plain(), "second.0")) == {"second.0"}


@pytest.mark.parametrize("pattern", ["secnd.0", "layer1.*", "Head", "stem", "blocks.*"])
def test_a_pattern_that_matches_nothing_is_bad_input(pattern: str) -> None:
    with pytest.raises(InputError, match=r"matches no module and no parameter of Plain") as caught:
        kept(tiny.Plain(), "head", pattern)
    assert caught.value.exit_code == 2
    assert pattern in caught.value.message
    names = [name for name, _ in tiny.Plain().named_modules() if name]
    assert any(caught.value.fix.endswith(name) for name in names), "the fix shows a name of this model"


@pytest.mark.parametrize("word", ["norm", "attention"])
def test_a_word_may_match_nothing(word: str) -> None:
    assert kept(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)), word, size=(3, 4, 4)) == {}


def test_bottleneck_leaves_residual_streams_alone_and_inner_widths_not() -> None:
    assert kept(tiny.Residual(), "head", bottleneck=True)["stem.0"] == ("bottleneck", "residual stream")
    assert set(kept(tiny.Residual(), "head", bottleneck=True)) == {"stem.0"}
    swin = kept(tiny.swin(), "head", size=tiny.SWIN_SIZE, bottleneck=True)
    assert {name for name, (reason, _) in swin.items() if reason == "bottleneck"} == {"patch_embed.proj", "layers.1.downsample"}


def test_a_plain_module_has_no_classifier_by_name() -> None:
    """Its last Linear may be anything: a squeeze-and-excitation's, or declared before the neck. Trial runs find the outputs."""
    assert classifiers(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU())) == ()
