"""Request for an INT8 file: its calibration images and its float layers."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, get_args

from prune_deploy.errors import InputError
from prune_deploy.specs.checked import checked
from prune_deploy.specs.data import FOLDERLESS, DataKind, parse_data

CalibrationMethod = Literal["minmax", "entropy", "percentile"]
"""Rule from the observed values to a range.

- minmax: all of them.
- entropy: the cut that loses least information (Kullback and Leibler).
- percentile: 99.99 % of them.
"""

CalibrationKind = DataKind | Literal["synthetic", "images"]
"""Kinds of calibration images.

They are labelled images as `parse_data` knows them, synthetic images, or a folder of images in any order.
"""

RestPrecision = Literal["fp32", "fp16"]
Smoothing = Literal["auto", "on", "off"]

SYNTHETIC = "synthetic"
DEFAULT_CALIBRATION_SAMPLES = 128


@checked
@dataclass(frozen=True, slots=True)
class QuantizeSpec:
    """Request to make `model.int8.onnx` from `model.onnx`.

    - `onnx` is a file with Q/DQ nodes that was made elsewhere.
    - `calibration` is "synthetic" (good for latency only), a folder of images, or labelled images as `parse_data` knows them.
      At most `samples` of them are used.
    - `rest` is the precision of the TensorRT file's other layers.
    - Layers whose name fits a pattern of `keep`, and the `keep_top` layers that lose most from it, are not quantised.
    - `max_drop` (a share, 0.005 for half a point) keeps as many layers as needed for top-1 to lose no more than that on the
      calibration images.
    - `smooth` moves activation ranges into weights (SmoothQuant, Xiao et al., 2023) behind layer norms. "auto" does so where it
      brings the outputs closer to FP32.

    `method` is percentile because it lost least when measured, compared with minmax. Least cosine to FP32 of random networks,
    TensorRT's file: resnet50 0.9982 and 0.9965, convnext_tiny 0.9997 both, vit_tiny 0.9996 and 0.9993, mobilenetv4_conv_small
    0.85 and 0.77. Top-1 lost on digits: mobilenetv3_small_050 0.8 and 1.3 points, test_resnet, test_vit and test_efficientnet at
    most 0.1 with either. Entropy lost most: 2.0 points of mobilenetv3_small_050, and 0.8 of test_resnet.
    """

    calibration: str = SYNTHETIC
    _: KW_ONLY
    samples: int = DEFAULT_CALIBRATION_SAMPLES
    method: CalibrationMethod = "percentile"
    rest: RestPrecision = "fp16"
    keep: tuple[str, ...] = ()
    keep_top: int = 0
    max_drop: float | None = None
    smooth: Smoothing = "auto"
    onnx: str | None = None

    def __post_init__(self) -> None:
        parse_calibration(self.calibration)
        if self.samples < 1:
            raise InputError(
                f"`samples` must be at least 1, got {self.samples}", fix="128 images suit most models", field="samples"
            )
        if self.keep_top < 0:
            raise InputError(
                f"`keep_top` must be 0 or more, got {self.keep_top}", fix="for example `keep_top=3`", field="keep_top"
            )
        if self.max_drop is not None and not (math.isfinite(self.max_drop) and 0 <= self.max_drop < 1):
            raise InputError(
                f"`max_drop` must be a share from 0 to 1, got {self.max_drop}",
                fix="for example `max_drop=0.005`",
                field="max_drop",
            )
        if self.keep_top and self.max_drop is not None:
            raise InputError(
                "`keep_top` and `max_drop` both say how many layers stay", fix="drop one of the two", field="max_drop"
            )


def parse_calibration(text: str) -> tuple[CalibrationKind, Path | None]:
    """Return the kind of calibration images and their folder.

    The folder is None where they need none. A missing folder is detected when it is opened.

    Raises:
        InputError: an empty word, or a kind of data without its folder.
    """
    if not text:
        raise InputError(
            "`calibration` is empty",
            fix="use a folder of images, digits, fashion-mnist, imagefolder:DIR, cifar10:DIR, cifar100:DIR or synthetic",
            field="calibration",
        )
    if text == SYNTHETIC:
        return "synthetic", None
    word, colon, _ = text.partition(":")
    if word in get_args(DataKind) and (colon or word in FOLDERLESS):
        return parse_data(text, "calibration")
    return "images", Path(text)
