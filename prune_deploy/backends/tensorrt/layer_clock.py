"""Clock of an engine's layers, which TensorRT itself reads."""

from __future__ import annotations

from typing import Any


def layer_clock(trt: Any) -> Any:
    """TensorRT's profiler interface, implemented for the library that is loaded."""

    class LayerClock(trt.IProfiler):  # type: ignore[misc]  # a class of a module that is known at run time only
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)  # the bindings want it spelled out
            self.heard: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.heard.append((layer_name, float(ms)))

    return LayerClock()
