"""Records of a bundle: parity, engines, files, origin of the weights, recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from prune_deploy.records.environment import Environment
from prune_deploy.records.precision import Conversion, LayerShare, Quantization
from prune_deploy.records.pruning import Receipt, Selection
from prune_deploy.records.recovery import Recovery
from prune_deploy.records.training import Training
from prune_deploy.records.upgrades import SCHEMA_VERSION
from prune_deploy.specs import ExportSpec, Precision, ResolvedModel

ParityStatus = Literal["passed", "failed", "not_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCheck:
    """One output of an artifact against the eager module's on one batch.

    `output` is its name where the network has several.
    `relative_diff` is `max_abs_diff` over the logits' spread (their standard deviation over classes, the mean of the batch).
    `top1_agreement` is a share of the images.
    """

    batch: int
    output: str = ""
    max_abs_diff: float
    relative_diff: float
    cosine: float
    top1_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Result of comparing an artifact's outputs with the module's.

    `reason` is set unless it passed. `response_cosine` compares the change from image to image: each class's logit less its mean
    over all images of all batches. Networks with random weights answer all images nearly alike. Their logits can agree where the
    response to the image differs. `thresholds` tells whose bounds were used: those for trained weights are tighter than those for random
    weights, which amplify rounding. It is empty in records of earlier releases, which used the latter for all.
    """

    status: ParityStatus
    reason: str = ""
    thresholds: Literal["", "random", "trained"] = ""
    threshold_relative_diff: float | None = None
    threshold_cosine: float | None = None
    response_cosine: float | None = None
    checks: tuple[ParityCheck, ...] = ()

    @property
    def bounds_text(self) -> str:
        """The bound on the difference, and the weights it is for."""
        bound = "" if self.threshold_relative_diff is None else f"at most {self.threshold_relative_diff:g}"
        return f"{bound} for {self.thresholds} weights" if self.thresholds else bound


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One optimisation profile: the batch sizes it accepts.

    It is tuned for `optimum`.
    """

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """Origin of an engine, and the data types of its layers.

    - `layer_types` counts layers by the data type they compute in ("Float", "Half", "Int8", …), and `layer_source` is the origin
      of the counts ("inspector" or "build log").
    - `trtexec` is the command line that would build the same engine.
    - `sparse_weights` is true if kernels for 2:4 sparse weights were allowed. `sparse_eligible` counts the layers with such
      weights, and `sparse_layers` those that got such a kernel. Both are None where the library does not report them.
    - `share` counts convolutions and matrix products only, of one optimisation profile.
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

    @property
    def compiles_kernels(self) -> bool:
        """True if the first run compiles kernels, on the user's GPU."""
        return self.library == "TensorRT-RTX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file of a bundle.

    `share` counts the layers of an ONNX file as ONNX Runtime's CPU provider ran them on the machine that exported it.
    """

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
    """Steps from an image to the network's input.

    They are: resize, crop, scale to 0..1, subtract `mean`, divide by `std` (per channel).
    """

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """Origin of the dense weights.

    It is "random" with its seed, "pretrained" with timm's tag, or "file" with its hash. `note` tells how a file was read, if it was no
    plain state dict of the model.
    """

    kind: Literal["random", "pretrained", "file"]
    seed: int | None = None
    tag: str | None = None
    path: str | None = None
    sha256: str | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """A few words for tables."""
        if self.kind == "file":
            return f"file {self.path}{f' ({self.note})' if self.note else ''}"
        return f"random, seed {self.seed}" if self.kind == "random" else f"pretrained {self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecord:
    """Content of bundle.json: all facts of a bundle except the weights.

    `key` hashes the request and the tools that made it. `own_sha256` is the hash of bundle.json with this field written as zeros,
    empty where the file has none. `training` is the fine-tuning of the weights after pruning, with the bundle they were taken
    from. `recovery` is that of the weights before.
    """

    key: str
    model: ResolvedModel
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
    recovery: Recovery | None = None
    schema_version: int = SCHEMA_VERSION

    def bytes_on_disk(self, artifact: Artifact) -> int:
        """Return an artifact's bytes, with its weights' file beside it."""
        names = (artifact.name, f"{artifact.name}.data")
        return sum(each.size_bytes for each in self.artifacts if each.name in names)

    @property
    def weights_label(self) -> str:
        """The origin of the weights, and what was done to them after pruning."""
        recovered = ", recovered" if self.recovery is not None else ""
        return f"{self.weights.label}{recovered}{', fine-tuned' if self.training is not None else ''}"

    @property
    def is_untrained(self) -> bool:
        """True if the weights were never trained, so that classes mean nothing."""
        return self.weights.kind == "random" and self.training is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Content of recipe.json: instructions to rebuild the pruned module without a pickle.

    `attributes` maps a module's name to the plain attributes that differ from the dense model. `buffers` names the tensors of the
    weights file that are buffers. `selection` holds the remaining channels of the dense model.
    """

    model: ResolvedModel
    attributes: dict[str, dict[str, Any]]
    buffers: tuple[str, ...]
    selection: Selection | None = None
    schema_version: int = SCHEMA_VERSION
    libraries: dict[str, str] = field(default_factory=dict)
