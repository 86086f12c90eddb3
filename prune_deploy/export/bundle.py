"""The bundle's module, written as safetensors and a recipe.

It is loaded again without a pickle.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from prune_deploy import models
from prune_deploy.errors import InputError, OutOfMemoryError, storage_errors
from prune_deploy.files import as_folder, open_plain, read_file, write_text
from prune_deploy.pruning import recipe as recipes
from prune_deploy.pruning.pruner import Pruned
from prune_deploy.records import Artifact, BundleRecord, QdqPlacement, Recipe, WidthPlan, from_json, to_json
from prune_deploy.specs import PRECISIONS, Precision, ResolvedModel
from prune_deploy.store import file_sha256, read_bundle, require_intact

WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.json"
PLAN_FILE = "plan.json"
ONNX_FILE = "model.onnx"
"""The FP32 file, from which all others are derived."""
# They decide how a skeleton is built and narrowed. The recipe records their versions so that a mismatch can be explained.
_RECIPE_LIBRARIES = ("timm", "torch", "torch-pruning")


def write_module(module: nn.Module, model: ResolvedModel, pruned: Pruned | None, folder: Path) -> list[Artifact]:
    """Write weights, recipe and width plan of a module.

    Returns the records of the written files. The module may be pruned.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    tensors, buffers = recipes.tensors_of(module)
    record = Recipe(
        model=model,
        attributes=recipes.changed_attributes(models.skeleton(model), module),
        buffers=buffers,
        selection=pruned.selection if pruned is not None else None,
        libraries={name: version(name) for name in _RECIPE_LIBRARIES},
    )
    path = folder / WEIGHTS_FILE
    with storage_errors(path):
        _save_tensors(tensors, path)
    write_text(folder / RECIPE_FILE, to_json(record, indent=None))
    # safetensors writes files that only the owner can read. A bundle is made to be passed on, as far as the umask allows.
    path.chmod((folder / RECIPE_FILE).stat().st_mode)
    written = [describe(path, "weights"), describe(folder / RECIPE_FILE, "recipe")]
    if pruned is not None:
        write_text(folder / PLAN_FILE, to_json(pruned.plan))
        written.append(describe(folder / PLAN_FILE, "plan"))
    return written


def _save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    try:
        safetensors.torch.save_file(_unshared(tensors), path, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:
        # safetensors wraps the operating system's error in text. A full disk must still be reported as one.
        if (number := re.search(r"os error (\d+)", str(error))) is not None:
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors apart that share memory.

    safetensors refuses to guess which of them owns it.
    """
    seen: set[int] = set()
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return result


def load(folder: str | os.PathLike[str], *, check_hashes: bool = True) -> nn.Module:
    """Load the module of a bundle, in eval mode on the CPU.

    It is pruned as the bundle says, and bit-identical to the one that was saved. Nothing is unpickled: the dense skeleton is
    built without weights, narrowed by the recipe, and given the saved tensors. Without `check_hashes` the two files are not hashed,
    which takes about a second per gigabyte.

    Raises:
        InputError: the folder is no bundle, or a file of it is damaged.
    """
    folder = as_folder(folder)
    record = read_bundle(folder)
    if check_hashes:
        require_intact(folder, record, {"weights", "recipe"})
    return load_module(folder)


def load_module(folder: Path) -> nn.Module:
    """Load the module from a folder's weights and recipe alone.

    Raises:
        InputError: a file is missing or damaged.
    """
    recipe = read_recipe(folder)
    path = folder / WEIGHTS_FILE
    with open_plain(path, fix="export the bundle again, or restore the file"):
        pass  # safetensors would wait for a pipe
    try:
        # These are copies: a file's tensors lie at any address, where kernels are slower and MKL rounds differently on some processors.
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file: {error}", fix="export the bundle again, or restore the file"
        ) from error
    except MemoryError as error:
        raise OutOfMemoryError(
            f"there is not enough memory to read {path}", fix="free memory, or use a larger machine"
        ) from error
    return recipes.rebuild(models.skeleton(recipe.model), recipe.attributes, tensors)


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a bundle folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / RECIPE_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {RECIPE_FILE}", fix="export the bundle again")
    return from_json(Recipe, read_file(path), source=str(path))


def read_pruned(folder: Path, record: BundleRecord) -> Pruned | None:
    """Return what was removed from a bundle's model, None if nothing was.

    Raises:
        InputError: plan or recipe are damaged, or of a release that did not write down which channels are left.
    """
    if record.request.prune is None:
        return None
    selection = read_recipe(folder).selection
    if selection is None:
        raise InputError(f"{folder} does not say which channels are left", fix="export it again with this release")
    path = folder / PLAN_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {PLAN_FILE}", fix="export it again")
    plan = from_json(WidthPlan, read_file(path), source=str(path))
    return Pruned(plan, selection, record.receipt)


def onnx_file(precision: Precision, placement: QdqPlacement = "tensorrt") -> str:
    """Return the name of a bundle's ONNX file of a precision.

    INT8 has one for TensorRT and one for ONNX Runtime's CPU kernels.
    """
    own = PRECISIONS[precision].runs_file_of
    if own == "fp32":
        return ONNX_FILE
    return f"model.{own}.ort.onnx" if placement == "onnxruntime" else f"model.{own}.onnx"


def describe(path: Path, role: str, **seen: Any) -> Artifact:
    """Return the record of one finished file.

    It has the file's size and hash on disk. `seen` has further fields of `Artifact`.
    """
    return Artifact(name=path.name, role=role, size_bytes=path.stat().st_size, sha256=file_sha256(path), **seen)
