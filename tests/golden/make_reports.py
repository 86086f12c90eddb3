"""Writes reports/: two runs with simulated samples, and what Markdown, CSV and JSON made of them. Run it where a report is meant to change.

python tests/golden/make_reports.py [--runs]    with --runs the runs are simulated anew, too
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from prune_deploy.reporting.figures.report import read_report
from prune_deploy.reporting.renderers import render
from support.report_runs import GOLDEN_FORMATS, GOLDEN_REPORTS, GOLDEN_RUNS, write_runs


def main() -> None:
    """Write what is asked for."""
    if "--runs" in sys.argv[1:]:
        for run in GOLDEN_RUNS:
            shutil.rmtree(run, ignore_errors=True)
        write_runs(GOLDEN_REPORTS)
    report = read_report(GOLDEN_RUNS)
    for form in GOLDEN_FORMATS:
        for name, content in render(report, form, GOLDEN_REPORTS).items():
            (GOLDEN_REPORTS / name).write_bytes(content)


if __name__ == "__main__":
    main()
