"""Signals, kills, broken pipes and rivals: nothing half-made is ever left under a final name."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import timm

from prune_deploy.folders import new_folder
from support.commands import COMMAND, HANGING_S, TINY, call, here, remains, start

MARKER = "bundle.json"

__all__ = ["here"]  # a fixture


# So many profiles that the engine build takes long enough to be interrupted in its midst.
LONG = ("export", "--model", "test_vit", "--num-classes", "10", "--ratio", "0.5", "--batch", ":".join(map(str, range(1, 41))))


def stop_at(
    stage: str, number: signal.Signals, folder: Path, after_s: float, *options: str, impatient: bool = False
) -> tuple[int, str, str]:
    """Exit code, stderr and what of it came after the signal, of an export that got one, or two, so long after a stage began."""
    with start(*LONG, *options, folder=folder) as child:
        assert child.stderr is not None
        message = []
        for line in child.stderr:
            message.append(line)
            if stage in line:
                break
        else:
            raise AssertionError("".join(message))
        time.sleep(after_s)
        assert child.poll() is None, "it ended before the signal"
        child.send_signal(number)
        if impatient:
            time.sleep(0.05)
            child.send_signal(number)
        rest = child.stderr.read()
        return child.wait(timeout=HANGING_S), "".join(message) + rest, rest


@pytest.mark.parametrize(
    ("stage", "number", "after_s"),
    [
        ("] pruning", signal.SIGINT, 0.1),
        pytest.param("] exporting ONNX", signal.SIGTERM, 1.0, marks=pytest.mark.release),
        pytest.param("] building the fp32 engine", signal.SIGINT, 1.0, marks=pytest.mark.release),
    ],
)
def test_a_signal_ends_an_export_with_130_and_leaves_nothing(
    here: Path, stage: str, number: signal.Signals, after_s: float
) -> None:
    code, message, rest = stop_at(stage, number, here, after_s, impatient=number == signal.SIGTERM)
    assert code == 130, message
    assert message.rstrip().endswith("interrupted: nothing half-made was left behind")
    assert "Traceback" not in message
    assert "Error" not in message
    assert remains(here) in ([], ["engines"])
    assert not re.search(r"^\[ *[\d.]+ s\]", rest, re.MULTILINE), "no other stage began"


def test_ctrl_c_that_a_library_swallows_ends_the_export_at_the_next_stage(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = timm.create_model

    def swallowing(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return build(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", swallowing)
    result = call(*TINY, "--dense", "--engine", "none")
    assert result.code == 130
    assert "writing weights" not in result.stderr
    assert remains(here) in ([], ["engines"])


def test_impatient_signals_do_not_break_off_the_removal_of_half_made_files(here: Path) -> None:
    Path("main.py").write_text(
        "import signal, sys, time\n"
        "from pathlib import Path\n"
        "from prune_deploy import folders\n"
        "from prune_deploy import signals\n"
        "signals.program.watch()\n"
        "remove = folders.shutil.rmtree\n"
        "def slow(*arguments, **options):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    remove(*arguments, **options)\n"
        "folders.shutil.rmtree = slow\n"
        "try:\n"
        "    with folders.new_folder(Path('bundle'), 'bundle.json') as working:\n"
        "        (working / 'file').write_text('half-made')\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    child = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, timeout=HANGING_S, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "interrupted\n", "")
    assert remains(here) == ["main.py"]


def test_ctrl_c_in_an_import_waits_for_its_end(here: Path) -> None:
    # Raised at once it may hit C++ that initialises a module, and abort the process.
    Path("interrupted.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n")
    Path("main.py").write_text(
        "import time\n"
        "from prune_deploy import signals\n"
        "signals.program.watch()\n"
        "import interrupted\n"
        "try:\n    time.sleep(10)\nexcept KeyboardInterrupt:\n    print(interrupted.whole)\n"
    )
    child = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, timeout=HANGING_S, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "True\n", "")


def test_ctrl_c_while_the_imports_run(here: Path) -> None:
    with start(*LONG, folder=here) as child:
        assert child.stderr is not None
        first = child.stderr.readline()  # printed before the heavy imports, which take seconds
        assert "the engine is built for" in first or "building" in first
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        message = child.stderr.read()
        assert child.wait(timeout=HANGING_S) == 130, message
    assert message.rstrip().endswith("interrupted: nothing half-made was left behind")
    assert "Traceback" not in message
    assert remains(here) in ([], ["engines"])


def test_a_stopped_sweep_removes_the_bundle_that_its_killed_worker_was_making(here: Path) -> None:
    sweep = ("--models", "test_byobnet", "--methods", "l1", "--ratios", "0.5", "--backend", "ort", "--batch", "1", "--out", "run")
    with start("sweep", *sweep, folder=here) as child:
        deadline = time.monotonic() + HANGING_S
        while not list(here.glob("run/bundles/.unfinished-*")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=HANGING_S) == 130
    assert not list(here.glob("run/bundles/.unfinished-*"))


@pytest.mark.release
def test_a_kill_leaves_the_old_bundle_and_the_next_export_sweeps_up(here: Path) -> None:
    place = here / "engines" / "bundle"
    assert call(*TINY, "--dense", "--engine", "none", "--out", place).code == 0
    old = {path.name: path.read_bytes() for path in place.iterdir()}
    code, _, _ = stop_at("] exporting ONNX", signal.SIGKILL, here, 0.5, "--out", "engines/bundle", "--force")
    assert code == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in place.iterdir()} == old
    assert call("verify", place).code == 0
    (left,) = (path for path in place.parent.iterdir() if path != place)
    assert left.name.startswith(".unfinished-bundle-")
    assert "weights.safetensors" in remains(left)
    assert "bundle.json" not in remains(left)
    assert call(*TINY, "--dense", "--engine", "none").code == 0
    assert sorted(path.name for path in place.parent.iterdir()) == ["bundle", "test_byobnet-10classes-dense"]


@pytest.mark.release
def test_two_exports_of_the_same_bundle_at_once(here: Path) -> None:
    children = [start(*TINY, "--ratio", "0.5", "--engine", "none", "--out", "bundle", folder=here) for _ in range(2)]
    message = []
    for child in children:
        with child:
            assert child.stderr is not None
            message.append(child.stderr.read())
            assert child.wait(timeout=HANGING_S) == 0, message[-1]
    assert all("Traceback" not in text for text in message)
    assert [path.name for path in here.iterdir()] == ["bundle"]
    assert call("verify", "bundle").code == 0


def test_many_writers_of_one_folder_leave_one_whole_folder(here: Path) -> None:
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            for _ in range(10):
                with new_folder(here / "bundle", MARKER) as working:
                    (working / "a").write_text(str(writer))
                    (working / "bundle.json").write_text(str(writer))
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert failures == []
    assert remains(here) == ["bundle", "bundle/a", "bundle/bundle.json"]
    assert (here / "bundle" / "a").read_text() == (here / "bundle" / "bundle.json").read_text()


def test_work_in_progress_is_not_swept_by_a_process_that_does_not_see_its_owner(here: Path) -> None:
    with new_folder(here / "first", MARKER) as working:
        # As another container sees it: the number of a process that does not exist there.
        hidden = working.rename(working.with_name(f"{working.name.rpartition('-')[0]}-{2**22 + 1}"))
        with new_folder(here / "second", MARKER) as other:
            (other / "file").write_text("content")
        assert hidden.is_dir()
        hidden.rename(working)
    assert remains(here) == ["first", "second", "second/file"]


def test_the_leftovers_of_a_process_with_our_own_number_are_swept(here: Path) -> None:
    # In a container every export may be process 1.
    (here / f".unfinished-bundle-01234567-{os.getpid()}").mkdir()
    with new_folder(here / "second", MARKER):
        pass
    assert remains(here) == ["second"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"set -o pipefail; '{COMMAND}' models --filter '*' | head -1"
    piped = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=HANGING_S, check=False)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.startswith("code ")


@pytest.mark.parametrize("arguments", [("backends",), ("backends", "--json")])
def test_output_that_nobody_reads_is_no_error(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run(
        [COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=HANGING_S, check=False
    )
    os.close(writing)
    assert (child.returncode, child.stderr) == (0, "")


@pytest.mark.release
def test_closed_streams_are_no_error() -> None:
    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        script = f"'{COMMAND}' backends {redirection}"
        assert subprocess.run(["bash", "-c", script], capture_output=True, timeout=HANGING_S, check=False).returncode == 0, (
            redirection
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_work_is_done_changes_nothing(number: signal.Signals) -> None:
    """The interpreter needs a while to end, and its own handling would say that the command was interrupted."""
    program = (
        "import atexit, os, signal, sys\n"
        "atexit.register(lambda: os.kill(os.getpid(), int(sys.argv.pop())))\n"
        "from prune_deploy.cli.main import main\n"
        "sys.argv[1:1] = ['methods']\n"
        "last = sys.argv.pop()\n"
        "atexit.register(sys.argv.append, last)\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(int(number))], capture_output=True, text=True, timeout=HANGING_S, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "bn-scale" in ended.stdout


IN_IMPORT = """
import builtins, os, signal, sys
whole = builtins.__import__
def interrupted(name, *arguments, **options):
    if name == "click":
        builtins.__import__ = whole
        os.kill(os.getpid(), signal.SIGINT)
    return whole(name, *arguments, **options)
builtins.__import__ = interrupted
"""
IN_DESTRUCTOR = """
import os, signal, sys, time
from prune_deploy.cli.actions import listings
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
def work(_):
    Dying()
    time.sleep(30)
listings.print_methods = work
"""


@pytest.mark.parametrize("before", [IN_IMPORT, IN_DESTRUCTOR], ids=["in the first import", "in a destructor"])
def test_ctrl_c_where_nobody_can_catch_it_still_ends_the_command(before: str) -> None:
    """A shell's second Ctrl-C within a tenth of a second, or one that hits a callback of the garbage collector."""
    command = "doctor" if before == IN_IMPORT else "methods"  # it takes a while longer than the signal needs to come again
    program = f"{before}\nsys.argv[1:] = ['{command}']\nfrom prune_deploy.cli.entry import main\nmain()\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANGING_S, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "interrupted: nothing half-made was left behind"
