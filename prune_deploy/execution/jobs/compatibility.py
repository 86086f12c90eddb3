"""Compatibility of one architecture, tested in a build worker.

The test goes from its name to an engine. A hang or a crash costs one row.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.errors import PruneDeployError, VerificationError, first_line
from prune_deploy.interfaces import Silent, Stage
from prune_deploy.records import STAGES, CompatibilityStage
from prune_deploy.specs import EngineSpec, ExportSpec, ModelSpec, PruneSpec

if TYPE_CHECKING:
    from prune_deploy.pipeline import Exported, Network

_ROW_STAGES: dict[Stage, CompatibilityStage] = {
    "build model": "build",
    "prune": "prune",
    "write weights": "onnx",
    "export onnx": "onnx",
    "check onnx": "parity",
    "build engine": "engine",
    "reload": "reload",
}
"""Stages of the work that a row distinguishes."""

_BATCHES = (1, 2)
_GRAPH_LIMIT_S = 60.0
_SEED = 0


class StageFile(Silent):
    """Progress in a file, which outlives a killed child."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stage(self, stage: Stage, _detail: str = "", /) -> None:
        """Write the stage to the file, if a row distinguishes it."""
        if stage in _ROW_STAGES:
            self._path.write_text(_ROW_STAGES[stage])


def stage_before(path: Path) -> CompatibilityStage | None:
    """Return the last stage that passed, before the begun one."""
    begun = path.read_text() if path.is_file() else STAGES[0]
    number = STAGES.index(begun)  # what was written is one of them
    return STAGES[number - 1] if number else None


def compatibility_job(header: dict[str, Any]) -> dict[str, Any]:
    """Prune, export and reload the model of `header`.

    The answer has the sizes and the time. Errors of the pipeline are part of the answer. Anything else is the child's error.
    """
    folder, stages = Path(header["folder"]), StageFile(Path(header["stage_file"]))
    spec = ExportSpec(
        model=ModelSpec(name=header["model"]),
        prune=PruneSpec(ratio=header["ratio"], allow_shortfall=True),
        engine=EngineSpec(library="tensorrt-rtx", target="sm86", batches=(1,)),
    )
    started = time.perf_counter()
    networks: list[Network] = []
    answer: dict[str, Any] = {}
    try:
        exported = _export(spec, folder, stages, networks)
        answer = _sizes(networks[0])
        stages.stage("reload", spec.model.name)
        _compare(networks[0], exported)
    except PruneDeployError as error:
        answer |= _sizes(networks[0]) if networks else {}
        answer |= {"reason": first_line(error, 300)}
    return answer | {"seconds": time.perf_counter() - started}


def _export(spec: ExportSpec, folder: Path, stages: StageFile, networks: list[Network]) -> Exported:
    from prune_deploy.pipeline import build_network, export_bundle

    def network() -> Network:
        networks.append(build_network(spec, _GRAPH_LIMIT_S, stages))
        return networks[0]

    return export_bundle(spec, folder, progress=stages, network=network)


def _sizes(network: Network) -> dict[str, Any]:
    receipt = network.receipt
    return {
        "params_before": receipt.before.params,
        "params_after": receipt.after.params,
        "protected": [(group.name, group.detail) for group in receipt.groups if group.reason in ("protected", "no-score")],
    }


def _compare(network: Network, exported: Exported) -> None:
    """Compare the bundle's module with the one that was exported.

    Raises:
        VerificationError: an output differs by a bit.
    """
    import torch

    from prune_deploy.data import synthetic_images
    from prune_deploy.export.bundle import load

    size = network.loaded.resolved.input_size
    reloaded, generator = load(exported.folder), torch.Generator().manual_seed(_SEED)
    for batch in _BATCHES:
        images = synthetic_images(batch, size, generator)
        with torch.inference_mode():
            same = torch.equal(reloaded(images), network.loaded.module(images))
        if not same:
            raise VerificationError(f"at batch {batch} the reloaded module answers otherwise", fix="report the model's name")
