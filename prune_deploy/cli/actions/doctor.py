"""Diagnoses this machine and prints the fixes."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.text import Text

from prune_deploy.cli.output.console import data_console, emit_json, in_options, table
from prune_deploy.diagnosis import Diagnosis, can_export, diagnose
from prune_deploy.environment import capture
from prune_deploy.errors import CannotRunError
from prune_deploy.records import to_json

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def examine(as_json: bool) -> None:
    """Diagnose this machine and print what was found.

    Raises:
        CannotRunError: export cannot run here.
    """
    checks = diagnose()
    if as_json:
        environment = json.loads(to_json(capture()))
        emit_json({"environment": environment, "checks": [asdict(check) for check in checks], "ok": can_export(checks)})
    else:
        _print(checks)
    blocking = [check for check in checks if check.blocks_export]
    if blocking:
        raise CannotRunError(
            f"export cannot run here because of: {', '.join(check.name for check in blocking)}",
            fix="; then ".join(check.fix for check in blocking),
        )


def _print(checks: tuple[Diagnosis, ...]) -> None:
    result = table("status", "check", "detail")
    for check in checks:
        # Text, not str: a detail such as "onnxruntime-gpu[cuda]" would be read as markup.
        result.add_row(Text(check.status, style=_STYLES[check.status]), Text(check.name), Text(in_options(check.detail)))
    data_console.print(result)
    faults = [check for check in checks if check.status != "ok"]
    if faults:
        data_console.print("\nFixes")
    for number, check in enumerate(faults, start=1):
        # Never wrapped: a command must survive being copied.
        data_console.print(f"{number}. {check.name}: {check.fix}", soft_wrap=True)
