"""Two simulated runs, as rich as reports must handle.

They are a curve on a laptop's CPU and a bench on a workstation's GPU. Their samples are simulated and analysed like real ones, so
every figure in the records follows from the raw nanoseconds.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.samples import pack
from prune_deploy.records import (
    Accuracy,
    CaseRecord,
    ComparisonStats,
    Counts,
    Environment,
    Memory,
    Role,
    RunRecord,
    Startup,
    to_json,
)
from prune_deploy.reporting.renderers import Format
from prune_deploy.runs import EXPLANATIONS_DIR, TRACES_DIR, append_cases, create_run, trace_stem, write_samples
from prune_deploy.specs import Block, Case, MaskSpec, MeasureSpec, ModelSpec, PruneSpec, Rigor, RunOptions, SweepSpec, Variant
from support import GOLDEN
from support.measuring import MS, Noise, make_samples, noisy_times
from support.report_details import bundle, explanation, traces
from support.run_records import environment

GOLDEN_REPORTS = GOLDEN / "reports"
GOLDEN_RUNS = (GOLDEN_REPORTS / "laptop_curve", GOLDEN_REPORTS / "workstation_bench")
GOLDEN_FORMATS: tuple[Format, ...] = ("md", "csv", "json")

MODEL = ModelSpec(name="resnet50")
DENSE = Counts(params=25_557_032, macs=4_133_742_592, macs_with_attention=4_133_742_592)
LAPTOP = environment(
    cpu="AMD Ryzen 7 7840U w/ Radeon 780M Graphics",
    cpu_count=8,
    platform="Linux-6.1.0-x86_64",
    libraries={"prune-deploy": "0.1.0", "torch": "2.15.0", "timm": "1.0.31", "onnxruntime-gpu": "1.31.0"},
)
WORKSTATION = replace(
    LAPTOP,
    cpu="Intel(R) Xeon(R) W-2245 CPU @ 3.90GHz",
    cpu_count=16,
    gpus=("NVIDIA RTX A2000 12GB, sm86, 11.8 GiB",),
    driver="580.95.05",
    libraries={**LAPTOP.libraries, "tensorrt": "11.1.0"},
)
CURVE = Block(models=("resnet50",), methods=("l2",), ratios=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), iterative=True)
IMAGES = "imagefolder:imagenet/val"
NO_GPU = "engine built by TensorRT-RTX for sm86; not timed: no CUDA device"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A case before its simulated measurement.

    `cost_ms` is its true time, None where it is lost, with the reason in `loss`.
    """

    variant: Variant
    cost_ms: float | None
    failure: tuple[str, str, str] = ("unavailable", NO_GPU, "measure on a machine with an NVIDIA GPU")


def counts(ratio: float) -> Counts:
    """Return the approximate sizes of ResNet-50 at a ratio."""
    left = (1 - ratio) ** 2 + 0.02 * ratio
    macs = round(DENSE.macs * left)
    return Counts(params=round(DENSE.params * left), macs=macs, macs_with_attention=macs)


def accuracy(ratio: float) -> Accuracy:
    """Return a plausible accuracy of a ResNet-50 without fine-tuning.

    It is taken on 5000 images.
    """
    images = 5000
    first = round(images * (0.001 + 0.8 * (1 - ratio) ** (12 * ratio)))
    bounds = binomtest(first, images).proportion_ci(confidence_level=0.975, method="wilson")
    return Accuracy(
        data=IMAGES,
        images=images,
        classes=1000,
        batch=8,
        top1=first / images,
        low=float(bounds.low),
        high=float(bounds.high),
        confidence=0.975,
        top5=min(1.0, 1.2 * first / images),
    )


def write_runs(folder: Path) -> tuple[Path, Path]:
    """Write both runs under `folder`."""
    return write_curve(folder / "laptop_curve"), write_bench(folder / "workstation_bench")


