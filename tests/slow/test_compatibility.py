"""Fifty-two families at full size: pruned at half of the channels, run, written, loaded back, exported and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_deploy.data import synthetic_images
from prune_deploy.evaluation.parity import onnx_parity
from prune_deploy.export.bundle import load_module, write_module
from prune_deploy.export.onnx import export_onnx
from prune_deploy.models import create_model
from prune_deploy.presets import architectures
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import ModelSpec, PruneSpec

MODELS = architectures()

# What stays in them is no channel: tokens, heads, focal levels, or a block that is shorter than the others.
NAMED: dict[str, tuple[str, ...]] = {
    "mixer_s32_224": ("mlp_tokens.fc2",),
    "cait_xxs24_224": ("attn.proj_w",),
    "swinv2_tiny_window8_256": ("attn.cpb_mlp.2",),
    "focalnet_tiny_srf": ("modulation.f",),
    "edgenext_xx_small": ("stages.2.downsample.1",),
}
"""Models in which some groups keep their channels, and how the names of those end."""


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_parameters_go_and_the_rest_runs_reloads_and_exports(name: str, tmp_path: Path) -> None:
    loaded = create_model(ModelSpec(name=name))
    size = loaded.resolved.input_size
    result = prune(loaded.module, PruneSpec(ratio=0.5, allow_shortfall=True), size)
    assert result.receipt.after.params <= 0.5 * result.receipt.before.params
    protected = [w.name.partition("[")[0] for w in result.plan.groups if w.reason in ("protected", "no-score")]
    assert all(member.endswith(NAMED.get(name, ())) for member in protected), protected
    images = synthetic_images(2, size, torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = [loaded.module(images[:batch]) for batch in (1, 2)]
    assert [len(logits) for logits in outputs] == [1, 2]
    write_module(loaded.module, loaded.resolved, result, tmp_path)
    again = load_module(tmp_path)
    with torch.no_grad():
        assert all(torch.equal(again(images[:batch].clone()), outputs[batch - 1]) for batch in (1, 2))
    graph = tmp_path / "model.onnx"
    export_onnx(loaded.module, size, graph)
    parity = onnx_parity(loaded.module, graph, size, "fp32")
    assert parity.status == "passed", parity.reason
