"""Requests: frozen specs that are validated once when built.

They convert to and from JSON through `prune_deploy.records.to_json`.
"""

from __future__ import annotations

from prune_deploy.specs.data import DataKind, parse_data
from prune_deploy.specs.engine import (
    CARDS,
    DEFAULT_BATCHES,
    DEFAULT_TARGET,
    LOCAL_TARGETS,
    TARGETS,
    EngineBuild,
    EngineLibrary,
    EngineSpec,
    resolve_target,
)
from prune_deploy.specs.export import ExportSpec
from prune_deploy.specs.measure import (
    DEFAULT_BUDGET_S,
    Across,
    Case,
    CompileMode,
    Device,
    InputKind,
    MeasureSpec,
    Mode,
    Placement,
    Rigor,
    RunOptions,
)
from prune_deploy.specs.model import RANDOM_WEIGHTS, SHORT_CODE_PARAMS, SHORT_CODES, ModelSpec, ResolvedModel, weights_path
from prune_deploy.specs.precision import (
    PRECISIONS,
    ParityThreshold,
    Precision,
    PrecisionInfo,
    need_calibration,
    parse_precisions,
    require_calibration,
)
from prune_deploy.specs.prune import (
    DEFAULT_IGNORE,
    IGNORE_WORDS,
    IN_MEMORY,
    MaskKind,
    MaskSpec,
    PruneSpec,
    Rounding,
    Scope,
    WhenEmpty,
    parse_amount,
)
from prune_deploy.specs.quantize import (
    DEFAULT_CALIBRATION_SAMPLES,
    CalibrationKind,
    CalibrationMethod,
    QuantizeSpec,
    RestPrecision,
    Smoothing,
    parse_calibration,
)
from prune_deploy.specs.sweep import Block, Bundles, SweepSpec, Variant
from prune_deploy.specs.training import DEFAULT_LR, FinetuneSpec, Optimizer

__all__ = [
    "CARDS",
    "DEFAULT_BATCHES",
    "DEFAULT_BUDGET_S",
    "DEFAULT_CALIBRATION_SAMPLES",
    "DEFAULT_IGNORE",
    "DEFAULT_LR",
    "DEFAULT_TARGET",
    "IGNORE_WORDS",
    "IN_MEMORY",
    "LOCAL_TARGETS",
    "PRECISIONS",
    "RANDOM_WEIGHTS",
    "SHORT_CODES",
    "SHORT_CODE_PARAMS",
    "TARGETS",
    "Across",
    "Block",
    "Bundles",
    "CalibrationKind",
    "CalibrationMethod",
    "Case",
    "CompileMode",
    "DataKind",
    "Device",
    "EngineBuild",
    "EngineLibrary",
    "EngineSpec",
    "ExportSpec",
    "FinetuneSpec",
    "InputKind",
    "MaskKind",
    "MaskSpec",
    "MeasureSpec",
    "Mode",
    "ModelSpec",
    "Optimizer",
    "ParityThreshold",
    "Placement",
    "Precision",
    "PrecisionInfo",
    "PruneSpec",
    "QuantizeSpec",
    "ResolvedModel",
    "RestPrecision",
    "Rigor",
    "Rounding",
    "RunOptions",
    "Scope",
    "Smoothing",
    "SweepSpec",
    "Variant",
    "WhenEmpty",
    "need_calibration",
    "parse_amount",
    "parse_calibration",
    "parse_data",
    "parse_precisions",
    "require_calibration",
    "resolve_target",
    "weights_path",
]
