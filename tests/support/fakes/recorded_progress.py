"""Progress that remembers all that it was told."""

from __future__ import annotations

from prune_deploy.interfaces import Stage


class RecordedProgress:
    """Records stages, advances and notes. An advance raises `failure`, if given."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.stages: list[tuple[Stage, str]] = []
        self.advances: list[tuple[float, float, str]] = []
        self.notes: list[str] = []

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Remember a stage."""
        self.stages.append((stage, detail))

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Remember how much is done."""
        self.advances.append((done, total, detail))
        if self.failure is not None:
            raise self.failure

    def note(self, message: str, /) -> None:
        """Remember a message."""
        self.notes.append(message)
