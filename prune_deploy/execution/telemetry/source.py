"""One thing that can be observed beside a measurement, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Refused(Exception):  # noqa: N818 - an answer that is expected, not a fault
    """This machine does not tell; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Whom a reading is about: the process that ran last, None for nobody in particular, and all processes of the comparison."""

    pid: int | None
    own_pids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A question to the system: `ask` gives values for some or all of `keys`, or raises `Refused`, and is then never asked again.

    `fallback` takes its place where it refuses.
    """

    keys: tuple[str, ...]
    ask: Callable[[Watched], dict[str, float]]
    fallback: Source | None = None


class Since:
    """What a counter has counted since it was last looked at."""

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, count: float) -> float | None:
        """None at the first look, and where the counter went back, as after a reset of its driver."""
        last, self._last = self._last, count
        return None if last is None or count < last else float(count - last)
