"""Requests refuse every wrong argument with an error of ours, and accept what is clear."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import prune_deploy as pd
from prune_deploy.specs import TARGETS

ENOUGH: dict[Any, dict[str, Any]] = {
    pd.Block: {"models": ("resnet18",)},
    pd.EngineSpec: {},
    pd.ExportSpec: {"model": pd.ModelSpec(name="resnet18"), "prune": None, "engine": pd.EngineSpec()},
    pd.FinetuneSpec: {"data": "digits"},
    pd.MaskSpec: {"kind": "2:4"},
    pd.MeasureSpec: {},
    pd.ModelSpec: {"name": "resnet18"},
    pd.PruneSpec: {"ratio": 0.5},
    pd.QuantizeSpec: {},
    pd.RunOptions: {},
    pd.SweepSpec: {"blocks": (pd.Block(models=("resnet18",)),), "backends": ("ort",)},
}
"""The least that makes each request."""

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    5,
    0.5,
    float("nan"),
    1e400,
    10**30,
    "",
    "x",
    "0.5",
    "a,b",
    b"x",
    (),
    [],
    (1, 2),
    ("x",),
    (None,),
    [[3, 64, 64]],
    {},
    {"ratio": 0.5},
    object(),
    print,
    int,
    Path("x"),
    np.zeros(3),
    np.float32(0.5),
    np.int64(8),
    torch.zeros(1, 3, 8, 8),
    torch.nn.Identity(),
    pd.PruneSpec,
    pd.PruneSpec(ratio=0.5),
    pd.ModelSpec(name="resnet18"),
)


def test_every_request_is_tried() -> None:
    assert set(ENOUGH) == {getattr(pd, name) for name in pd.__all__ if dataclasses.is_dataclass(getattr(pd, name))}


@pytest.mark.parametrize(("kind", "field"), [(kind, each.name) for kind in ENOUGH for each in dataclasses.fields(kind)])
def test_a_field_holds_its_type_or_an_error_says_which_field(kind: Any, field: str) -> None:
    refusals, made = [], []
    for value in ODD:
        try:
            made.append(kind(**ENOUGH[kind] | {field: value}))
        except pd.PruneDeployError as refusal:
            refusals.append(refusal)
    assert refusals
    assert all(refusal.fix and refusal.exit_code == 2 for refusal in refusals)
    for spec in made:
        hash(spec)  # a request is a key elsewhere, so it holds no list
        assert not isinstance(getattr(spec, field), (np.generic, bytes))


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (pd.PruneSpec(0.5), pd.PruneSpec(ratio=0.5)),
        (pd.PruneSpec(np.float32(0.5)), pd.PruneSpec(ratio=0.5)),  # type: ignore[arg-type]  # NumPy's number is one
        (pd.PruneSpec(0.5, ignore="head,norm"), pd.PruneSpec(ratio=0.5, ignore=("head", "norm"))),  # type: ignore[arg-type]
        (pd.PruneSpec(plan=Path("a.json")), pd.PruneSpec(plan="a.json")),  # type: ignore[arg-type]
        (pd.ModelSpec("resnet18"), pd.ModelSpec(name="resnet18")),
        (pd.ModelSpec("resnet18", input_size=[3, 64, 64]), pd.ModelSpec(name="resnet18", input_size=(3, 64, 64))),  # type: ignore[arg-type]
        (pd.EngineSpec("none", batches=8), pd.EngineSpec(library="none", batches=(8,))),  # type: ignore[arg-type]
        (pd.Block("resnet18", methods="l1", ratios=0.5), pd.Block(models=("resnet18",), methods=("l1",), ratios=(0.5,))),  # type: ignore[arg-type]
        (
            pd.ExportSpec("resnet18", prune=0.5, engine="none", precisions=["fp32"]),  # type: ignore[arg-type]
            pd.ExportSpec(
                model=pd.ModelSpec(name="resnet18"), prune=pd.PruneSpec(ratio=0.5), engine=pd.EngineSpec(library="none")
            ),
        ),
    ],
)
def test_what_is_clear_is_accepted(given: object, same: object) -> None:
    assert given == same


@pytest.mark.parametrize(
    ("make", "message", "fix", "field"),
    [
        (lambda: pd.PruneSpec("0.5"), "`ratio` must be a number, got '0.5'", "for example `ratio=0.5`", "ratio"),  # type: ignore[arg-type]
        (lambda: pd.PruneSpec(50), "`ratio` must lie between 0 and 1", "not per cent: `ratio=0.5`", "ratio"),
        (lambda: pd.PruneSpec(ration=0.5), "PruneSpec has no `ration`", "did you mean `ratio`?", "ration"),  # type: ignore[call-arg]
        (lambda: pd.PruneSpec(0.5, "l1"), "too many positional", "all but `ratio`, the first", "ratio"),  # type: ignore[call-arg]
        (lambda: pd.PruneSpec(0.5, scope="globl"), "`scope` got 'globl'", "one of local, global, isomorphic", "scope"),  # type: ignore[arg-type]
        (lambda: pd.PruneSpec(0.5, round_to=8.0), "must be a whole number, got 8.0", "`round_to=8`", "round_to"),  # type: ignore[arg-type]
        (lambda: pd.ModelSpec(), "ModelSpec needs `name`", "for example `name='resnet50'`", "name"),  # type: ignore[call-arg]
        (lambda: pd.ModelSpec("a", input_size=224), "three positive numbers", "channels, height and width", "input_size"),  # type: ignore[arg-type]
        (lambda: pd.EngineSpec(target=("sm86",)), "must be a text, got ('sm86',)", "`target='sm86'`", "target"),  # type: ignore[arg-type]
        (lambda: pd.SweepSpec(5, backends="ort"), "must be a sequence of Blocks, got 5", "give a sequence of Blocks", "blocks"),  # type: ignore[arg-type]
        (
            lambda: pd.RunOptions(threads=np.zeros(2)),  # type: ignore[arg-type]
            "got an object of type numpy.ndarray",
            "for example `threads=4`",
            "threads",
        ),
    ],
)
def test_refusals_name_field_value_and_fix(make: Any, message: str, fix: str, field: str) -> None:
    with pytest.raises(pd.PruneDeployError) as refusal:
        make()
    assert message in refusal.value.message
    assert fix in refusal.value.fix
    assert refusal.value.field == field


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(pd.PruneDeployError, match="`target` must be a text"):
        dataclasses.replace(pd.EngineSpec(), target=86)  # type: ignore[arg-type]
    assert dataclasses.replace(pd.EngineSpec(), target=TARGETS[0]).target == TARGETS[0]
