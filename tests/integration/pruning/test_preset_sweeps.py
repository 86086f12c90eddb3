"""Sizes of a sweep's variants before anything is made are those of what is made; and the presets are understood by the command."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from prune_deploy.errors import PruningError
from prune_deploy.models import create_model, resolve
from prune_deploy.presets import preset, preset_names
from prune_deploy.pruning import methods
from prune_deploy.pruning.pruner import prune
from prune_deploy.pruning.sizes import Size, sizes
from prune_deploy.pruning.stages import Stages
from prune_deploy.records import Counts
from prune_deploy.specs import Block, PruneSpec, SweepSpec, Variant
from support import GOLDEN
from support.commands import call

SETTINGS = PruneSpec(ratio=0.5, allow_shortfall=True)


def sweep(*blocks: Block) -> SweepSpec:
    return SweepSpec(blocks=blocks, backends=("ort",))


def really(variant: Variant) -> Counts | str:
    """What pruning the model with its weights gives, or the error it ends with."""
    loaded = create_model(variant.model)
    assert variant.prune is not None
    try:
        return prune(loaded.module, variant.prune, loaded.resolved.input_size).receipt.after
    except PruningError as error:
        return error.message


def pruned(found: Iterable[tuple[Variant, Size]]) -> list[tuple[Variant, Counts | str]]:
    return [(variant, size.counts or size.reason) for variant, size in found if variant.prune is not None]


@pytest.mark.release
@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext"])
def test_sizes_without_weights_are_those_of_the_real_pruning_for_every_method(model: str) -> None:
    own = Block(models=(model,), methods=tuple(methods.discover()), ratios=(0.4,), settings=SETTINGS)
    found = pruned(sizes(sweep(own)))
    assert len(found) == len(methods.discover())
    for variant, size in found:
        assert size == really(variant), variant.name
    # Without batch norms bn-scale has nothing to go by, and that must show without weights too.
    assert any(isinstance(size, str) for _, size in found) == (model != "test_resnet")


def test_a_pruning_that_would_be_refused_has_no_size_but_the_reason() -> None:
    strict = Block(models=("test_convnext",), methods=("bn-scale",), ratios=(0.5,))
    ranked = Block(
        models=("test_convnext",),
        methods=("l2",),
        ratios=(0.5,),
        protocol="ranked",
        settings=PruneSpec(ratio=0.5, scope="global"),
    )
    (_, refused), (_, unknown) = pruned(sizes(sweep(strict, ranked)))
    assert str(refused).startswith("nothing would be removed")
    assert unknown == "with `scope='global'` widths depend on the weights"


def test_the_sizes_of_stages_are_those_of_pruning_stage_by_stage() -> None:
    block = Block(models=("test_resnet",), methods=("l2",), ratios=(0.25, 0.5, 1.0), iterative=True, settings=SETTINGS)
    found = pruned(sizes(sweep(block)))
    loaded = create_model(found[0][0].model)
    stages = Stages(loaded.module, loaded.resolved.input_size)
    assert [size for _, size in found] == [
        stages.advance(variant.prune).receipt.after for variant, _ in found if variant.prune is not None
    ]


def golden(name: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The committed sizes of a preset by model, method, ratio and protocol."""
    with (GOLDEN / f"{name}-sizes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {tuple(row[field] for field in ("model", "method", "ratio", "protocol")): row for row in rows}


def key(variant: Variant) -> tuple[str, ...]:
    return variant.model.name, variant.method, "" if variant.ratio is None else f"{variant.ratio:g}", variant.protocol


def agrees(row: Mapping[str, str], size: Size) -> bool:
    """Whether a committed row says what has been counted."""
    if size.counts is None:
        return row["params"] == "" and row["reason"] == size.reason
    counts = size.counts
    return [int(row[name]) for name in ("params", "macs", "macs_with_attention")] == [
        counts.params,
        counts.macs,
        counts.macs_with_attention,
    ]


@pytest.mark.parametrize("name", ["pytorch-pruning", "resnet50-curve"])
def test_the_committed_sizes_have_every_variant_of_their_preset(name: str) -> None:
    assert set(golden(name)) == {key(variant) for _, of_model in preset(name).models() for variant in of_model}


@pytest.mark.release
def test_the_committed_sizes_of_mobilenet_come_out_again() -> None:
    spec = preset("pytorch-pruning")
    small = SweepSpec(
        blocks=tuple(
            Block(
                models=("m",),
                methods=block.methods[:1],
                masks=block.masks,
                ratios=block.ratios,
                protocol=block.protocol,
                settings=block.settings,
            )
            for block in spec.blocks
        ),
        backends=spec.backends,
    )
    rows = golden("pytorch-pruning")
    found = list(sizes(small))
    assert len(found) == 1 + 4 + 2 * 3
    assert [variant.name for variant, size in found if not agrees(rows[key(variant)], size)] == []


@pytest.mark.parametrize("name", preset_names())
def test_the_command_understands_every_preset(name: str) -> None:
    result = call("sweep", "--preset", name, "--dry-run", "--json")
    assert result.code == 0, result.stderr
    spec = preset(name)
    assert result.document["variants"] == [variant.name for _, of_model in spec.models() for variant in of_model]
    assert all(resolve(model).input_size for model, _ in spec.models())


def test_the_quick_preset_is_quick() -> None:
    document = call("sweep", "--preset", "quick", "--dry-run", "--json").document
    assert document["measuring_s"] < document["total_s"] <= 120, "three minutes are for cores that have other work too"
    assert len(document["variants"]) == 4


def test_a_file_goes_the_same_way_and_a_mistaken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('backends = ["ort"]\n[[blocks]]\nmodels = ["test_vit"]\nmasks = ["2:4"]\n', encoding="utf-8")
    document = call("sweep", "--spec", path, "--batch", "1,2", "--dry-run", "--json").document
    assert document["variants"] == ["test_vit-dense", "test_vit-mask-2to4-r0.50"]
    assert len(document["comparisons"]) == 2
    path.write_text('backends = ["ort"]\n[[blocks]]\nmodel = ["test_vit"]\n', encoding="utf-8")
    refused = call("sweep", "--spec", path, "--dry-run")
    assert refused.code == 2
    assert f"{path}: blocks[0].models: is missing; blocks[0]: unknown model" in " ".join(refused.stderr.split())
    assert "did you mean models" in refused.stderr
    unknown = call("sweep", "--preset", "quik", "--dry-run")
    assert unknown.code == 2
    assert "did you mean quick?" in unknown.stderr
