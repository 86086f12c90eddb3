"""Reports from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prune_deploy.api.arguments import Folder
from prune_deploy.errors import InputError
from prune_deploy.runs import Run, read_run

if TYPE_CHECKING:
    from prune_deploy.reporting.figures.report import Report


def read_report(runs: Run | Folder | Iterable[Run | Folder]) -> Report:
    """Return the report of one run or several.

    Runs are given as `bench` returns them, or by their folders. A notebook shows the report as tables, and `to_frame` makes a
    DataFrame of it.

    Raises:
        InputError: a folder is no run, or a file in it is damaged.
    """
    from prune_deploy.reporting.figures.report import make_report

    given: list[Run | Folder]
    given = [runs] if isinstance(runs, (Run, str, bytes, os.PathLike)) or not isinstance(runs, Iterable) else list(runs)
    found = [run if isinstance(run, Run) else read_run(run) for run in given]
    if not found:
        raise InputError("no run was given", fix="give what `bench` returned, or the folder of a run", field="runs")
    return make_report(found)
