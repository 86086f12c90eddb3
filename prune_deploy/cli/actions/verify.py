"""Verifies a bundle and prints a row for each check."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.errors import VerificationError
from prune_deploy.evaluation.verify import verify_bundle

_WORDS = {"passed": "ok", "failed": "FAILED", "not_run": "not run"}


def verify(bundle: Path, as_json: bool) -> None:
    """Verify a bundle and print a row for each check.

    Raises:
        VerificationError: a file is not what the bundle's record says.
    """
    findings = list(verify_bundle(bundle))
    bad = [finding for finding in findings if finding.status == "failed"]
    if as_json:
        emit_json({"bundle": str(bundle), "ok": not bad, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        rows = table("file", "check", "result", "detail")
        for finding in findings:
            rows.add_row(finding.name, finding.check, _WORDS[finding.status], finding.detail)
        data_console.print(rows)
    if bad:
        raise VerificationError(
            f"{bundle}: {bad[0].name} failed its {bad[0].check} check: {bad[0].detail}",
            fix="restore the bundle, or export it again with `force=True`",
        )
