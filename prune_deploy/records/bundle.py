"""What was seen while making a bundle: plan, selection, receipt, parity, engine, files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from prune_deploy.records.precision import Conversion, LayerShare, Quantization
from prune_deploy.records.serialize import SCHEMA_VERSION
from prune_deploy.records.training import Training
from prune_deploy.specs import ExportSpec, MaskSpec, ModelSpec, Precision, PruneSpec

GroupReason = Literal[
    "as-asked", "rounded", "minimum", "capped", "plan", "ignored", "ignored-member", "no-score", "protected", "bottleneck"
]
"""Why a group keeps the channels it keeps.

as-asked: exactly the share asked for; rounded: moved to the next multiple; minimum: rounding would have emptied it, one unit stays;
capped: --group-cap; plan: the plan file says so; ignored: named by --ignore; ignored-member: shares channels with an ignored layer;
no-score: the method gives it no scores; protected: narrowing it breaks the forward pass; bottleneck: residual stream under --bottleneck.
"""

SHORTFALL_REASONS: frozenset[GroupReason] = frozenset({"no-score", "protected"})
"""Reasons nobody asked for: a group that keeps more because of one of these makes the pruning a shortfall."""

NO_DENSE_SPEEDUP = "weights are zero in tensors of the same shape: no dense speed-up expected"
"""What every masked model is labelled with."""

ParityStatus = Literal["passed", "failed", "not_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWidth:
    """One dependency group of the plan: `channels` dense, `kept` after pruning, both counted at the group's root.

    `name` is the first of `members` in model order. `blocks` is the number of equal blocks (convolution groups, attention heads)
    that must keep the same positions, so `kept` is a multiple of it, or of `channels // blocks` when whole blocks are removed.
    """

    name: str
    channels: int
    kept: int
    blocks: int = 1
    whole_blocks: bool = False
    asked: int | None = None
    reason: GroupReason = "as-asked"
    detail: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthPlan:
    """How many channels each group keeps. Everything downstream of planning takes one of these."""

    groups: tuple[GroupWidth, ...]
    model: str
    schema_version: int = SCHEMA_VERSION

    @property
    def removes_nothing(self) -> bool:
        """True if every group keeps all of its channels."""
        return all(group.kept == group.channels for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which channels stay: group name to kept root indices, ascending, in the dense model's numbering."""

    kept: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Size of a network. `macs` is torch-pruning's counter, as in the published tables; `macs_with_attention` counts matrix
    products inside attention too and is the one efficiency is computed from. Both are for one image."""

    params: int
    macs: int
    macs_with_attention: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was asked for, what was achieved, and per group why it kept what it kept.

    A masked model has a `mask` instead of a request and groups, and `nonzero_params`: parameters that are not zero.
    """

    request: PruneSpec | None
    before: Counts
    after: Counts
    groups: tuple[GroupWidth, ...]
    notes: tuple[str, ...] = ()
    mask: MaskSpec | None = None
    nonzero_params: int | None = None

    @property
    def shortfalls(self) -> tuple[GroupWidth, ...]:
        """Groups that keep more than their share and rounding allow, for a reason nobody asked for."""
        return tuple(g for g in self.groups if g.reason in SHORTFALL_REASONS and g.asked is not None and g.kept > g.asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCheck:
    """Outputs of an artifact against the eager module on one batch. `relative_diff` is `max_abs_diff` over the logits' spread
    (their standard deviation over classes, the mean of the batch); `top1_agreement` is a share of the images."""

    batch: int
    max_abs_diff: float
    relative_diff: float
    cosine: float
    top1_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Whether an artifact computes what the module computes; `reason` is set unless it passed.

    `response_cosine` compares what the images change: each class's logit less its mean over all images of all batches. Networks with
    random weights answer all images nearly alike, so logits can agree where the response to the image does not.
    """

    status: ParityStatus
    reason: str = ""
    threshold_relative_diff: float | None = None
    threshold_cosine: float | None = None
    response_cosine: float | None = None
    checks: tuple[ParityCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One optimisation profile: the batch sizes it accepts and the one it is tuned for."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """Who built an engine, from what, for what, and which data types its layers really have.

    `layer_types` counts layers by the data type they compute in ("Float", "Half", "Int8", …); `layer_source` says where the
    counts come from ("inspector" or "build log"). `trtexec` is the line that would build the same engine. `sparse_weights`
    says that kernels for 2:4 sparse weights were allowed, `sparse_eligible` how many layers have such weights, `sparse_layers` how many
    got such a kernel; both are None where the library does not tell. `share` counts convolutions and matrix products only, of one
    optimisation profile.
    """

    library: str
    library_version: str
    target: str
    precision: Precision
    tf32: bool
    profiles: tuple[EngineProfile, ...]
    workspace_mib: int | None
    optimization_level: int
    build_s: float
    layer_types: dict[str, int]
    layer_source: str
    warnings: tuple[str, ...]
    trtexec: str
    sparse_weights: bool = False
    sparse_eligible: int | None = None
    sparse_layers: int | None = None
    share: LayerShare | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file of a bundle. `share` is what ONNX Runtime's CPU provider made of an ONNX file's layers on the machine that exported it."""

    name: str
    role: str
    size_bytes: int
    sha256: str
    precision: Precision | None = None
    parity: Parity | None = None
    engine: EngineRecord | None = None
    conversion: Conversion | None = None
    quantization: Quantization | None = None
    share: LayerShare | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes the network's input: resize, crop, scale to 0..1, subtract `mean`, divide by `std` (per channel)."""

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """Where the dense weights came from: "random" with its seed, "pretrained" with timm's tag, or "file" with its hash."""

    kind: Literal["random", "pretrained", "file"]
    seed: int | None = None
    tag: str | None = None
    path: str | None = None
    sha256: str | None = None

    @property
    def label(self) -> str:
        """A few words for tables."""
        return {"random": f"random, seed {self.seed}", "pretrained": f"pretrained {self.tag}", "file": f"file {self.path}"}[
            self.kind
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the libraries a record was made on; values that could not be read are absent, never zero."""

    python: str
    platform: str
    cpu: str
    cpu_count: int
    memory_bytes: int
    libraries: dict[str, str]
    gpus: tuple[str, ...] = ()
    driver: str | None = None
    captured_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecord:
    """bundle.json: all that is known of a bundle except the weights themselves.

    `key` hashes the request and the tools that made it; `own_sha256` is the hash of bundle.json with this field written as zeros,
    empty where the file does not carry one. `training` says what fine-tuning the weights went through after pruning, and which bundle
    they were taken from.
    """

    key: str
    model: ModelSpec
    weights: WeightsSource
    request: ExportSpec
    receipt: Receipt
    preprocessing: Preprocessing
    input_name: str
    output_name: str
    num_classes: int
    artifacts: tuple[Artifact, ...]
    environment: Environment
    engine_note: str = ""
    own_sha256: str = ""
    training: Training | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def is_untrained(self) -> bool:
        """Whether nobody has ever trained the weights, so that classes mean nothing."""
        return self.weights.kind == "random" and self.training is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """recipe.json: how the pruned module is rebuilt without a pickle.

    `attributes` maps a module's name to the plain attributes that differ from the dense model; `buffers` names the tensors of the
    weights file that are buffers; `selection` says which of the dense model's channels are left.
    """

    model: ModelSpec
    attributes: dict[str, dict[str, Any]]
    buffers: tuple[str, ...]
    selection: Selection | None = None
    schema_version: int = SCHEMA_VERSION
    libraries: dict[str, str] = field(default_factory=dict)
