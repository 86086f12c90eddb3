"""Damaged bundles, whose hashes are right or wrong, are refused or used."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fuzz.mutations import changed_bytes, documents, json_texts
from fuzz.oracle import attempt, use
from fuzz.originals import BUNDLE
from prune_deploy.evaluation.classify import classify
from prune_deploy.evaluation.verify import verify_bundle
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.export.bundle import PLAN_FILE, RECIPE_FILE, WEIGHTS_FILE, load, read_pruned
from prune_deploy.interfaces import Silent
from prune_deploy.models import load_weights
from prune_deploy.store import BUNDLE_FILE, read_bundle
from prune_deploy.training.checkpoint import STATE_FILE, Checkpoint, State
from prune_deploy.training.loop import Trainer
from support.models.tiny_models import Plain
from support.training import settings as training_settings
from support.training import setup

_FILES = {path.name: path.read_bytes() for path in BUNDLE.iterdir()}
_ZEROS = "0" * 64

_USES: dict[str, Callable[[Path], object]] = {
    "load": load,
    "load unhashed": lambda folder: load(folder, check_hashes=False),
    "verify": lambda folder: list(verify_bundle(folder)),
    "run": lambda folder: classify(folder, None, backend="eager", check_hashes=False),
    "plan": read_loaded_bundle,
    "train": lambda folder: read_pruned(folder, read_bundle(folder)),
}


@st.composite
def _bundles(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw the files of a bundle of which one is mutated.

    In most of them the hashes fit what was made of the files.
    """
    files = dict(_FILES)
    record = json.loads(files[BUNDLE_FILE])
    name = draw(st.sampled_from((BUNDLE_FILE, RECIPE_FILE, RECIPE_FILE, WEIGHTS_FILE, PLAN_FILE)))
    if name == WEIGHTS_FILE:
        files[name] = draw(_weights(files[name]))
    elif name == BUNDLE_FILE:
        record = draw(documents(record))
    else:
        files[name] = draw(json_texts(json.loads(files[name])))
    if draw(st.integers(0, 3)):
        _make_hashes_right(record, files)
    files[BUNDLE_FILE] = _with_own_hash(record)
    return files


def _make_hashes_right(record: Any, files: dict[str, bytes]) -> None:
    artifacts = record.get("artifacts") if isinstance(record, dict) else None
    for artifact in artifacts if isinstance(artifacts, list) else ():
        content = files.get(str(artifact.get("name"))) if isinstance(artifact, dict) else None
        if content is not None:
            artifact.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _with_own_hash(record: Any) -> bytes:
    if isinstance(record, dict):
        record = record | {"own_sha256": _ZEROS}
    text = json.dumps(record).encode()
    return text.replace(_ZEROS.encode(), hashlib.sha256(text).hexdigest().encode())


@st.composite
def _weights(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a safetensors file with mutated bytes or a mutated header."""
    if draw(st.booleans()):
        return draw(changed_bytes(content))
    length = int.from_bytes(content[:8], "little")
    header = draw(json_texts(json.loads(content[8 : 8 + length])))
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


@given(files=_bundles(), name=st.sampled_from(sorted(_USES)))
@settings(max_examples=80)
def test_a_mutated_bundle_is_refused_or_used(files: dict[str, bytes], name: str, tmp_path: Path) -> None:
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    if attempt(lambda: read_bundle(tmp_path), tmp_path) is not None:
        use(lambda: _USES[name](tmp_path), tmp_path)


@functools.cache
def _begun() -> State:
    """Return the state of a training after its first epoch."""
    states: list[State] = []
    Trainer(Plain(), setup(), Silent()).run(states.append)
    return states[0]


def _resumed(trainer: Trainer, state: State) -> Trainer:
    trainer.resume(state)
    return trainer


@given(data=st.data())
@settings(max_examples=60)
def test_a_mutated_checkpoint_is_refused_or_resumed(data: st.DataObject, tmp_path: Path) -> None:
    made = setup()
    trainer, checkpoint = Trainer(Plain(), made, Silent()), Checkpoint(tmp_path / "begun", training_settings(made))
    checkpoint.write(_begun())
    state = checkpoint.folder / STATE_FILE
    document, path = json.loads(state.read_bytes()), next(checkpoint.folder.glob("*.safetensors"))
    part = data.draw(st.sampled_from(("document", "history", "history", "tensors")))
    if part == "tensors":
        path.write_bytes(data.draw(_weights(path.read_bytes())))
    elif part == "history":
        state.write_text(json.dumps(document | {"history": data.draw(documents(document["history"]))}))
    else:
        state.write_bytes(data.draw(json_texts(document)))
    read = attempt(checkpoint.read, tmp_path)
    resumed = None if read is None else use(lambda: _resumed(trainer, read), tmp_path)
    if resumed is not None:
        use(lambda: resumed.run(lambda _: None), tmp_path)
    path.unlink()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@given(data=st.data())
@settings(max_examples=70)
def test_mutated_weights_of_a_user_are_refused_or_loaded(name: str, data: st.DataObject, tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(module.state_dict(), path)
        path.write_bytes(data.draw(changed_bytes(path.read_bytes())))
    else:
        path.write_bytes(data.draw(_weights(safetensors.torch.save(module.state_dict()))))
    attempt(lambda: _loaded(module, path), tmp_path)


def _loaded(module: nn.Module, path: Path) -> nn.Module:
    load_weights(module, path)
    return module
