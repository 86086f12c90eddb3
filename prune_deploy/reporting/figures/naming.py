"""What things are called in sentences."""

from __future__ import annotations

_BACKENDS = {
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "ort": "ONNX Runtime",
    "trt": "TensorRT",
    "null": "the null backend",
}


def backend_title(name: str) -> str:
    """A backend's name for readers: "ort" is ONNX Runtime, "trt:cuda-graph" TensorRT (cuda-graph)."""
    base, _, variant = name.partition(":")
    title = _BACKENDS.get(base, base)
    return f"{title} ({variant})" if variant else title


def plural(count: int, thing: str) -> str:
    """ "1 case", "3 cases"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
