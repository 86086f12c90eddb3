"""Files of schema version 1 are read as today's records: every renamed, removed and moved field, at any depth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import prune_deploy.records
import prune_deploy.specs
from prune_deploy.errors import InputError
from prune_deploy.records import (
    SCHEMA_VERSION,
    Accuracy,
    BundleRecord,
    CaseRecord,
    RunRecord,
    Trace,
    from_json,
    to_json,
)
from prune_deploy.records.upgrades import CHANGES
from support import GOLDEN, ROOT

TRACES = GOLDEN / "reports" / "workstation_bench" / "traces"
RECORDED = [*GOLDEN.glob("reports/*/"), *(ROOT / "profiles" / "reference").glob("*/")]
OPTIONS = {"device": "cuda", "threads": 4, "variant": "", "precision": None}
CASE = {"bundle": "b", "backend": "eager", "precision": "tf32", "batch": 1}
ACCURACY = {"data": "digits", "images": 60, "classes": 4, "batch": 7, "top1": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.95}


def in_golden(kind: str) -> dict[str, Any]:
    """The golden bundle's JSON, as the first release wrote it."""
    found: dict[str, Any] = json.loads((GOLDEN / "bundle_v1" / kind).read_text(encoding="utf-8"))
    return found


def read(cls: type[Any], data: dict[str, Any], version: int = 1) -> Any:
    return from_json(cls, json.dumps(data | {"schema_version": version}), source="memory")


def case_record(**fields: Any) -> dict[str, Any]:
    """A line of records.jsonl of version 1."""
    plain = {"role": "dense", "index": 0, "model": "m", "label": "l", "artifact": "", "artifact_sha256": "", "status": "ok"}
    return {"case": CASE | {"options": OPTIONS | {"tf32": False}}, **plain, "counts": None, "dense_counts": None, **fields}


def test_every_change_is_of_a_class_that_there_is() -> None:
    known = {**vars(prune_deploy.records), **vars(prune_deploy.specs)}
    assert sorted(CHANGES) == list(range(1, SCHEMA_VERSION))
    for version, changes in CHANGES.items():
        for name, change in changes.items():
            today = {each.name for each in dataclasses.fields(known[name])}
            assert set(change.renamed.values()) <= today, (version, name)
            assert today.isdisjoint({*change.renamed, *change.removed}), (version, name)


def test_notes_of_a_bundle_become_warnings() -> None:
    old = in_golden("bundle.json")
    assert old["schema_version"] == 1
    assert "precision" in old["request"]["engine"], "an engine's own precision never counted"
    old["receipt"]["notes"] = ["one group was rounded"]
    record = read(BundleRecord, old)
    assert record.receipt.warnings == ("one group was rounded",)
    assert record.schema_version == SCHEMA_VERSION
    assert from_json(BundleRecord, to_json(record), source="memory") == record


def test_a_model_of_a_bundle_is_resolved_from_the_rest_of_it() -> None:
    old = in_golden("bundle.json")
    whole = read(BundleRecord, old).model
    old["model"] |= {"num_classes": None, "input_size": None}
    assert read(BundleRecord, old).model == whole
    with pytest.raises(InputError, match="num_classes"):
        read(BundleRecord, old, SCHEMA_VERSION)


def test_notes_of_a_trace_become_warnings() -> None:
    path = sorted(TRACES.glob("*.layers.json"))[0]
    old = json.loads(path.read_text(encoding="utf-8"))
    assert old["notes"]
    trace = read(Trace, old)
    assert trace.warnings == tuple(old["notes"])
    assert [each.time_us for each in trace.layers] == [each["time_us"] for each in old["layers"]]


def test_notes_of_an_accuracy_become_warnings_at_any_depth() -> None:
    old = ACCURACY | {"notes": ["latency only"], "random_weights": True}
    record: CaseRecord = read(CaseRecord, case_record(accuracy=old))
    assert record.accuracy is not None
    assert record.accuracy.warnings == ("latency only",)
    assert record.accuracy.all_warnings[0] == "latency only"
    assert "chance level, 25 %" in record.accuracy.all_warnings[1]


@pytest.mark.parametrize(
    ("before", "precision", "after"),
    [(False, None, None), (False, "fp32", "fp32"), (False, "tf32", "tf32"), (True, None, "tf32"), (True, "tf32", "tf32")],
)
def test_tf32_of_a_case_is_said_by_its_precision(before: bool, precision: str | None, after: str | None) -> None:
    options = OPTIONS | {"tf32": before, "precision": precision}
    record: CaseRecord = read(CaseRecord, case_record(case=CASE | {"options": options}))
    assert (record.case.options.precision, record.case.options.threads) == (after, 4)


def test_tf32_beside_another_precision_is_refused() -> None:
    options = OPTIONS | {"tf32": True, "precision": "fp16"}
    with pytest.raises(InputError, match="tf32 beside precision fp16"):
        read(CaseRecord, case_record(case=CASE | {"options": options}))


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (Accuracy, ACCURACY | {"notes": []}),
        (BundleRecord, None),
        (CaseRecord, case_record()),
    ],
)
def test_old_fields_are_refused_in_files_of_today(cls: type[Any], data: dict[str, Any] | None) -> None:
    with pytest.raises(InputError, match="extra fields"):
        read(cls, in_golden("bundle.json") if data is None else data, SCHEMA_VERSION)


def test_a_new_name_in_an_old_file_is_refused_beside_the_old_one() -> None:
    old = in_golden("bundle.json")
    old["receipt"] |= {"notes": ["a"], "warnings": ["b"]}
    with pytest.raises(InputError, match="notes"):
        read(BundleRecord, old)


def test_records_without_a_version_are_of_today() -> None:
    assert from_json(Accuracy, json.dumps(ACCURACY | {"warnings": ["w"]}), source="memory").warnings == ("w",)
    with pytest.raises(InputError, match="notes"):
        from_json(Accuracy, json.dumps(ACCURACY | {"notes": ["w"]}), source="memory")


def documents(folder: Path) -> Iterator[tuple[type[Any], str]]:
    """Everything that a recorded run holds as JSON, with the class that reads it."""
    yield RunRecord, (folder / "run.json").read_text(encoding="utf-8")
    yield from ((CaseRecord, line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines() if line)
    yield from ((Trace, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("traces/*.layers.json")))
    yield from ((BundleRecord, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("bundles/*/bundle.json")))


@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: path.name)
def test_recorded_runs_are_read_with_all_that_they_say(folder: Path) -> None:
    for cls, text in documents(folder):
        old = json.loads(text)
        assert old["schema_version"] in range(1, SCHEMA_VERSION + 1)
        new = json.loads(to_json(from_json(cls, text, source=folder.name)))
        assert new.pop("schema_version") == SCHEMA_VERSION
        assert subset(old, new), cls


def subset(old: Any, new: Any) -> bool:
    """Whether all that `old` says is in `new`, but for what the changes of version 1 name."""
    if isinstance(old, dict):
        gone = {"schema_version", "tf32"} | ({"precision"} if "optimization_level" in old and "batches" in old else set())
        gone |= {name for name in ("num_classes", "input_size") if old.get(name, ()) is None}  # resolved since
        names = {name: "warnings" if name == "notes" else name for name in old if name not in gone}
        return all(name in new and subset(old[before], new[name]) for before, name in names.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(subset(a, b) for a, b in zip(old, new, strict=True))
    return bool(old == new)
