"""Hooks and observed facts of a network's modules.

Hooks report which module runs. One run that is not timed observes what each layer reads, writes and multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from prune_deploy.pruning.flops import flop_counter


@dataclass(frozen=True, slots=True)
class Scope:
    """Module with its name in the network, "" for the network itself."""

    name: str
    module: nn.Module

    @property
    def label(self) -> str:
        """The module's name in traces, like "layer1.0.conv1 (Conv2d)"."""
        return f"{self.name or 'network'} ({type(self.module).__name__})"

    @property
    def is_leaf(self) -> bool:
        """True if the module contains no other modules."""
        return next(self.module.children(), None) is None

    def row(self, op: str) -> str:
        """Return the row name of an operator that this module calls itself.

        An example is "layer1.0:add".
        """
        return f"{self.name}:{op}" if self.name else op


@contextmanager
def hooked(network: nn.Module, enter: Callable[[Scope], None], leave: Callable[[Scope, Any, Any], None]) -> Iterator[None]:
    """Call `enter` before and `leave` after each module's forward.

    `leave` gets all inputs and the output. The hooks stay until the block ends. A module that appears under several names has the
    first of them.
    """
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            for handle in _hook(Scope(name, module), enter, leave):
                hooks.callback(handle.remove)
        yield


def _hook(
    scope: Scope, enter: Callable[[Scope], None], leave: Callable[[Scope, Any, Any], None]
) -> tuple[RemovableHandle, RemovableHandle]:
    def before(_module: nn.Module, _inputs: Any) -> None:
        enter(scope)

    def after(_module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
        leave(scope, (inputs, named), output)

    return (
        scope.module.register_forward_pre_hook(before),
        scope.module.register_forward_hook(after, with_kwargs=True, always_call=True),
    )


@dataclass(slots=True)
class Facts:
    """Facts about a layer that need no timing.

    A layer that is called twice moves and multiplies twice.
    """

    op: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    parameters: tuple[str, ...] = ()
    weight_shape: tuple[int, ...] = ()
    macs: int = 0
    bytes_moved: int = 0


@dataclass(slots=True)
class Network:
    """Observations of one run.

    `facts` are by row. `multiplied` holds the rows in the order in which they multiplied.
    """

    facts: dict[str, Facts] = field(default_factory=dict)
    multiplied: list[str] = field(default_factory=list)


def observe(module: nn.Module, inputs: Sequence[torch.Tensor]) -> Network:
    """Run a module once and record the facts of its layers.

    Every operator that it calls is observed.
    """
    observer = _Observer(module)
    with torch.inference_mode(), hooked(module, observer.enter, observer.leave), observer:
        module(*inputs)
    return observer.seen


class _Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Observer of the operators that modules call, each with its module.

    Operators called by other operators are left out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Network()
        self._names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._scopes: list[Scope] = []
        self._is_view = True

    def enter(self, scope: Scope) -> None:
        self._scopes.append(scope)
        self._is_view = True

    def leave(self, scope: Scope, inputs: Any, output: Any) -> None:
        self._scopes.pop()
        if not scope.is_leaf:
            return
        facts = self._facts(scope.name, type(scope.module).__name__)
        if not self._is_view:
            own = [*scope.module.parameters(), *scope.module.buffers()]
            facts.bytes_moved += _bytes(inputs) + _bytes(own) + _bytes(output)
        named = [(name, value) for name, value in scope.module.named_parameters() if id(value) in self._names]
        facts.parameters = tuple(self._names[id(value)] for _, value in named)
        facts.weight_shape = tuple(named[0][1].shape) if named else ()
        _describe(facts, output)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with flop_counter() as counter:
            output = func(*args, **(kwargs or {}))
        if not self._scopes:
            return output
        scope, op = self._scopes[-1], func.overloadpacket.__name__
        row = scope.name if scope.is_leaf else scope.row(op)
        facts = self._facts(row, type(scope.module).__name__ if scope.is_leaf else op)
        facts.macs += (macs := counter.get_total_flops() // 2)
        if macs:
            self.seen.multiplied.append(row)
        moved = _moved(func, (args, kwargs), output)
        self._is_view &= not moved
        if not scope.is_leaf:
            facts.bytes_moved += moved
            self._describe_call(facts, (args, kwargs), output)
        return output

    def _describe_call(self, facts: Facts, inputs: Any, output: Any) -> None:
        _describe(facts, output)
        read = [leaf for leaf in _tensors(inputs) if id(leaf) in self._names]
        facts.parameters += tuple(self._names[id(leaf)] for leaf in read)
        facts.weight_shape = facts.weight_shape or (tuple(read[0].shape) if read else ())

    def _facts(self, row: str, op: str) -> Facts:
        return self.seen.facts.setdefault(row, Facts(op))


def _describe(facts: Facts, output: Any) -> None:
    """Record shape and type of the first output."""
    tensors = _tensors(output)
    if tensors:
        facts.shape, facts.dtype = tuple(tensors[0].shape), str(tensors[0].dtype).removeprefix("torch.")


def _moved(func: Any, inputs: Any, output: Any) -> int:
    """Return the bytes that an operator reads and writes.

    It is 0 if its output is another view of its input.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in _tensors(inputs)}
    is_view = all(tensor.untyped_storage().data_ptr() in known for tensor in _tensors(output))
    if is_view and not func._schema.is_mutable:
        return 0
    return _bytes(inputs) + _bytes(output)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _bytes(tree: Any) -> int:
    """Return the bytes of all tensors in a tree, each tensor once."""
    return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in _tensors(tree)}.values())
