"""Tracer of eager PyTorch and torch.compile through torch.profiler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.interfaces import Backend
from prune_deploy.records import LayerTime
from prune_deploy.scratch import Scratch
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays
from prune_deploy.tracing.recording import Recording, one_run_ms, typical_runs, warm_up

if TYPE_CHECKING:
    from prune_deploy.backends.pytorch.session import TorchSession

_RUN = "run"
_COMPILED = "a fused kernel covers several modules, and products were assigned to layers by the shapes of their weights, in order"
_REST = {"cpu": "Python, and what the profiler adds to it", "cuda": "the device waiting for the host"}


class TorchTracer:
    """Tracer of an eager network's modules and a compiled network's kernels."""

    backends = ("eager", "compile")

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    def record(self, backend: Backend, artifact: Path, inputs: Arrays, options: RunOptions, runs: int) -> Recording:
        """Open a bundle and trace it.

        A compiled one is compiled for this trace alone, with its kernels' names in it.

        Raises:
            PruneDeployError: as the backend's `open`, `run` and `check`.
        """
        with ExitStack() as stack:
            compiled = backend.name == "compile"
            if compiled:
                stack.enter_context(_compiled_for_tracing())
            session: Any = stack.enter_context(backend.open(artifact, inputs, options))
            warm_up(session)
            untraced = tuple(one_run_ms(session) for _ in range(runs))
            on_device = options.device == "cuda"
            profiler, traced = _profiled(session, runs, on_device, hooks=not compiled)
            session.check()
            return Recording(
                layers=_layers(session, profiler.events(), typical_runs(traced), on_device, compiled),
                chrome=_chrome(profiler),
                traced_ms=traced,
                untraced_ms=untraced,
                settings=session.settings(),
                rest=_REST[options.device],
                warnings=(_COMPILED,) if compiled else (),
            )


@contextmanager
def _compiled_for_tracing() -> Iterator[None]:
    """Make Inductor's C++ kernels report to the profiler.

    By default they do not.
    """
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.enable_kernel_profile": True}):
        yield


def _layers(session: TorchSession, events: Any, runs: Sequence[int], on_device: bool, compiled: bool) -> tuple[LayerTime, ...]:
    """Return the rows of the profiler's events in `runs`.

    A compiled module has rows by kernel, any other by module.
    """
    from prune_deploy.tracing.torch_kernels import by_kernel
    from prune_deploy.tracing.torch_layers import by_module
    from prune_deploy.tracing.torch_modules import Scope, observe

    network = observe(session.module, session.inputs)
    roots = [event for event in events if event.name == _RUN and event.device_type.name == "CPU"]
    if compiled:
        return by_kernel(roots, network, on_device).layers(network.facts, runs)
    scopes = {(scope := Scope(*named)).label: scope for named in session.module.named_modules()}
    return by_module(roots, scopes, on_device).layers(network.facts, runs)


def _profiled(session: TorchSession, runs: int, on_device: bool, hooks: bool) -> tuple[Any, tuple[float, ...]]:
    """Return the profiler after `runs` runs, and their durations in milliseconds."""
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with ExitStack() as stack:
        if hooks:
            stack.enter_context(_annotated(session))
        with profile(activities=activities):  # what the profiler does once only belongs to no run
            one_run_ms(session)
        durations = []
        with profile(activities=activities, record_shapes=True, profile_memory=True) as profiler:
            for _ in range(runs):
                with record_function(_RUN):
                    durations.append(one_run_ms(session))
    return profiler, tuple(durations)


@contextmanager
def _annotated(session: TorchSession) -> Iterator[None]:
    """Give the profiler each module's name while it runs."""
    from torch.profiler import record_function

    from prune_deploy.tracing.torch_modules import Scope, hooked

    open_scopes: list[Any] = []

    def enter(scope: Scope) -> None:
        open_scopes.append(record_function(scope.label))
        open_scopes[-1].__enter__()

    def leave(_scope: Scope, _inputs: Any, _output: Any) -> None:
        open_scopes.pop().__exit__(None, None, None)

    with hooked(session.module, enter, leave):
        yield


def _chrome(profiler: Any) -> dict[str, Any]:
    """Return the profiler's Chrome trace as parsed JSON."""
    with Scratch() as folder:
        path = folder / "trace.json"
        profiler.export_chrome_trace(str(path))
        document: dict[str, Any] = json.loads(path.read_bytes())
    return document


TRACER = TorchTracer()
