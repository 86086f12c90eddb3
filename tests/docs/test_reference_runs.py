"""Reference runs are small and whole, and figures follow from samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.runs import read_explanations, read_run, read_traces
from support import ROOT

REFERENCE = ROOT / "profiles" / "reference"
RUNS = sorted(path for path in REFERENCE.iterdir() if path.is_dir())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_reference_run_is_small_whole_and_can_be_computed_again(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.stat().st_size > 1_000_000] == []
    read = read_run(run)
    assert read.dropped_lines == 0
    assert len(read.cases) == len(read.record.cases)
    assert all(each.is_same for each in reanalyze(read))
    read_traces(run)
    read_explanations(run)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_reference_run_names_no_place_of_the_machine_it_was_made_on(run: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in run.rglob("*.json*")]
    assert [found for text in texts for found in re.findall(r'"/[^"]*"|/(?:home|root|tmp|Users)/', text)] == []


def test_there_are_reference_runs() -> None:
    assert RUNS
