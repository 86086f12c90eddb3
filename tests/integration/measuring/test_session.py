"""An open run, whose cases are not known beforehand: measured, killed in the midst of a write, mended, gone on with and closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.execution.loaded_bundle import LoadedBundle
from prune_deploy.execution.planning import parse_run_configs, plan_comparison
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.interfaces import Silent
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.report import read_report
from prune_deploy.reporting.figures.summary import summaries
from prune_deploy.runs import RECORDS_FILE, close_run, mend_records, read_run
from prune_deploy.specs import EngineSpec, ExportSpec, MeasureSpec, ModelSpec, PruneSpec
from prune_deploy.workflows.session import MeasuringSession, begin_run
from support.commands import call, here
from support.fakes.faulty_backends import install

__all__ = ["here"]  # a fixture

SPEC = MeasureSpec(rigor="quick", budget_s=0.3)
LIMIT_S = 300.0


def request(ratio: float | None) -> ExportSpec:
    return ExportSpec(
        model=ModelSpec(name="test_byobnet", num_classes=10, input_size=(3, 32, 32)),
        prune=None if ratio is None else PruneSpec(ratio=ratio),
        engine=EngineSpec(library="none"),
    )


def search(session: MeasuringSession, ratios: list[float]) -> list[CaseRecord]:
    """Measure one ratio after the other, each a comparison of its own, as a search would that chooses them by what it saw."""

    def bundle(ratio: float | None) -> LoadedBundle:
        return session.export(request(ratio), session.folder / "bundles" / f"net-{ratio}", limit_s=LIMIT_S)

    records = []
    for ratio in ratios:
        pair = (bundle(None), bundle(ratio))
        planned = plan_comparison(f"net-{ratio}", pair, parse_run_configs(("null",), ("fp32",)), 1, session.spec)
        found = session.measure(planned, Silent())
        session.append(found)
        records += found
    return records


def sentences(run: Path) -> tuple[str, ...]:
    (summary,) = summaries(read_report([run]))
    return summary.sentences


@pytest.mark.release
def test_an_open_run_survives_a_kill_and_is_closed(here: Path) -> None:
    run = here / "run"
    begin_run(run, SPEC, None, command=("search",))
    with MeasuringSession.open(SPEC, run) as session:
        first = search(session, [0.25, 0.5])
    assert [record.status for record in first] == ["ok" if record.speedup is None else record.status for record in first]
    assert all(record.latency is not None for record in first)
    assert not (run / "caches").exists()
    assert "The run is not finished: 4 cases so far." in sentences(run)

    path = run / RECORDS_FILE
    path.write_bytes(path.read_bytes()[:-40])
    assert (len(read_run(run).cases), read_run(run).dropped_lines) == (3, 1)
    assert call("report", run, "--json").code == 0, "a run is readable however it was left"
    kept = mend_records(read_run(run))
    assert list(kept) == first[:2], "what is left of the second comparison is taken out"

    with MeasuringSession.open(SPEC, run) as session:
        search(session, [0.5])
    closed = close_run(run)
    assert [case.bundle for case in closed.cases] == ["net-None", "net-0.25", "net-None", "net-0.5"]
    assert not any("not finished" in sentence for sentence in sentences(run))
    assert call("report", run, "--reanalyze", "--json").code == 0
    assert mend_records(read_run(run)) == read_run(run).cases


def test_a_bundle_that_cannot_be_made_costs_itself_only(here: Path) -> None:
    run = here / "run"
    begin_run(run, SPEC, None, command=("search",))
    impossible = ExportSpec(model=ModelSpec(name="nosuch_net"), prune=None, engine=EngineSpec(library="none"))
    with MeasuringSession.open(SPEC, run) as session:
        with pytest.raises(WorkerError, match="nosuch_net"):
            session.export(impossible, run / "bundles" / "nosuch", limit_s=LIMIT_S)
        assert session.export(request(None), run / "bundles" / "net", limit_s=LIMIT_S).damage is None


def test_a_session_without_a_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MeasuringSession.open(MeasureSpec()) as session:
        assert session.bandwidth_gb_s("cpu", 1) > 0
        assert session.folder.parent.parent == tmp_path
    assert list(tmp_path.glob("*/*")) == []


def test_a_log_that_an_error_names_is_still_there_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in install(tmp_path / "path").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    crashing = replace(request(0.5), prune=PruneSpec(ratio=0.5, method="faulty-segfault"))
    with MeasuringSession.open(MeasureSpec()) as session:
        with pytest.raises(WorkerError, match="SIGSEGV") as error:
            session.export(crashing, tmp_path / "bundle", limit_s=LIMIT_S)
        assert session.builder.has_named_log
    log = error.value.log
    assert log is not None
    assert str(log) in error.value.fix
    assert "Segmentation fault" in log.read_text()
    assert list((tmp_path / "temporary").glob("*/*")) == [log.parents[1]]
