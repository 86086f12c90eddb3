"""Real clocks, real models: short forms of what tests/slow does at length.

They run one after the other, with nothing beside them, because they ask for verdicts about real times. Each bears a machine of which
somebody else uses a core: ratios come from blocks that take turns, bounds are on medians or minima, and "undecided" is allowed wherever
noise may decide.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prune_deploy.environment import usable_cpus
from prune_deploy.evaluation.bandwidth import memory_bandwidth
from prune_deploy.execution.workers.timing import time_each
from prune_deploy.specs import MeasureSpec
from support.timing_pairs import Nothing, alone_ms, candidates, compared, exported, with_zeros

pytestmark = pytest.mark.alone

PIXELS = 96
SHORT = MeasureSpec(rigor="full", budget_s=12.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A small model: dense, with 80 % zeros in its weights, and with half of its channels removed."""
    base = tmp_path_factory.mktemp("pairs")
    dense, pruned = exported(base, "resnet18", PIXELS, ratio=None), exported(base, "resnet18", PIXELS, ratio=0.5)
    return dense, with_zeros(dense, 0.8, base / "zeros.onnx"), pruned


def test_zeros_are_not_faster_and_removed_channels_are(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    stats = compared(candidates(files, PIXELS, threads=1), SHORT, tmp_path)
    zeros, pruned = stats.candidates[1], stats.candidates[2]
    assert zeros is not None
    assert pruned is not None
    assert zeros.speedup is not None
    assert pruned.speedup is not None
    assert zeros.speedup.verdict in ("SAME", "INCONCLUSIVE")
    assert pruned.speedup.ratio.value > 1.5
    assert pruned.speedup.verdict in ("FASTER", "INCONCLUSIVE")
    assert pruned.speedup.launches >= 5


def test_a_model_against_itself_is_not_told_apart(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for session in range(2):
        stats = compared(candidates([files[0], files[0]], PIXELS, threads=1), SHORT, tmp_path / str(session))
        same = stats.candidates[1]
        assert same is not None
        assert same.speedup is not None
        assert same.speedup.verdict in ("SAME", "INCONCLUSIVE")
        if same.speedup.converged:
            assert abs(same.speedup.ratio.value - 1) <= 0.01 + stats.margin


def test_a_sample_costs_less_than_a_microsecond() -> None:
    """Half of a hundred thousand samples: whatever runs beside the loop falls into a few of them."""
    assert statistics.median(time_each(Nothing(), 100_000)) <= 1000  # type: ignore[arg-type]  # all that the loop uses


def test_memory_moves_a_plausible_number_of_bytes() -> None:
    """The best of its copies counts."""
    assert 1 < memory_bandwidth("cpu", usable_cpus()) < 5000


def pressure_s() -> float:
    """Seconds so far in which some task of this machine waited for a processor; 0 where the kernel does not say."""
    path = Path("/proc/pressure/cpu")
    return int(path.read_text().split("total=")[1].split()[0]) / 1e6 if path.exists() else 0.0


@contextmanager
def burners(count: int) -> Iterator[None]:
    """Processes that keep cores busy."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.release
def test_a_busy_machine_gives_no_false_verdict(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with burners(2):
        stats = compared(candidates([files[0], files[0]], PIXELS, threads=2), SHORT, tmp_path)
    same = stats.candidates[1]
    assert same is not None
    assert same.speedup is not None
    assert same.speedup.verdict == "INCONCLUSIVE" or abs(same.speedup.ratio.value - 1) <= 0.01 + stats.margin


def test_the_interleaved_ratio_is_that_of_each_model_alone(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    group = candidates([files[0], files[2]], PIXELS, threads=None)  # default thread pools: those that spin when idle
    errors, waited = [], []
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        before = time.monotonic(), pressure_s()
        alone = statistics.median(alone_ms(group[0], folder, 1.0) / alone_ms(group[1], folder, 1.0) for _ in range(3))
        waited.append((pressure_s() - before[1]) / (time.monotonic() - before[0]))
        pruned = compared(group, MeasureSpec(rigor="quick", budget_s=6.0), folder / "together").candidates[1]
        assert pruned is not None
        assert pruned.speedup is not None
        errors.append(abs(pruned.speedup.ratio.value / alone - 1))
        if errors[-1] < 0.1:
            return
    if statistics.median(waited) > 0.25:
        pytest.skip(f"other work held up a model that ran alone for {statistics.median(waited):.0%} of the time")
    pytest.fail(f"the ratio differs from that of each model alone by {[f'{error:.1%}' for error in errors]}")
