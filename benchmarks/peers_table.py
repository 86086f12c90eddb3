"""What the rows of harness_vs_peers.py say, as Markdown; nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from peers import OURS, SEQUENTIAL

CONTROL_GOAL, RATIO_GOAL, TIMES_GOAL = 0.01, 0.03, 5.0
CONVERGED = f"{OURS}, converged"

_HEADER = """
| protocol | A/A error p50 | p95 | max | known-ratio error p50 | p95 | max | wall s per trial | n A/A, ratio | failed |
|---|---|---|---|---|---|---|---|---|---|"""

Row = dict[str, Any]


class Truth(NamedTuple):
    """Dense time over pruned time with each model alone, and the least and the most that a single pair of runs showed."""

    ratio: float
    least: float
    most: float


class Errors(NamedTuple):
    """Shares by which one protocol was off: the dense model against its copy, and against the pruned one."""

    control: NDArray[np.float64]
    ratio: NDArray[np.float64]


def table(rows: Sequence[Row]) -> str:
    """Settings, truth, a table per condition, and which goals were met."""
    asked = rows[0]
    truth = known_ratio(rows)
    lines = [
        f"{asked['model'] or 'given files'}, {asked['pixels']} px, batch 1, threads {asked['threads'] or 'of the runtime’s choice'}, "
        f"budget {asked['budget_s']:g} s, ours at rigor {asked['rigor']}; {asked['cpu']}, {asked['cpu_count']} CPUs",
        truth_line(rows, truth),
    ]
    trials = [row for row in rows if row["kind"] == "trial"]
    goals: list[str] = []
    for condition in dict.fromkeys(row["condition"] for row in trials):
        here = [row for row in trials if row["condition"] == condition]
        errors = errors_by_protocol(here, truth)
        lines += ["", f"### {condition}", _HEADER]
        lines += [table_line(protocol, found, here) for protocol, found in errors.items()]
        lines += ["", certainty_line(here)]
        goals += goal_lines(condition, errors)
    return "\n".join([*lines, "", *(f"- {line}" for line in goals)])


def known_ratio(rows: Sequence[Row]) -> Truth | None:
    """The truth, None before it has been measured."""
    pairs = [row for row in rows if row["kind"] == "truth"]
    if not pairs:
        return None
    dense_ms, pruned_ms = (np.array([row[name] for row in pairs]) for name in ("dense_ms", "pruned_ms"))
    each = dense_ms / pruned_ms
    return Truth(float(np.median(dense_ms) / np.median(pruned_ms)), float(each.min()), float(each.max()))


def truth_line(rows: Sequence[Row], truth: Truth | None) -> str:
    """The truth with its spread, which no known-ratio error can be told from."""
    if truth is None:
        return "known ratio: not measured"
    pairs = [row for row in rows if row["kind"] == "truth"]
    times = [f"{name} {np.median([row[f'{name}_ms'] for row in pairs]):.3f} ms" for name in ("dense", "pruned")]
    return f"known ratio {truth.ratio:.4f} ({', '.join(times)}); its {len(pairs)} pairs of runs: {truth.least:.4f} to {truth.most:.4f}"


def errors_by_protocol(trials: Sequence[Row], truth: Truth | None) -> dict[str, Errors]:
    """Errors of all trials that ended well; ours a second time, those only that it calls converged."""
    ended = [row for row in trials if "error" not in row]
    protocols = [each for each in (*SEQUENTIAL, OURS) if any(row["protocol"] == each for row in trials)]
    found = {each: errors_of([row for row in ended if row["protocol"] == each], truth) for each in protocols}
    if OURS in found:
        own = [row for row in ended if row["protocol"] == OURS]
        found[CONVERGED] = errors_of(own, truth, only_converged=True)
    return found


def errors_of(rows: Sequence[Row], truth: Truth | None, *, only_converged: bool = False) -> Errors:
    """Errors of the rows; each of the two figures converges by itself, and counts by itself."""
    control = np.array([row["control"] for row in rows if not only_converged or row["control_converged"]], dtype=np.float64)
    ratio = np.array([row["ratio"] for row in rows if not only_converged or row["ratio_converged"]], dtype=np.float64)
    if truth is None:
        return Errors(np.abs(control - 1), np.zeros(0))
    return Errors(np.abs(control - 1), np.abs(ratio / truth.ratio - 1))


def table_line(protocol: str, errors: Errors, trials: Sequence[Row]) -> str:
    """One protocol. Its wall time is that of all its trials that ended well, converged or not."""
    own = [row for row in trials if row["protocol"] == (OURS if protocol == CONVERGED else protocol)]
    walls_s = [row["wall_s"] for row in own if "error" not in row]
    wall = f"{np.median(walls_s):.1f}" if walls_s else "–"
    failed = sum("error" in row for row in own)
    cells = [protocol, *shares(errors.control), *shares(errors.ratio), wall, f"{len(errors.control)}, {len(errors.ratio)}"]
    return f"| {' | '.join([*cells, str(failed)])} |"


def shares(errors: NDArray[np.float64]) -> list[str]:
    """Median, 95th percentile and maximum in percent."""
    if not errors.size:
        return ["–"] * 3
    return [f"{100 * value:.2f} %" for value in (*np.percentile(errors, (50, 95)), errors.max())]


def certainty_line(trials: Sequence[Row]) -> str:
    """What our own trials said of themselves: how many converged, their verdicts, and whether their intervals hold 1 for A/A."""
    own = [row for row in trials if row["protocol"] == OURS and "error" not in row]
    intervals = [row["control_interval"] for row in own if None not in row["control_interval"]]
    covering = sum(low <= 1 <= high for low, high in intervals)
    verdicts = [f"{sum(row['verdict'] == each for row in own)} {each}" for each in sorted({row["verdict"] for row in own})]
    converged = [sum(row[f"{figure}_converged"] for row in own) for figure in ("control", "ratio")]
    return (
        f"{OURS}, {len(own)} trials: converged A/A {converged[0]}, ratio {converged[1]}; verdicts {', '.join(verdicts) or 'none'}; "
        f"A/A interval holds 1 in {covering} of {len(intervals)}"
    )


def goal_lines(condition: str, errors: dict[str, Errors]) -> list[str]:
    """Which goals were met under one condition."""
    own = errors.get(CONVERGED, Errors(np.zeros(0), np.zeros(0)))
    lines = [
        at_most(f"{condition}, A/A error p95 of converged trials", p95(own.control), CONTROL_GOAL),
        at_most(f"{condition}, known-ratio error p95 of converged trials", p95(own.ratio), RATIO_GOAL),
    ]
    return lines if condition != "burner" else lines + factor_lines(condition, errors)


def factor_lines(condition: str, errors: dict[str, Errors]) -> list[str]:
    """How many times smaller our A/A error is than that of the best sequential protocol, over all and over converged trials."""
    peers = {each: value for each in SEQUENTIAL if each in errors and (value := p95(errors[each].control)) is not None}
    lines = []
    for name in (OURS, CONVERGED):
        own = p95(errors[name].control) if name in errors else None
        goal = f"{condition}, A/A error p95 of the best sequential protocol / {name}, at least {TIMES_GOAL:g}"
        if own is None or not peers:
            lines.append(f"{goal}: not measured")
            continue
        best = min(peers, key=lambda each: peers[each])
        factor = peers[best] / own if own > 0 else float("inf")
        verdict = "met" if factor >= TIMES_GOAL else "missed"
        lines.append(f"{goal}: {factor:.1f} ({best}: {100 * peers[best]:.2f} %, {name}: {100 * own:.2f} %), {verdict}")
    return lines


def p95(errors: NDArray[np.float64]) -> float | None:
    """The 95th percentile, None of nothing."""
    return float(np.percentile(errors, 95)) if errors.size else None


def at_most(what: str, value: float | None, limit: float) -> str:
    """A goal with an upper limit."""
    if value is None:
        return f"{what}, at most {limit:.0%}: not measured"
    return f"{what}, at most {limit:.0%}: {100 * value:.2f} %, {'met' if value <= limit else 'missed'}"
