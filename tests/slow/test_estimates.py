"""Times that commands announce, against what they took. About five minutes on a quiet machine; a busy one makes them late."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from support.commands import call

pytestmark = pytest.mark.timeout(1200)

_ANNOUNCED = re.compile(r" to do, about ([\d.]+) (s|min)")
_ROUNDING_S = 15.0  # "about 1.5 min" is in steps of half a minute
_SHARE = 0.25


def _export(*options: str) -> None:
    assert call("export", "--model", "resnet18", "--input-size", "3,160,160", "--engine", "none", *options).code == 0


def _announced_and_taken_s(*command: str) -> tuple[float, float]:
    """Seconds that a command announced, and that it took from then on."""
    began_s = time.monotonic()
    result = call(*command)
    took_s = time.monotonic() - began_s
    assert result.code == 0, result.stderr
    found = _ANNOUNCED.search(result.stderr)
    assert found is not None, result.stderr
    # What a command says before it announces is over by then.
    before_s = max(
        (float(at) for at in re.findall(r"\[ *([\d.]+) s\] (?:checking|making the dense)", result.stderr)), default=0.0
    )
    return float(found[1]) * (60.0 if found[2] == "min" else 1.0), took_s - before_s


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "engines/pruned", "--backend", "eager,compile,ort", "--rigor", "quick"),
        ("bench", "engines/pruned", "--backend", "ort", "--rigor", "quick", "--trace"),
        ("trace", "engines/pruned", "--backend", "eager", "--batch", "1,8,32"),
        ("sweep", "--preset", "quick"),
        ("curve", "--model", "resnet18", "--input-size", "3,160,160", "--backend", "ort", "--steps", "3", "--budget-s", "10"),
    ],
    ids=lambda words: "-".join(words[:1]),
)
def test_what_is_announced_holds_within_a_quarter(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "engines/pruned" in command:
        _export("--dense")
        _export("--ratio", "0.5", "--out", "engines/pruned")
    announced_s, taken_s = _announced_and_taken_s(*command)
    assert announced_s == pytest.approx(taken_s, rel=_SHARE, abs=_ROUNDING_S), (
        f"{announced_s:.0f} s announced, {taken_s:.0f} s taken"
    )
