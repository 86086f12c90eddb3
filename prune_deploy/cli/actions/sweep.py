"""Runs sweeps and prints their cases."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prune_deploy.cli.actions.bench import documents, exit_code
from prune_deploy.cli.options.sweep import HOW_TO_RUN, refuse, spec_of
from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.cli.output.latency_table import print_records
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.errors import InputError
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.formatting import interval
from prune_deploy.reporting.figures.naming import plural
from prune_deploy.reporting.figures.rows import row
from prune_deploy.specs import SweepSpec
from prune_deploy.timm_names import require_architecture
from prune_deploy.workflows.forecast import about
from prune_deploy.workflows.sweep import Sweep, folder_of, open_sweep, resumed
from prune_deploy.workflows.sweep_accuracy import require_data
from prune_deploy.workflows.sweep_plan import plan_sweep, sweep_tasks


def sweep(values: dict[str, Any], given: set[str], as_json: bool) -> int:
    """Run a sweep, or resume it, and return the exit code."""
    sources = [name for name in ("preset", "spec", "resume") if values[name] is not None]
    if len(sources) > 1:
        raise InputError(f"--{sources[0]} contradicts --{sources[1]}", fix="name one of them")
    if values["resume"] is not None:
        refuse(given - HOW_TO_RUN, "resume")
        spec, folder = resumed(values["resume"]), values["resume"]
    else:
        spec = spec_of(values, given)
        named = values["preset"] or (values["spec"].stem if values["spec"] else spec.blocks[0].models[0])
        folder = values["out"] or folder_of(spec, f"sweep-{named}")
    return carry_out(spec, folder, values, as_json, _print_step, print_records)


Show = Callable[[Sequence[CaseRecord]], None]


def carry_out(spec: SweepSpec, folder: Path, values: dict[str, Any], as_json: bool, step: Show, whole: Show) -> int:
    """Run a sweep in its folder and return the exit code.

    `step` prints each comparison as it ends, `whole` all of it.
    """
    for name in dict.fromkeys(name for block in spec.blocks for name in block.models):
        require_architecture(name)
    if values["dry_run"]:
        require_data(spec)
        _print_plan(spec, folder, as_json)
        return 0
    opened = open_sweep(spec, folder, sys.argv[1:])
    _measure(opened, values["share_machine"], step)
    if as_json:
        emit_json({"run": str(folder), "cases": documents(opened.finished)})
    else:
        whole(opened.finished)
        data_console.print(f"run: {folder} (a page with plots: prune-deploy report {folder})", soft_wrap=True)
    return exit_code(opened.finished)


def _measure(opened: Sweep, share_machine: bool, show: Show) -> None:
    """Do what is left of a sweep, with progress on stderr."""
    done, todo = len(opened.steps) - len(opened.todo), len(opened.todo)
    if opened.mended:
        say(f"{opened.folder}: what an earlier end had left half-written is measured again")
    if not todo:
        say(f"{opened.folder}: all {done} comparisons are there; measure them again with --out DIR")
        return
    if done:
        say(f"{done} of {plural(done + todo, 'comparison')} are there")
    with StageLines() as progress:
        forecast = opened.forecast(progress)
        progress.expect(forecast)
        try:
            for records in opened.run(forecast, share_machine=share_machine):
                show(records)
        except KeyboardInterrupt:
            say(f"what was measured so far is in {opened.folder}; the same command goes on with it")
            raise


def _print_step(records: Sequence[CaseRecord]) -> None:
    """One line per case that has just ended, on stderr."""
    for record in records:
        if record.role != "dense":
            say(f"  {one_line(record)}")


def one_line(record: CaseRecord) -> str:
    """A case in a line."""
    figures = row(record)
    name = f"{record.label} {figures.backend} batch {figures.batch}"
    if figures.latency_ms is None or figures.speedup is None:
        return f"{name}: {record.status}: {record.reason}"
    ratio = interval(figures.speedup, figures.speedup_low, figures.speedup_high)
    return f"{name}: {figures.latency_ms:.4g} ms, {ratio}× {figures.verdict}"


def _print_plan(spec: SweepSpec, folder: Path, as_json: bool) -> None:
    """Print the plan of a sweep."""
    steps = plan_sweep(spec)
    tasks = sweep_tasks(steps, spec)
    seconds_of = {task.key: task.expected_s for task in tasks}
    measuring_s, total_s = sum(task.expected_s for task in tasks if task.stage == "measure"), sum(seconds_of.values())
    variants = [variant.name for _, variants in spec.models() for variant in variants]
    if as_json:
        comparisons = [{"name": step.name, "variants": [variant.name for variant in step.variants]} for step in steps]
        emit_json(
            {"run": str(folder), "variants": variants, "comparisons": comparisons, "measuring_s": measuring_s, "total_s": total_s}
        )
        return
    rows = table("comparison", "variants", "s")
    for step in steps:
        rows.add_row(
            step.name,
            ", ".join(variant.name for variant in step.others) or "-",
            f"{seconds_of.get(('measure', step.name), 0.0):.0f}",
        )
    data_console.print(rows)
    cases = sum(len(step.variants) for step in steps)
    message = f"{plural(len(variants), 'variant')} to make, {plural(cases, 'case')} in {plural(len(steps), 'comparison')}"
    data_console.print(f"{message}, {about(total_s)} in all, {about(measuring_s)} of it measuring; run: {folder}", soft_wrap=True)
