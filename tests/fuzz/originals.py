"""Small real bundles and runs, which the tests change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from prune_deploy.runs import EXPLANATIONS_DIR, RECORDS_FILE, RUN_FILE, SAMPLES_DIR, TRACES_DIR
from support import GOLDEN

BUNDLE = GOLDEN / "bundle_v2"
OLD_BUNDLE = GOLDEN / "bundle_v1"
RUN = GOLDEN / "reports" / "workstation_bench"
SWEEP = GOLDEN / "reports" / "laptop_curve"

_ALL = [json.loads(line) for line in (RUN / RECORDS_FILE).read_text().splitlines()]
RECORDS = [record for record in _ALL if "ort-fp32-b8" in record["comparison"] or record["status"] != "ok"]
"""Records of the comparison that was traced and explained, and one of a case without figures."""

DENSE, PRUNED = RECORDS[2:4]
"""The dense and the pruned model of that comparison."""

_KEPT = (RUN_FILE, f"{SAMPLES_DIR}/*ort-fp32-b8*", f"{TRACES_DIR}/*l2*", f"{EXPLANATIONS_DIR}/*")


def copy_run(folder: Path) -> Path:
    """Write a run of `RECORDS`, with samples, trace and explanation."""
    for pattern in _KEPT:
        for path in RUN.glob(pattern):
            target = folder / path.relative_to(RUN)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    write_records(folder, RECORDS)
    return folder


def write_records(folder: Path, records: Any) -> None:
    """Write any value as records.jsonl, a list line by line."""
    lines = [json.dumps(record) for record in (records if isinstance(records, list) else [records])]
    (folder / RECORDS_FILE).write_text("".join(f"{line}\n" for line in lines), errors="surrogatepass")


def document(path: Path) -> Any:
    """Return the JSON document in a file."""
    return json.loads(path.read_bytes())
