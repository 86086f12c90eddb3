"""Parity of an engine with its module.

It runs on the one GPU that the engine was built for. Elsewhere the result is the reason why it did not run.
"""

from __future__ import annotations

from pathlib import Path

import torch

from prune_deploy.backends import usable
from prune_deploy.backends.tensorrt.engine import EngineLabel, library_for, read_plan
from prune_deploy.errors import CannotRunError, OutOfMemoryError
from prune_deploy.evaluation.parity import Answers, check_parity
from prune_deploy.gpus import local_target
from prune_deploy.records import EngineRecord, Parity
from prune_deploy.specs import RunOptions

_FEWEST_IMAGES = 3
"""Fewest images, however small the engine's batches.

The response to the images is compared too, which needs several.
"""


def check_engine_parity(
    module: Answers,
    path: Path,
    engine: EngineRecord,
    input_size: tuple[int, int, int],
    *,
    images: torch.Tensor | None = None,
    trained: bool = False,
) -> Parity:
    """Run the engine at the optimum batch of each profile, and compare.

    The status is `not_run` for what is known before it is loaded, and where memory does not suffice. `images` are its inputs, synthetic
    ones by default. `trained` is as for `check_parity`.

    Raises:
        InputError: the engine's file is damaged.
    """
    if (reason := _why_not(engine)) is not None:
        return Parity(status="not_run", reason=reason)
    label = EngineLabel.read(path, read_plan(path))
    try:
        backend, library = usable("trt"), library_for(path, label)
    except CannotRunError as error:
        return Parity(status="not_run", reason=error.message)
    batches = sorted({profile.optimum for profile in engine.profiles})
    while sum(batches) < _FEWEST_IMAGES:
        batches.append(batches[0])
    options = RunOptions(device="cuda")
    try:
        return check_parity(
            module,
            backend,
            path,
            input_size,
            precision=engine.precision,
            trained=trained,
            batches=batches,
            options=options,
            images=images,
        )
    except OutOfMemoryError as error:
        return Parity(status="not_run", reason=error.message)
    except CannotRunError as error:
        # Its own GPU and its own library refuse it. Only another version of the library may do that.
        return Parity(status="failed" if label.tag in ("", library.tag) else "not_run", reason=error.message)


def _why_not(engine: EngineRecord) -> str | None:
    """Return the reason why the engine cannot run here, or None."""
    local = local_target()
    if local is None:
        return "no CUDA device"
    if local != engine.target:
        return f"engine built for {engine.target}, the GPU here is {local}"
    return None