def write_curve(folder: Path) -> Path:
    """Write a curve of eight steps on eager, ort and trt.

    It has batch 1 and 8. trt cannot run here. One step crashes, and one is noisy.
    """
    sweep = SweepSpec(blocks=(CURVE,), backends=("eager", "ort", "trt"), batches=(1, 8), data=IMAGES, data_samples=5000)
    run = Writer(folder, "curve", LAPTOP, sweep)
    ((_, variants),) = sweep.models()
    for chunk, half in enumerate((variants[1:5], variants[5:]), start=1):
        for batch in sweep.batches:
            for backend in sweep.backends:
                cases = [Planned(variant=each, cost_ms=_cpu_ms(each, backend, batch)) for each in (variants[0], *half)]
                if backend == "eager" and batch == 8 and chunk == 2:
                    failure = ("failed", "the worker was ended by signal 9 (SIGKILL), out of memory?", "lower --batch")
                    cases[3] = Planned(variant=half[2], cost_ms=None, failure=failure)
                noise = Noise(drift=0.25, block=0.3) if backend == "eager" and batch == 1 and chunk == 2 else Noise()
                run.compare(f"resnet50-dense-{backend}-fp32-b{batch}-{chunk}", backend, batch, cases, noise)
    kept = folder / "bundles" / variants[5].name
    kept.mkdir(parents=True)
    (kept / "bundle.json").write_text(to_json(bundle(variants[5], DENSE, counts(0.5), LAPTOP)), encoding="utf-8")
    return folder


def _cpu_ms(variant: Variant, backend: str, batch: int) -> float | None:
    """Return the milliseconds of a step.

    At 0.1 ONNX Runtime meets widths that fit no vector.
    """
    ratio = variant.ratio or 0.0
    odd = 1.35 if backend == "ort" and ratio == 0.1 else (1.45 if ratio == 0.6 else 1.0)
    base_ms = {"eager": 41.0, "ort": 24.0}.get(backend)
    return None if base_ms is None else odd * batch**0.9 * base_ms * (0.08 + 0.92 * counts(ratio).macs / DENSE.macs)


def write_bench(folder: Path) -> Path:
    """Write a bench of a pruned and a masked model.

    It runs on ort and trt, and has an explanation and two traces. torch.compile breaks the graph.
    """
    run = Writer(folder, "bench", WORKSTATION, None)
    dense = Variant(model=MODEL)
    pruned = Variant(model=MODEL, prune=PruneSpec(ratio=0.5))
    masked = Variant(model=MODEL, mask=MaskSpec(kind="l1-unstructured", ratio=0.3))
    costs_ms = {"ort": (5.2, 2.31, 5.2), "trt": (3.1, 1.28, 3.1), "trt:cuda-graph": (2.9, 1.05, 2.9)}
    broken = ("graph_break", "torch.compile broke the graph: a call of .item() in forward", "measure with --backends eager")
    for batch in (1, 8):
        for backend, (dense_ms, pruned_ms, masked_ms) in costs_ms.items():
            scale = batch**0.75
            times = ((dense, dense_ms), (pruned, pruned_ms), (masked, masked_ms))
            cases = [Planned(variant=variant, cost_ms=cost_ms * scale) for variant, cost_ms in times]
            run.compare(f"resnet50-dense-{backend.replace(':', '-')}-fp32-b{batch}", backend, batch, cases, Noise(drift=0.001))
    compiled = [Planned(variant=dense, cost_ms=4.4), Planned(variant=pruned, cost_ms=None, failure=broken)]
    run.compare("resnet50-dense-compile-fp32-b1", "compile", 1, compiled, Noise())
    _add_details(folder, run.records)
    return folder


def _add_details(folder: Path, records: Sequence[CaseRecord]) -> None:
    """Add traces on ONNX Runtime at batch 8, and their explanation.

    They are of the dense and the pruned model.
    """
    (folder / TRACES_DIR).mkdir()
    (folder / EXPLANATIONS_DIR).mkdir()
    chosen = [each for each in records if (each.case.backend, each.case.batch) == ("ort", 8)][:2]
    found = traces(chosen)
    for record, trace in zip(chosen, found, strict=True):
        stem = folder / TRACES_DIR / trace_stem(record)
        stem.with_name(f"{stem.name}.layers.json").write_text(to_json(trace), encoding="utf-8")
        stem.with_name(f"{stem.name}.json.gz").write_bytes(gzip.compress(b'{"traceEvents": []}', mtime=0))
    text = to_json(explanation(chosen[1], found))
    (folder / EXPLANATIONS_DIR / f"{trace_stem(chosen[1])}.json").write_text(text, encoding="utf-8")


