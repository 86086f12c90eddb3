"""One or several runs with everything that a report shows.

These are figures, machines, traces, explanations and the bundles beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prune_deploy.errors import InputError
from prune_deploy.notebook import Tabular
from prune_deploy.records import BundleRecord, CaseRecord, Environment, Explanation, Trace
from prune_deploy.reporting.figures.reproduce import commands
from prune_deploy.reporting.figures.rows import Row, row
from prune_deploy.runs import Run, read_explanations, read_run, read_traces, trace_stem
from prune_deploy.store import BUNDLE_FILE, read_bundle

_BUNDLES = "bundles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One case in a report.

    - `id` is unique within the report.
    - `trace` is the stem of its traces, "" without.
    - `commands` make the case again.
    """

    id: str
    record: CaseRecord
    row: Row
    machine: str
    run: str
    trace: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """A run with the contents of its folder.

    `machine` is the machine's name in this report. `unreadable` names damaged bundles.
    """

    run: Run
    machine: str
    lines: tuple[Line, ...]
    traces: dict[str, Trace] = field(default_factory=dict)
    explanations: dict[str, Explanation] = field(default_factory=dict)
    bundles: dict[str, BundleRecord] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The run's own name."""
        return self.run.record.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Tabular):
    """Runs in the order in which they were named.

    A `heading` replaces the models' names as the title.
    """

    runs: tuple[ReportedRun, ...]
    heading: str = ""

    @property
    def lines(self) -> Iterator[Line]:
        """All cases of all runs."""
        return (line for run in self.runs for line in run.lines)

    @property
    def title(self) -> str:
        """The heading, else the models that were measured."""
        if self.heading:
            return self.heading
        models = list(dict.fromkeys(line.row.model for line in self.lines))
        return ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "") if models else "no case yet"


def read_report(folders: Sequence[Path]) -> Report:
    """Read runs from disk into a report.

    Raises:
        InputError: a folder is no run, or a file in it is damaged.
    """
    return make_report([read_run(folder) for folder in folders])


def make_report(runs: Sequence[Run], heading: str = "") -> Report:
    """Make the report of runs in memory.

    Raises:
        InputError: a trace or an explanation is damaged.
    """
    names = machine_names([run.record.environment for run in runs])
    named = enumerate(zip(runs, names, strict=True))
    return Report(runs=tuple(_reported(run, name, number) for number, (run, name) in named), heading=heading)


def _reported(run: Run, machine: str, number: int) -> ReportedRun:
    traces = read_traces(run.folder)
    bundles, unreadable = _bundles(run.folder)
    lines = tuple(
        Line(
            id=f"case-{number}-{index}",
            record=record,
            row=row(record),
            machine=machine,
            run=run.record.id,
            trace=trace_stem(record) if trace_stem(record) in traces else "",
            commands=commands(record, run.record),
        )
        for index, record in enumerate(run.cases)
    )
    return ReportedRun(
        run=run,
        machine=machine,
        lines=lines,
        traces=traces,
        explanations=read_explanations(run.folder),
        bundles=bundles,
        unreadable=unreadable,
    )


def _bundles(folder: Path) -> tuple[dict[str, BundleRecord], tuple[str, ...]]:
    """Read the bundle records that a sweep kept in its run.

    A damaged bundle costs its receipt, not the report.
    """
    records, unreadable = {}, []
    for path in sorted((folder / _BUNDLES).glob(f"*/{BUNDLE_FILE}")):
        try:
            records[path.parent.name] = read_bundle(path.parent)
        except InputError as error:
            unreadable.append(f"{path.parent.name}: {error.message}")
    return records, tuple(unreadable)


def machine_names(environments: Sequence[Environment]) -> list[str]:
    """Name each run's machine shortly: its GPU, else its CPU.

    Names that two machines would share are numbered.
    """
    short = [_machine_name(each) for each in environments]
    machines = [replace(each, captured_at="") for each in environments]
    names = []
    for name, machine in zip(short, machines, strict=True):
        alike: list[Environment] = []
        for other, candidate in zip(short, machines, strict=True):
            if other == name and candidate not in alike:
                alike.append(candidate)
        names.append(name if len(alike) == 1 else f"{name} ({alike.index(machine) + 1})")
    return names


def _machine_name(environment: Environment) -> str:
    if environment.gpus:
        name = environment.gpus[0].split(",")[0].removeprefix("NVIDIA ")
        return name if len(environment.gpus) == 1 else f"{len(environment.gpus)} × {name}"
    cpu = re.split(r" @ | w/ | with ", environment.cpu)[0].replace("(R)", "").replace("(TM)", "").replace(" CPU", "")
    return " ".join(cpu.split())
