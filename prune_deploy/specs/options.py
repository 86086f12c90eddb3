"""Table of settings: the command line option of each Python field.

The command line builds specs through it, and reports write command lines with it. `as_options` turns the code spans of library
texts (see `prune_deploy.errors`) into options.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import fields
from types import EllipsisType
from typing import Any

from prune_deploy.specs.engine import EngineSpec
from prune_deploy.specs.export import ExportSpec
from prune_deploy.specs.measure import MeasureSpec, RunOptions
from prune_deploy.specs.model import ModelSpec
from prune_deploy.specs.prune import MaskSpec, PruneSpec
from prune_deploy.specs.quantize import QuantizeSpec
from prune_deploy.specs.recover import RecoverSpec
from prune_deploy.specs.sweep import Block, SweepSpec
from prune_deploy.specs.training import FinetuneSpec


def flag(field: str) -> str:
    """Return the option that has a field's own name."""
    return f"--{field.replace('_', '-')}"


def _same(*fields: str) -> dict[str, str]:
    return {field: flag(field) for field in fields}


_GRID = {"backends": "--backend", "precisions": "--precision", "batches": "--batch"}

SPEC_OPTIONS: Mapping[type, Mapping[str, str]] = {
    ModelSpec: {"name": "--model", **_same("num_classes", "input_size", "weights", "seed")},
    PruneSpec: _same(
        "ratio",
        "target_macs",
        "target_params",
        "plan",
        "method",
        "scope",
        "group_cap",
        "round_to",
        "rounding",
        "when_empty",
        "ignore",
        "heads",
        "bottleneck",
        "steps",
        "seed",
        "allow_shortfall",
    ),
    MaskSpec: {"kind": "--mask", "ratio": "--ratio"},
    EngineSpec: {
        "library": "--engine",
        "batches": "--batch",
        "workspace_mib": "--workspace",
        **_same("target", "sparse_weights"),
    },
    ExportSpec: {"mask": "--mask", "precisions": "--precision", "recover": "--recover"},
    QuantizeSpec: {
        "calibration": "--calib",
        "samples": "--calib-samples",
        "method": "--calib-method",
        "rest": "--int8-rest",
        "keep": "--int8-keep",
        "keep_top": "--int8-keep-top",
        "smooth": "--int8-smooth",
        **_same("max_drop", "onnx"),
    },
    RecoverSpec: {"kind": "--recover", "calibration": "--calib", "samples": "--recover-samples"},
    RunOptions: _same("device", "threads", "channels_last", "cudnn_benchmark", "compile_mode", "cpu_freezing"),
    MeasureSpec: {
        "memory_limit_mib": "--memory-limit",
        "lock_clocks_mhz": "--lock-clocks",
        **_same("rigor", "mode", "placement", "budget_s", "open_limit_s", "inputs", "seed"),
    },
    FinetuneSpec: _same(
        "data",
        "epochs",
        "batch",
        "optimizer",
        "lr",
        "weight_decay",
        "warmup_epochs",
        "label_smoothing",
        "distill",
        "temperature",
        "amp",
        "augment",
        "smallest_crop",
        "samples",
        "val_data",
        "seed",
    ),
    Block: _same("models", "methods", "masks", "ratios", "seeds", "protocol", "num_classes", "input_size", "weights"),
    SweepSpec: {**_GRID, **_same("together", "bundles", "build_limit_s", "trace", "data", "data_samples")},
}
"""Options by spec and field.

A field without an option is not in the table.
"""

ARGUMENT_OPTIONS: Mapping[str, str] = {
    **_GRID,
    **_same(
        "backend",
        "precision",
        "out",
        "force",
        "graph_limit_s",
        "require",
        "share_machine",
        "dry_run",
        "resume",
        "preset",
        "spec",
        "restart",
    ),
    **_same("against", "runs", "top", "image", "limit_s", "fresh", "families", "markdown", "format", "reanalyze"),
    **_same("fail_if_slower", "require_verdict", "to_ratio", "restart"),
    "count": "--random",
}
"""Options of arguments that are no fields of specs."""

_VALUES: Mapping[str, str] = {
    "prune=None": "--dense",
    "across='backends'": "--across-backends",
    "across='precisions'": "--across-precisions",
}
"""Options that stand for a field with its value."""

_NEGATABLE = frozenset({"--amp", "--sparse-weights"})
_PARTS: Mapping[str, type] = {
    "prune": PruneSpec,
    "mask": MaskSpec,
    "engine": EngineSpec,
    "quantize": QuantizeSpec,
    "recover": RecoverSpec,
}
"""Attributes of an ExportSpec.

`quantize.method` names one of the two methods.
"""

_SPAN = re.compile(r"`(?P<name>[a-z]\w*(?:\.[a-z]\w*)?)(?:=(?P<value>[^`]*))?`")


def option_for(field: str, among: Collection[str] = ()) -> str | None:
    """Return the option that sets a field, or None.

    It prefers an option that is `among` a command's own.
    """
    part, _, name = field.rpartition(".")
    if part:
        return SPEC_OPTIONS[_PARTS[part]].get(name) if part in _PARTS else None
    known = [table[field] for table in (*SPEC_OPTIONS.values(), ARGUMENT_OPTIONS) if field in table]
    return next((option for option in known if option in among), known[0] if known else None)


def option_words(spec: Any, *, skip: Collection[str] = ()) -> list[str]:
    """Return the command line words that make a spec.

    Only fields that differ from their defaults have words, and none of `skip`.
    """
    result: list[str] = []
    for field in fields(spec):
        option, value = SPEC_OPTIONS[type(spec)].get(field.name), getattr(spec, field.name)
        if option is None or field.name in skip or value is None or value == field.default:
            continue
        result += option_text(option, value)
    return result


def option_text(option: str, value: object) -> list[str]:
    """Return the words that give an option a value.

    They are a flag alone, its negation, or the option and its text.
    """
    if isinstance(value, bool):
        return [option if value else f"--no-{option.removeprefix('--')}"]
    return [option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]


def as_options(text: str, among: Collection[str] = (), *, quote: str = "") -> str:
    """Return a text with options in place of its settings' code spans.

    Each option is within `quote`. Other spans stay. `among` are the options of the running command, which decide where a field's
    name is that of several options.
    """

    def replaced(span: re.Match[str]) -> str:
        words = _VALUES.get(span[0].strip("`")) or _words(span["name"], span["value"], among)
        return span[0] if words is None else f"{quote}{words}{quote}"

    return _SPAN.sub(replaced, text)


def _words(field: str, value: str | None, among: Collection[str]) -> str | None:
    """Return one span's option with its value.

    It is None if the span names no setting.
    """
    option = option_for(field, among)
    if option is None or value is None:
        return option
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return f"{option} {value}"  # a placeholder: `out=DIR`
    if literal is True:
        return option
    if literal is False:
        return f"--no-{option.removeprefix('--')}" if option in _NEGATABLE else None
    return f"{option} {_value_text(literal)}"


def _value_text(value: object) -> str:
    """Return a value as the command line takes it.

    It is quoted for a shell where it must be.
    """
    if isinstance(value, list | tuple):
        return ",".join(map(_value_text, value))
    return "…" if isinstance(value, EllipsisType) else shlex.quote(str(value))
