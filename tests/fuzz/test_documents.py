"""Readers of single JSON documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.mutations import json_texts
from fuzz.oracle import attempt
from fuzz.originals import BUNDLE, OLD_BUNDLE, RUN, SWEEP, document
from prune_deploy.export.bundle import PLAN_FILE, RECIPE_FILE, read_pruned, read_recipe
from prune_deploy.export.int8.calibration import _cached
from prune_deploy.interfaces import Silent
from prune_deploy.pruning.imported_plans import read_plan
from prune_deploy.records import STAGES, Compatibility, to_json
from prune_deploy.runs import EXPLANATIONS_DIR, RUN_FILE, TRACES_DIR, read_explanations, read_run, read_traces
from prune_deploy.store import BUNDLE_FILE, read_bundle
from prune_deploy.workflows.compatibility import read_rows

_ROW = Compatibility(model="test_resnet", ratio=0.5, verdict="PASS", seconds=1.5, tools="0", reached=STAGES[-1], params_before=9)
_RANGES = {"tensors": {"x": [0.0, 1.0]}, "channels": {"x": [[0.0], [1.0]]}, "images": 8, "unreadable": 0}


@dataclass(frozen=True)
class Reader:
    """A reader with a document that it accepts.

    `name` is that of its file, and `read` takes the file's folder.
    """

    name: str
    original: Any
    read: Callable[[Path], object]


def _only(folder: Path) -> Any:
    (path,) = folder.glob("*l2*.json")
    return document(path)


def _pruned(folder: Path) -> object:
    for name in (RECIPE_FILE, BUNDLE_FILE):
        (folder / name).write_bytes((BUNDLE / name).read_bytes())
    return read_pruned(folder, read_bundle(folder))


READERS = {
    "bundle": Reader(BUNDLE_FILE, document(BUNDLE / BUNDLE_FILE), read_bundle),
    "old bundle": Reader(BUNDLE_FILE, document(OLD_BUNDLE / BUNDLE_FILE), read_bundle),
    "recipe": Reader(RECIPE_FILE, document(BUNDLE / RECIPE_FILE), read_recipe),
    "plan": Reader(PLAN_FILE, document(BUNDLE / PLAN_FILE), lambda folder: read_plan(str(folder / PLAN_FILE))),
    "a bundle's plan": Reader(PLAN_FILE, document(BUNDLE / PLAN_FILE), _pruned),
    "run": Reader(RUN_FILE, document(RUN / RUN_FILE), read_run),
    "sweep's run": Reader(RUN_FILE, document(SWEEP / RUN_FILE), read_run),
    "traces": Reader(f"{TRACES_DIR}/x.layers.json", _only(RUN / TRACES_DIR), read_traces),
    "explanations": Reader(f"{EXPLANATIONS_DIR}/x.json", _only(RUN / EXPLANATIONS_DIR), read_explanations),
    "compatibility": Reader("rows.jsonl", json.loads(to_json(_ROW)), lambda folder: read_rows(folder / "rows.jsonl")),
    "calibration": Reader("ranges.json", _RANGES, lambda folder: _cached(folder / "ranges.json", Silent())),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=120)
def test_a_mutated_document_is_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    reader = READERS[name]
    path = tmp_path / reader.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.draw(json_texts(reader.original)) + (b"\n" if path.suffix == ".jsonl" else b""))
    attempt(lambda: reader.read(tmp_path), tmp_path)
