"""Readers of JSON documents: bundles, recipes, plans."""

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
from prune_deploy.export.bundle import RECIPE_FILE, read_recipe
from prune_deploy.pruning.imported_plans import read_plan
from prune_deploy.store import BUNDLE_FILE, read_bundle
from support import GOLDEN


@dataclass(frozen=True)
class Reader:
    """A reader with a document that it accepts.

    `name` is that of its file, and `read` takes the file's folder.
    """

    name: str
    original: Any
    read: Callable[[Path], object]


BUNDLE = GOLDEN / "bundle_v2"


def document(path: Path) -> Any:
    return json.loads(path.read_text())


READERS = {
    "bundle": Reader(BUNDLE_FILE, document(BUNDLE / BUNDLE_FILE), read_bundle),
    "recipe": Reader(RECIPE_FILE, document(BUNDLE / RECIPE_FILE), read_recipe),
    "plan": Reader("plan.json", document(BUNDLE / "plan.json"), lambda folder: read_plan(str(folder / "plan.json"))),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_document_is_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    reader = READERS[name]
    (tmp_path / reader.name).write_bytes(data.draw(json_texts(reader.original)))
    attempt(lambda: reader.read(tmp_path), tmp_path)
