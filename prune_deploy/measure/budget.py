"""How many launches, how long each, and how long all of it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from prune_deploy.measure.launch import LEAST_PALINDROMES
from prune_deploy.measure.schedule import least_block_s
from prune_deploy.measure.warmup import LEAST_WARMUP_S, LONGEST_WARMUP_S
from prune_deploy.specs import Device, MeasureSpec, Rigor

LOOKS: dict[Rigor, tuple[int, ...]] = {"quick": (1,), "full": (5, 7, 10, 14, 20, 30)}
"""Numbers of launches after which the figures are looked at. The first look's launches are always done, the last look is the end."""

_WARMUP_SHARE = 0.25


def next_look(rigor: Rigor, launches: int) -> int:
    """The number of launches at the first look that lies ahead of so many; at the end, that number itself."""
    return next((look for look in LOOKS[rigor] if look > launches), launches)


class Budget:
    """The seconds of one comparison; everything since `started_s` counts, the opening of candidates too."""

    def __init__(self, spec: MeasureSpec, started_s: float) -> None:
        self._rigor: Rigor = spec.rigor
        self._ends_s = started_s + spec.seconds
        self._least_costs_s: list[float] = []

    def share_s(self, now_s: float) -> float:
        """Seconds for the coming launch: what is left, divided by the launches that are certain to come up to the next look."""
        done = len(self._least_costs_s)
        return max(0.0, self._ends_s - now_s) / (next_look(self._rigor, done) - done)

    def book(self, least_s: float) -> None:
        """A launch has ended; opening, warming up and the least number of palindromes took it `least_s` seconds."""
        self._least_costs_s.append(least_s)

    def allows_more(self, now_s: float) -> bool:
        """Whether to go on: to the first look always, from a look if the next one is in reach, between looks if a launch is."""
        done = len(self._least_costs_s)
        looks = LOOKS[self._rigor]
        if done < looks[0]:
            return True
        launches = next_look(self._rigor, done) - done if done in looks else 1
        return done < looks[-1] and now_s + launches * median(self._least_costs_s) <= self._ends_s


def warmup_limit_s(share_s: float, candidates: int, device: Device) -> float:
    """Seconds after which the warm-up of a launch with this share of the budget gives up on those that have not settled.

    Never less than the least that each candidate should run: a spent budget is no reason to time cold models.
    """
    return max(candidates * LEAST_WARMUP_S[device], min(LONGEST_WARMUP_S, _WARMUP_SHARE * share_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Seconds that a comparison will take: `least_s` if all is clear at the next look, `most_s` if it never is."""

    least_s: float
    most_s: float


def predict(spec: MeasureSpec, candidates: int, launches_s: Sequence[float] = ()) -> Prediction:
    """How long a comparison of so many candidates, the dense model and its copy among them, will take.

    `launches_s` are the seconds that each launch so far has taken. Before the first one nothing is known of the models: the prediction
    then leaves out their start, and slow models take longer than it says.
    """
    device, rigor, done = spec.options.device, spec.rigor, len(launches_s)
    looks = LOOKS[rigor]
    if not done:
        block_s = least_block_s(device, spec.mode, rigor)
        least_s = looks[0] * candidates * (LEAST_WARMUP_S[device] + 2 * LEAST_PALINDROMES * block_s)
        return Prediction(least_s=least_s, most_s=max(spec.seconds, least_s))
    spent_s, each_s = sum(launches_s), fmean(launches_s)
    least_s = spent_s + (next_look(rigor, done) - done) * each_s
    most_s = spent_s + (looks[-1] - done) * each_s
    return Prediction(least_s=least_s, most_s=max(least_s, min(spec.seconds, most_s)))
