"""torch.compile, checked: one whole graph, compiled once, in the first run.

Anything else is an error that says what happened instead. Modules of one class share their code object, and with it Dynamo's
compiled versions and their limit. A session therefore has a process of its own, or at least begins with empty caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.backends.pytorch.precision import as_function, require_precision
from prune_deploy.backends.pytorch.session import RUN_ERRORS, TorchSession
from prune_deploy.backends.pytorch.settings import applied, require_cuda_build, torch_available
from prune_deploy.backends.run_options import DEFAULTS, require
from prune_deploy.errors import (
    BuildError,
    CannotRunError,
    EagerFallbackError,
    GraphBreakError,
    PruneDeployError,
    RecompiledError,
    first_line,
)
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays

if TYPE_CHECKING:
    from torch import nn

    from prune_deploy.diagnosis.finding import Diagnosis

_CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")
_NO_COMPILED_FRAME = "found no compiled frames"
_RETIMED = "bind one batch size per session; several sizes need a session each"


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of torch.compile's work since the process began.

    They are Dynamo's own counters.
    """

    graphs: int
    breaks: int
    cache_hits: int
    cache_misses: int
    cache_bypasses: int
    cuda_graph_skips: int

    @classmethod
    def now(cls) -> Counts:
        """The counts at this moment."""
        from torch._dynamo.utils import counters

        inductor = counters["inductor"]
        return cls(
            graphs=counters["stats"]["unique_graphs"],
            breaks=counters["graph_break"].total(),
            cache_hits=inductor["fxgraph_cache_hit"],
            cache_misses=inductor["fxgraph_cache_miss"],
            cache_bypasses=inductor["fxgraph_cache_bypass"],
            cuda_graph_skips=inductor["cudagraph_skips"],
        )

    def since(self, earlier: Counts) -> Counts:
        """Return the counts since `earlier`."""
        return Counts(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))


class CompiledSession(TorchSession):
    """Module that compiles in its first run, for the shape bound then."""

    def __init__(self, module: nn.Module, inputs: Arrays, options: RunOptions) -> None:
        import torch

        super().__init__(module, inputs, options)
        torch._dynamo.reset()  # what other sessions compiled for this class would be used, and would count
        self._call = torch.compile(as_function(self._module), fullgraph=True, dynamic=False, mode=options.compile_mode)
        self._marks_steps = options.device == "cuda" and options.compile_mode in _CUDA_GRAPH_MODES
        self._before = Counts.now()

    def run(self) -> None:
        """Run once.

        The first run, and the first of every other shape, compiles.

        Raises:
            GraphBreakError: the module is not one graph.
            EagerFallbackError: nothing was compiled.
            RecompiledError: too many shapes were bound.
            BuildError: the compilation failed.
            InputError, CannotRunError: as for a module that is not compiled.
        """
        if self._marks_steps:
            self._torch.compiler.cudagraph_mark_step_begin()
        try:
            with self._torch.inference_mode(), self._on_stream():
                self._output = self._call(*self._inputs)
        except Exception as error:  # compilers raise what the code provokes
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> Exception:
        """Return the error to raise instead of the compiler's."""
        inner = getattr(error, "inner_exception", error)
        if isinstance(inner, (self._torch.OutOfMemoryError, self._torch.AcceleratorError)):
            return self.refused(inner)  # the module may well run where its compiled code does not
        self._run_eagerly()
        exc = self._torch._dynamo.exc
        if isinstance(error, exc.FailOnRecompileLimitHit):
            return RecompiledError(f"torch.compile gave up compiling for another shape: {first_line(error)}", fix=_RETIMED)
        if _NO_COMPILED_FRAME in str(error):
            return _nothing_compiled()
        if isinstance(error, (exc.Unsupported, exc.UserError, exc.UncapturedHigherOrderOpError)):
            return GraphBreakError(
                f"torch.compile does not get the module as one graph: {first_line(error)}",
                fix="time it with another backend; TORCH_LOGS=graph_breaks tells where the graph breaks",
            )
        return _compiler_missing(error) or BuildError(
            f"torch.compile failed: {first_line(error, 300)}", fix="try another `compile_mode`, or time it with another backend"
        )

    def _run_eagerly(self) -> None:
        """Raise the module's own error, if it has one.

        The compiler's error would blame the compiler for a wrong input.
        """
        try:
            with self._torch.inference_mode(), self._on_stream():
                self._module(*self._inputs)
        except RUN_ERRORS as error:
            raise self.refused(error) from error

    def check(self) -> None:
        """Check that one graph was compiled once, in the label's precision.

        Raises:
            EagerFallbackError: nothing was compiled.
            GraphBreakError: the graph broke.
            RecompiledError: it was compiled for more than one shape.
            BuildError: as for a module that is not compiled.
        """
        super().check()
        assert self._output is not None, "run() comes first"
        counts = Counts.now().since(self._before)
        if counts.graphs == 0:
            raise _nothing_compiled()
        if counts.breaks:
            raise GraphBreakError(f"the graph broke {counts.breaks} times", fix="time it with another backend")
        if counts.graphs > 1:
            raise RecompiledError(f"torch.compile compiled {counts.graphs} graphs in one session", fix=_RETIMED)

    def settings(self) -> dict[str, str]:
        """Settings in force, and the compilation's use of Inductor's cache."""
        import torch._inductor.config as inductor

        counts = Counts.now().since(self._before)
        settings = {
            **super().settings(),
            "compile_mode": self._options.compile_mode,
            "freezing": str(bool(inductor.freezing)).lower(),
            "graphs": str(counts.graphs),
            "inductor_cache": f"{counts.cache_hits} hit, {counts.cache_misses} miss, {counts.cache_bypasses} bypass",
        }
        if self._marks_steps:
            settings["cuda_graphs"] = "skipped by Inductor" if counts.cuda_graph_skips else "recorded"
        return settings

    def device_bytes(self) -> int | None:
        """Return the device memory in bytes that PyTorch holds after a run.

        None on a CPU. Where CUDA graphs are recorded, activations lie in a pool of their own, and a replay allocates nothing. Then all
        that the process has reserved counts, which is this session's alone.
        """
        if not self._marks_steps:
            return super().device_bytes()
        self.run()
        self.synchronize()
        return int(self._torch.cuda.memory_reserved())


