"""Command line of NVIDIA's own tool that builds the same engine.

It serves readers who want to build it without this package.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from prune_deploy.specs import EngineBuild


def trtexec_command(
    spec: EngineBuild, *, onnx_name: str, engine_name: str, inputs: Mapping[str, tuple[int, ...]], rtx: bool
) -> str:
    """Return the line that builds `engine_name` from `onnx_name`.

    The tool is `trtexec`, or `tensorrt_rtx` if `rtx`. `inputs` maps each input's name to its shape without the batch.
    `--stronglyTyped` is needed by TensorRT 10 and ignored by 11.

    Sources: samples/common/sampleOptions.cpp of NVIDIA/TensorRT, and the TensorRT-RTX documentation, "CPU-Only AOT".
    """
    words = ["tensorrt_rtx" if rtx else "trtexec", f"--onnx={onnx_name}", f"--saveEngine={engine_name}"]
    words += [f"--computeCapabilities={spec.target.removeprefix('sm')}"] if rtx else ["--stronglyTyped"]
    for index, batch in enumerate(spec.batches):
        shapes = ",".join(f"{name}:{'x'.join(map(str, (batch, *shape)))}" for name, shape in inputs.items())
        words += [f"--profile={index}", *(f"--{bound}Shapes={shapes}" for bound in ("min", "opt", "max"))]
    if spec.precision == "fp32":
        words.append("--noTF32")
    if spec.sparse_weights:
        words.append("--sparsity=enable")
    if spec.workspace_mib is not None:
        words.append(f"--memPoolSize=workspace:{spec.workspace_mib}M")
    if spec.optimization_level is not None:
        words.append(f"--builderOptimizationLevel={spec.optimization_level}")
    return shlex.join([*words, "--profilingVerbosity=detailed", "--skipInference"])
