"""Why a case has no figures, and records that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.records import Status

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The status of a case without figures, the reason, and what can be done."""

    status: Status
    reason: str
    fix: str

    @classmethod
    def of(cls, error: WorkerError) -> Failure:
        """The failure that a worker's error is."""
        return cls(status=error.status, reason=error.message, fix=error.fix)


def with_failure(record: Record, failure: Failure) -> Record:
    """Copy a record that has the fields of a failure, and set them."""
    changed = replace(cast(Any, record), status=failure.status, reason=failure.reason, fix=failure.fix)
    return cast(Record, changed)
