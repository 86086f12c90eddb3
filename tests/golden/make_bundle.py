"""Make tests/golden/bundle_vN, N the schema version: a bundle of a few kilobytes, so that later releases prove that they read this schema.

Run once per schema version, never to make a failing test pass:  python tests/golden/make_bundle.py
The ONNX file and the engine are left out, also from the record: the module is what must stay loadable.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle, load
from prune_deploy.records import SCHEMA_VERSION, to_json

FOLDER = Path(__file__).with_name(f"bundle_v{SCHEMA_VERSION}")
KEPT = ("weights.safetensors", "recipe.json", "plan.json")


def images(size: tuple[int, int, int]) -> torch.Tensor:
    """Two images that no random generator has a say in."""
    count = 2 * size[0] * size[1] * size[2]
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.37).float().reshape(2, *size)


def main() -> None:
    """Export, keep what is small, note what the module answers."""
    spec = ExportSpec(
        model=ModelSpec(name="test_vit", num_classes=3),
        prune=PruneSpec(ratio=0.95, round_to=2),
        engine=EngineSpec(library="none"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_bundle(spec, Path(temporary) / "bundle")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        for name in KEPT:
            shutil.copy(exported.folder / name, FOLDER / name)
        record = replace(exported.record, artifacts=tuple(a for a in exported.record.artifacts if a.name in KEPT))
        (FOLDER / "bundle.json").write_text(to_json(record), encoding="utf-8")
    size = record.model.input_size
    with torch.inference_mode():
        logits = load(FOLDER)(images(size))
    FOLDER.with_suffix(".logits.json").write_text(json.dumps(logits.tolist()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
