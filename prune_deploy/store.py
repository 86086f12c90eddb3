"""Bundles on disk: atomic, keyed, complete or absent.

This module handles files and records, without torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.errors import InputError
from prune_deploy.files import open_plain, read_file, write_text
from prune_deploy.records import Artifact, BundleRecord, from_json, to_json
from prune_deploy.specs import SHORT_CODES, ExportSpec, ModelSpec, weights_path

if TYPE_CHECKING:
    pass  # collections.abc.Buffer from Python 3.12 on

BUNDLE_FILE = "bundle.json"
ENGINES_DIR = Path("engines")
_ZEROS = "0" * 64
_LONGEST_NAME = 255
_SHOWN = 100


def bundle_name(spec: ExportSpec) -> str:
    """Return the folder name of a bundle: model, method and amount.

    Examples are `resnet50-l2-r0.50` and `resnet50-mask-2to4-r0.50`. What was asked for beside the model's own stands behind its name, as in
    `resnet50-pretrained-10classes-96px-l2-r0.50`.
    """
    model = "-".join((SHORT_CODES.get(spec.model.name, spec.model.name), *_traits(spec.model)))
    prune = spec.prune
    if spec.mask is not None:
        return f"{model}-mask-{spec.mask.kind.replace(':', 'to')}-{_share(spec.mask.ratio)}"
    if prune is None:
        return f"{model}-dense"
    if prune.ratio is not None:
        amount = _share(prune.ratio)
    elif prune.plan is not None:
        amount = f"plan{file_sha256(Path(prune.plan))[:8]}"
    elif prune.target_macs is not None:
        amount = f"macs{_tidy(prune.target_macs)}"
    else:
        amount = f"params{_tidy(str(prune.target_params))}"
    recovered = "" if spec.recover is None else f"-{spec.recover.kind}"
    return f"{model}-{prune.method}-{amount}{recovered}"


def _traits(model: ModelSpec) -> Iterator[str]:
    """Yield words for weights, classes and input size that were asked for."""
    path = weights_path(model.weights)
    if path is not None:
        yield f"w{file_sha256(path)[:8]}"
    elif model.weights != "random":
        yield model.weights
    elif model.seed:
        yield f"seed{model.seed}"
    if model.num_classes is not None:
        yield f"{model.num_classes}classes"
    if model.input_size is not None:
        channels, height, width = model.input_size
        yield f"{height}px" if (channels, height) == (3, width) else f"{channels}x{height}x{width}"


def _share(ratio: float) -> str:
    return f"r{ratio:.2f}" if round(ratio, 2) == ratio else f"r{ratio:g}"


def _tidy(amount: str) -> str:
    """Return "0.5x" as "0.50x".

    Other amounts keep their text, with slashes replaced, and are judged by the code that parses them.
    """
    try:
        share = float(amount[:-1]) if amount[-1:] in ("x", "X") else None
    except ValueError:
        share = None
    if share is None:
        return amount.replace("/", "_")
    return f"{share:.2f}x" if round(share, 2) == share else f"{share:g}x"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string.

    Raises:
        InputError: the file cannot be read.
    """
    with open_plain(path, fix="check the path and its permissions") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bundle(folder: Path) -> BundleRecord:
    """Return the record of the bundle in `folder`.

    Raises:
        InputError: the folder is no bundle, is half written, or its record is damaged.
    """
    record = folder / BUNDLE_FILE
    try:
        if not folder.is_dir():
            raise InputError(f"{folder} is no directory", fix="name a bundle made by prune-deploy export, for example engines/…")
        if not record.is_file():
            raise InputError(f"{folder} is no bundle: it has no {BUNDLE_FILE}", fix="make one with prune-deploy export")
        read = from_json(BundleRecord, read_file(record, fix="check the path and its permissions"), source=str(record))
        # Bundles come from unknown sources, and the files they name are opened.
        outside = [artifact.name for artifact in read.artifacts if not _is_file_name(artifact.name)]
        if outside:
            raise InputError(f"{record} names a file outside the bundle: {outside[0][:_SHOWN]}", fix="do not use this bundle")
        return read
    except OSError as error:
        raise InputError(f"cannot read {record}: {error.strerror}", fix="check the path and its permissions") from error


def _is_file_name(name: str) -> bool:
    """Return whether a file in a folder can have this name."""
    try:
        return name != ".." and name == Path(name).name and "\0" not in name and 0 < len(os.fsencode(name)) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def write_record(folder: Path, record: BundleRecord) -> None:
    """Write bundle.json with a hash of itself inside.

    A flipped byte is therefore detected there as in any other file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    text = to_json(replace(record, own_sha256=_ZEROS))
    write_text(folder / BUNDLE_FILE, text.replace(_ZEROS, hashlib.sha256(text.encode()).hexdigest()))


def record_is_intact(folder: Path, record: BundleRecord) -> bool:
    """Return whether bundle.json is byte for byte as `write_record` wrote it."""
    zeroed = (folder / BUNDLE_FILE).read_bytes().replace(record.own_sha256.encode(), _ZEROS.encode())
    return hashlib.sha256(zeroed).hexdigest() == record.own_sha256


def require_intact(folder: Path, record: BundleRecord, roles: Collection[str]) -> None:
    """Refuse a bundle whose files of these roles were changed.

    Raises:
        InputError: a file is missing or its hash differs.
    """
    for artifact in record.artifacts:
        if artifact.role in roles and not is_exported(folder, artifact):
            raise InputError(
                f"{folder / artifact.name} is not the file that was exported: its hash differs",
                fix="restore the bundle, or export it again with `force=True`",
            )


def is_exported(folder: Path, artifact: Artifact) -> bool:
    """Return whether a file is the one that was exported.

    The size is compared first: a file that is too large is not hashed for hours.

    Raises:
        InputError: the file cannot be read.
    """
    path = folder / artifact.name
    return _size(path) in (artifact.size_bytes, None) and file_sha256(path) == artifact.sha256


def is_complete(folder: Path, record: BundleRecord) -> bool:
    """Return whether every file of the record exists with its size.

    Hashes are checked by `verify`.
    """
    return all(_size(folder / artifact.name) == artifact.size_bytes for artifact in record.artifacts)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
