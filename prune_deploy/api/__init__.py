"""Python API, with a function for each command.

An option of a command is here a keyword or the field of a spec, by the same name. Folders are given as text, as a path or as what
`export_bundle` and `finetune` return. Nothing is printed: pass a `progress` to follow the work.
"""

from __future__ import annotations

from prune_deploy.api.accuracy import evaluate, finetune
from prune_deploy.api.measuring import bench, compare, sweep
from prune_deploy.api.models import build_model, export_bundle, prune
from prune_deploy.api.reports import read_report

__all__ = ["bench", "build_model", "compare", "evaluate", "export_bundle", "finetune", "prune", "read_report", "sweep"]
