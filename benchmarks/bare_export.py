"""The same job as `prune-deploy export --model v --ratio 0.5`, by hand: timm, torch-pruning, torch.onnx.export, ONNX Runtime, TensorRT-RTX.

No receipt, no safety net, no records, no atomic writes: the floor that benchmarks/export_vs_bare.py measures the command against.

    python benchmarks/bare_export.py FOLDER
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import onnxruntime
import tensorrt_rtx as trt
import timm
import torch
import torch_pruning as tp

warnings.filterwarnings("ignore")
BATCHES = (1, 8, 64)
PARITY_BATCHES = (1, 2, 5)


def prune() -> torch.nn.Module:
    """ViT-Large with half of every group's channels."""
    torch.manual_seed(0)
    model = timm.create_model("vit_large_patch16_224", num_classes=10).eval()
    heads = {block.attn.qkv: block.attn.num_heads for block in model.blocks}
    example = torch.randn(1, 3, 224, 224)
    tp.pruner.MagnitudePruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        round_to=8,
        ignored_layers=[model.head],
        num_heads=heads,
        in_channel_groups={},
        out_channel_groups={},
    ).step()
    for block in model.blocks:
        attention = block.attn
        attention.head_dim = attention.qkv.out_features // 3 // attention.num_heads
        attention.attn_dim = attention.head_dim * attention.num_heads
        attention.scale = attention.head_dim**-0.5
    tp.utils.count_ops_and_params(model, example)
    result: torch.nn.Module = model
    return result


def export(model: torch.nn.Module, path: Path) -> None:
    """ONNX of opset 20 with a free batch, checked in ONNX Runtime."""
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 3, 224, 224),),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        optimize=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in PARITY_BATCHES:
        images = torch.randn(batch, 3, 224, 224)
        with torch.inference_mode():
            expected = model(images)
        got = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
        assert (expected - torch.from_numpy(got)).abs().max() < 1e-3


def build(onnx_path: Path, engine_path: Path) -> None:
    """An FP32 engine for sm86, one optimisation profile per batch size."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(onnx_path))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    for batch in BATCHES:
        profile = builder.create_optimization_profile()
        profile.set_shape(network.get_input(0).name, *[(batch, 3, 224, 224)] * 3)
        config.add_optimization_profile(profile)
    engine_path.write_bytes(builder.build_serialized_network(network, config))


def main() -> None:
    """Do all of it in one process."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    model = prune()
    torch.save(model.state_dict(), folder / "weights.pt")
    export(model, folder / "model.onnx")
    build(folder / "model.onnx", folder / "model.engine")


if __name__ == "__main__":
    main()
