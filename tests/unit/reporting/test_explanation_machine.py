"""What is known of the machine: which channels fit its kernels, and what its memory moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_deploy.evaluation.bandwidth import last_cache_bytes
from prune_deploy.reporting.explain.alignment import alignment_of
from prune_deploy.specs import Case, RunOptions

AVX512 = ("sse2", "avx2", "avx512f")
AVX2 = ("sse2", "avx2")


def case(backend: str, precision: str = "fp32", **options: object) -> Case:
    """A case at batch 1."""
    return Case(bundle="net", backend=backend, precision=precision, batch=1, options=RunOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("which", "flags", "block", "inputs_multiple"),
    [
        (case("ort"), AVX512, 16, 4),
        (case("ort"), AVX2, 8, 4),
        (case("eager"), AVX512, 16, 1),
        (case("compile"), AVX2, 8, 1),
        (case("trt", "fp16", device="cuda"), AVX2, 8, 1),
        (case("trt", "int8", device="cuda"), AVX2, 32, 1),
        (case("ort", device="cuda"), AVX512, 4, 1),
    ],
)
def test_the_rule_follows_runtime_precision_and_processor(
    which: Case, flags: tuple[str, ...], block: int, inputs_multiple: int
) -> None:
    rule = alignment_of(which, flags)
    assert rule is not None
    assert (rule.block, rule.inputs_multiple) == (block, inputs_multiple)
    assert rule.has_blocked == (which.backend == "ort" and which.options.device == "cpu")


@pytest.mark.parametrize(("which", "flags"), [(case("ort"), ("neon",)), (case("ort", "int8"), AVX512), (case("null"), AVX512)])
def test_where_no_rule_is_known_there_is_none(which: Case, flags: tuple[str, ...]) -> None:
    assert alignment_of(which, flags) is None


@pytest.mark.parametrize(
    ("weight_shape", "cpu", "gpu"),
    [
        ((64, 64, 3, 3), 1.0, 1.0),
        ((61, 61, 3, 3), (64 / 61) ** 2, (64 / 61) ** 2),
        ((60, 60, 1, 1), (64 / 60) ** 2, 1.0),
        ((60, 3, 7, 7), 64 / 60, 1.0),  # three inputs are read as they lie
        ((60, 1, 3, 3), 64 / 60, 1.0),
        ((1000, 2047), 1.0, 2048 / 2047),
        ((64,), 1.0, 1.0),
        ((), 1.0, 1.0),
    ],
)
def test_padding_is_counted_in_macs(weight_shape: tuple[int, ...], cpu: float, gpu: float) -> None:
    for rule, expected in ((alignment_of(case("ort"), AVX512), cpu), (alignment_of(case("trt", device="cuda"), AVX512), gpu)):
        assert rule is not None
        assert rule.padding(weight_shape) == pytest.approx(expected)


def test_the_last_cache_is_the_largest(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1024K", "32M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert last_cache_bytes(tmp_path) == 32 << 20
    assert last_cache_bytes(tmp_path / "none") == 0
