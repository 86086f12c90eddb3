"""The command lines that make a case again, from its record alone."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from prune_deploy.records import CaseRecord, RunRecord
from prune_deploy.specs import (
    DEFAULT_BATCHES,
    EngineSpec,
    ExportSpec,
    MaskSpec,
    MeasureSpec,
    QuantizeSpec,
    RunOptions,
    SweepSpec,
    Variant,
)
from prune_deploy.specs.options import ARGUMENT_OPTIONS, SPEC_OPTIONS, option_text, option_words

_PROGRAM = "prune-deploy"
_ENGINE = re.compile(r"\.(?P<target>sm\d+)\.b(?P<batches>[\d-]+)\.(?P<library>tensorrt(?:-rtx)?)-[^-]*\.engine$")


def commands(record: CaseRecord, run: RunRecord) -> tuple[str, ...]:
    """Return the lines that lead to a case: export and bench.

    It is the run's own line where a single bench would not compare the same things. Older runs do not hold the variant. Their export
    is not known, and the bundle is only named.
    """
    if not _is_plain_bench(run):
        return (shlex.join([_PROGRAM, *run.command]),)
    measured = _bench_line(record, run.spec)
    return (measured,) if record.variant is None else (_export_line(record, record.variant), measured)


def longer_command(record: CaseRecord, run: RunRecord) -> str:
    """Return the line that measures a case for longer.

    It is "" for a run that no single bench line repeats.
    """
    if not _is_plain_bench(run):
        return ""
    longer = replace(run.spec, rigor="full", budget_s=None)
    return _bench_line(record, longer if run.spec.rigor == "quick" else replace(longer, budget_s=2 * run.spec.seconds))


def _is_plain_bench(run: RunRecord) -> bool:
    """Return whether a single bench line compares what the run compared."""
    across = any(option in run.command for option in ("--across-backends", "--across-precisions"))
    return run.sweep is None and run.command[:1] in ((), ("bench",)) and not across


def _export_line(record: CaseRecord, variant: Variant) -> str:
    words = [
        _PROGRAM,
        "export",
        *option_words(variant.model),
        *_variant_words(variant),
        *_engine_words(record),
        *_precision_words(record),
    ]
    return shlex.join([*words, *option_text(ARGUMENT_OPTIONS["out"], _folder(record))])


def _variant_words(variant: Variant) -> list[str]:
    if variant.mask is not None:
        kind = _word(MaskSpec, "kind", variant.mask.kind)
        # An export needs the ratio of a mask, even the default one. A 2:4 mask has only one ratio.
        return kind if variant.mask.kind == "2:4" else [*kind, *_word(MaskSpec, "ratio", variant.mask.ratio)]
    # The seed is the model's, which both share on the command line.
    return ["--dense"] if variant.prune is None else option_words(variant.prune, skip={"seed"})


def _engine_words(record: CaseRecord) -> list[str]:
    """Return the options of the opened engine, from its file name."""
    built = _ENGINE.search(record.artifact)
    if built is None:
        return _word(EngineSpec, "library", "none")
    batches = tuple(int(batch) for batch in built["batches"].split("-"))
    named = _word(EngineSpec, "library", built["library"]) + _word(EngineSpec, "target", built["target"])
    return named + (_word(EngineSpec, "batches", batches) if batches != DEFAULT_BATCHES else [])


def _precision_words(record: CaseRecord) -> list[str]:
    """Return the options for the precision of the export.

    A module is cast when it is opened, and needs no file.
    """
    precision, spec = record.case.precision, record.quantize
    words = _word(ExportSpec, "precisions", "fp32" if record.artifact.endswith(".safetensors") else precision)
    if spec is None:
        return words
    if spec.onnx is not None:
        return [*words, *_word(QuantizeSpec, "onnx", spec.onnx)]
    return [*words, *_word(QuantizeSpec, "calibration", spec.calibration), *option_words(spec, skip={"calibration"})]


def _bench_line(record: CaseRecord, spec: MeasureSpec) -> str:
    case = record.case
    backend = f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend
    words = [_PROGRAM, "bench", _folder(record), *_word(SweepSpec, "backends", backend)]
    if case.precision != "fp32":
        words += _word(SweepSpec, "precisions", case.precision)
    words += _word(SweepSpec, "batches", case.batch) + _word(MeasureSpec, "rigor", spec.rigor)
    words += _word(RunOptions, "device", case.options.device)
    return shlex.join([*words, *option_words(spec, skip={"rigor"}), *option_words(case.options, skip={"device"})])


def _word(spec: type, field: str, value: object) -> list[str]:
    return option_text(SPEC_OPTIONS[spec][field], value)


def _folder(record: CaseRecord) -> str:
    return f"engines/{record.label}"
