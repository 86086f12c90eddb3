"""Figures made again from samples, whose records may point elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prune_deploy.errors import InputError
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.runs import read_run
from support.report_runs import GOLDEN_RUNS


@pytest.mark.parametrize("index", [99, -2, 2**63])
def test_a_record_of_no_candidate_is_refused(index: int) -> None:
    run = read_run(GOLDEN_RUNS[1])
    record = next(each for each in run.cases if each.samples_file)
    with pytest.raises(InputError, match=f"number {index} of"):
        list(reanalyze(replace(run, cases=(replace(record, index=index),))))