class Writer:
    """A run that is written comparison by comparison."""

    def __init__(self, folder: Path, command: str, machine: Environment, sweep: SweepSpec | None) -> None:
        self.folder, self.sweep, self.records = folder, sweep, []  # type: ignore[var-annotated]
        self.spec = MeasureSpec(rigor="full") if sweep is None else sweep.measure
        if machine.gpus:
            self.spec = replace(self.spec, options=RunOptions(device="cuda"))
        words: tuple[str, ...] = (
            "bench",
            "engines/resnet50-l2-r0.50",
            "engines/resnet50-mask-l1-unstructured-r0.30",
            "--batch",
            "1,8",
        )
        if sweep is not None:
            words = ("curve", "--model", "resnet50", "--batch", "1,8", "--steps", "8", "--to-ratio", "0.8")
            words += ("--data", IMAGES, "--data-samples", "5000")
        record = RunRecord(
            id=f"20261121-{command}-resnet50",
            command=words,
            spec=self.spec,
            cases=(),
            environment=machine,
            started_at=machine.captured_at,
            sweep=sweep,
        )
        create_run(folder, record)
        self.random = np.random.default_rng(len(command))

    def compare(self, name: str, backend: str, batch: int, cases: Sequence[Planned], noise: Noise) -> None:
        """Measure the cases that have a cost, and write all of them."""
        running = [each for each in cases if each.cost_ms is not None]
        stats, file, digest = self._measure(name, running, noise) if running else (None, "", "")
        written = []
        for each in cases:
            index = running.index(each) if each in running else -1
            record = self._record(each, name, backend, batch, index)
            if stats is not None and index >= 0:
                found = stats.candidates[index]
                assert found is not None
                undecided = found.speedup is not None and found.speedup.verdict == "INCONCLUSIVE"
                record = replace(
                    record,
                    status="inconclusive" if undecided else "ok",
                    latency=found.latency,
                    speedup=found.speedup,
                    dense_against_copy=stats.dense_against_copy,
                    warnings=(*record.warnings, *found.warnings),
                    startup=Startup(process_s=0.1, open_s=0.4, first_run_s=0.2),
                    memory=Memory(peak_rss_bytes=400 << 20, peak_device_bytes=(900 << 20) if self._on_gpu else None),
                    settings={"provider": "CUDA" if self._on_gpu else "CPU", "threads": "8"},
                    samples_file=file,
                    samples_sha256=digest,
                )
            written.append(record)
        append_cases(self.folder, written)
        self.records += written

    @property
    def _on_gpu(self) -> bool:
        return self.spec.options.device == "cuda"

    def _measure(self, name: str, running: Sequence[Planned], noise: Noise) -> tuple[ComparisonStats, str, str]:
        costs_ns = [each.cost_ms * MS for each in running if each.cost_ms is not None]
        launches, rounds = (5, 12) if self.spec.rigor == "full" else (1, 40)
        times = noisy_times(self.random, [*costs_ns, costs_ns[0]], noise=noise, launches=launches, rounds=rounds)
        roles: list[Role] = ["dense", *["candidate"] * (len(running) - 1), "copy"]  # type: ignore[list-item]
        rigor: Rigor = self.spec.rigor
        samples = make_samples(times, roles=roles, rigor=rigor, device=self.spec.options.device)
        return (analyze(samples), *write_samples(self.folder, name, pack(samples)))

    def _record(self, planned: Planned, name: str, backend: str, batch: int, index: int) -> CaseRecord:
        """Return the facts of a case that are known before it runs."""
        variant, (base, _, how) = planned.variant, backend.partition(":")
        files = {"trt": "model.fp32.sm86.b1-8.tensorrt-11.1.engine", "ort": "model.onnx"}
        status, reason, fix = planned.failure if planned.cost_ms is None else ("ok", "", "")
        scored = self.sweep is not None and base != "trt"
        return CaseRecord(
            case=Case(
                bundle=variant.name,
                backend=base,
                precision="fp32",
                batch=batch,
                options=replace(self.spec.options, variant=how),
            ),
            role="candidate" if variant.method != "dense" else "dense",
            index=index,
            model=variant.model.name,
            label=variant.name,
            artifact=files.get(base, "weights.safetensors"),
            artifact_sha256="0" * 64,
            counts=DENSE if variant.prune is None else counts(variant.prune.ratio or 0),
            dense_counts=DENSE,
            status=status,  # type: ignore[arg-type]
            variant=variant,
            nonzero_params=None if variant.mask is None else round(DENSE.params * 0.7),
            reason=reason,
            fix=fix,
            accuracy=accuracy(variant.ratio or 0.0) if scored else None,
            warnings=(f"no accuracy: {NO_GPU}",) if self.sweep is not None and not scored else (),
            comparison=name,
            ended_at="2026-11-21T10:05:00+00:00",
        )
