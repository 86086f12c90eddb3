"""Record of an architecture's progress from a timm name to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from prune_deploy.records.upgrades import SCHEMA_VERSION

CompatibilityStage = Literal["build", "prune", "onnx", "parity", "engine", "reload"]
"""Stages in their order.

- build: the model is made.
- prune: channels are removed and a copy ran at batch 1 and 2.
- onnx: the ONNX file is written.
- parity: ONNX Runtime computes what the module computes at batch 1, 2 and 5.
- engine: built for sm86.
- reload: the bundle's module computes bit for bit what the pruned one did, at batch 1 and 2.
"""

CompatibilityVerdict = Literal["PASS", "PARTIAL", "FAIL", "TIMEOUT"]
"""Verdict on an architecture.

- PASS: at least half of the parameters removed, and every stage holds.
- PARTIAL: every stage holds with fewer removed.
- FAIL: an error.
- TIMEOUT: the time limit was reached.
"""

STAGES: tuple[CompatibilityStage, ...] = get_args(CompatibilityStage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """Result of one architecture at one ratio.

    `reached` is the last stage that held, None if none did. `protected` are the groups that kept their channels because narrowing
    them breaks the model, with the reasons. `tools` hashes the versions of all tools that took part.
    """

    model: str
    ratio: float
    verdict: CompatibilityVerdict
    seconds: float
    tools: str
    reached: CompatibilityStage | None = None
    params_before: int | None = None
    params_after: int | None = None
    protected: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def gone(self) -> float | None:
        """The share of parameters that were removed."""
        if self.params_before is None or self.params_after is None:
            return None
        return 1 - self.params_after / self.params_before
