"""Export the seven reference models at --ratio 0.5 with defaults and print the README's table. Takes minutes and 6 GB of disk at a time.

python benchmarks/seven_models.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prune_deploy.specs import SHORT_CODES

COMMAND = Path(sys.executable).with_name("prune-deploy")


def export(code: str, folder: Path) -> tuple[dict[str, Any], float]:
    """The export's JSON document and the seconds it took."""
    start = time.monotonic()
    line = [str(COMMAND), "export", "--model", code, "--ratio", "0.5", "--target", "sm86", "--out", str(folder), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{code}: {done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document, time.monotonic() - start


def main() -> None:
    """Print a row per model as it ends."""
    print("| code | model | parameters M | | MACs G | | ONNX parity | engine layers | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for code, model in SHORT_CODES.items():
        with tempfile.TemporaryDirectory() as temporary:
            document, seconds = export(code, Path(temporary) / "bundle")
        sizes = []
        for field, scale in (("params", 1e6), ("macs", 1e9)):
            before, after = document[f"{field}_before"], document[f"{field}_after"]
            sizes += [f"{before / scale:.2f} → {after / scale:.2f}", f"−{100 * (1 - after / before):.1f} %"]
        parity = document["parity"]["model.onnx"]
        worst = max(check["relative_diff"] for check in parity["checks"])
        layers = ", ".join(f"{count} {kind}" for kind, count in document["engine"]["layer_types"].items())
        print(
            f"| `{code}` | {model} | {' | '.join(sizes)} | {parity['status']}, {worst:.1e} | {layers} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
