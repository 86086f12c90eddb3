"""Request for an export: model, pruning, precisions and engines."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields

from prune_deploy.errors import InputError
from prune_deploy.specs.checked import checked
from prune_deploy.specs.engine import EngineBuild, EngineSpec
from prune_deploy.specs.model import ModelSpec
from prune_deploy.specs.precision import Precision, need_calibration, parse_precisions, require_calibration
from prune_deploy.specs.prune import MaskSpec, PruneSpec
from prune_deploy.specs.quantize import QuantizeSpec
from prune_deploy.specs.recover import RecoverSpec


@checked
@dataclass(frozen=True, slots=True)
class ExportSpec:
    """Request for a whole export: model, pruning or mask, precisions and engines.

    The dense model has neither pruning nor mask. Each of `precisions` gets its ONNX file, all derived from the FP32 one, which
    always exists, and an engine. `engine` is the request for the engines, `quantize` that for INT8. `recover` brings accuracy back before
    anything is exported.
    """

    model: ModelSpec
    _: KW_ONLY
    prune: PruneSpec | None
    engine: EngineSpec
    mask: MaskSpec | None = None
    precisions: tuple[Precision, ...] = ("fp32",)
    quantize: QuantizeSpec | None = None
    recover: RecoverSpec | None = None

    def __post_init__(self) -> None:
        if self.prune is not None and self.mask is not None:
            raise InputError("a model is either pruned or masked", fix="drop `mask`, or `ratio` and its like")
        if self.recover is not None and self.prune is None:
            raise InputError("only a pruned model is recovered", fix="drop `recover`, or ask for a pruning with `ratio`")
        require_calibration(parse_precisions(self.precisions), self.quantize)
        if self.quantize is not None and not need_calibration(self.precisions):
            raise InputError(
                "calibration without int8",
                fix="add int8 to `precisions`, or drop `calibration` and what belongs to it",
                field="precisions",
            )

    @property
    def engines(self) -> tuple[EngineBuild, ...]:
        """The engine of each precision, completed from the other fields."""
        asked = {each.name: getattr(self.engine, each.name) for each in fields(EngineSpec)}
        if self.engine.sparse_weights is None:
            asked["sparse_weights"] = self.mask is not None and self.mask.kind == "2:4"
        return tuple(EngineBuild(**asked, precision=precision) for precision in self.precisions)
