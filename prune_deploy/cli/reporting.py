"""What `report` does."""

from __future__ import annotations

from pathlib import Path

from prune_deploy.cli.measuring import show
from prune_deploy.cli.output import say
from prune_deploy.errors import VerificationError
from prune_deploy.reporting.reanalysis import reanalyze
from prune_deploy.runs import read_run


def show_run(run: Path, again: bool, as_json: bool) -> None:
    """Print a run's cases, computed anew from its samples if `again`.

    Raises:
        InputError: the folder is no run.
        VerificationError: the samples give other figures than the records.
    """
    read = read_run(run)
    if read.dropped_lines:
        say(f"{run}: the last record was half-written and is left out")
    records = list(read.cases)
    if again:
        done = list(reanalyze(read))
        changed = [each.record for each in done if not each.is_same]
        if changed:
            names = ", ".join(sorted({record.comparison for record in changed}))
            raise VerificationError(
                f"{run}: {names}: the samples give other figures than the record",
                fix="the run was made by another release, or was changed: measure again",
            )
        records = [each.record for each in done]
        say(f"{len(records)} cases computed again from raw samples: the same figures")
    show(run, records, as_json)
