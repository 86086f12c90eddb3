"""Options that say where INT8 comes from, and the QuantizeSpec they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import click
from click.core import ParameterSource

from prune_deploy.cli.options.common import options
from prune_deploy.cli.options.values import SHARE, WORDS, build, parameter
from prune_deploy.errors import InputError
from prune_deploy.specs import (
    DEFAULT_CALIBRATION_SAMPLES,
    CalibrationMethod,
    Precision,
    QuantizeSpec,
    need_calibration,
    require_calibration,
)
from prune_deploy.specs.options import SPEC_OPTIONS

_USUAL = QuantizeSpec()
QUANTIZE_OPTIONS = tuple(parameter(option) for field, option in SPEC_OPTIONS[QuantizeSpec].items() if field != "onnx")

quantize_options = options(
    click.option(
        "--calib",
        metavar="IMAGES",
        help="INT8: images to take ranges from: a folder, digits, fashion-mnist, imagefolder:DIR, cifar10:DIR, cifar100:DIR, or "
        "synthetic (latency only).",
    ),
    click.option(
        "--calib-samples",
        type=int,
        default=DEFAULT_CALIBRATION_SAMPLES,
        show_default=True,
        help="INT8: use at most this many of them, always the same ones.",
    ),
    click.option(
        "--calib-method",
        type=click.Choice(get_args(CalibrationMethod)),
        default=_USUAL.method,
        show_default=True,
        help="INT8: how a range comes from the values seen.",
    ),
    click.option(
        "--int8-rest",
        type=click.Choice(["fp16", "fp32"]),
        default=_USUAL.rest,
        show_default=True,
        help="INT8 for TensorRT: what the other layers compute in.",
    ),
    click.option(
        "--int8-keep",
        type=WORDS,
        default="",
        help="INT8: layers to leave out, name patterns, comma-separated, for example 'blocks.0.*'.",
    ),
    click.option(
        "--int8-keep-top", type=int, default=0, show_default=True, help="INT8: leave out the N layers that lose most by it."
    ),
    click.option(
        "--max-drop",
        type=SHARE,
        metavar="SHARE",
        help="INT8: leave out as many as it takes to lose no more top-1 than this, for example 0.5%.",
    ),
    click.option(
        "--int8-smooth",
        type=click.Choice(["auto", "on", "off"]),
        default=_USUAL.smooth,
        show_default=True,
        help="INT8: move activation ranges into weights behind layer norms (SmoothQuant); auto where it helps.",
    ),
)


def quantize_spec(values: Mapping[str, Any], precisions: tuple[Precision, ...], onnx: str | None = None) -> QuantizeSpec | None:
    """Return the QuantizeSpec of parsed options, None without int8.

    INT8 needs images, or an ONNX file.

    Raises:
        InputError: options for INT8 without int8, no images, or a value out of its range.
    """
    context = click.get_current_context()
    given = [
        name for name in QUANTIZE_OPTIONS if name in values and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if not need_calibration(precisions):
        if values.get("recover", "none") != "none":
            given = [name for name in given if name != "calib"]
        if given or onnx is not None:
            option = "onnx" if onnx is not None else given[0].replace("_", "-")
            raise InputError(f"--{option} is for INT8, which is not asked for", fix="add int8 to --precision, or drop the option")
        return None
    if onnx is not None:
        if given:
            raise InputError(f"--onnx contradicts --{given[0].replace('_', '-')}", fix="drop one: the file is taken as it is")
        return QuantizeSpec(onnx=onnx)
    require_calibration(precisions, values["calib"])
    return build(QuantizeSpec, values)
