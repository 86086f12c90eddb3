"""What can be asked: every contradiction is refused with exit code 2 and a fix, and names resolve as documented."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.errors import InputError
from prune_deploy.specs import (
    CARDS,
    SHORT_CODES,
    TARGETS,
    EngineSpec,
    ExportSpec,
    ModelSpec,
    PruneSpec,
    parse_amount,
    resolve_target,
    weights_path,
)


def refusal(build: Callable[[], object]) -> InputError:
    """The error that building a spec raises, after checking that it can be acted upon."""
    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.exit_code == 2
    assert caught.value.fix
    assert f"Fix: {caught.value.fix}" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf, -math.inf])
def test_ratios_outside_the_open_interval_are_refused(ratio: float) -> None:
    error = refusal(lambda: PruneSpec(ratio=ratio))
    assert "`ratio`" in error.message
    assert error.field == "ratio"
    assert str(ratio) in error.message


@pytest.mark.parametrize("ratio", [1e-9, 0.05, 0.5, 0.95, 1 - 1e-9])
def test_ratios_inside_the_open_interval_are_taken(ratio: float) -> None:
    assert PruneSpec(ratio=ratio).ratio == ratio


@pytest.mark.parametrize(
    ("amounts", "named"),
    [
        ({}, ["none"]),
        ({"ratio": 0.5, "target_macs": "0.5x"}, ["`ratio`", "`target_macs`"]),
        ({"ratio": 0.5, "plan": "plan.json"}, ["`ratio`", "`plan`"]),
        ({"target_macs": "0.5x", "target_params": "50M"}, ["`target_macs`", "`target_params`"]),
        ({"ratio": 0.5, "target_macs": "1G", "target_params": "1M", "plan": "p"}, ["`plan`"]),
    ],
)
def test_exactly_one_amount_is_asked_for(amounts: dict[str, Any], named: list[str]) -> None:
    error = refusal(lambda: PruneSpec(**amounts))
    got = error.message.partition("got ")[2]
    assert all(name in got for name in named), error.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"group_cap": 0.0},
        {"group_cap": 1.01},
        {"group_cap": math.nan},
        {"round_to": 0},
        {"round_to": -8},
        {"steps": 0},
        {"ignore": ()},
        {"ignore": ("none", "head")},
    ],
)
def test_options_of_pruning_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    error = refusal(lambda: PruneSpec(ratio=0.5, **wrong))
    assert error.field == next(iter(wrong))
    assert f"`{error.field}`" in error.message


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "resnet50", "num_classes": -1}, "`num_classes`"),
        ({"name": "resnet50", "input_size": (3, 224)}, "`input_size`"),
        ({"name": "resnet50", "input_size": (3, 0, 224)}, "`input_size`"),
        ({"name": "resnet50", "input_size": (3, -1, 224)}, "`input_size`"),
    ],
)
def test_models_that_cannot_be_built_are_refused(wrong: dict[str, Any], named: str) -> None:
    assert named in refusal(lambda: ModelSpec(**wrong)).message


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"target": "sm42"}, "sm42"),
        ({"batches": ()}, "`batches`"),
        ({"batches": (1, 0)}, "`batches`"),
        ({"batches": (8, 8)}, "`batches`"),
        ({"workspace_mib": 0}, "`workspace_mib`"),
    ],
)
def test_engines_that_cannot_be_built_are_refused(wrong: dict[str, Any], named: str) -> None:
    assert named in refusal(lambda: EngineSpec(**wrong)).message


@pytest.mark.parametrize("spec", [ModelSpec(name="v"), PruneSpec(ratio=0.5), EngineSpec()])
def test_specs_are_frozen(spec: Any) -> None:
    field = dataclasses.fields(spec)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, field, "x")


def test_specs_with_the_same_content_are_equal_and_usable_as_keys() -> None:
    first, second = (
        ExportSpec(model=ModelSpec(name="v"), prune=PruneSpec(ratio=0.5), engine=EngineSpec(target="sm89")) for _ in range(2)
    )
    assert first == second
    assert len({first, second}) == 1
    assert dataclasses.replace(first, prune=None) != first


def test_the_defaults_are_the_documented_ones() -> None:
    prune, engine = PruneSpec(ratio=0.5), EngineSpec()
    assert (prune.method, prune.scope, prune.round_to, prune.rounding, prune.ignore) == ("l2", "local", 8, "down", ("head",))
    assert (prune.heads, prune.bottleneck, prune.steps, prune.allow_shortfall) == (False, False, 1, False)
    assert (engine.target, engine.batches, engine.library) == ("sm86", (1, 8, 64), "auto")


@pytest.mark.parametrize("target", TARGETS)
def test_targets_resolve_to_themselves(target: str) -> None:
    assert resolve_target(target) == target
    assert resolve_target(target.upper()) == target
    assert resolve_target(target.replace("sm", "sm_")) == target


@pytest.mark.parametrize(("card", "target"), CARDS.items())
def test_cards_resolve_however_they_are_spelled(card: str, target: str) -> None:
    assert target in TARGETS
    for spelled in (card, card.upper(), f"NVIDIA {card}", f"nvidia-{card}", f"NVIDIA RTX {card.removeprefix('rtx')}"):
        assert resolve_target(spelled) == target, spelled


@pytest.mark.parametrize("text", ["", "sm", "sm42", "sm8", "rtx9999", "a20000", "gtx"])
def test_unknown_targets_are_refused_with_those_that_exist(text: str) -> None:
    error = refusal(lambda: resolve_target(text))
    assert all(target in error.fix for target in TARGETS)


@pytest.mark.parametrize(
    ("text", "dense", "amount"),
    [
        ("0.5x", 1000, 500),
        ("0.25X", 1000, 250),
        ("2.0G", 4_120_000_000, 2_000_000_000),
        ("2g", 4_120_000_000, 2_000_000_000),
        ("50M", 303_311_882, 50_000_000),
        ("1.5m", 2_000_000, 1_500_000),
        ("750k", 1_000_000, 750_000),
        ("123", 1000, 123),
        ("1e3", 5000, 1000),
    ],
)
def test_amounts_are_read_in_shares_thousands_millions_and_billions(text: str, dense: int, amount: int) -> None:
    assert parse_amount(text, dense, "target_macs") == amount


@pytest.mark.parametrize("text", ["", "x", "half", "0.5 y", "50%", "1.2.3M", "M", "0x"])
def test_texts_that_are_no_amount_are_refused(text: str) -> None:
    error = refusal(lambda: parse_amount(text, 1000, "target_params"))
    assert "`target_params" in error.message


@pytest.mark.parametrize("text", ["1x", "1.5x", "0", "-0.5x", "2k", "1000", "nan", "inf", "-inf", "nanx", "infG"])
def test_amounts_not_below_the_dense_model_are_refused(text: str) -> None:
    error = refusal(lambda: parse_amount(text, 1000, "target_macs"))
    assert "`target_macs" in error.message


def test_weights_are_a_file_unless_they_are_a_known_word() -> None:
    assert weights_path("random") is None
    assert weights_path("pretrained") is None
    assert weights_path("here/w.safetensors") == Path("here/w.safetensors")


def test_the_short_codes_are_the_seven_reference_models() -> None:
    assert len(SHORT_CODES) == 7
    assert SHORT_CODES["v"] == "vit_large_patch16_224"
