"""Pipeline of one export, from a request to a bundle.

The stages are model → prune → ONNX files → parity → engines → bundle.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.environment import capture
from prune_deploy.folders import new_folder
from prune_deploy.interfaces import Progress, Silent
from prune_deploy.notebook import HtmlView
from prune_deploy.pipeline.requests import cache_key, find_bundle, quantize_by_content
from prune_deploy.records import Artifact, BundleRecord, Receipt, Recovery, Training
from prune_deploy.specs import ExportSpec
from prune_deploy.store import BUNDLE_FILE, write_record
from prune_deploy.tensors import INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    from prune_deploy.models import LoadedModel
    from prune_deploy.pruning.pruner import Pruned


@dataclass(frozen=True, slots=True)
class Exported(HtmlView):
    """A bundle on disk.

    `reused` is true if it was there already, made by the same request with the same tools.
    """

    folder: Path
    record: BundleRecord
    reused: bool

    def __fspath__(self) -> str:
        """Return the bundle's folder.

        An Exported can thus be given wherever a bundle's path can.
        """
        return str(self.folder)


@dataclass(frozen=True, slots=True)
class Network:
    """A module as it goes into a bundle, with its receipt.

    It is built, and narrowed or masked. `pruned` is None unless channels were removed. `training` records the training of the
    weights afterwards, `recovery` what was brought back without any.
    """

    loaded: LoadedModel
    pruned: Pruned | None
    receipt: Receipt
    training: Training | None = None
    recovery: Recovery | None = None

    @property
    def is_trained(self) -> bool:
        """True if the weights were trained, here or elsewhere."""
        return self.loaded.weights.kind != "random" or self.training is not None


def export_bundle(
    spec: ExportSpec,
    out: Path | None = None,
    *,
    force: bool = False,
    graph_limit_s: float = 60.0,
    progress: Progress | None = None,
    network: Callable[[], Network] | None = None,
    lineage: str = "",
) -> Exported:
    """Make the bundle of `spec`, or return the one that is there.

    `out` is the folder itself (default: engines/<name>). `graph_limit_s` bounds the dependency graph, in seconds. `network` makes
    the module that `spec` asks for, where it is not to be built and pruned from the beginning. `lineage` describes what else its
    weights depend on.

    Raises:
        InputError, PruningError, ParityError, BuildError, CannotRunError, StorageError: as each stage documents.
    """
    folder, existing = find_bundle(spec, out, force=force, lineage=lineage)
    if existing is not None:
        return Exported(folder, existing, reused=True)
    progress = progress or Silent()
    if "torch" not in sys.modules:
        progress.stage("load libraries")
    # The heavy imports come only now: a bundle that is there already must not cost them.
    from prune_deploy.export import bundle
    from prune_deploy.pipeline.files import ArtifactMaker

    _check_tools(spec)
    made = network() if network is not None else build_network(spec, graph_limit_s, progress)
    loaded = made.loaded
    with new_folder(folder, BUNDLE_FILE) as working:
        progress.stage("write weights")
        artifacts = bundle.write_module(loaded.module, loaded.resolved, made.pruned, working)
        files = ArtifactMaker(spec, made, working, progress)
        made_files, note = files.make()
        record = _record(cache_key(spec, lineage), spec, made, tuple(artifacts + made_files), note)
        write_record(working, record)
    return Exported(folder, record, reused=False)


def _check_tools(spec: ExportSpec) -> None:
    """Check the method, the images and the library of a request.

    A misspelt or absent one is then an error before minutes of work, not after.
    """
    from prune_deploy.backends import usable
    from prune_deploy.export.tensorrt.library import choose_library
    from prune_deploy.pruning import methods

    if spec.prune is not None:
        methods.create(spec.prune.method)
    if spec.quantize is not None:
        usable("ort")  # it calibrates
        quantize_by_content(spec.quantize)
    if spec.engine.library not in ("auto", "none"):
        choose_library(spec.engine.library, spec.engine.target)


def build_network(spec: ExportSpec, graph_limit_s: float, progress: Progress) -> Network:
    """Build the model of `spec`, and narrow or mask it.

    Returns it with its receipt. The dense model stays as it is.

    Raises:
        InputError, PruningError: as building and pruning document.
    """
    from prune_deploy import models
    from prune_deploy.pruning.counting import count
    from prune_deploy.pruning.masks import mask
    from prune_deploy.pruning.meta_copy import make_meta_copy
    from prune_deploy.pruning.pruner import prune

    progress.stage("build model", f"{spec.model.name}, weights {spec.model.weights}")
    loaded = models.create_model(spec.model)
    if spec.mask is not None:
        progress.stage("mask")
        return Network(loaded, None, mask(loaded.module, spec.mask, loaded.resolved.input_size))
    if spec.prune is None:
        counts = count(make_meta_copy(loaded.module), loaded.resolved.input_size)
        return Network(loaded, None, Receipt(request=None, before=counts, after=counts, groups=()))
    progress.stage("prune")
    dense = None if spec.recover is None else copy.deepcopy(loaded.module)
    pruned = prune(loaded.module, spec.prune, loaded.resolved.input_size, limit_s=graph_limit_s)
    recovery = None
    if dense is not None and spec.recover is not None:
        from prune_deploy.pipeline.recovery import recover_network

        progress.stage("recover", spec.recover.calibration)
        recovery = recover_network(dense, loaded, pruned, spec.recover, progress, limit_s=graph_limit_s)
    return Network(loaded, pruned, pruned.receipt, recovery=recovery)


def _record(key: str, spec: ExportSpec, made: Network, artifacts: tuple[Artifact, ...], note: str) -> BundleRecord:
    loaded = made.loaded
    return BundleRecord(
        key=key,
        model=loaded.resolved,
        weights=loaded.weights,
        request=spec,
        receipt=made.receipt,
        preprocessing=loaded.preprocessing,
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        num_classes=loaded.resolved.num_classes,
        artifacts=artifacts,
        environment=capture(),
        engine_note=note,
        training=made.training,
        recovery=made.recovery,
    )
