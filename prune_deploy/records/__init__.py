"""Frozen records of what was observed, with JSON in and out.

Each file carries SCHEMA_VERSION. Raw observations are stored and figures derived, so a record never disagrees with itself. Every
numeric name carries its unit.
"""

from __future__ import annotations

from prune_deploy.records.accuracy import NAMES_KEPT, Accuracy
from prune_deploy.records.bundle import (
    Artifact,
    BundleRecord,
    EngineProfile,
    EngineRecord,
    Parity,
    ParityCheck,
    ParityStatus,
    Preprocessing,
    Recipe,
    WeightsSource,
)
from prune_deploy.records.compatibility import STAGES, Compatibility, CompatibilityStage, CompatibilityVerdict
from prune_deploy.records.environment import Environment
from prune_deploy.records.precision import (
    LATENCY_ONLY,
    RTX_INT8,
    Calibration,
    Conversion,
    KeptLayer,
    LayerShare,
    QdqPlacement,
    Quantization,
    UnquantizedReason,
)
from prune_deploy.records.pruning import (
    NO_DENSE_SPEEDUP,
    SHORTFALL_REASONS,
    Counts,
    GroupReason,
    GroupWidth,
    Receipt,
    Selection,
    WidthPlan,
)
from prune_deploy.records.recovery import FoldRecord, Recovery, RecoveryStep
from prune_deploy.records.run import (
    FAILED_STATUSES,
    CandidateStats,
    CaseRecord,
    ComparisonStats,
    Estimate,
    Latency,
    Memory,
    Percentile,
    Role,
    RunRecord,
    Speedup,
    Startup,
    Status,
    Verdict,
)
from prune_deploy.records.serialize import (
    from_json,
    to_json,
)
from prune_deploy.records.trace import (
    BETWEEN_LAYERS,
    Cause,
    Explanation,
    LayerTime,
    LayerVerdict,
    Trace,
    WaterfallStep,
)
from prune_deploy.records.training import Epoch, Parent, Training
from prune_deploy.records.upgrades import SCHEMA_VERSION

__all__ = [
    "BETWEEN_LAYERS",
    "FAILED_STATUSES",
    "LATENCY_ONLY",
    "NAMES_KEPT",
    "NO_DENSE_SPEEDUP",
    "RTX_INT8",
    "SCHEMA_VERSION",
    "SHORTFALL_REASONS",
    "STAGES",
    "Accuracy",
    "Artifact",
    "BundleRecord",
    "Calibration",
    "CandidateStats",
    "CaseRecord",
    "Cause",
    "ComparisonStats",
    "Compatibility",
    "CompatibilityStage",
    "CompatibilityVerdict",
    "Conversion",
    "Counts",
    "EngineProfile",
    "EngineRecord",
    "Environment",
    "Epoch",
    "Estimate",
    "Explanation",
    "FoldRecord",
    "GroupReason",
    "GroupWidth",
    "KeptLayer",
    "Latency",
    "LayerShare",
    "LayerTime",
    "LayerVerdict",
    "Memory",
    "Parent",
    "Parity",
    "ParityCheck",
    "ParityStatus",
    "Percentile",
    "Preprocessing",
    "QdqPlacement",
    "Quantization",
    "Receipt",
    "Recipe",
    "Recovery",
    "RecoveryStep",
    "Role",
    "RunRecord",
    "Selection",
    "Speedup",
    "Startup",
    "Status",
    "Trace",
    "Training",
    "UnquantizedReason",
    "Verdict",
    "WaterfallStep",
    "WeightsSource",
    "WidthPlan",
    "from_json",
    "to_json",
]
