"""Action of `compare`: two bundles measured now, or two recorded runs.

Gates become exit codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_deploy.cli.actions.bench import exit_code, request, run, show
from prune_deploy.cli.options.measure import device
from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.errors import InputError, RegressionError, UndecidedError
from prune_deploy.files import resolved
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.formatting import interval
from prune_deploy.reporting.figures.gates import Gated, gate_slower, parse_share, worst
from prune_deploy.reporting.figures.run_pairs import PairedCase, pair_runs
from prune_deploy.runs import RUN_FILE, read_run
from prune_deploy.workflows.bench import plan_pair


def compare(old: Path, new: Path, as_json: bool, values: dict[str, Any]) -> int:
    """Compare two bundles or two runs and return the exit code.

    Raises:
        InputError: one is a run and the other is not, or they have nothing in common.
        RegressionError, UndecidedError: a gate says so.
    """
    allowed = None if values["fail_if_slower"] is None else parse_share(values["fail_if_slower"], "--fail-if-slower")
    are_runs = [(folder / RUN_FILE).is_file() for folder in (old, new)]
    if are_runs[0] != are_runs[1]:
        raise InputError("one of the two is a run, the other is not", fix="compare two bundles, or two runs")
    if are_runs[0]:
        return _compare_runs(old, new, as_json, allowed, values["require_verdict"])
    return _compare_bundles(old, new, as_json, allowed, values)


def _compare_bundles(old: Path, new: Path, as_json: bool, allowed: float | None, values: dict[str, Any]) -> int:
    default = ("trt",) if device(values["device"]) == "cuda" else ("ort",)
    bench_request = request((old, new), default, values)
    bundle = f"{resolved(old).name}-{resolved(new).name}"
    folder, records = run(lambda each, _: plan_pair(old, new, each), bench_request, "compare", bundle, values["out"])
    news = [record for record in records if record.role == "candidate"]
    gated = [] if allowed is None else [_gate(each, allowed) for each in news]
    show(folder, records, as_json, gates=[dataclasses.asdict(gate) for gate in gated])
    code = exit_code(records)
    undecided = [_name(each) for each in news if each.speedup is None or each.speedup.verdict == "INCONCLUSIVE"]
    _judge(gated, undecided if values["require_verdict"] else [], has_gate=allowed is not None, has_failed=code != 0)
    return code


def _gate(record: CaseRecord, allowed: float) -> Gated:
    speedup = record.speedup
    return gate_slower(_name(record), speedup.ratio if speedup else None, allowed, speedup.margin if speedup else 0.0)


def _name(record: CaseRecord) -> str:
    return f"{record.label} {record.case.backend} {record.case.precision} batch {record.case.batch}"


def _compare_runs(old: Path, new: Path, as_json: bool, allowed: float | None, require_verdict: bool) -> int:
    first, second = read_run(old), read_run(new)
    pairs = list(pair_runs(first, second))
    if not pairs:
        raise InputError(f"{old} and {new} have no case in common", fix="compare runs of the same bundles, backends and batches")
    changed = first.record.environment.differences(second.record.environment)
    gated = [] if allowed is None else [gate_slower(pair.name, pair.ratio, allowed, pair.margin) for pair in pairs]
    if as_json:
        emit_json(
            {
                "pairs": [dataclasses.asdict(pair) for pair in pairs],
                "machine_differences": changed,
                "gates": [dataclasses.asdict(gate) for gate in gated],
            }
        )
    else:
        _print_pairs(pairs, changed)
    undecided = [pair.name for pair in pairs if pair.verdict == "INCONCLUSIVE"]
    _judge(gated, undecided if require_verdict else [], has_gate=allowed is not None, has_failed=False)
    return 0


def _print_pairs(pairs: Sequence[PairedCase], changed: Sequence[str]) -> None:
    rows = table("case", "old speed-up", "new speed-up", "new / old", "verdict", "old ms", "new ms")
    for pair in pairs:
        speedups = [
            interval(each.value, each.low, each.high) if each else "-"
            for each in (pair.first_speedup, pair.second_speedup, pair.ratio)
        ]
        times = [f"{each:.4g}" if each is not None else "-" for each in (pair.first_ms, pair.second_ms)]
        rows.add_row(pair.name, *speedups, pair.verdict, *times)
    data_console.print(rows)
    for pair in pairs:
        if pair.reason:
            data_console.print(f"{pair.name}: {pair.reason}")
    data_console.print("Verdicts are of the speed-ups over each run's own dense model; times of two runs are shown without one.")
    if changed:
        data_console.print("The machines differ: " + "; ".join(changed))


def _judge(gated: Sequence[Gated], undecided: Sequence[str], *, has_gate: bool, has_failed: bool) -> None:
    """End with the gates' exit code.

    A failed case has an exit code of its own, which outranks an undecided gate.

    Raises:
        RegressionError: a case is slower than allowed.
        UndecidedError: the measurement cannot tell.
    """
    for gate in gated:
        say(gate.sentence)
    outcome = worst(gated) if has_gate else "passed"
    if outcome == "slower":
        sentence = next(gate.sentence for gate in gated if gate.outcome == "slower")
        raise RegressionError(sentence, fix="find what made it slower, or allow more with --fail-if-slower")
    if (outcome == "undecided" or undecided) and not has_failed:
        sentences = [gate.sentence for gate in gated if gate.outcome == "undecided"] + [
            f"{name}: INCONCLUSIVE" for name in undecided
        ]
        raise UndecidedError(
            (sentences or ["there is no case to judge"])[0], fix="raise --budget-s, or measure on a quieter machine"
        )
