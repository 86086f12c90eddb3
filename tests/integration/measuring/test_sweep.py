"""`sweep` on real bundles: what is killed goes on, what fails is a record, what is finished is not measured again."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.records import to_json
from prune_deploy.runs import RECORDS_FILE, RUN_FILE, read_run
from support.commands import HANGING_S, call, here, refused, spawn, start
from support.fakes.faulty_backends import install
from support.killed_sweeps import GRID, identities, kill_until_done, without_records

__all__ = ["here"]  # a fixture


NULL = (*GRID, "--backends", "null", "--batch", "1,2", "--together", "2", "--budget-s", "0.3", "--share-machine")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, with its bundles."""
    folder = tmp_path_factory.mktemp("sweep")
    done = spawn("sweep", *NULL, "--out", "run", folder=folder)
    assert done.code == 0, done.stderr
    return folder / "run"


@pytest.fixture
def begun(undisturbed: Path, here: Path) -> Path:
    """The same sweep with its bundles made and nothing measured."""
    return without_records(undisturbed, here / "run")


@pytest.mark.release
def test_a_sweep_killed_again_and_again_ends_with_the_records_of_an_undisturbed_one(undisturbed: Path, begun: Path) -> None:
    """In short; tests/slow does it at thirty moments."""
    kill_until_done((*NULL, "--out", "run"), undisturbed, begun, kills=5)
    assert call("report", "run", "--reanalyze", "--json").code == 0


@pytest.mark.release
def test_a_finished_sweep_only_prints_and_does_so_at_once(undisturbed: Path) -> None:
    before = (undisturbed / RECORDS_FILE).read_bytes()
    again = spawn("sweep", *NULL, "--out", "run", "--json", folder=undisturbed.parent)
    assert again.code == 0, again.stderr
    assert "all 4 comparisons are there" in again.stderr
    assert again.processor_s < 6
    assert len(again.document["cases"]) == 12
    assert (undisturbed / RECORDS_FILE).read_bytes() == before
    resumed = spawn("sweep", "--resume", "run", "--json", folder=undisturbed.parent)
    assert resumed.document == again.document


def test_ctrl_c_leaves_what_can_be_gone_on_with(begun: Path, here: Path, undisturbed: Path) -> None:
    process = start("sweep", *NULL, "--out", "run", folder=here)
    assert process.stderr is not None
    while "measuring 2 of 4" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=HANGING_S)
    assert process.returncode == 130
    assert "the same command goes on with it" in message
    assert len(read_run(begun).cases) in (3, 6)
    assert spawn("sweep", *NULL, "--out", "run", folder=here).code == 0
    assert identities(begun) == identities(undisturbed)


@pytest.mark.parametrize("damage", ["truncated", "duplicated", "reordered"])
def test_a_damaged_records_file_is_mended(begun: Path, undisturbed: Path, here: Path, damage: str) -> None:
    lines = (undisturbed / RECORDS_FILE).read_bytes().splitlines(keepends=True)
    shutil.copytree(undisturbed / "samples", begun / "samples")
    content = {"truncated": [*lines[:7], lines[7][:100]], "duplicated": lines + lines[3:5], "reordered": lines[::-1]}[damage]
    (begun / RECORDS_FILE).write_bytes(b"".join(content))
    done = call("sweep", *NULL, "--out", "run", "--json")
    assert done.code == 0, done.stderr
    assert sorted(map(str, identities(begun))) == sorted(map(str, identities(undisturbed)))
    assert len(read_run(begun).cases) == 12
    assert ("measured again" in done.stderr) == (damage != "reordered")


def test_records_of_another_run_are_not_touched(begun: Path, undisturbed: Path) -> None:
    foreign = (undisturbed / RECORDS_FILE).read_text().replace("test_byobnet", "other_net")
    (begun / RECORDS_FILE).write_text(foreign)
    refused(call("sweep", *NULL, "--out", "run"), 2, "a record of another run")
    assert (begun / RECORDS_FILE).read_text() == foreign


