"""How far one architecture comes on the road from a timm name to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from prune_deploy.records.serialize import SCHEMA_VERSION

Stage = Literal["build", "prune", "onnx", "parity", "engine", "reload"]
"""In this order. prune: channels are gone and a copy ran at batch 1 and 2; parity: ONNX Runtime computes what the module computes at batch
1, 2 and 5; engine: built for sm86; reload: the bundle's module answers bit for bit as the pruned one did, at batch 1 and 2."""

CompatibilityVerdict = Literal["PASS", "PARTIAL", "FAIL", "TIMEOUT"]
"""PASS: at least half of the parameters gone and every stage holds; PARTIAL: every stage holds with less gone; FAIL: an error."""

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """One architecture at one ratio. `reached` is the last stage that held, None if none did; `protected` are the groups that kept their
    channels because narrowing them breaks the model, with the reasons; `tools` hashes the versions of all that took part."""

    model: str
    ratio: float
    verdict: CompatibilityVerdict
    seconds: float
    tools: str
    reached: Stage | None = None
    params_before: int | None = None
    params_after: int | None = None
    protected: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def gone(self) -> float | None:
        """The share of parameters that are gone."""
        if self.params_before is None or self.params_after is None:
            return None
        return 1 - self.params_after / self.params_before
