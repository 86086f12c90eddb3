"""Bring documents of earlier schema versions to today's fields.

Records inside a document carry no version of their own: the document's version counts for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prune_deploy.errors import InputError

SCHEMA_VERSION = 2
"""Version of every JSON file this package writes. History:

1 (2026-11): bundle.json, recipe.json, width plans, runs and traces as first released.
2 (2026-11): `notes` of Receipt, Trace and Accuracy are `warnings`. RunOptions has no `tf32`, which its precision says. EngineSpec has no
precision, which EngineBuild has. RunRecord has `is_open`. CaseRecord has `comparison_cases`, and `across`, which the comparison's name
said, and `weights`, `is_untrained` and `artifact_bytes`. The model of a BundleRecord is resolved.
"""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Changes to the fields of one class: renamed, removed and moved ones."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    moved: Mapping[str, Callable[[Document, Any], Document]] = field(default_factory=dict)

    def apply(self, data: Document) -> Document:
        """Return the fields of the next version.

        A new name that exists already stays beside the old one and is refused later.
        """
        found = {name: value for name, value in data.items() if name not in self.removed}
        for old, new in self.renamed.items():
            if old in found and new not in found:
                found[new] = found.pop(old)
        for name, move in self.moved.items():
            if name in found:
                value = found.pop(name)
                found = move(found, value)
        return found


def _tf32_as_precision(options: Document, tf32: object) -> Document:
    """Turn the field `tf32` into a precision.

    Beside another precision it let FP32 layers, of an FP16 file for example, round to TF32. No precision says that today.
    """
    if not tf32:
        return options
    if options.get("precision") not in (None, "tf32"):
        raise InputError(
            f"tf32 beside precision {options['precision']} is of an earlier release", fix="measure it again, in one of the two"
        )
    return options | {"precision": "tf32"}


def _across_of_name(record: Document, comparison: Any) -> Document:
    """The name of a comparison ended with what it was across."""
    batch = record.get("case", {}).get("batch")
    endings = {"backends": f"-across-b{batch}", "precisions": f"-across-precisions-b{batch}"}
    across = next((each for each, ending in endings.items() if str(comparison).endswith(ending)), "")
    return record | {"comparison": comparison, "across": across}


def _resolved_model(record: Document, model: Any) -> Document:
    """Fill in a bundle's model from its classes and its input size."""
    if not isinstance(model, dict):
        return record | {"model": model}
    known = {"num_classes": record.get("num_classes"), "input_size": record.get("preprocessing", {}).get("input_size")}
    return record | {"model": model | {name: value for name, value in known.items() if model.get(name) is None}}


_NOTES = Change(renamed={"notes": "warnings"})

CHANGES: Mapping[int, Mapping[str, Change]] = {
    1: {
        "Receipt": _NOTES,
        "Trace": _NOTES,
        "Accuracy": _NOTES,
        "BundleRecord": Change(moved={"model": _resolved_model}),
        "CaseRecord": Change(moved={"comparison": _across_of_name}),
        "RunOptions": Change(moved={"tf32": _tf32_as_precision}),
        "EngineSpec": Change(removed=frozenset({"precision"})),
    },
}
"""Version → class → how its fields differ in the next version."""


def is_changed(name: str, version: int) -> bool:
    """Tell whether the class called `name` has changed since `version`."""
    return any(name in CHANGES[each] for each in range(version, SCHEMA_VERSION))


def upgrade(name: str, data: Document, version: int) -> Document:
    """Return a record's fields as today's class called `name` has them.

    Raises:
        InputError: today's class cannot say what they say.
    """
    for each in range(version, SCHEMA_VERSION):
        change = CHANGES[each].get(name)
        if change is not None:
            data = change.apply(data)
    return data
