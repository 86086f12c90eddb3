"""Solver for the plan whose count comes closest to a target.

It bisects the ratio, and then changes group by group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prune_deploy.records import WidthPlan

_RATIO_STEPS = 16  # 2^-16 of the ratio is finer than one channel of any layer
_TOLERANCE = 0.01
_REACHES = (0.05, 0.1, 0.2)  # ratios beyond the solution that single groups may take to close what gap is left


def solve(plan_at: Callable[[float], WidthPlan], measure: Callable[[WidthPlan], int], target: int) -> tuple[WidthPlan, int]:
    """Find the plan nearest to `target`, and its count.

    `plan_at` maps a ratio in (0, 1) to a plan, and `measure` a plan to its count. Counts fall as the ratio grows. Widths move in steps,
    so neighbouring ratios can lie far apart. In between, single groups take their width from the narrower of the two plans.
    """
    low, high = 0.0, 1.0 - 2.0**-_RATIO_STEPS
    wide, wide_count = plan_at(low), measure(plan_at(low))
    narrow, narrow_count = plan_at(high), measure(plan_at(high))
    if narrow_count >= target:
        return narrow, narrow_count
    for _ in range(_RATIO_STEPS):
        middle = (low + high) / 2
        plan = plan_at(middle)
        size = measure(plan)
        if size >= target:
            low, wide, wide_count = middle, plan, size
        else:
            high, narrow, narrow_count = middle, plan, size
        if _same_widths(wide, narrow):
            break
    candidates = [(wide, wide_count), (narrow, narrow_count)]
    if min(abs(size - target) for _, size in candidates) > target * _TOLERANCE / 4:
        candidates.append(_between(wide, narrow, measure, target))
    if min(abs(size - target) for _, size in candidates) > target * _TOLERANCE:
        narrower = [plan_at(min(high + reach, 1.0 - 2.0**-_RATIO_STEPS)) for reach in _REACHES]
        candidates.append(_beyond(*candidates[-1], narrower, measure, target))
    return min(candidates, key=lambda candidate: abs(candidate[1] - target))


def _between(wide: WidthPlan, narrow: WidthPlan, measure: Callable[[WidthPlan], int], target: int) -> tuple[WidthPlan, int]:
    """The wide plan with as many groups narrowed as possible.

    The count stays at or above the target.
    """
    differing = [i for i, (w, n) in enumerate(zip(wide.groups, narrow.groups, strict=True)) if w.kept != n.kept]

    def mixed(chosen: set[int]) -> WidthPlan:
        return replace(wide, groups=tuple(narrow.groups[i] if i in chosen else g for i, g in enumerate(wide.groups)))

    low, high = 0, len(differing)  # narrowing the first `low` stays at or above the target, the first `high` falls below it
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if measure(mixed(set(differing[:middle]))) >= target else (low, middle)
    chosen = set(differing[:low])
    best, best_count = mixed(chosen), measure(mixed(chosen))
    for index in differing[high:]:
        if best_count <= target * (1 + _TOLERANCE / 4):
            break
        plan = mixed(chosen | {index})
        size = measure(plan)
        if size >= target:
            chosen.add(index)
            best, best_count = plan, size
    return best, best_count


def _beyond(
    best: WidthPlan, count: int, narrower: list[WidthPlan], measure: Callable[[WidthPlan], int], target: int
) -> tuple[WidthPlan, int]:
    """The plan with single groups narrowed further.

    The count stays at or above the target. Where one step of a wide group (a ViT's residual stream) is worth more than the
    tolerance, inner groups make up for it.
    """
    for plan in narrower:
        for index, group in enumerate(plan.groups):
            if count <= target * (1 + _TOLERANCE / 4):
                return best, count
            if group.kept < best.groups[index].kept:
                tried = replace(best, groups=(*best.groups[:index], group, *best.groups[index + 1 :]))
                size = measure(tried)
                if size >= target:
                    best, count = tried, size
    return best, count


def _same_widths(first: WidthPlan, second: WidthPlan) -> bool:
    return all(a.kept == b.kept for a, b in zip(first.groups, second.groups, strict=True))
