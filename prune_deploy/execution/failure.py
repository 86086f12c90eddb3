"""Failures of cases, and records that state them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.records import Status

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The status of a case without figures, its reason and a fix."""

    status: Status
    reason: str
    fix: str

    @classmethod
    def of(cls, error: WorkerError) -> Failure:
        """The failure that a worker's error is."""
        return cls(status=error.status, reason=error.message, fix=error.fix)


def with_failure(record: Record, failure: Failure) -> Record:
    """Copy a record that has a failure's fields, and set them."""
    changed = replace(cast(Any, record), status=failure.status, reason=failure.reason, fix=failure.fix)
    return cast(Record, changed)
