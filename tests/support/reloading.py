"""Comparison of a written module's outputs in another process, bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

UNCHANGED = {"outputs": [True, True], "buffers": True, "training": False, "meta": False}
"""Result of `reload` for a folder whose module came back as it was."""

# What comes back may owe nothing to the process that wrote it, so all of this runs in a fresh one.
_SCRIPT = """
import json, sys
from pathlib import Path
import safetensors.torch, torch
from prune_deploy.export.bundle import load_module
found = {}
for folder in map(Path, sys.argv[1:]):
    expected = safetensors.torch.load_file(folder / "expected.safetensors")
    module = load_module(folder)
    images = expected["images"].clone()  # to an aligned address, as the writer's were
    with torch.no_grad():
        outputs = [torch.equal(module(images[:batch]), expected[f"outputs{batch}"]) for batch in (1, 2)]
    buffers = dict(module.named_buffers())
    named = {name.removeprefix("buffer ") for name in expected if name.startswith("buffer ")}
    same = named == set(buffers) and all(torch.equal(buffers[name], expected[f"buffer {name}"]) for name in named)
    found[folder.name] = {"outputs": outputs, "buffers": same, "training": module.training,
                          "meta": any(t.is_meta for t in (*module.parameters(), *module.buffers()))}
print(json.dumps(found))
"""


def write_expected(module: nn.Module, images: torch.Tensor, folder: Path) -> list[tuple[int, ...]]:
    """Run `module` on one and two `images`, and write its outputs.

    Returns the outputs' shapes.
    """
    with torch.no_grad():
        outputs = [module(images[:batch]) for batch in (1, 2)]
    expected = {"images": images, "outputs1": outputs[0], "outputs2": outputs[1]}
    expected |= {f"buffer {name}": buffer.contiguous() for name, buffer in module.named_buffers()}
    safetensors.torch.save_file(expected, folder / "expected.safetensors")
    return [tuple(output.shape) for output in outputs]


def reload(folders: Iterable[Path]) -> dict[str, Any]:
    """Return the results of one fresh process, by the folders' names."""
    command = [sys.executable, "-c", _SCRIPT, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
