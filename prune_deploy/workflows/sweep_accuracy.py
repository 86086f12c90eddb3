"""Accuracies of a sweep, taken once for each artifact.

An accuracy stands on every record of its artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prune_deploy.errors import InputError, setting
from prune_deploy.execution.accuracy import AccuracyRequest
from prune_deploy.execution.planning import PlannedCase, PlannedComparison
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.records import Accuracy, CaseRecord
from prune_deploy.specs import Case, SweepSpec
from prune_deploy.workflows.forecast import Forecast
from prune_deploy.workflows.session import MeasuringSession

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """An accuracy with its caveat, or the reason why there is none."""

    accuracy: Accuracy | None
    message: str = ""


class SweepAccuracy:
    """Accuracies of a sweep by network, run config and precision.

    Those of records that are there are not taken again.
    """

    def __init__(self, spec: SweepSpec, finished: Sequence[CaseRecord]) -> None:
        self._spec = spec
        self._found = {_key(each.label, each.case): _result_of(each.accuracy) for each in finished if each.accuracy is not None}

    def take(self, planned: PlannedComparison, session: MeasuringSession, forecast: Forecast) -> None:
        """Take the accuracy of each case that has none yet.

        It is done before anything of the comparison is timed.
        """
        if self._spec.data is None:
            return
        for case in planned.cases:
            key = _key(case.bundle.label, case.case)
            if key not in self._found:
                forecast.begin("evaluate", accuracy_name(case.case, self._spec.data))
                self._found[key] = self._take(case, self._spec.data, session)
                forecast.end()

    def put_on(self, record: CaseRecord) -> CaseRecord:
        """Return the record with its accuracy, or a warning without one."""
        result = self._found.get(_key(record.label, record.case))
        if result is None:
            return record
        return replace(record, accuracy=result.accuracy, warnings=(*record.warnings, *filter(None, [result.message])))

    def _take(self, case: PlannedCase, data: str, session: MeasuringSession) -> AccuracyResult:
        if case.candidate is None:
            return AccuracyResult(None, f"no accuracy: {case.failure.reason if case.failure is not None else 'it cannot run'}")
        try:
            request = AccuracyRequest(
                data=data,
                samples=self._spec.data_samples,
                limit_s=self._spec.build_limit_s,
                agreement=case.case.precision != "fp32",
            )
            return _result_of(session.accuracy(case, request)[0])
        except WorkerError as error:
            return AccuracyResult(None, f"no accuracy: {error.message} ({error.fix})")


def accuracy_name(case: Case, data: str) -> str:
    """Return the name of an accuracy for readers."""
    return f"{case.bundle} {case.backend} {case.precision} on {data}"


def require_data(spec: SweepSpec) -> None:
    """Refuse data that cannot be used before minutes of work, not after.

    Raises:
        InputError: the data cannot be opened, or no model of the sweep has as many classes.
    """
    if spec.data is None:
        return
    from prune_deploy.data import open_images  # imports torch, as does the next one
    from prune_deploy.models import resolve

    classes = len(open_images(spec.data).classes)
    classes_of = {}
    for model, _ in spec.models():
        try:
            classes_of[model.name] = resolve(model).num_classes
        except InputError:
            return  # an unknown model: the records of its cases say so
    if classes not in classes_of.values():
        name, number = next(iter(classes_of.items()))
        raise InputError(
            f"{spec.data} has {classes} classes, and no model of the sweep as many: {name} has {number}",
            fix=f"make the models with {setting('num_classes', classes)}, or name other data",
        )


def _key(label: str, case: Case) -> _Key:
    return label, case.backend, case.options.variant, case.precision


def _result_of(accuracy: Accuracy) -> AccuracyResult:
    """The accuracy, and which images it is not of."""
    if not accuracy.unreadable:
        return AccuracyResult(accuracy)
    named = ", ".join(accuracy.unreadable_names)
    more = accuracy.unreadable - len(accuracy.unreadable_names)
    plural = "" if accuracy.unreadable == 1 else "s"
    also = f" and {more} more" if more else ""
    return AccuracyResult(accuracy, f"{accuracy.unreadable} image{plural} of {accuracy.data} could not be read: {named}{also}")
