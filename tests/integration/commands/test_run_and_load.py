"""`prune-deploy run` and `prune_deploy.load`: a bundle at work, whole and damaged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import prune_deploy.export.bundle
from prune_deploy.specs import RANDOM_WEIGHTS
from support.commands import TINY, Made, bundle, call, here, made, refused

__all__ = ["bundle", "here", "made"]  # fixtures


def picture(name: str, mode: str = "RGB", size: tuple[int, int] = (200, 300)) -> Path:
    """A picture with something on it."""
    width, height = size
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    Image.fromarray(ramp).convert(mode).save(name)
    return Path(name)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"),
        ("a.png", "L"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.jpg", "CMYK"),
        ("a.webp", "RGB"),
        ("a.png", "I;16"),
    ],
)
def test_every_kind_of_picture_is_classified_alike_by_every_backend(made: Made, here: Path, name: str, mode: str) -> None:
    if mode == "I;16":
        Image.fromarray(np.full((50, 60), 40_000, dtype=np.uint16)).save(name)
    else:
        picture(name, mode)
    eager, ort = (call("run", made.folder, "--image", name, "--backend", backend, "--json") for backend in ("eager", "ort"))
    assert (eager.code, ort.code) == (0, 0), eager.stderr + ort.stderr
    guesses = eager.document["guesses"]
    assert [guess["index"] for guess in guesses] == [guess["index"] for guess in ort.document["guesses"]]
    assert [g["probability"] for g in guesses] == pytest.approx([g["probability"] for g in ort.document["guesses"]], rel=1e-4)
    assert len(guesses) == 5
    assert (eager.document["artifact"], ort.document["artifact"]) == ("weights.safetensors", "model.onnx")


def test_different_pictures_get_different_answers(made: Made, here: Path) -> None:
    Image.new("RGB", (160, 160), (255, 0, 0)).save("red.png")
    answers = [
        call("run", made.folder, *image, "--top", "10", "--json").document["guesses"]
        for image in ((), ("--image", "red.png"), ("--image", picture("ramp.png")))
    ]
    assert all(sum(guess["probability"] for guess in guesses) == pytest.approx(1) for guesses in answers)
    assert answers[0] != answers[1] != answers[2] != answers[0]


def test_the_table_says_that_random_weights_mean_nothing(made: Made) -> None:
    result = call("run", made.folder, "--top", "3")
    assert result.code == 0
    assert len(re.findall(r"^\d +\d+\.\d\d", result.stdout, flags=re.MULTILINE)) == 3
    assert "one run, not a measurement" in result.stdout
    assert RANDOM_WEIGHTS in result.stderr


def test_files_that_are_no_picture_are_bad_input(made: Made, here: Path) -> None:
    Path("text.png").write_text("this is no picture")
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    whole = picture("whole.jpg", size=(640, 480)).read_bytes()
    Path("truncated.jpg").write_bytes(whole[: len(whole) // 2])
    broken_png = bytearray(picture("whole.png").read_bytes())
    broken_png[60:90] = bytes(30)
    Path("broken.png").write_bytes(broken_png)
    for name, message in {
        "text.png": "text.png is no image",
        "empty.png": "empty.png is no image",
        "folder.png": "folder.png is no file",
        "nothing.png": "there is no nothing.png",
        "truncated.jpg": "truncated",
        "broken.png": "cannot read broken.png",
    }.items():
        refused(call("run", made.folder, "--image", name), 2, message)


def test_a_picture_that_would_fill_the_memory_is_refused(made: Made, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("large.png", size=(300, 300))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300 // 3)
    refused(call("run", made.folder, "--image", "large.png"), 2, "exceeds limit")


def test_unknown_backends_are_answered_with_the_known_ones(made: Made) -> None:
    refused(call("run", made.folder, "--backend", "openvino"), 2, "one of compile, eager, ort, trt")


@pytest.mark.parametrize(("backend", "name"), [("ort", "model.onnx"), ("eager", "weights.safetensors"), ("eager", "recipe.json")])
@pytest.mark.parametrize("left", ["nothing", "half", "text"])
def test_running_a_damaged_file_is_bad_input(bundle: Path, backend: str, name: str, left: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes({"nothing": b"", "half": content[: len(content) // 2], "text": b"this is no model\n" * 100}[left])
    refused(call("run", bundle, "--backend", backend), 2, name)
    path.unlink()
    refused(call("run", bundle, "--backend", backend), 2, name)


def test_a_model_of_one_channel_sees_pictures_in_grey(here: Path) -> None:
    assert call(*TINY, "--dense", "--input-size", "1,64,64", "--engine", "none", "--out", "b").code == 0
    assert call("run", "b").code == 0
    assert call("run", "b", "--image", picture("colours.png")).code == 0


def test_a_model_of_four_channels_has_no_use_for_pictures(bundle: Path) -> None:
    path = bundle / "bundle.json"
    record = json.loads(path.read_text())
    record["preprocessing"]["input_size"][0] = 4
    path.write_text(json.dumps(record))
    refused(call("run", bundle, "--image", picture("colours.png")), 2, "the model takes 4 channels")


# --- load


LOAD = """
import pickle, sys
import numpy as np
import torch
import prune_deploy

def refuse(*_, **__):
    raise AssertionError("a pickle was opened")

def watch(event, _):
    if event == "pickle.find_class":  # raised by every unpickler, whatever it is called
        refuse()

for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load"), (torch.serialization, "load")):
    setattr(owner, name, refuse)
sys.addaudithook(watch)
module = prune_deploy.load(sys.argv[1])
assert not module.training and not any(p.is_meta for p in module.parameters())
with torch.inference_mode():
    np.save(sys.argv[3], module(torch.from_numpy(np.load(sys.argv[2]))).numpy())
"""


def test_a_fresh_process_loads_the_very_module_without_opening_a_pickle(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[nn.Module] = []
    write = prune_deploy.export.bundle.write_module

    def watched(module: nn.Module, *arguments: Any) -> Any:
        saved.append(module)
        return write(module, *arguments)

    monkeypatch.setattr(prune_deploy.export.bundle, "write_module", watched)
    assert (
        call("export", "--model", "test_vit", "--num-classes", "10", "--ratio", "0.7", "--engine", "none", "--out", "b").code == 0
    )
    images = torch.randn(3, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    np.save("images.npy", images.numpy())
    (here / "load.py").write_text(LOAD)
    child = subprocess.run(
        [sys.executable, "load.py", "b", "images.npy", "logits.npy"], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    with torch.inference_mode():
        assert torch.equal(torch.from_numpy(np.load("logits.npy")), saved[0](images))
    mine = prune_deploy.load("b").state_dict()
    assert mine.keys() == saved[0].state_dict().keys()
    assert all(torch.equal(tensor, mine[name]) for name, tensor in saved[0].state_dict().items())