class CompileBackend:
    """PyTorch through torch.compile and Inductor."""

    name = "compile"
    title = "torch.compile"
    summary = "PyTorch through torch.compile (Inductor), whole graph, static shapes"
    consumes = "module"
    variants: tuple[str, ...] = ("",)
    reported: tuple[str, ...] = ("",)
    needs_own_process = True
    compiles = True

    def available(self) -> Availability:
        """Check for PyTorch, a C++ compiler and Python's headers."""
        if not (state := torch_available()).available:
            return state
        missing = _missing_tool()
        if missing is not None:
            return Availability(available=False, reason=f"{missing.name}: {missing.detail}", fix=missing.fix)
        return Availability(available=True)

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = DEFAULTS) -> Iterator[Session]:
        """Rebuild the module of the bundle folder `artifact`.

        It compiles in its first run.

        Raises:
            InputError: the folder is no bundle, its weights do not fit its recipe, or there is no such variant.
            CannotRunError: a GPU was asked for and PyTorch can use none, or there are no layers of that precision.
        """
        require(self, options)
        require_precision(self, options)
        if options.device == "cuda":
            require_cuda_build()
        import torch._inductor.config as inductor

        from prune_deploy.export.bundle import load

        freezing = options.cpu_freezing and options.device == "cpu"
        with applied(options), inductor.patch(freezing=freezing):
            yield CompiledSession(load(artifact, check_hashes=False), inputs, options)


def _nothing_compiled() -> EagerFallbackError:
    return EagerFallbackError(
        "torch.compile compiled nothing and the module ran eagerly",
        fix="unset TORCH_COMPILE_DISABLE and TORCHDYNAMO_DISABLE, and remove torch.compiler.disable from the model's code",
    )


def _compiler_missing(error: BaseException) -> PruneDeployError | None:
    """Return the error for a missing part of the system's toolchain.

    None if something else stopped Inductor.
    """
    inner = getattr(error, "inner_exception", error)
    if type(inner).__name__ not in ("InvalidCxxCompiler", "CppCompileError"):
        return None
    missing = _missing_tool()
    if missing is None:
        return None
    return CannotRunError(f"torch.compile needs a C++ toolchain; {missing.name}: {missing.detail}", fix=missing.fix)


def _missing_tool() -> Diagnosis | None:
    """List what Inductor needs of the system and does not find.

    Nothing is compiled for it.
    """
    from prune_deploy.diagnosis.system import check_compiler, check_headers

    return next((diagnosis for diagnosis in (check_compiler(), check_headers()) if diagnosis.status != "ok"), None)


BACKEND: Backend = CompileBackend()