def test_another_request_does_not_go_into_a_run(begun: Path) -> None:
    refused(call("sweep", *NULL, "--out", "run", "--seeds", "1"), 2, "holds another run")


def test_a_case_that_fails_is_a_record_and_the_rest_goes_on(begun: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in install(here / "path").items():
        monkeypatch.setenv(name, value)
    faults = {
        "test_byobnet-l1-r0.25": {"fault": "segfault", "at_run": 5},
        "test_byobnet-l1-r0.50": {"fault": "nan", "at_run": 0},
        # Beyond the limit at once and for longer than the coordinator looks away, however few runs a busy machine makes.
        "test_byobnet-random-r0.25": {"fault": "hungry", "at_run": 3, "mib": 1000, "hold_s": 1.0},
    }
    (begun / "faults.json").write_text(json.dumps(faults))
    run = read_run(begun).record
    assert run.sweep is not None
    measure = replace(run.spec, budget_s=1.0, memory_limit_mib=800)
    sweep = replace(run.sweep, backends=("faulty",), measure=measure)
    (begun / RUN_FILE).write_text(to_json(replace(run, sweep=sweep, spec=measure)))
    done = spawn("sweep", "--resume", "run", "--share-machine", "--json", folder=here)
    assert done.code == 1, done.stderr
    cases = done.document["cases"]
    dense = [each for each in cases if each["role"] == "dense"]
    assert [each["status"] for each in dense] == ["unavailable", "unavailable", "ok", "ok"]
    assert dense[0]["reason"] == "nothing was left to compare it with"
    found = {each["bundle"]: each for each in cases}
    reasons = {name.removeprefix("test_byobnet-"): found[name]["reason"] for name in faults}
    assert "SIGSEGV" in reasons["l1-r0.25"]
    assert "not finite" in reasons["l1-r0.50"]
    assert "MiB" in reasons["random-r0.25"]
    assert found["test_byobnet-random-r0.50"]["latency_ms"] is not None
    assert {found[name]["status"] for name in faults} == {"failed"}
    assert all(found[name]["fix"] for name in faults)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(here: Path) -> None:
    done = call("sweep", *NULL, "--seeds", "0,1", "--masks", "2:4", "--dry-run", "--json")
    assert done.code == 0, done.stderr
    assert len(done.document["variants"]) == 2 * 6
    assert len(done.document["comparisons"]) == 2 * 3 * 2
    assert done.document["measuring_s"] > 0
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "l1", "--ratios", "0.5"), "a sweep needs models"),
        (("--models", "resnet18", "--methods", "l1"), "need ratios"),
        (("--models", "resnet18", "--methods", "l1", "--ratios", "0.5,0.3"), "must ascend"),
        (("--models", "resnet18", "--methods", "l1", "--ratios", "1.5"), "between 0 and 1"),
        (("--models", "resnet18", "--methods", "nosuch", "--ratios", "0.5"), "unknown pruning method"),
        (("--models", "resnet18", "--methods", "l1", "--ratios", "half"), "list numbers"),
        (("--models", "resnet18", "--masks", "3:4"), "unknown mask"),
        (("--models", "resnet18", "--backends", "nosuch"), "unknown backend"),
        (("--models", "resnet18", "--batch", "0"), "--batch got"),
        (("--preset", "quick", "--resume", "run"), "contradicts"),
        (("--preset", "quick", "--methods", "l1"), "contradicts --preset"),
        (("--preset", "quik"), "quick"),
        (("--resume", "nowhere"), "is no run"),
    ],
)
def test_requests_that_make_no_sense(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call("sweep", *options), 2, message, here)


def test_nothing_that_can_run_is_told_before_anything_is_made(here: Path) -> None:
    refused(call("sweep", *GRID, "--backends", "trt"), 4, "nothing that was asked for can run here", here)
