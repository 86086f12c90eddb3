"""What things are called in sentences."""

from __future__ import annotations

from prune_deploy.backends import discover


def backend_title(name: str) -> str:
    """A backend's name for readers: "ort" is ONNX Runtime, "trt:cuda-graph" TensorRT (cuda-graph).

    One that is not installed here keeps the name that it was recorded with.
    """
    base, _, variant = name.partition(":")
    backend = discover().get(base)
    title = base if backend is None else backend.title
    return f"{title} ({variant})" if variant else title


def plural(count: int, thing: str) -> str:
    """ "1 case", "3 cases"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
