"""Exports a bundle and prints its receipt and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from prune_deploy.cli.options.common import model_spec
from prune_deploy.cli.options.engine import engine_target
from prune_deploy.cli.options.quantize import quantize_spec
from prune_deploy.cli.options.recover import recover_spec
from prune_deploy.cli.options.values import build
from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.cli.output.receipt import counts_document, groups_table, recovery_sentence, recovery_table, sizes_table
from prune_deploy.errors import InputError
from prune_deploy.pipeline import Exported, export_bundle
from prune_deploy.records import LATENCY_ONLY, Artifact, EngineRecord
from prune_deploy.specs import RANDOM_WEIGHTS, EngineSpec, ExportSpec, MaskSpec, PruneSpec, parse_precisions


def export(values: Mapping[str, Any], as_json: bool) -> None:
    """Export a bundle and print what is in it.

    Raises:
        PruneDeployError: as `export_bundle`.
    """
    spec = export_spec(values)
    if spec.model.weights == "random":
        say(f"{RANDOM_WEIGHTS}; name real ones with --weights")
    with StageLines() as progress:
        exported = export_bundle(
            spec,
            values["out"],
            force=values["force"],
            graph_limit_s=values["graph_limit_s"],
            progress=progress,
        )
    announce(exported)
    if as_json:
        emit_json(document(exported))
    else:
        show(exported)


def announce(exported: Exported) -> None:
    """Say on stderr what is to be known of a new bundle."""
    if exported.reused:
        say(f"{exported.folder} was there already, made by the same request with the same tools")
    if exported.record.engine_note:
        say(exported.record.engine_note)


def export_spec(values: Mapping[str, Any]) -> ExportSpec:
    """Return the ExportSpec of parsed options.

    Raises:
        InputError: options contradict each other, or a value is out of its range.
    """
    amounts = [name for name in ("ratio", "target_macs", "target_params", "plan") if values[name] is not None]
    if values["dense"] and amounts:
        raise InputError(f"--dense contradicts --{amounts[0].replace('_', '-')}", fix="drop one of the two")
    mask = _mask_spec(values)
    precisions = parse_precisions(values["precision"])
    return ExportSpec(
        model=model_spec(values),
        prune=None if values["dense"] or mask is not None else build(PruneSpec, values),
        mask=mask,
        engine=build(EngineSpec, values, target=engine_target(values["target"], values["engine"])),
        precisions=precisions,
        quantize=quantize_spec(values, precisions, values["onnx"]),
        recover=recover_spec(values),
    )


def _mask_spec(values: Mapping[str, Any]) -> MaskSpec | None:
    """Return the MaskSpec of parsed options.

    They leave no room for options of a pruning.
    """
    kind, ratio = values["mask"], values["ratio"]
    if kind is None:
        return None
    context = click.get_current_context()
    for name in ("dense", *(field.name for field in dataclasses.fields(PruneSpec))):
        is_given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if is_given and name not in ("ratio", "seed"):
            raise InputError(f"--mask contradicts --{name.replace('_', '-')}", fix="drop one of the two: a mask keeps all shapes")
    if ratio is None and kind != "2:4":
        raise InputError(f"--mask {kind} needs --ratio", fix="say which share becomes zero, for example --ratio 0.3")
    return MaskSpec(kind=kind) if ratio is None else MaskSpec(kind=kind, ratio=ratio)


def document(exported: Exported) -> dict[str, Any]:
    """The export as one JSON document."""
    record = exported.record
    receipt = dataclasses.asdict(record.receipt)
    receipt["shortfalls"] = [group.name for group in record.receipt.shortfalls]
    return {
        "bundle": str(exported.folder),
        "reused": exported.reused,
        "model": record.model.name,
        "weights": record.weights.label,
        **counts_document(record.receipt.before, record.receipt.after),
        "receipt": receipt,
        "recovery": None if record.recovery is None else dataclasses.asdict(record.recovery),
        "files": [*(artifact.name for artifact in record.artifacts), "bundle.json"],
        "parity": {a.name: dataclasses.asdict(a.parity) for a in record.artifacts if a.parity is not None},
        "engines": {a.name: dataclasses.asdict(a.engine) for a in record.artifacts if a.engine is not None},
        "conversions": {a.name: dataclasses.asdict(a.conversion) for a in record.artifacts if a.conversion is not None},
        "quantization": {a.name: dataclasses.asdict(a.quantization) for a in record.artifacts if a.quantization is not None},
        "engine_note": record.engine_note,
    }


def show(exported: Exported) -> None:
    """Print a new bundle: sizes, receipt, recovery and files."""
    record, receipt = exported.record, exported.record.receipt
    data_console.print(f"\n{record.model.name}, {record.num_classes} classes, weights {record.weights.label}", style="bold")
    data_console.print(sizes_table(receipt))
    if receipt.groups:
        data_console.print("\nReceipt", style="bold")
        data_console.print(groups_table(receipt))
    if record.recovery is not None:
        data_console.print(recovery_table(record.recovery))
        data_console.print(recovery_sentence(record.recovery), soft_wrap=True)
    for warning in receipt.warnings:
        data_console.print(f"Note: {warning}")
    files = table("file", "size MB", "layers", "parity with the module", title=f"\n{exported.folder}")
    for artifact in record.artifacts:
        files.add_row(artifact.name, f"{artifact.size_bytes / 1e6:,.1f}", _layers_text(artifact), _parity_text(artifact.parity))
    data_console.print(files)
    _show_engine(exported)
    _show_quantization(exported)
    data_console.print(
        f"\nNext:  prune-deploy bench {exported.folder}\n"
        f"       prune-deploy verify {exported.folder}\n"
        f"       python -c 'import prune_deploy; model = prune_deploy.load(\"{exported.folder}\")'",
        soft_wrap=True,
    )
    if record.is_untrained:
        data_console.print(f"\n{RANDOM_WEIGHTS[:1].upper()}{RANDOM_WEIGHTS[1:]}.")


def _parity_text(parity: Any) -> str:
    if parity is None:
        return ""
    if parity.status != "passed":
        return f"{parity.status}: {parity.reason}"
    worst = max(check.relative_diff for check in parity.checks)
    return f"passed, {worst:.1e} of the logits' spread ({parity.bounds_text})"


def _layers_text(artifact: Artifact) -> str:
    """Describe the count of layers in the file's precision, with its source."""
    share = artifact.share if artifact.engine is None else artifact.engine.share
    if share is None or artifact.precision == "fp32":
        return ""
    return f"{artifact.precision} {share.text} ({share.source})"


