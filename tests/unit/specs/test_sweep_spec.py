"""From a sweep's blocks to its variants: what is asked twice is there once, and no two things share a name."""

from __future__ import annotations

import pytest

from prune_deploy.errors import InputError
from prune_deploy.records import from_json, to_json
from prune_deploy.specs import Block, MaskSpec, ModelSpec, PruneSpec, SweepSpec, Variant


def sweep(*blocks: Block) -> SweepSpec:
    return SweepSpec(blocks=blocks, backends=("ort",))


def names(spec: SweepSpec) -> list[list[str]]:
    return [[variant.name for variant in variants] for _, variants in spec.models()]


def test_a_block_is_spread_out_model_by_model_with_the_dense_one_first() -> None:
    block = Block(models=("resnet18", "e"), methods=("l1", "random"), masks=("l1-unstructured", "2:4"), ratios=(0.3, 0.5))
    resnet, efficientnet = names(sweep(block))
    assert resnet == [
        "resnet18-dense",
        "resnet18-mask-l1-unstructured-r0.30",
        "resnet18-mask-l1-unstructured-r0.50",
        "resnet18-mask-2to4-r0.50",
        "resnet18-l1-r0.30",
        "resnet18-l1-r0.50",
        "resnet18-random-r0.30",
        "resnet18-random-r0.50",
    ]
    assert efficientnet[0] == "efficientnet_b4-dense"
    assert len(efficientnet) == len(resnet)


def test_settings_reach_every_variant_and_the_template_s_amount_none() -> None:
    settings = PruneSpec(ratio=0.9, method="lamp", round_to=4, ignore=("none",), seed=7)
    block = Block(models=("resnet18",), methods=("l1",), ratios=(0.3,), seeds=(2,), settings=settings)
    ((_, (dense, pruned)),) = sweep(block).models()
    assert dense == Variant(model=ModelSpec(name="resnet18", seed=2))
    assert pruned.prune == PruneSpec(ratio=0.3, method="l1", round_to=4, ignore=("none",), seed=2)
    assert pruned.name == "resnet18-l1-r0.30-s2"


def test_the_stages_of_an_iterative_block_lead_to_each_other_and_to_the_end() -> None:
    spec = sweep(Block(models=("resnet18",), methods=("l2",), ratios=(0.25, 0.5, 1.0), iterative=True))
    ((_, variants),) = spec.models()
    assert [variant.prune.steps for variant in variants if variant.prune] == [1, 2, 3]
    assert spec.stages() == {
        "resnet18-l2-r0.25": (0.25,),
        "resnet18-l2-r0.50": (0.25, 0.5),
        "resnet18-l2-r1.00": (0.25, 0.5, 1.0),
    }
    assert sweep(Block(models=("resnet18",), methods=("l2",), ratios=(0.5,))).stages() == {}


def test_a_single_stage_may_go_to_the_end() -> None:
    ((_, variants),) = sweep(Block(models=("resnet18",), methods=("l2",), ratios=(1.0,), iterative=True)).models()
    assert variants[1].ratio == 1
    with pytest.raises(InputError, match="between 0 and 1"):
        sweep(Block(models=("resnet18",), methods=("l2",), ratios=(1.0,))).models()


def test_what_two_blocks_both_ask_for_is_there_once() -> None:
    first = Block(models=("resnet18",), methods=("l1",), ratios=(0.3, 0.5))
    second = Block(models=("resnet18",), methods=("l1", "l2"), ratios=(0.5,))
    assert names(sweep(first, second)) == [["resnet18-dense", "resnet18-l1-r0.30", "resnet18-l1-r0.50", "resnet18-l2-r0.50"]]


def test_one_name_for_two_settings_is_refused_until_a_protocol_tells_them_apart() -> None:
    ours = Block(models=("resnet18",), methods=("l1",), ratios=(0.5,))
    theirs = {"models": ("resnet18",), "methods": ("l1",), "ratios": (0.5,), "settings": PruneSpec(ratio=0.5, round_to=2)}
    with pytest.raises(InputError, match=r"resnet18-l1-r0\.50 with different settings"):
        sweep(ours, Block(**theirs)).models()  # type: ignore[arg-type]
    message = sweep(ours, Block(**theirs, protocol="published"))  # type: ignore[arg-type]
    assert names(message)[0][-1] == "resnet18-l1-r0.50-published"


def test_one_name_for_two_models_is_refused() -> None:
    with pytest.raises(InputError, match="resnet18-dense would be two models"):
        sweep(Block(models=("resnet18",)), Block(models=("resnet18",), num_classes=10)).models()


def test_a_sweep_survives_json() -> None:
    spec = sweep(Block(models=("resnet18",), methods=("l1",), masks=("2:4",), ratios=(0.5,), input_size=(3, 64, 64)))
    assert from_json(SweepSpec, to_json(spec), source="test") == spec


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"models": ()}, "needs models"),
        ({"models": ("a",), "methods": ("l1",)}, "need ratios"),
        ({"models": ("a",), "masks": ("ln-structured",)}, "need ratios"),
        ({"models": ("a",), "ratios": (0.5,)}, "need methods"),
        ({"models": ("a",), "methods": ("l1",), "ratios": (0.5, 0.5)}, "must ascend"),
        ({"models": ("a",), "seeds": (1, 1)}, "once each"),
        ({"models": ("a",), "seeds": ()}, "once each"),
    ],
)
def test_blocks_that_make_no_sense(block: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Block(**block)  # type: ignore[arg-type]


def test_masks_and_sweeps_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="one half"):
        MaskSpec(kind="2:4", ratio=0.3)
    with pytest.raises(InputError, match="`together`"):
        SweepSpec(blocks=(Block(models=("a",)),), backends=("ort",), together=0)
    with pytest.raises(InputError, match="needs models, backends"):
        SweepSpec(blocks=(Block(models=("a",)),), backends=())


def test_a_block_of_more_models_than_anybody_measures_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"300,000 models are more"):
        Block(models=("test_resnet",), seeds=tuple(range(300_000)))


def test_a_sweep_for_years_is_refused_before_it_is_planned() -> None:
    block = Block(models=("resnet18",), seeds=tuple(range(10_000)))
    assert block.size == 10_000
    with pytest.raises(InputError, match="110,000 cases"):
        SweepSpec(blocks=(block,) * 11, backends=("ort",))
    with pytest.raises(InputError, match="200,000 cases"):
        SweepSpec(blocks=(block,), backends=("ort", "eager"), batches=tuple(range(1, 11)))
