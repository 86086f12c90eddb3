"""Computes every figure of a run again from its raw nanoseconds.

The results must be the same bits, or the run is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from prune_deploy.errors import InputError
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.samples import unpack
from prune_deploy.records import CaseRecord, ComparisonStats, to_json
from prune_deploy.runs import Run, read_samples


@dataclass(frozen=True, slots=True)
class Reanalysed:
    """A case's record made again.

    `is_same` means that it equals the stored one byte for byte.
    """

    record: CaseRecord
    is_same: bool


def reanalyze(run: Run) -> Iterator[Reanalysed]:
    """Compute each case of a run again from its samples.

    Cases without samples stay as they are.

    Raises:
        InputError: samples are missing or damaged.
        VerificationError: samples are not those that were measured.
    """
    done: dict[str, ComparisonStats] = {}
    for record in run.cases:
        if not record.samples_file:
            yield Reanalysed(record, is_same=True)
            continue
        content = read_samples(run.folder, record)
        if record.samples_file not in done:
            done[record.samples_file] = analyze(unpack(content, source=record.samples_file))
        again = _again(record, done[record.samples_file])
        yield Reanalysed(again, is_same=to_json(again) == to_json(record))


def _again(record: CaseRecord, stats: ComparisonStats) -> CaseRecord:
    if not -1 <= record.index < len(stats.candidates):
        raise InputError(
            f"{record.label} is number {record.index} of {len(stats.candidates)} in {record.samples_file}",
            fix="restore the run's records, or measure again",
        )
    candidate = stats.candidates[record.index]
    if record.latency is None or candidate is None:  # it was lost, and the record says why
        return record
    return replace(record, latency=candidate.latency, speedup=candidate.speedup, dense_against_copy=stats.dense_against_copy)
