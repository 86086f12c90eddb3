"""Names of things in sentences."""

from __future__ import annotations

from prune_deploy.backends import discover


def backend_title(name: str) -> str:
    """Return a backend's title: "trt:cuda-graph" is TensorRT (cuda-graph).

    A backend that is not installed here keeps its recorded name.
    """
    base, _, variant = name.partition(":")
    backend = discover().get(base)
    title = base if backend is None else backend.title
    return f"{title} ({variant})" if variant else title


def plural(count: int, thing: str) -> str:
    """ "1 case", "3 cases"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
