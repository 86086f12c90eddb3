"""Time and peak memory of deriving FP16, BF16 and INT8 from the FP32 file of ViT-L at `--ratio 0.5`.

    python benchmarks/derive_precisions.py [PRECISION…]

Exports the FP32 file once, then derives each precision in a process of its own, libraries imported before the clock starts. INT8 is
derived twice, and the second time counts: it finds the ranges of the first, so calibration inference is no part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MODEL, RATIO = "v", 0.5
PRECISIONS = ("fp16", "bf16", "int8")
LIMIT_S, LIMIT_SIZES = 10.0, 3.0
"""What deriving one precision may take: seconds, and peak memory as a multiple of the FP32 file."""
MEBIBYTE = 1 << 20


class Derived(NamedTuple):
    """What deriving one precision took, the whole process's peak memory, and the size of what was written."""

    seconds: float
    peak_mib: float
    written_mib: float


def export(folder: Path) -> None:
    """Write the pruned model's FP32 file, and beside it how images are prepared for it."""
    from prune_deploy.export.onnx import export_onnx
    from prune_deploy.models import create_model
    from prune_deploy.pruning.pruner import prune
    from prune_deploy.records import to_json
    from prune_deploy.specs import ModelSpec, PruneSpec

    loaded = create_model(ModelSpec(name=MODEL))
    size = loaded.preprocessing.input_size
    prune(loaded.module, PruneSpec(ratio=RATIO), size)
    export_onnx(loaded.module, size, folder / "model.onnx")
    (folder / "preprocessing.json").write_text(to_json(loaded.preprocessing))


def child(arguments: Sequence[str], cache: Path) -> tuple[str, float]:
    """Run this script on its own; what it printed last, and its peak memory in MiB as the kernel saw it."""
    line = [sys.executable, __file__, "--child", *arguments]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)})
    assert process.stdout is not None
    message = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(arguments)} ended with status {status}")
    return message.rpartition("\n")[2], usage.ru_maxrss / 1024


def derive(precision: str, source: Path) -> None:
    """Derive one precision beside `source` and print the seconds and the MiB that it took."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        make = _maker(precision, source, Path(folder))
        started = time.perf_counter()
        paths = make()
        seconds = time.perf_counter() - started
        print(seconds, sum(path.stat().st_size for path in paths) / MEBIBYTE)


def _maker(precision: str, source: Path, folder: Path) -> Callable[[], Sequence[Path]]:
    if precision != "int8":
        from prune_deploy.export.half.convert import convert

        which: Any = precision
        return lambda: convert(source, folder / source.name, which)[0]
    from prune_deploy.export.int8.quantize import make_int8
    from prune_deploy.interfaces import Silent
    from prune_deploy.records import Preprocessing, from_json
    from prune_deploy.specs import QuantizeSpec

    preprocessing = from_json(Preprocessing, (source.parent / "preprocessing.json").read_bytes(), source="preprocessing.json")
    spec = QuantizeSpec(calibration="synthetic", samples=8, smooth="off")
    return lambda: make_int8(source, folder, spec, preprocessing, progress=Silent(), placements=("tensorrt",))[0].paths


def measured(precision: str, source: Path, cache: Path) -> Derived:
    """Derive in a process of its own; INT8 once before, for its ranges."""
    if precision == "int8":
        child([precision, str(source)], cache)
    message, peak_mib = child([precision, str(source)], cache)
    seconds, written_mib = map(float, message.split())
    return Derived(seconds, peak_mib, written_mib)


def main(precisions: Sequence[str]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        source, cache = Path(temporary, "model.onnx"), Path(temporary, "cache")
        child(["fp32", str(source)], cache)
        size_mib = source.stat().st_size / MEBIBYTE
        print(
            f"{MODEL} at ratio {RATIO}: FP32 file {size_mib:.0f} MiB; limits: {LIMIT_S:.0f} s, {LIMIT_SIZES * size_mib:.0f} MiB"
        )
        print(f"{'precision':10} {'seconds':>8} {'peak MiB':>9} {'of the file':>12} {'written MiB':>12}")
        for precision in precisions:
            took = measured(precision, source, cache)
            sizes = took.peak_mib / size_mib
            verdict = "" if took.seconds <= LIMIT_S and sizes <= LIMIT_SIZES else "  over the limit"
            print(
                f"{precision:10} {took.seconds:8.2f} {took.peak_mib:9.0f} {sizes:11.2f}x {took.written_mib:12.0f}{verdict}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] != ["--child"]:
        main(sys.argv[1:] or PRECISIONS)
    elif sys.argv[2] == "fp32":
        export(Path(sys.argv[3]).parent)
    else:
        derive(sys.argv[2], Path(sys.argv[3]))
