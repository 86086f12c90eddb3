"""Sources of readings beside a measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Refused(Exception):  # noqa: N818 - an answer that is expected, not a fault
    """Reports a reading that this machine does not give, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The processes that a reading is about.

    `pid` is the process that ran last, None without one. `own_pids` are all processes of the comparison.
    """

    pid: int | None
    own_pids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One reading of the system.

    `ask` returns values for some or all of `keys`, or raises `Refused` and is then never called again. `fallback` takes its place
    where it refuses.
    """

    keys: tuple[str, ...]
    ask: Callable[[Watched], dict[str, float]]
    fallback: Source | None = None


class Since:
    """Growth of a counter since it was last read."""

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, count: float) -> float | None:
        """Return the growth since the last call.

        It is None at the first call, and where the counter went back, as after a reset of its driver.
        """
        last, self._last = self._last, count
        return None if last is None or count < last else float(count - last)
