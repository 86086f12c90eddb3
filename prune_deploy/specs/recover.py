"""Request for the recovery of a pruned network without training."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from prune_deploy.errors import InputError
from prune_deploy.specs.checked import checked
from prune_deploy.specs.quantize import parse_calibration

Recover = Literal["bn", "linear"]
"""Ways to recover.

- bn: batch norms take their statistics anew.
- linear: consumers of what was removed get weights that make up for it, and batch norms take their statistics anew.
"""

DEFAULT_RECOVER_SAMPLES = 256


@checked
@dataclass(frozen=True, slots=True)
class RecoverSpec:
    """Request to recover a pruned network from unlabelled images.

    - `calibration` is as for INT8: a folder of images, or labelled images as `parse_data` knows them. Synthetic images teach nothing.
    - At most `samples` of them are used. Half as many more judge the result.
    """

    kind: Recover = "linear"
    _: KW_ONLY
    calibration: str
    samples: int = DEFAULT_RECOVER_SAMPLES

    def __post_init__(self) -> None:
        kind, _ = parse_calibration(self.calibration)
        if kind == "synthetic":
            raise InputError(
                "synthetic images teach a network nothing",
                fix="name images like those that the model will see with `calibration`: a folder, or digits",
                field="calibration",
            )
        if self.samples < 2:
            raise InputError(
                f"`recover.samples` must be at least 2, got {self.samples}", fix="256 images suit most models", field="samples"
            )
