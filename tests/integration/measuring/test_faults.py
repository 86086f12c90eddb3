"""Faults of the place a sweep runs in: full disks, two at once, closed streams, odd names, signals, strangers' names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from prune_deploy.runs import RECORDS_FILE, read_run
from support.commands import COMMAND, HANGING_S, Made, bundle, call, here, made, refused, spawn, start
from support.killed_sweeps import GRID
from support.terminal import in_terminal

__all__ = ["bundle", "here", "made"]  # fixtures

NULL = (*GRID, "--backend", "null", "--budget-s", "0.3", "--share-machine", "--out", "run")


def mounted(folder: Path, size: str) -> None:
    """Give a folder a file system of this size, or change the size of the one it has."""
    kind = "remount," if folder.is_mount() else ""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{kind}size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")


@pytest.mark.release
def test_a_full_disk_ends_a_sweep_and_the_same_command_heals_it(here: Path) -> None:
    disk = here / "disk"
    try:
        mounted(disk, "300k")
        full = spawn("sweep", *NULL[:-1], disk / "run", folder=here)
        assert full.code == 4, full.stderr
        assert "No space left on device" in full.stderr
        records = read_run(disk / "run").cases
        assert not [record for record in records if "cannot write" in record.reason], "a full disk is no case's result"
        mounted(disk, "200m")
        healed = spawn("sweep", *NULL[:-1], disk / "run", "--json", folder=here)
        assert healed.code == 0, healed.stderr
        assert {case["status"] for case in healed.document["cases"]} <= {"ok", "inconclusive"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.release
def test_the_second_of_two_sweeps_in_one_folder_is_refused_whatever_its_temporary_folder(here: Path) -> None:
    """Containers and schedulers give each job a folder for temporary files of its own."""
    first = start("sweep", *NULL[:-2], "--budget-s", "20", "--out", "run", folder=here)
    deadline = time.monotonic() + HANGING_S
    while not (here / "run" / "bundles").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (here / "elsewhere").mkdir()
    second = spawn("sweep", *NULL[:-2], "--budget-s", "20", "--out", "run", folder=here, TMPDIR=str(here / "elsewhere"))
    assert second.code == 4
    assert "another process is writing in run" in second.stderr
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=HANGING_S) == 130
    assert first.stderr is not None
    first.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_ends_an_export_like_ctrl_c(here: Path, number: signal.Signals) -> None:
    child = start("export", "--model", "test_resnet", "--ratio", "0.5", "--out", "bundle", folder=here)
    assert child.stderr is not None
    assert any("] exporting ONNX" in line for line in child.stderr)
    child.send_signal(number)
    rest = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=HANGING_S) == 130, rest
    assert "Traceback" not in rest
    assert list(here.iterdir()) == []


def test_closed_streams_are_no_reason_to_fail(bundle: Path) -> None:
    """Daemons and cron start programs so. A worker's socket must not get the number of a standard stream."""
    script = f"'{COMMAND}' bench {bundle.name} --backend null --budget-s 0.3 --rigor quick --out run <&- >&- 2>&-"
    done = subprocess.run(["bash", "-c", script], cwd=bundle.parent, timeout=HANGING_S, check=False)
    assert done.returncode == 0
    assert all(record.latency is not None for record in read_run(bundle.parent / "run").cases)


def test_a_path_that_is_no_text_is_measured_and_reported(bundle: Path) -> None:
    odd = os.fsdecode(bytes(bundle.parent) + b"/bad\xff\xfename")
    shutil.move(bundle, odd)
    done = spawn("bench", odd, "--backend", "null", "--budget-s", "0.3", "--rigor", "quick", "--out", "run", folder=bundle.parent)
    assert done.code == 0, done.stderr
    for kind in ("json", "md", "csv", "html"):
        assert spawn("report", "run", "--format", kind, "--out", f"report.{kind}", folder=bundle.parent).code == 0
    json.loads((bundle.parent / "report.json").read_bytes())


def test_a_stranger_s_names_do_not_command_the_terminal(bundle: Path) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    record["artifacts"][0]["name"] = "w\x1b]0;pwned\x07\x1b[2J"
    (bundle / "bundle.json").write_text(json.dumps(record))
    code, written = in_terminal("verify", bundle)
    assert code == 1
    assert b"pwned" in written
    assert b"\x1b]0" not in written
    assert b"\x1b[2J" not in written
    assert b"\x07" not in written


def test_a_record_that_lists_nothing_is_no_verified_bundle(bundle: Path) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    record["artifacts"], record["own_sha256"] = [], ""
    (bundle / "bundle.json").write_text(json.dumps(record))
    result = call("verify", bundle)
    assert result.code == 1
    assert "the record lists no weights" in result.stdout
    assert "the record does not list it" in result.stdout
    timed = call("bench", bundle, "--backend", "eager", "--budget-s", "0.3", "--rigor", "quick", "--out", bundle.parent / "run")
    assert "Traceback" not in timed.stderr
    assert "the bundle lists no weights" in timed.stdout + timed.stderr


@pytest.mark.parametrize("name", ["recipe.json", "weights.safetensors", "bundle.json"])
def test_a_pipe_in_a_file_s_place_is_not_waited_for(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    for command in (("verify", bundle), ("run", bundle, "--backend", "eager")):
        result = call(*command)
        assert result.code in (1, 2)
        assert "Traceback" not in result.stderr


def test_figures_without_sense_are_refused_when_a_run_is_read(made: Made, here: Path) -> None:
    assert call("bench", made.folder, "--backend", "null", "--budget-s", "0.3", "--rigor", "quick", "--out", "run").code == 0
    path = here / "run" / RECORDS_FILE
    lines = path.read_text().splitlines()
    whole = next(line for line in lines if json.loads(line)["speedup"] is not None)
    for value in ("0", "-1", "NaN", "Infinity", "1e999"):
        ratio = json.dumps(json.loads(whole)["speedup"]["ratio"]["value"])
        path.write_text(whole.replace(f'"value": {ratio}', f'"value": {value}', 1) + "\n")
        for kind in ("json", "md", "csv", "html", "png"):
            refused(call("report", "run", "--format", kind, "--out", "report"), 2, RECORDS_FILE)


def test_help_into_a_full_device_and_a_folder_that_is_gone(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (4, 0)
    script = f"mkdir gone && cd gone && rmdir ../gone && '{COMMAND}' backends"
    gone = subprocess.run(["bash", "-c", script], cwd=here, capture_output=True, text=True, check=False)
    assert gone.returncode == 4
    assert gone.stderr.splitlines()[0] == "Error: the current folder was removed"
