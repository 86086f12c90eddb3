"""Runs on disk: whole lines only, hashes that bite, names that cannot lead elsewhere."""

from __future__ import annotations

import dataclasses
import json
import resource
from pathlib import Path

import pytest

from prune_deploy.errors import InputError, StorageError, VerificationError
from prune_deploy.records import CaseRecord, to_json
from prune_deploy.runs import (
    RECORDS_FILE,
    append_cases,
    close_run,
    create_run,
    mend_records,
    new_run_id,
    read_run,
    read_samples,
    trace_stem,
    write_samples,
)
from prune_deploy.specs import Across
from support.run_records import case_record, run_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    create_run(place, run_record())
    return place


def test_what_is_appended_is_read_in_order(folder: Path) -> None:
    records = [case_record(batch=batch) for batch in (1, 8, 64)]
    for record in records:
        append_cases(folder, [record])
    run = read_run(folder)
    assert run.record == run_record()
    assert list(run.cases) == records
    assert run.dropped_lines == 0
    assert (folder / RECORDS_FILE).read_text().count("\n") == 3


def test_a_line_that_does_not_fit_leaves_none_of_itself(folder: Path) -> None:
    append_cases(folder, [case_record()])
    size = (folder / RECORDS_FILE).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        with pytest.raises(StorageError):
            append_cases(folder, [case_record(batch=8)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    append_cases(folder, [case_record(batch=64)])
    run = read_run(folder)
    assert [record.case.batch for record in run.cases] == [1, 64]
    assert run.dropped_lines == 0


def test_a_half_written_last_line_is_dropped_and_counted(folder: Path) -> None:
    append_cases(folder, [case_record()])
    append_cases(folder, [case_record(batch=8)])
    path = folder / RECORDS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    run = read_run(folder)
    assert [record.case.batch for record in run.cases] == [1]
    assert run.dropped_lines == 1


def test_a_damaged_whole_line_is_told_with_its_number(folder: Path) -> None:
    append_cases(folder, [case_record()])
    with (folder / RECORDS_FILE).open("a") as stream:
        stream.write('{"case": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_run(folder)


def test_samples_are_what_was_measured_or_an_error(folder: Path) -> None:
    name, digest = write_samples(folder, "resnet-ort-b1", b"nanoseconds")
    record = dataclasses.replace(case_record(), samples_file=name, samples_sha256=digest)
    assert read_samples(folder, record) == b"nanoseconds"
    (folder / name).write_bytes(b"nanosecondt")
    with pytest.raises(VerificationError, match="hash differs"):
        read_samples(folder, record)
    (folder / name).unlink()
    with pytest.raises(InputError, match="cannot read"):
        read_samples(folder, record)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
def test_samples_outside_the_run_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside the run"):
        read_samples(folder, dataclasses.replace(case_record(), samples_file=name))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run"):
        read_run(tmp_path)


def test_a_run_never_takes_the_place_of_something(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        create_run(folder, run_record())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is there already"):
        create_run(tmp_path / "file", run_record())
    (tmp_path / "locked").mkdir()
    with pytest.raises(StorageError):
        create_run(tmp_path / "file" / "run", run_record())


def test_names_of_runs_are_different_and_safe() -> None:
    names = {new_run_id("bench", "a/b c-é") for _ in range(50)}
    assert len(names) > 40
    assert all("/" not in name and " " not in name and "é" not in name for name in names)


def expected() -> dict[str, set[str]]:
    """Two comparisons of two cases each."""
    return {"a": {"net-dense", "net-l2"}, "b": {"net-dense", "net-l2"}}


def of(comparison: str, label: str) -> CaseRecord:
    return dataclasses.replace(case_record(), comparison=comparison, label=label)


def test_only_finished_comparisons_survive_a_kill(folder: Path) -> None:
    whole = [of("a", "net-dense"), of("a", "net-l2")]
    append_cases(folder, [*whole, of("b", "net-dense")])
    assert list(mend_records(read_run(folder), expected())) == whole
    assert list(read_run(folder).cases) == whole, "what was half-measured is out of the file"
    append_cases(folder, [of("b", "net-dense"), of("b", "net-l2")])
    assert len(mend_records(read_run(folder), expected())) == 4


def test_a_half_line_is_cut_off_before_anything_is_appended(folder: Path) -> None:
    append_cases(folder, [of("a", "net-dense"), of("a", "net-l2")])
    whole = (folder / RECORDS_FILE).read_bytes()
    (folder / RECORDS_FILE).write_bytes(whole + whole[:50])
    assert len(mend_records(read_run(folder), expected())) == 2
    assert (folder / RECORDS_FILE).read_bytes() == whole


def test_what_is_there_twice_counts_once_and_a_whole_file_is_not_touched(folder: Path) -> None:
    records = [of(name, label) for name in "ba" for label in ("net-l2", "net-dense")]
    append_cases(folder, records)
    before = (folder / RECORDS_FILE).stat().st_mtime_ns
    assert list(mend_records(read_run(folder), expected())) == records
    assert (folder / RECORDS_FILE).stat().st_mtime_ns == before
    append_cases(folder, records[:2])
    assert list(mend_records(read_run(folder), expected())) == records
    assert list(read_run(folder).cases) == records


def of_open(comparison: str, label: str, cases: int = 2) -> CaseRecord:
    return dataclasses.replace(of(comparison, label), comparison_cases=cases)


def test_an_open_run_keeps_the_comparisons_that_have_all_their_cases(folder: Path) -> None:
    whole = [of_open("a", "net-dense"), of_open("a", "net-l2"), of_open("b", "net-dense", 1)]
    append_cases(folder, [*whole, of_open("c", "net-dense")])
    assert list(mend_records(read_run(folder))) == whole
    assert list(read_run(folder).cases) == whole


def test_a_bundle_counts_once_for_each_backend_of_its_comparison(folder: Path) -> None:
    first = of_open("a", "net-dense")
    second = dataclasses.replace(first, case=dataclasses.replace(first.case, backend="null"))
    append_cases(folder, [first, first])
    assert mend_records(read_run(folder)) == (), "it is there twice, and the other backend's case is not"
    append_cases(folder, [first, second])
    assert list(mend_records(read_run(folder))) == [first, second]


def test_a_closed_run_has_the_cases_that_were_measured(tmp_path: Path) -> None:
    place = tmp_path / "run"
    create_run(place, dataclasses.replace(run_record(), cases=(), is_open=True))
    append_cases(place, [case_record(batch=1), case_record(batch=8)])
    assert read_run(place).record.is_open
    closed = close_run(place)
    assert closed == read_run(place).record
    assert (closed.is_open, [case.batch for case in closed.cases]) == (False, [1, 8])


@pytest.mark.parametrize("across", ["", "backends", "precisions"])
def test_names_of_traces_follow_what_the_record_says_not_how_it_is_named(across: Across) -> None:
    record = dataclasses.replace(case_record(), across=across, comparison="net-across-b1", label="net-l2")
    case = record.case
    assert trace_stem(record) == (f"net-across-b1-{case.backend}-{case.precision}-net-l2" if across else "net-across-b1-net-l2")


@pytest.mark.parametrize(
    ("name", "across"),
    [
        ("net-across-b{}", "backends"),
        ("net-ort-across-precisions-b{}", "precisions"),
        ("net-ort-b{}", ""),
        ("net-across-b9{}", ""),
    ],
)
def test_records_of_schema_version_1_said_it_in_the_name_of_their_comparison(folder: Path, name: str, across: Across) -> None:
    record = dataclasses.replace(case_record(), comparison=name.format(case_record().case.batch), schema_version=1)
    old = json.loads(to_json(record))
    del old["across"], old["comparison_cases"]
    (folder / RECORDS_FILE).write_text(json.dumps(old) + "\n")
    (read,) = read_run(folder).cases
    assert (read.comparison, read.across, read.comparison_cases) == (record.comparison, across, 0)
    assert trace_stem(read) == trace_stem(dataclasses.replace(record, across=across))


@pytest.mark.parametrize("unknown", [("c", "net-l2"), ("a", "other-l2")])
def test_a_stranger_s_record_is_refused_and_left_where_it_is(folder: Path, unknown: tuple[str, str]) -> None:
    append_cases(folder, [of("a", "net-dense"), of(*unknown)])
    with pytest.raises(InputError, match="a record of another run"):
        mend_records(read_run(folder), expected())
    assert len(read_run(folder).cases) == 2


def test_what_a_kill_left_of_a_beginning_is_no_obstacle(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / ".unfinished-run.json-1").write_text("{")
    create_run(place, run_record())
    assert read_run(place).cases == ()
