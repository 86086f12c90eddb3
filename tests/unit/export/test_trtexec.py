"""The command line for NVIDIA's own tool."""

from __future__ import annotations

from prune_deploy.export.tensorrt.trtexec import trtexec_command
from prune_deploy.specs import EngineBuild


def test_trtexec_builds_one_profile_per_batch() -> None:
    spec = EngineBuild(batches=(1, 8), workspace_mib=256, optimization_level=4)
    found = trtexec_command(spec, onnx_name="model.onnx", engine_name="m.engine", inputs={"input": (3, 224, 224)}, rtx=False)
    assert found == (
        "trtexec --onnx=model.onnx --saveEngine=m.engine --stronglyTyped "
        "--profile=0 --minShapes=input:1x3x224x224 --optShapes=input:1x3x224x224 --maxShapes=input:1x3x224x224 "
        "--profile=1 --minShapes=input:8x3x224x224 --optShapes=input:8x3x224x224 --maxShapes=input:8x3x224x224 "
        "--noTF32 --memPoolSize=workspace:256M --builderOptimizationLevel=4 --profilingVerbosity=detailed --skipInference"
    )


def test_tensorrt_rtx_names_the_target_and_several_inputs_share_a_profile() -> None:
    spec = EngineBuild(precision="tf32", target="sm120", batches=(2,))
    found = trtexec_command(spec, onnx_name="model.onnx", engine_name="m.engine", inputs={"a": (3,), "b": ()}, rtx=True)
    assert found == (
        "tensorrt_rtx --onnx=model.onnx --saveEngine=m.engine --computeCapabilities=120 "
        "--profile=0 --minShapes=a:2x3,b:2 --optShapes=a:2x3,b:2 --maxShapes=a:2x3,b:2 "
        "--profilingVerbosity=detailed --skipInference"
    )
