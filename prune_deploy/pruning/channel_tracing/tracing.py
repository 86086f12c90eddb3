"""Run of a model with labels: one forward pass on meta tensors.

Every operation follows its rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from prune_deploy.pruning.channel_tracing.classes import Axes, Classes, Labels
from prune_deploy.pruning.channel_tracing.rules import apply_rule

# Operations that get sizes as arguments: an attribute of the calling module may hold such a size.
_SIZED = frozenset(
    {"view", "_unsafe_view", "expand", "slice", "split", "split_with_sizes", "native_layer_norm", "repeat", "convolution"}
)
_PRODUCERS = (nn.Linear, nn.modules.conv._ConvNd)


@dataclass(slots=True)
class Traced:
    """Result of one run.

    - `tensors` are the axes of every parameter and buffer by name.
    - `made` is (module name, size) → the labels of axes of that size that its operations made.
    - `read` is the same for those that they read.
    - `entered` holds the labelled axes of a module's inputs.
    - `added` names the layers whose outputs are added to other layers' outputs.
    """

    classes: Classes
    tensors: dict[str, Axes]
    made: dict[tuple[str, int], list[Labels]] = field(default_factory=dict)
    read: dict[tuple[str, int], list[Labels]] = field(default_factory=dict)
    entered: dict[str, list[Labels]] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)


class _Run(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Run that applies a rule per operation.

    Tensors are known by identity, so all of them are kept alive. None has weights.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.classes = Classes()
        self.traced = Traced(self.classes, {})
        self.stack: list[str] = [""]
        self._known: dict[int, Axes] = {}
        self._above: dict[int, frozenset[str]] = {}
        self._alive: list[Any] = []
        self._spread: dict[int, set[int]] = {}
        kernels = {f"{n}.weight".lstrip(".") for n, m in model.named_modules() if isinstance(m, nn.modules.conv._ConvNd)}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            # A kernel's height and width are no channels.
            axes = {
                a: self.classes.fresh(size) for a, size in enumerate(tensor.shape) if size > 1 and (a < 2 or name not in kernels)
            }
            self.traced.tensors[name] = axes
            self._remember(tensor, axes)
        for name, module in model.named_modules():
            if isinstance(module, _PRODUCERS):
                self._above[id(module.weight)] = frozenset({name})

    def axes(self, tensor: torch.Tensor | None) -> Axes:
        """Return the labels of a tensor, none where it has no channels."""
        return {} if tensor is None else self._known.get(id(tensor), {})

    def operand(self, tensor: torch.Tensor) -> tuple[Axes, tuple[int, ...]]:
        """Return the labels and the shape of a tensor.

        An axis over which one position was spread counts as one position.
        """
        spread = self._spread.get(id(tensor), ())
        return self.axes(tensor), tuple(1 if axis in spread else size for axis, size in enumerate(tensor.shape))

    def entering(self, name: str, inputs: Sequence[Any]) -> None:
        """Record the axes of a module's inputs when it is called."""
        self.stack.append(name)
        entered = [labels for t in inputs if isinstance(t, torch.Tensor) for labels in self.axes(t).values()]
        self.traced.entered.setdefault(name, []).extend(entered)

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run one operation and move its labels."""
        out = func(*args, **(kwargs or {}))
        results = [t for t in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(t, torch.Tensor)]
        if results:
            values = [*args, *(kwargs or {}).values()] if "cat" in str(func) or "where" in str(func) else args
            outputs_axes = apply_rule(self, func, values, out)
            for tensor, axes in zip(results, outputs_axes, strict=False):
                self._remember(tensor, axes)
            self._follow(func.overloadpacket.__name__, args, results)
        return out

    def _remember(self, tensor: torch.Tensor, axes: Axes) -> None:
        self._known[id(tensor)] = {axis: labels for axis, labels in axes.items() if tensor.shape[axis] > 1}
        self._alive.append(tensor)

    def _follow(self, operation: str, args: Sequence[Any], results: Sequence[torch.Tensor]) -> None:
        flat = [i for a in args for i in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(i, torch.Tensor)]
        above = [self._above[id(t)] for t in flat if id(t) in self._above]
        if operation in ("convolution", "mm", "bmm", "addmm", "baddbmm"):
            # The output belongs to the weight's layer, where there is one.
            above = above[-1:]
        elif operation in ("add", "add_") and len(above) > 1:
            self.traced.added |= above[0] | above[1]
        if operation == "expand":
            shift = results[0].dim() - args[0].dim()
            new = {
                axis for axis, size in enumerate(results[0].shape) if axis >= shift and args[0].shape[axis - shift] == 1 < size
            }
            self._spread[id(results[0])] = new
        if operation in _SIZED:
            for axis, labels in self.axes(args[0]).items():
                self.traced.read.setdefault((self.stack[-1], args[0].shape[axis]), []).append(labels)
        for tensor in results:
            self._above[id(tensor)] = frozenset().union(*above)
            if operation in _SIZED:
                for axis, labels in self._known[id(tensor)].items():
                    self.traced.made.setdefault((self.stack[-1], tensor.shape[axis]), []).append(labels)


@contextlib.contextmanager
def _named_calls(model: nn.Module, run: _Run) -> Iterator[None]:
    """Keep the running module's name on top of the run's stack."""
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _m, inputs, name=name: run.entering(name, inputs)))
        hooks.append(module.register_forward_hook(lambda _m, _i, _o: run.stack.pop() and None))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def trace(meta_copy: nn.Module, example: torch.Tensor, tied: Collection[type[nn.Module]] = ()) -> Traced:
    """Run a model on the meta device once, recording effects on channels.

    `example` has shape (1, channels, height, width). Attention runs unfused, so that its products are visible. Modules of a type
    in `tied` make axes as wide as their inputs, because they ask the inputs for their width. Those channels belong together.
    """
    run = _Run(meta_copy)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _named_calls(meta_copy, run), run:
        meta_copy(example)
    for name, module in meta_copy.named_modules():
        if type(module) in tied:
            _tie(run.traced, name)
    return run.traced


def _tie(traced: Traced, name: str) -> None:
    for labels in traced.entered.get(name, []):
        for made in traced.made.get((name, len(labels)), []):
            traced.classes.unite(labels, made)
