"""Pretrained weights over a network that works, is slow, is silent, or is not there. A loopback server stands for the hub."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants

from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.models import create_model, pretrained
from prune_deploy.specs import ModelSpec
from support.commands import COMMAND

MODEL = ModelSpec(name="test_resnet", weights="pretrained")
COMMIT = "0" * 40


@dataclass
class Hub:
    """What the fake hub has, how it answers, and what it was asked."""

    body: bytes = b""
    file: str = "model.safetensors"
    status: int = 200
    pause_s: float = 0.0
    asked: list[str] = field(default_factory=list)


def answer(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    """Build the server's handler, which sends a file in four parts with pauses between them."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            found = self.path.endswith(f"/{hub.file}")
            self.send_response(hub.status if found or hub.status != 200 else 404)
            self.send_header("ETag", '"a-tag"')
            self.send_header("X-Repo-Commit", COMMIT)
            if not found:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(hub.body) if found else 0))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            part = len(hub.body) // 4 + 1
            for start in range(0, len(hub.body), part):
                time.sleep(hub.pause_s)
                self.wfile.write(hub.body[start : start + part])

        def log_message(self, format: str, *values: Any) -> None:
            pass

    return Answer


def look_at(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub ask `endpoint`, as HF_ENDPOINT does for a new process."""
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # What huggingface_hub would ask for once a day, and keeps for its process.
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "registry.json"), raising=False)
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    weights = timm.create_model("test_resnet").state_dict()
    there = Hub(body=safetensors.torch.save(weights))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), answer(there))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    look_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield there
    server.shutdown()
    server.server_close()


def same(model: torch.nn.Module, body: bytes) -> bool:
    expected = safetensors.torch.load(body)
    return all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_download_may_take_longer_than_the_first_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "ANSWER_LIMIT_S", 1.0)
    hub.pause_s = 0.5  # two seconds, and half a second more than the limit of the first answer
    loaded = create_model(MODEL)
    assert same(loaded.module, hub.body)
    assert (loaded.weights.kind, loaded.weights.tag) == ("pretrained", "timm r160_in1k")


@pytest.mark.parametrize("offline", [False, True])
def test_cached_weights_load_without_a_request(hub: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    create_model(MODEL)
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert same(create_model(MODEL).module, hub.body)
    assert hub.asked == []


def test_weights_of_the_older_kind_are_found(hub: Hub, tmp_path: Path) -> None:
    torch.save(safetensors.torch.load(hub.body), tmp_path / "weights.bin")
    safe, hub.body, hub.file = hub.body, (tmp_path / "weights.bin").read_bytes(), "pytorch_model.bin"
    assert same(create_model(MODEL).module, safe)


def test_a_server_without_weights_or_in_trouble_is_asked_once(hub: Hub) -> None:
    hub.status = 503
    with pytest.raises(CannotRunError, match="503"):
        create_model(MODEL)
    assert len([line for line in hub.asked if line.endswith(hub.file)]) == 1


def test_damaged_weights_say_which_file_to_delete(hub: Hub, empty_cache: Path) -> None:
    hub.body = hub.body[:-100]
    with pytest.raises(CannotRunError, match="cannot be loaded") as caught:
        create_model(MODEL)
    assert str(empty_cache) in caught.value.fix


def test_a_silent_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        look_at(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        started = time.monotonic()
        with pytest.raises(CannotRunError, match="cannot be fetched") as caught:
            create_model(MODEL)
        assert time.monotonic() - started < 5
    for way in ("`weights=PATH`", "`weights='random'`", "HF_HUB_OFFLINE", "HF_HUB_CACHE", str(empty_cache)):
        assert way in caught.value.fix


def test_a_name_without_an_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    look_at("http://hub.invalid", monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *values, **named: time.sleep(20))  # a resolver that hears nothing
    started = time.monotonic()
    with pytest.raises(CannotRunError, match="no answer within 3 s"):
        create_model(MODEL)
    assert time.monotonic() - started < 5


def test_offline_mode_is_named_where_it_stands_in_the_way(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CannotRunError, match="HF_HUB_OFFLINE is set") as caught:
        create_model(MODEL)
    assert caught.value.fix.startswith("unset HF_HUB_OFFLINE")
    assert hub.asked == []


def test_weights_beside_the_hub_are_asked_for_in_time_too(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "ANSWER_LIMIT_S", 0.5)
    there = SimpleNamespace(hf_hub_id=None, url=f"{constants.ENDPOINT}/somewhere/{hub.file}")
    assert pretrained.pretrained_file("a_model", there) is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = SimpleNamespace(hf_hub_id=None, url=f"http://127.0.0.1:{silent.getsockname()[1]}/weights.pth")
        with pytest.raises(CannotRunError, match="cannot be fetched") as caught:
            pretrained.pretrained_file("a_model", nowhere)
        folder = tmp_path / "torch" / "hub" / "checkpoints"
        assert str(folder) in caught.value.fix
        folder.mkdir(parents=True)
        (folder / "weights.pth").touch()
        assert pretrained.pretrained_file("a_model", nowhere) is None


def test_a_model_without_pretrained_weights_is_bad_input() -> None:
    with pytest.raises(InputError, match="timm has no pretrained weights of darknet17"):
        create_model(ModelSpec(name="darknet17", weights="pretrained"))


def test_the_command_says_it_once_and_without_retries(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": ""}
    words = ("export", "--model", "test_resnet", "--ratio", "0.5", "--weights", "pretrained", "--engine", "none")
    result = subprocess.run([COMMAND, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 4
    assert result.stderr.count("Error:") == result.stderr.count("Fix:") == 1
    assert "refused" in result.stderr
    assert "Retrying" not in result.stderr
