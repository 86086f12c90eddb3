"""The command lines that make a case again, from its record alone."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

from prune_deploy.records import CaseRecord, RunRecord
from prune_deploy.specs import DEFAULT_BATCHES, MeasureSpec, ModelSpec, PruneSpec, QuantizeSpec, RunOptions, Variant

_PROGRAM = "prune-deploy"
_ENGINE = re.compile(r"\.(?P<target>sm\d+)\.b(?P<batches>[\d-]+)\.(?P<library>tensorrt(?:-rtx)?)-[^-]*\.engine$")
_OPTION_NAMES = {"heads": "--heads", "bottleneck": "--bottleneck", "allow_shortfall": "--allow-shortfall"}


def commands(record: CaseRecord, run: RunRecord) -> tuple[str, ...]:
    """The lines that lead to a case: an export and a bench; the run's own line where a single bench would not compare the same things.

    Without the variant, which older runs do not hold, the export is not known and the bundle is only named.
    """
    if run.sweep is not None or run.command[:1] not in ((), ("bench",)) or _is_across(run):
        return (shlex.join([_PROGRAM, *run.command]),)
    measured = _bench_line(record, run.spec)
    return (measured,) if record.variant is None else (_export_line(record, record.variant), measured)


def _is_across(run: RunRecord) -> bool:
    return any(option in run.command for option in ("--across-backends", "--across-precisions"))


def _export_line(record: CaseRecord, variant: Variant) -> str:
    words = [
        _PROGRAM,
        "export",
        *_model_words(variant.model),
        *_variant_words(variant),
        *_engine_words(record),
        *_precision_words(record),
    ]
    return shlex.join([*words, "--out", _folder(record)])


def _model_words(model: ModelSpec) -> list[str]:
    words = ["--model", model.name]
    if model.num_classes is not None:
        words += ["--num-classes", str(model.num_classes)]
    if model.input_size is not None:
        words += ["--input-size", ",".join(map(str, model.input_size))]
    if model.weights != "random":
        words += ["--weights", model.weights]
    return words + (["--seed", str(model.seed)] if model.seed else [])


def _variant_words(variant: Variant) -> list[str]:
    if variant.mask is not None:
        words = ["--mask", variant.mask.kind]
        return words if variant.mask.kind == "2:4" else [*words, "--ratio", str(variant.mask.ratio)]
    return ["--dense"] if variant.prune is None else _prune_words(variant.prune)


def _prune_words(spec: PruneSpec) -> list[str]:
    """The options that differ from their defaults; the seed is the model's, which both share on the command line."""
    words: list[str] = []
    for field in fields(PruneSpec):
        value = getattr(spec, field.name)
        if field.name == "seed" or value is None or value == field.default:
            continue
        if field.name in _OPTION_NAMES:
            words.append(_OPTION_NAMES[field.name])
            continue
        words += [f"--{field.name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return words


def _engine_words(record: CaseRecord) -> list[str]:
    """The engine that was opened, as its file's name says it; none where none was needed."""
    built = _ENGINE.search(record.artifact)
    if built is None:
        return ["--engine", "none"]
    batches = built["batches"].replace("-", ":")
    words = ["--engine", built["library"], "--target", built["target"]]
    if batches != ":".join(map(str, DEFAULT_BATCHES)):
        words += ["--batch", batches]
    return words


def _precision_words(record: CaseRecord) -> list[str]:
    """Which precision the export must have; a module is cast when it is opened, and needs no file."""
    precision, spec = record.case.precision, record.quantize
    words = ["--precision", "fp32" if record.artifact.endswith(".safetensors") else precision]
    if spec is None:
        return words
    if spec.onnx is not None:
        return [*words, "--onnx", spec.onnx]
    words += ["--calib", spec.calibration]
    names = {"samples": "--calib-samples", "method": "--calib-method", "rest": "--int8-rest", "smooth": "--int8-smooth"}
    words += _changed_words(spec, QuantizeSpec(), names | {"keep_top": "--int8-keep-top", "max_drop": "--max-drop"})
    return words + (["--int8-keep", ",".join(spec.keep)] if spec.keep else [])


def _bench_line(record: CaseRecord, spec: MeasureSpec) -> str:
    case = record.case
    backend = f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend
    words = [_PROGRAM, "bench", _folder(record), "--backends", backend]
    if case.precision != "fp32":
        words += ["--precisions", case.precision]
    words += ["--batch", str(case.batch), "--rigor", spec.rigor, "--device", case.options.device]
    return shlex.join([*words, *_measure_words(spec), *_run_words(case.options)])


def _measure_words(spec: MeasureSpec) -> list[str]:
    names = {"budget_s": "--budget-s", "mode": "--mode", "placement": "--placement", "inputs": "--inputs", "seed": "--seed"}
    names |= {"lock_clocks_mhz": "--lock-clocks", "memory_limit_mib": "--memory-limit", "open_limit_s": "--open-limit-s"}
    return _changed_words(spec, MeasureSpec(), names)


def _run_words(options: RunOptions) -> list[str]:
    names = {"threads": "--threads", "compile_mode": "--compile-mode", "channels_last": "--channels-last"}
    names |= {"cudnn_benchmark": "--cudnn-benchmark", "cpu_freezing": "--cpu-freezing"}
    return _changed_words(options, RunOptions(), names)


def _changed_words(spec: object, usual: object, names: dict[str, str]) -> list[str]:
    words: list[str] = []
    for name, option in names.items():
        value = getattr(spec, name)
        if value != getattr(usual, name):
            words += [option] if value is True else [option, str(value)]
    return words


def _folder(record: CaseRecord) -> str:
    return f"engines/{record.label}"
