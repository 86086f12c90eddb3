"""Budget of a comparison: number of launches and seconds per launch."""

from __future__ import annotations

from statistics import median

from prune_deploy.measure.warmup import LEAST_WARMUP_S, LONGEST_WARMUP_S
from prune_deploy.specs import Device, MeasureSpec, Rigor

LOOKS: dict[Rigor, tuple[int, ...]] = {"quick": (1,), "full": (5, 7, 10, 14, 20, 30)}
"""Numbers of launches after which the figures are looked at.

The launches up to the first look are always done. The last look ends the comparison.
"""

_WARMUP_SHARE = 0.25


def next_look(rigor: Rigor, launches: int) -> int:
    """Return the number of launches at the next look after `launches`.

    At the end it is `launches` itself.
    """
    return next((look for look in LOOKS[rigor] if look > launches), launches)


class Budget:
    """Seconds of one comparison.

    Everything since `started_s` counts, the opening of candidates included.
    """

    def __init__(self, spec: MeasureSpec, started_s: float) -> None:
        self._rigor: Rigor = spec.rigor
        self._ends_s = started_s + spec.seconds
        self._least_costs_s: list[float] = []

    def share_s(self, now_s: float) -> float:
        """Return the seconds that the coming launch may take.

        It is the time left, divided by the launches that are certain to come up to the next look.
        """
        done = len(self._least_costs_s)
        return max(0.0, self._ends_s - now_s) / (next_look(self._rigor, done) - done)

    def book(self, least_s: float) -> None:
        """Record the cost of a launch that has ended.

        `least_s` are the seconds for opening, warming up and the least number of ABBA pairs.
        """
        self._least_costs_s.append(least_s)

    def allows_more(self, now_s: float) -> bool:
        """Return whether the comparison may go on at `now_s`.

        Up to the first look it always may. At a look it may if the next look is within the budget, and between looks if one more
        launch is.
        """
        done = len(self._least_costs_s)
        looks = LOOKS[self._rigor]
        if done < looks[0]:
            return True
        launches = next_look(self._rigor, done) - done if done in looks else 1
        return done < looks[-1] and now_s + launches * median(self._least_costs_s) <= self._ends_s


def warmup_limit_s(share_s: float, candidates: int, device: Device) -> float:
    """Return the seconds after which a launch's warm-up gives up waiting.

    `share_s` is the launch's share of the budget. The limit is at least the time that each candidate should run, because a spent
    budget must not lead to timing cold models.
    """
    return max(candidates * LEAST_WARMUP_S[device], min(LONGEST_WARMUP_S, _WARMUP_SHARE * share_s))
