"""A module in the precision of its label.

Weights and activations are cast. Inputs and outputs stay float32, as with every other artifact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prune_deploy.backends.run_options import require_computing
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Backend
from prune_deploy.records import LayerShare
from prune_deploy.specs import PRECISIONS, Precision, RunOptions
from prune_deploy.tensors import output_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

SOURCE = "PyTorch's parameters"


def require_precision(backend: Backend, options: RunOptions) -> None:
    """Refuse a precision that PyTorch has no layers for on the device.

    Raises:
        CannotRunError: INT8, or BF16 or TF32 on a GPU without them.
    """
    if options.precision is None:
        return
    row = PRECISIONS[options.precision]
    if not row.casts_modules:
        raise CannotRunError(
            f"{backend.name} runs no {row.label}: PyTorch has no {row.label} form of a module",
            fix=f"run the bundle's {row.label} file with ort or trt",
        )
    target = local_target() if options.device == "cuda" else None
    if target is not None and int(target.removeprefix("sm")) < row.first_gpu:
        raise CannotRunError(f"the GPU here is {target}, which has no {row.label}", fix="use `precision='fp16'`, or fp32")


def cast(module: nn.Module, precision: Precision | None) -> nn.Module:
    """Cast the module's tensors to a precision, in place.

    Its inputs are cast on the way in, and its outputs on the way out. Both casts are part of every run, as they are in the ONNX files.
    """
    import torch

    if precision is None or not PRECISIONS[precision].is_half:
        return module
    dtype: torch.dtype = getattr(torch, PRECISIONS[precision].array_type)

    def enter(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(each.to(dtype) if each.is_floating_point() else each for each in arguments)

    def leave(_module: nn.Module, _arguments: Any, output: Any) -> dict[str, torch.Tensor]:
        named = output_tensors(output).items()
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in named}

    module.to(dtype=dtype)
    module.register_forward_pre_hook(enter)
    module.register_forward_hook(leave)
    return module


def as_function(module: nn.Module) -> Callable[..., Any]:
    """Return the module for torch.compile to take as a whole.

    A module with hooks would have its casts compiled apart.
    """
    if not module._forward_pre_hooks:
        return module

    def whole(*inputs: torch.Tensor) -> Any:
        return module(*inputs)

    return whole


def share_of(module: nn.Module, precision: Precision) -> LayerShare:
    """Count the convolutions and linear layers with weights of that precision.

    A layer whose input has another precision raises when it runs.
    """
    import torch
    from torch import nn

    kinds = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.modules.conv._ConvNd)
    dtype: torch.dtype = getattr(torch, PRECISIONS[precision].array_type)
    layers = [each for each in module.modules() if isinstance(each, kinds)]
    computing = sum(all(one.dtype == dtype for one in each.parameters(recurse=False)) for each in layers)
    return LayerShare(computing=computing, layers=len(layers), source=SOURCE)


def described(module: nn.Module, options: RunOptions) -> dict[str, str]:
    """The label's precision, its origin, and the count of its layers."""
    precision = options.precision
    if precision is None:
        return {}
    return {"precision": f"{precision}{_how(precision, options)}", "precision_layers": share_of(module, precision).text}


def _how(precision: Precision, options: RunOptions) -> str:
    """Describe the origin of the precision.

    Where a CPU has no instructions for FP16 or BF16, oneDNN leaves them to PyTorch's own, slow loops.
    """
    row = PRECISIONS[precision]
    if not row.is_half:
        return ""
    import torch

    emulated = options.device == "cpu" and not getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")()
    return ", weights and activations cast" + (f"; this CPU has no {row.label} arithmetic" if emulated else "")


def check_precision(module: nn.Module, options: RunOptions, tf32: str) -> None:
    """Check that the layers are what the label says.

    `tf32` is PyTorch's setting of TF32 in products and convolutions.

    Raises:
        BuildError: they are not.
    """
    check_tf32(options, tf32)
    precision = options.precision
    if precision is None:
        return
    share = share_of(module, precision)
    if share.layers:
        require_computing(precision, share)
    if share.computing < share.layers:
        raise BuildError(f"{precision} was asked for, only {share.text} layers have it ({SOURCE})", fix="report the model's name")


def check_tf32(options: RunOptions, state: str) -> None:
    """Check that products and convolutions use TF32 only under that label.

    `state` is PyTorch's setting, as `settings.tf32_state` gives it.

    Raises:
        BuildError: they use it under another label, or do not use it under this one.
    """
    precision = options.precision or "fp32"
    if options.device == "cpu" and precision != "tf32":
        return  # PyTorch allows it in convolutions of CUDA by default, which do not run here
    if state.count("tf32") != (2 if precision == "tf32" else 0):
        raise BuildError(
            f"{precision} was asked for, PyTorch says: {state}", fix="see whether other code of the process changes it"
        )
