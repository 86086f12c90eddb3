"""Recovers a bundle and prints what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_deploy.cli.actions.export import announce, document, show
from prune_deploy.cli.options.values import build
from prune_deploy.cli.output.console import emit_json
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.specs import RecoverSpec
from prune_deploy.workflows.recover import RecoverRequest, recover_bundle


def recover(bundle: Path, as_json: bool, values: dict[str, Any]) -> None:
    """Recover a bundle and print what is in the new one.

    Raises:
        PruneDeployError: as `recover_bundle`.
    """
    request = RecoverRequest(bundle=bundle, spec=build(RecoverSpec, values), out=values["out"], force=values["force"])
    with StageLines() as progress:
        done = recover_bundle(request, progress)
    announce(done)
    if as_json:
        emit_json(document(done))
    else:
        show(done)