def _show_quantization(exported: Exported) -> None:
    for artifact in exported.record.artifacts:
        quantization = artifact.quantization
        if quantization is None:
            continue
        origin = (
            "given"
            if quantization.calibration is None
            else f"{quantization.calibration.images} images of {quantization.calibration.data}"
        )
        closeness = "" if quantization.cosine is None else f", cosine to FP32 {quantization.cosine:.4f}"
        data_console.print(
            f"INT8: {artifact.name} for {quantization.placement}, "
            f"{quantization.quantized} of {quantization.layers} layers, {origin}{closeness}",
            soft_wrap=True,
        )
        if quantization.calibration is not None and quantization.calibration.is_synthetic:
            data_console.print(f"      {LATENCY_ONLY}")


def _show_engine(exported: Exported) -> None:
    for artifact in exported.record.artifacts:
        if artifact.engine is not None:
            engine = artifact.engine
            layers = ", ".join(f"{count} {kind}" for kind, count in engine.layer_types.items())
            data_console.print(
                f"Engine: {engine.library} {engine.library_version}, {engine.target}, {engine.precision}, layers: {layers}, "
                f"{_sparsity_text(engine)}built in {engine.build_s:.1f} s",
            )


def _sparsity_text(engine: EngineRecord) -> str:
    if not engine.sparse_weights:
        return ""
    if engine.sparse_layers is None:
        return "kernels for sparse weights allowed but not reported, "
    return f"kernels for sparse weights in {engine.sparse_layers} of {engine.sparse_eligible} layers that have such weights, "
