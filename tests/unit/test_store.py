"""Bundles on disk: there whole or not at all, under a name that says what they are."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_records import BUNDLE

from prune_deploy.errors import InputError, StorageError
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.files import write_text
from prune_deploy.folders import new_folder
from prune_deploy.records import Artifact, BundleRecord, to_json
from prune_deploy.specs import EngineSpec, ExportSpec, ModelSpec, PruneSpec
from prune_deploy.store import bundle_name, file_sha256, is_complete, read_bundle, require_intact

MARKER = "bundle.json"

GOLDEN = Path(__file__).parents[1] / "golden"


def request(model: str = "resnet50", prune: PruneSpec | None = None) -> ExportSpec:
    """An export request of which only model and pruning matter here."""
    return ExportSpec(model=ModelSpec(name=model), prune=prune, engine=EngineSpec())


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (request("v", PruneSpec(ratio=0.5)), "vit_large_patch16_224-l2-r0.50"),
        (request("resnet50", PruneSpec(ratio=0.125, method="random")), "resnet50-random-r0.125"),
        (request("resnet50", PruneSpec(target_macs="0.5x")), "resnet50-l2-macs0.50x"),
        (request("resnet50", PruneSpec(target_macs="0.5X")), "resnet50-l2-macs0.50x"),
        (request("resnet50", PruneSpec(target_params="50M")), "resnet50-l2-params50M"),
        (request("resnet50"), "resnet50-dense"),
    ],
)
def test_a_bundle_is_named_after_model_method_and_amount(spec: ExportSpec, name: str) -> None:
    assert bundle_name(spec) == name


@pytest.mark.parametrize(
    ("asked", "traits"),
    [
        ({"weights": "pretrained"}, "pretrained-"),
        ({"seed": 3}, "seed3-"),
        ({"num_classes": 10, "input_size": (3, 96, 96)}, "10classes-96px-"),
        ({"input_size": (1, 96, 192), "weights": "pretrained"}, "pretrained-1x96x192-"),
    ],
)
def test_bundles_of_other_weights_classes_and_sizes_have_other_names(asked: dict[str, Any], traits: str) -> None:
    spec = ExportSpec(model=ModelSpec(name="resnet50", **asked), prune=PruneSpec(ratio=0.5), engine=EngineSpec())
    assert bundle_name(spec) == f"resnet50-{traits}l2-r0.50"


def test_a_bundle_of_given_weights_is_named_after_their_content(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"{}")
    spec = ExportSpec(model=ModelSpec(name="resnet50", weights=str(tmp_path / "w.pt")), prune=None, engine=EngineSpec())
    assert bundle_name(spec) == f"resnet50-w{hashlib.sha256(b'{}').hexdigest()[:8]}-dense"


def test_a_bundle_from_a_plan_is_named_after_the_plans_content(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert bundle_name(request(prune=PruneSpec(plan=str(plan)))) == f"resnet50-l2-plan{digest[:8]}"


def test_a_missing_plan_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.json"):
        bundle_name(request(prune=PruneSpec(plan=str(tmp_path / "gone.json"))))


def test_file_hashes_are_sha256(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(300_000))
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_text_is_written_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_text(path, "first")
    write_text(path, "zweite ü")
    assert path.read_text(encoding="utf-8") == "zweite ü"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new and longer \ud800")  # a lone surrogate cannot be encoded: the write dies half way
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_folder_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with new_folder(target, MARKER) as working:
        assert not target.exists(), "nothing under the final name before it is whole"
        (working / "a").write_text("content")
    assert (target / "a").read_text() == "content"
    assert [p.name for p in target.parent.iterdir()] == ["bundle"]


def interrupted(target: Path, error: BaseException) -> None:
    """Fill a new folder half, then fail."""
    with new_folder(target, MARKER) as working:
        (working / "half").write_text("half")
        raise error


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        interrupted(tmp_path / "bundle", ZeroDivisionError())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "bundle", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_block_leaves_the_old_folder_untouched(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(ZeroDivisionError):
        interrupted(target, ZeroDivisionError())
    assert [p.name for p in target.iterdir()] == ["old"]


def test_a_replaced_folder_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    (target / "bundle.json").touch()
    with new_folder(target, MARKER) as working:
        (working / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_leftovers_of_killed_processes_are_swept_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    killed = "import os, sys, pathlib; from prune_deploy.folders import new_folder\n"
    killed += "with new_folder(pathlib.Path(sys.argv[1]), 'bundle.json') as w:\n    (w / 'a').write_text('half'); os._exit(9)\n"
    assert subprocess.run([sys.executable, "-c", killed, str(tmp_path / "bundle")], check=False).returncode == 9
    (dead,) = tmp_path.iterdir()
    assert dead.name != "bundle", "a killed export left a half bundle under its final name"
    living = tmp_path / f".unfinished-other-{os.getppid()}"
    living.mkdir()
    with new_folder(tmp_path / "second", MARKER) as working:
        (working / "a").write_text("whole")
    assert {p.name for p in tmp_path.iterdir()} == {"second", living.name}


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot write") as caught, new_folder(tmp_path / "file" / "deep" / "bundle", MARKER):
        pass
    assert caught.value.exit_code == 4
    assert "`out=DIR`" in caught.value.fix


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StorageError, match="No space left") as caught:
        interrupted(tmp_path / "bundle", full)
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_block_are_not_called_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "bundle", MARKER):
        (tmp_path / "gone").read_text()


def bundle_at(folder: Path) -> BundleRecord:
    """A folder with one file and the record of it."""
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"12345")
    artifact = Artifact(name="weights.safetensors", role="weights", size_bytes=5, sha256=hashlib.sha256(b"12345").hexdigest())
    record = dataclasses.replace(BUNDLE, artifacts=(artifact,))
    write_text(folder / "bundle.json", to_json(record))
    return record


def test_a_bundles_record_is_read_back(tmp_path: Path) -> None:
    record = bundle_at(tmp_path / "b")
    assert read_bundle(tmp_path / "b") == record


def test_what_is_no_bundle_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no directory"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"it has no bundle\.json"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_bundle(tmp_path)


def test_a_bundle_is_complete_while_every_file_has_its_size(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    record = bundle_at(folder)
    assert is_complete(folder, record)
    (folder / "weights.safetensors").write_bytes(b"1234")
    assert not is_complete(folder, record)
    (folder / "weights.safetensors").unlink()
    assert not is_complete(folder, record)


def test_a_temporary_name_cannot_be_foreseen_and_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_text("thesis")
    monkeypatch.setattr("secrets.token_hex", lambda count: "f" * 2 * count)  # as if somebody had guessed it
    (tmp_path / f".unfinished-report.html-{'f' * 8}-{os.getpid()}").symlink_to(precious)
    with pytest.raises(StorageError):
        write_text(tmp_path / "report.html", "page")
    assert precious.read_text() == "thesis"
    monkeypatch.undo()
    write_text(tmp_path / ("n" * 240), "a long name has room for its temporary one")


def overtaken(place: Path) -> None:
    """Fill a new folder while somebody else makes one of that name."""
    with new_folder(place, MARKER) as working:
        (working / "bundle.json").touch()
        place.mkdir()
        (place / "thesis.txt").write_text("years of work")


def test_what_came_into_being_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    with pytest.raises(StorageError, match="came into being meanwhile"):
        overtaken(place)
    assert (place / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_leftover_files_are_swept_too(tmp_path: Path) -> None:
    left = tmp_path / ".unfinished-records.jsonl-12345678-999999999"
    left.touch()
    with new_folder(tmp_path / "bundle", MARKER) as working:
        (working / "file").touch()
    assert not left.exists()


def test_a_changed_file_is_noticed_by_its_hash(tmp_path: Path) -> None:
    bundle = shutil.copytree(GOLDEN / "bundle_v1", tmp_path / "bundle")
    record = read_bundle(bundle)
    require_intact(bundle, record, {"weights", "recipe"})
    content = bytearray((bundle / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(content)
    require_intact(bundle, record, {"recipe"})
    with pytest.raises(InputError, match="its hash differs"):
        require_intact(bundle, record, {"weights", "recipe"})


@pytest.mark.timeout(60)
def test_a_folder_is_made_in_one_that_another_holds_locked(tmp_path: Path) -> None:
    """A run's folder and a scratch folder are locked as long as they are in use."""
    holder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with new_folder(tmp_path / "bundle", MARKER) as working:
            (working / MARKER).write_text("whole")
    finally:
        os.close(holder)
    assert (tmp_path / "bundle" / MARKER).read_text() == "whole"


@pytest.mark.timeout(60)
def test_a_file_of_another_size_is_not_hashed_for_hours(tmp_path: Path) -> None:
    bundle = shutil.copytree(GOLDEN / "bundle_v1", tmp_path / "bundle")
    os.truncate(bundle / "weights.safetensors", 1 << 42)  # sparse: it takes no room
    with pytest.raises(InputError, match="its hash differs"):
        require_intact(bundle, read_bundle(bundle), {"weights"})
    damage = read_loaded_bundle(bundle).damage
    assert damage is not None
    assert "its hash differs" in damage.reason


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "", ".", "..", "x" * 256, "a\0b", "\ud800"])
def test_a_record_with_a_name_that_no_file_has_is_refused(tmp_path: Path, name: str) -> None:
    bundle = shutil.copytree(GOLDEN / "bundle_v2", tmp_path / "bundle")
    record = json.loads((bundle / "bundle.json").read_text())
    record["artifacts"][0]["name"] = name
    (bundle / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="outside the bundle"):
        read_bundle(bundle)
