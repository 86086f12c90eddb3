"""`prune-deploy verify`, and what every command answers to a folder that is no bundle."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prune_deploy.records import SCHEMA_VERSION
from support.commands import COMMAND, Made, bundle, call, here, made, refused, remains, spawn

__all__ = ["bundle", "here", "made"]  # fixtures


FILES = ("weights.safetensors", "recipe.json", "plan.json", "model.onnx", "engine")
"""The files of the shared bundle that its record lists."""


def listed(folder: Path, name: str) -> Path:
    return next(folder.glob("*.engine")) if name == "engine" else folder / name


@pytest.mark.locked
def test_a_fresh_bundle_passes_and_says_what_was_looked_at(made: Made) -> None:
    result = call("verify", made.folder, "--json")
    assert result.code == 0, result.stderr
    assert result.document["ok"] is True
    looked = {(f["name"], f["check"]): f["status"] for f in result.document["findings"]}
    hashed = {name for name, check in looked if check == "sha256"}
    assert hashed == {path.name for path in made.folder.iterdir()}
    assert {status for (_, check), status in looked.items() if check == "sha256"} == {"passed"}
    assert looked["module", "reload"] == looked["model.onnx", "parity"] == "passed"
    assert looked[listed(made.folder, "engine").name, "parity"] == "not_run"


@pytest.mark.locked
def test_the_table_tells_what_did_not_run_from_what_is_fine(made: Made) -> None:
    lines = call("verify", made.folder).stdout.splitlines()
    assert any(
        re.fullmatch(
            r"model\.onnx +parity +ok +within .* of the logits' spread \(at most 0.001 for random weights\), batches 1 2 5 *",
            line,
        )
        for line in lines
    )
    assert any(re.match(r"model\.fp32\.\S+\.engine +parity +not run +\w+", line) for line in lines)


@pytest.mark.locked
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_fails_the_verification(bundle: Path, name: str, place: float) -> None:
    path = listed(bundle, name)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    result = call("verify", bundle)
    assert result.code == 1
    assert re.search(rf"^{re.escape(path.name)} +sha256 +FAILED +content is ", result.stdout, flags=re.MULTILINE)
    assert f"bundle: {path.name} failed its sha256 check" in result.stderr
    assert "Fix: restore the bundle" in result.stderr
    assert "reload" not in result.stdout, "nothing of a damaged bundle is run"


def test_a_terminal_that_lacks_our_letters_shows_their_numbers(bundle: Path) -> None:
    content = (bundle / "plan.json").read_bytes()
    (bundle / "plan.json").write_bytes(content[::-1])
    result = spawn("verify", bundle, folder=bundle.parent, PYTHONIOENCODING="ascii")
    assert result.code == 1
    assert r"content is" in result.stdout
    assert r"\u2026" in result.stdout, "the three dots after a shortened hash"


def test_a_verification_fails_even_if_nobody_reads_its_table(bundle: Path) -> None:
    (bundle / "recipe.json").write_text("{}")
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run([COMMAND, "verify", bundle], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert child.returncode == 1
    assert "recipe.json failed its sha256 check" in child.stderr


def test_one_flipped_byte_anywhere_in_the_record_is_noticed(bundle: Path) -> None:
    path = bundle / "bundle.json"
    content = path.read_bytes()
    codes = set()
    for position in range(0, len(content), 199):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        result = call("verify", bundle)
        assert result.code in (1, 2), f"byte {position}: {content[position - 20 : position + 20]!r}"
        assert "Fix: " in result.stderr
        codes.add(result.code)
    assert codes == {1, 2}, "a value changes and the record still reads, or it does not read any more"


def test_a_changed_figure_in_the_record_fails_the_verification(bundle: Path) -> None:
    path = bundle / "bundle.json"
    record = json.loads(path.read_text())
    text = path.read_text().replace(str(record["receipt"]["after"]["params"]), str(record["receipt"]["after"]["params"] - 1))
    path.write_text(text)
    result = call("verify", bundle)
    assert result.code == 1
    assert "bundle.json failed its sha256 check: the file was changed" in result.stderr


@pytest.mark.locked
@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_truncated_file_fails_the_verification(bundle: Path, name: str) -> None:
    path = listed(bundle, name)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    result = call("verify", bundle)
    assert result.code == 1
    assert f"{len(content) - 1:,} bytes, {len(content):,} recorded" in result.stderr
    path.unlink()
    result = call("verify", bundle, "--json")
    assert (result.code, result.document["ok"]) == (1, False)
    assert "the file is missing" in result.stderr


def no_folder(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def a_file(folder: Path) -> None:
    no_folder(folder)
    folder.write_text("{}")


def other_things(folder: Path) -> None:
    no_folder(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")


def half_written(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def newer(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION + 1, "new": True}))


def broken(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_bytes(path.read_bytes()[:-50])


def binary(folder: Path) -> None:
    (folder / "bundle.json").write_bytes(bytes(range(256)))


def nested(folder: Path) -> None:
    (folder / "bundle.json").write_text("[" * 100_000)


def reaching_out(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(path.read_text().replace('"name": "model.onnx"', '"name": "../../model.onnx"'))


def another_document(folder: Path) -> None:
    (folder / "bundle.json").write_text('{"name": "my-app", "version": "1.0"}')


DAMAGES: dict[Callable[[Path], None], str] = {
    no_folder: "is no directory",
    a_file: "is no directory",
    other_things: "it has no bundle.json",
    half_written: "it has no bundle.json",
    newer: f"has schema version {SCHEMA_VERSION + 1}; this release reads up to {SCHEMA_VERSION}",
    broken: "not valid JSON",
    binary: "not valid JSON",
    nested: "not valid JSON",
    reaching_out: "names a file outside the bundle: ../../model.onnx",
    another_document: "is not a BundleRecord",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_no_bundle_is_bad_input_to_every_command(bundle: Path, damage: Callable[[Path], None]) -> None:
    damage(bundle)
    before = remains(bundle.parent)
    refused(call("verify", bundle), 2, DAMAGES[damage])
    refused(call("run", bundle), 2, DAMAGES[damage])
    refused(call("run", bundle, "--backend", "eager", "--json"), 2, DAMAGES[damage])
    assert remains(bundle.parent) == before


def test_a_bundle_that_cannot_be_read_is_bad_input(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()
    (bundle / "bundle.json").symlink_to("bundle.json")
    refused(call("verify", bundle), 2, "it has no bundle.json")
