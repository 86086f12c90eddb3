"""Compatibility of many architectures, from their names to engines.

Each has a process of its own with a time limit. What is finished is not done again.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.environment import capture
from prune_deploy.errors import InputError, storage_errors
from prune_deploy.execution.jobs.compatibility import stage_before
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.files import read_file
from prune_deploy.interfaces import Progress
from prune_deploy.presets import architectures
from prune_deploy.records import STAGES, Compatibility, CompatibilityVerdict, from_json, to_json
from prune_deploy.scratch import Scratch
from prune_deploy.specs import MeasureSpec
from prune_deploy.workflows.session import MeasuringSession

ROWS_FILE = "compatibility.jsonl"
LIMIT_S = 120.0
"""Seconds for one architecture. Imports count."""

ENOUGH_GONE = 0.5
"""The share of parameters from which on an architecture passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibilityRequest:
    """Models to try at one ratio.

    Each gets at most `limit_s` seconds. `fresh` does finished ones again.
    """

    models: tuple[str, ...]
    ratio: float = 0.5
    limit_s: float = LIMIT_S
    fresh: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InputError(
                f"`ratio` must lie between 0 and 1, both excluded, got {self.ratio}", fix="for example `ratio=0.5`", field="ratio"
            )
        if not self.models:
            raise InputError(
                "no model is named", fix="for example `families=('resnet18', 'vit_tiny_patch16_224')`", field="models"
            )


def choose_models(named: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Choose the named models, and `count` random others that timm has.

    Without either it is one model of each family.

    Raises:
        InputError: a name that timm does not know.
    """
    from prune_deploy.models import resolve
    from prune_deploy.specs import ModelSpec

    for name in named:
        resolve(ModelSpec(name=name))
    if not count:
        return tuple(named) or architectures()
    import timm

    others = [name for name in timm.list_models() if not name.startswith("test_") and name not in architectures()]
    return (*named, *random.Random(seed).sample(others, count))


def try_models(request: CompatibilityRequest, folder: Path, progress: Progress) -> Iterator[Compatibility]:
    """Try each model, in their order.

    Each row is on the disk when it is yielded.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with storage_errors(folder, every=True):
        folder.mkdir(parents=True, exist_ok=True)
    rows, tools = folder / ROWS_FILE, _tools()
    there = {} if request.fresh else {(row.model, row.ratio, row.tools): row for row in read_rows(rows)}
    for model in request.models:
        if (finished := there.get((model, request.ratio, tools))) is not None:
            yield finished
            continue
        progress.stage("try model", model)
        row = _try(model, request, folder, tools)
        _append(rows, row)
        yield row


def read_rows(path: Path) -> list[Compatibility]:
    """Read the rows of a file.

    The half line that a kill left is dropped.

    Raises:
        InputError: a whole line is damaged.
    """
    if not path.is_file():
        return []
    lines = read_file(path, fix="remove it, or choose another folder with `out=DIR`").split(b"\n")[:-1]
    return [from_json(Compatibility, line, source=f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line]


def _try(model: str, request: CompatibilityRequest, folder: Path, tools: str) -> Compatibility:
    """Try one model in a child of its own. Remove its bundle."""
    log = Path(f"{model}.log")
    with (
        Scratch() as scratch,
        MeasuringSession.open(MeasureSpec(), folder, log=log) as session,
    ):
        stage_file = Path(scratch) / "stage"
        header = {
            "model": model,
            "ratio": request.ratio,
            "folder": str(Path(scratch) / "bundles" / "bundle"),
            "stage_file": str(stage_file),
        }
        try:
            answer = session.builder.ask("compatibility", header, request.limit_s, "exporting")
        except WorkerError as error:
            verdict: CompatibilityVerdict = "TIMEOUT" if error.status == "timeout" else "FAIL"
            seconds = request.limit_s if verdict == "TIMEOUT" else 0.0
            return Compatibility(
                model=model,
                ratio=request.ratio,
                verdict=verdict,
                seconds=seconds,
                tools=tools,
                reached=stage_before(stage_file),
                reason=error.message,
            )
        reason = answer.get("reason", "")
        reached = stage_before(stage_file) if reason else STAGES[-1]
    before, after = answer.get("params_before"), answer.get("params_after")
    return Compatibility(
        model=model,
        ratio=request.ratio,
        verdict=_verdict(reason, before, after),
        seconds=answer["seconds"],
        tools=tools,
        reached=reached,
        params_before=before,
        params_after=after,
        protected=tuple((name, detail) for name, detail in answer.get("protected", ())),
        reason=reason,
    )


def _verdict(reason: str, before: int | None, after: int | None) -> CompatibilityVerdict:
    if reason or before is None or after is None:
        return "FAIL"
    return "PASS" if after <= before * (1 - ENOUGH_GONE) else "PARTIAL"


def _append(path: Path, row: Compatibility) -> None:
    """Append one whole line and flush it to the disk.

    The row is reported only afterwards.
    """
    with storage_errors(path, every=True), path.open("ab") as stream:
        if stream.tell() and not path.read_bytes().endswith(b"\n"):
            stream.write(b"\n")  # behind the half line of a killed process
        stream.write(to_json(row, indent=None).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _tools() -> str:
    """Return a hash of the libraries' versions.

    Rows made with other versions are not taken for today's.
    """
    return hashlib.sha256(to_json(capture().libraries).encode()).hexdigest()[:16]
