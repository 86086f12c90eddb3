"""Draft of a quantised network: layers and ranges, before files are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from prune_deploy.export.half.convert import convert_model, save
from prune_deploy.export.int8.calibration import Ranges
from prune_deploy.export.int8.layers import Layer
from prune_deploy.export.int8.qdq_plan import plan
from prune_deploy.export.int8.smoothing import Norm, smooth
from prune_deploy.export.int8.writer import quantize
from prune_deploy.records import QdqPlacement
from prune_deploy.specs import RestPrecision


@dataclass(frozen=True, slots=True)
class Draft:
    """Parts that INT8 files of the FP32 graph in `source` need.

    `ranges` are those of its activations, `norms` the layer norms to smooth.
    """

    source: Path
    ranges: Ranges
    norms: tuple[Norm, ...] = ()

    def smoothed(self) -> tuple[onnx.ModelProto, Ranges]:
        """Return the FP32 network with `norms` smoothed, and its ranges."""
        model = onnx.load(self.source)
        changed = smooth(model, self.norms, self.ranges)
        return model, Ranges(self.ranges.tensors | changed)

    def write(
        self, placement: QdqPlacement, layers: Sequence[Layer], path: Path, rest: RestPrecision = "fp32"
    ) -> tuple[Path, ...]:
        """Write the INT8 file and return the written files.

        Those of `layers` are quantised that have no reason against it. `rest` is the precision of everything else.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        model, ranges = self.smoothed()
        half = rest == "fp16"
        quantize(model, plan(placement, model.graph, layers), ranges.tensors, half_scales=half)
        if half:
            convert_model(model, "fp16")
        return save(model, path, external=self.source.with_name(self.source.name + ".data").is_file())
