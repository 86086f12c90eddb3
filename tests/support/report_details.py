"""Traces, an explanation and a bundle for `report_runs`.

They have per-layer times of a ResNet-50 that add up.
"""

from __future__ import annotations

from collections.abc import Sequence

from prune_deploy.records import (
    BundleRecord,
    CaseRecord,
    Cause,
    Counts,
    Environment,
    Explanation,
    GroupWidth,
    LayerTime,
    LayerVerdict,
    Preprocessing,
    Receipt,
    Trace,
    WaterfallStep,
    WeightsSource,
)
from prune_deploy.runs import trace_stem
from prune_deploy.specs import EngineSpec, ExportSpec, ResolvedModel, Variant

LAYERS: tuple[tuple[str, str, float, float, float, Cause, str], ...] = (
    ("conv1", "Conv", 310.0, 240.0, 155.0, "memory-bound", "moves 25.7 MB in 240 µs: 107 GB/s of 118 GB/s measured"),
    ("maxpool", "MaxPool", 120.0, 118.0, 60.0, "memory-bound", "no MACs; 12.8 MB at 109 GB/s"),
    ("layer1.0.conv1", "Conv", 140.0, 75.0, 35.0, "overhead-bound", "75 µs for 6 M MACs; an empty layer costs 60 µs"),
    ("layer1.0.conv2", "Conv", 420.0, 118.0, 105.0, "as-predicted", "420 → 118 µs, MACs ÷ 4.0"),
    ("layer2.0.conv2", "Conv", 460.0, 121.0, 115.0, "as-predicted", "460 → 121 µs, MACs ÷ 4.0"),
    (
        "layer3.0.conv2",
        "Conv",
        500.0,
        190.0,
        125.0,
        "misaligned",
        "123 channels, the kernel works on 128: 4 % padding, slower path",
    ),
    ("layer3.0 reorder", "ReorderOutput", 0.0, 85.0, 0.0, "reformat", "a copy to NCHW that the dense model does not have"),
    ("layer4.2.conv3", "Conv", 380.0, 101.0, 95.0, "as-predicted", "380 → 101 µs, MACs ÷ 4.0"),
    ("fc", "Gemm", 60.0, 57.0, 57.0, "not-pruned", "kept by --ignore head, only its input shrank"),
)


def traces(records: Sequence[CaseRecord]) -> list[Trace]:
    """Return one trace for the dense record and one for the pruned."""
    return [_trace(record, column) for record, column in zip(records, (2, 3), strict=True)]


def _trace(record: CaseRecord, column: int) -> Trace:
    times_us = [float(layer[column]) for layer in LAYERS]
    total_us = sum(times_us)
    layers = tuple(
        LayerTime(
            name=layer[0], op=layer[1], time_us=us, share=us / total_us, shape=(8, 64, 56, 56), dtype="float32", kernel="nchwc"
        )
        for layer, us in zip(LAYERS, times_us, strict=True)
        if us
    )
    return Trace(
        case=record.case,
        label=record.label,
        runs=20,
        run_ms=total_us / 1000 * 1.06,
        untraced_ms=total_us / 1000,
        overhead=0.06,
        layers=layers,
        chrome_file=f"{trace_stem(record)}.json.gz",
        warnings=("fused activations are part of their convolution",),
    )


def explanation(record: CaseRecord, found: Sequence[Trace]) -> Explanation:
    """Return the explanation of a pruned model that misses its speed-up.

    MACs predict that it is four times as fast.
    """
    dense_ms, measured_ms = (trace.untraced_ms for trace in found)
    predicted_ms = sum(layer[4] for layer in LAYERS) / 1000
    causes: dict[Cause, list[float]] = {}
    for _, _, _, pruned_us, predicted_us, cause, _ in LAYERS:
        causes.setdefault(cause, []).append((pruned_us - predicted_us) / 1000)
    return Explanation(
        case=record.case,
        label=record.label,
        dense_ms=dense_ms,
        predicted_ms=predicted_ms,
        measured_ms=measured_ms,
        macs_ratio=dense_ms / predicted_ms,
        speedup=None if record.speedup is None else record.speedup.ratio,
        bandwidth_gb_s=118.0,
        steps=tuple(WaterfallStep(cause=cause, delta_ms=sum(deltas), layers=len(deltas)) for cause, deltas in causes.items()),
        layers=tuple(
            LayerVerdict(name=n, op=op, dense_us=d, pruned_us=p, predicted_us=m, cause=cause, evidence=evidence)
            for n, op, d, p, m, cause, evidence in LAYERS
        ),
        sentences=(
            "The MACs fell to a quarter, the time to less than a half.",
            "Most of the difference is memory traffic of the stem, which was pruned but moves almost as many bytes.",
        ),
        advice=("--round-to 16 would spare layer3 its padding", "a larger batch hides the cost of small layers"),
    )


def bundle(variant: Variant, before: Counts, after: Counts, machine: Environment) -> BundleRecord:
    """Return a bundle as a sweep keeps it in its run.

    Its receipt has one group of every kind.
    """
    assert variant.prune is not None
    groups = (
        GroupWidth(name="conv1", channels=64, kept=32, asked=32, members=("conv1", "bn1")),
        GroupWidth(name="layer1.0.conv1", channels=60, kept=24, asked=30, reason="rounded", detail="down to a multiple of 8"),
        GroupWidth(name="fc", channels=1000, kept=1000, reason="ignored", detail="head"),
    )
    return BundleRecord(
        key="0" * 64,
        model=ResolvedModel(name=variant.model.name, num_classes=1000, input_size=(3, 224, 224)),
        weights=WeightsSource(kind="random", seed=0),
        request=ExportSpec(model=variant.model, prune=variant.prune, engine=EngineSpec()),
        receipt=Receipt(request=variant.prune, before=before, after=after, groups=groups, warnings=("one group was rounded",)),
        preprocessing=Preprocessing(
            input_size=(3, 224, 224),
            interpolation="bicubic",
            crop_pct=0.95,
            crop_mode="center",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        input_name="images",
        output_name="logits",
        num_classes=1000,
        artifacts=(),
        environment=machine,
    )
