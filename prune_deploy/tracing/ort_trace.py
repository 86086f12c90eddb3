"""Tracer of ONNX Runtime: its session profiler, and the graph it optimised."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prune_deploy.errors import CannotRunError
from prune_deploy.interfaces import Backend
from prune_deploy.scratch import Scratch
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays
from prune_deploy.tracing.onnx_graph import ExportedGraph, Origin
from prune_deploy.tracing.ort_layers import last_runs, layers_of, nodes_of
from prune_deploy.tracing.recording import Recording, one_run_ms, typical_runs, warm_up

if TYPE_CHECKING:
    from prune_deploy.backends.ort import OrtBackend

_REST = "ONNX Runtime's own work between nodes, its profiler's included"
_OPTIMIZED_FILE, _WEIGHTS_FILE = "optimized.onnx", "optimized.onnx.data"
_WEIGHTS_OPTION = "session.optimized_model_external_initializers_file_name"
_SMALLEST_WEIGHT_OPTION = "session.optimized_model_external_initializers_min_size_in_bytes"
_BLOCKED_DOMAIN = "nchwc"
_BLOCKING = "CUDA_LAUNCH_BLOCKING"
_WITH_LAUNCH = (
    "each launch waited for its kernel: a layer's time includes its launches, about 5 µs each, and the whole run is longer"
)
_NO_GRAPH = "a TensorRT part of the graph is one node: it has no separate layers"


class OrtTracer:
    """Tracer of the nodes of the graph as ONNX Runtime optimised it."""

    backends = ("ort",)

    def environment(self, options: RunOptions) -> Mapping[str, str]:
        """On a GPU every launch waits for its kernel.

        ONNX Runtime's builds leave kernels out of the profile (PR 9875 of its repository made them an option, which is off). Without
        this, a node's time would be that of its launch.
        """
        return {_BLOCKING: "1"} if options.device == "cuda" else {}

    def record(self, backend: Backend, artifact: Path, inputs: Arrays, options: RunOptions, runs: int) -> Recording:
        """Open an ONNX file with the profiler on, and trace it.

        The profiler is switched off before the untraced runs.

        Raises:
            CannotRunError: on a GPU, the process was started without the variables of `environment`.
            PruneDeployError: as the backend's `open`, `run` and `check`.
        """
        waits = _launches_wait(self.environment(options))
        # TensorRT's parts cannot be written to a file.
        writes_graph = not options.variant
        with Scratch() as folder:
            configure = _profiling(folder, writes_graph=writes_graph)
            with cast("OrtBackend", backend).open_configured(artifact, inputs, options, configure) as session:
                warm_up(session)
                traced = tuple(one_run_ms(session) for _ in range(runs))
                events = last_runs(json.loads(session.end_profiling().read_bytes()), runs)
                untraced = tuple(one_run_ms(session) for _ in range(runs))
                session.check()
                settings = session.settings()
            origins, blocked = _origins(artifact, folder) if writes_graph else ({}, frozenset[str]())
        return Recording(
            layers=layers_of(nodes_of(events, launches_wait=waits), typical_runs(traced), origins, blocked),
            chrome={"traceEvents": [event for run in events for event in run], "displayTimeUnit": "ms"},
            traced_ms=traced,
            untraced_ms=untraced,
            settings=settings,
            rest=_REST,
            warnings=(*(() if writes_graph else (_NO_GRAPH,)), *((_WITH_LAUNCH,) if waits else ())),
        )


def _launches_wait(needed: Mapping[str, str]) -> bool:
    """Tell whether launches of this process wait for their kernels.

    Raises:
        CannotRunError: it needs to be, and was not.
    """
    if any(os.environ.get(name) != value for name, value in needed.items()):
        variables = " ".join(f"{name}={value}" for name, value in needed.items())
        raise CannotRunError(
            "ONNX Runtime's profile on a GPU has the time of launches, not of kernels", fix=f"start the process with {variables}"
        )
    return bool(needed)


def _profiling(folder: Path, *, writes_graph: bool) -> Callable[[Any], None]:
    """Return a function that switches the profiler on in session options.

    With `writes_graph` the optimised graph is written into `folder`.
    """

    def configure(session_options: Any) -> None:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(folder / "profile")
        if not writes_graph:
            return
        # Only the nodes of the graph are needed. Gigabytes of weights are written to the null device.
        (folder / _WEIGHTS_FILE).symlink_to(os.devnull)
        session_options.optimized_model_filepath = str(folder / _OPTIMIZED_FILE)
        session_options.add_session_config_entry(_WEIGHTS_OPTION, _WEIGHTS_FILE)
        session_options.add_session_config_entry(_SMALLEST_WEIGHT_OPTION, "1024")

    return configure


def _origins(artifact: Path, folder: Path) -> tuple[dict[str, Origin], frozenset[str]]:
    """Return the origins of the optimised nodes, and the blocked nodes' names.

    Blocked nodes work on blocks of channels.
    """
    from prune_deploy.export.onnx import load_graph

    optimized = load_graph(folder / _OPTIMIZED_FILE).graph
    blocked = frozenset(node.name for node in optimized.node if node.domain.endswith(_BLOCKED_DOMAIN))
    return ExportedGraph.read(artifact).origins(optimized), blocked


TRACER = OrtTracer()
