"""torch.compile: each way not to be what the label says is provoked, and told by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prune_deploy.backends.compile import BACKEND, CompiledSession
from prune_deploy.errors import EagerFallbackError, GraphBreakError, InputError, RecompiledError
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input, only

Images = np.ndarray[Any, np.dtype[np.float32]]


class Net(nn.Module):
    """As small as a network can be."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.conv(images).relu().mean((2, 3))
        return logits


class Broken(Net):
    """What it computes depends on what it computed."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits if logits.sum() > 0 else -logits


class Hidden(Net):
    """Its author keeps the compiler out."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images)


def images(batch: int) -> Images:
    return np.random.default_rng(batch).standard_normal((batch, 3, 8, 8), dtype=np.float32)


def session(kind: type[Net] = Net, batch: int = 2, **options: Any) -> CompiledSession:
    torch.manual_seed(0)
    return CompiledSession(kind().eval(), named_input(images(batch)), RunOptions(**options))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One cache for all tests of this file but those that ask for another; nothing compiled is left behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "inductor_of_small_modules"))
    yield
    torch._dynamo.reset()


@pytest.mark.release
def test_it_compiles_in_the_first_run_and_not_before() -> None:
    opened = session()
    assert opened.settings()["graphs"] == "0"
    for _ in range(3):
        opened.run()
        opened.check()
    assert opened.settings()["graphs"] == "1"
    with torch.inference_mode():
        expected = opened._module(torch.from_numpy(images(2))).numpy()
    np.testing.assert_allclose(only(opened.outputs()), expected, atol=1e-6)


def test_the_cache_says_cold_and_warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    seen = []
    for _ in range(2):
        opened = session()
        opened.run()
        seen.append(opened.settings()["inductor_cache"])
    assert seen == ["0 hit, 1 miss, 0 bypass", "1 hit, 0 miss, 0 bypass"]


def test_a_second_session_of_one_class_compiles_for_itself() -> None:
    for _ in range(2):
        opened = session()
        opened.run()
        opened.check()
        assert opened.settings()["graphs"] == "1"


def test_another_batch_is_compiled_anew_and_told() -> None:
    opened = session(batch=2)
    opened.run()
    opened.check()
    opened.bind(named_input(images(3)))
    opened.run()
    assert only(opened.outputs()).shape == (3, 4)
    with pytest.raises(RecompiledError, match="2 graphs") as caught:
        opened.check()
    assert caught.value.status == "recompiled"


def test_the_limit_of_recompilations_is_no_way_into_eager() -> None:
    opened = session(batch=2)
    with torch._dynamo.config.patch(recompile_limit=1):
        opened.run()
        opened.bind(named_input(images(3)))
        with pytest.raises(RecompiledError, match="gave up"):
            opened.run()


def test_a_graph_that_breaks_is_told() -> None:
    with pytest.raises(GraphBreakError, match="as one graph") as caught:
        session(Broken).run()
    assert caught.value.status == "graph_break"


def test_a_module_that_keeps_the_compiler_out_is_told() -> None:
    with pytest.raises((GraphBreakError, EagerFallbackError)):
        session(Hidden).run()


def test_the_silent_way_into_eager_is_told() -> None:
    opened = session()
    torch.compiler.set_stance("force_eager")
    try:
        opened.run()
        assert only(opened.outputs()).shape == (2, 4), "it ran, and nothing was said"
        with pytest.raises(EagerFallbackError, match="compiled nothing") as caught:
            opened.check()
    finally:
        torch.compiler.set_stance("default")
    assert caught.value.status == "eager_fallback"


DISABLED = """
import numpy as np
from torch import nn
from prune_deploy.backends.compile import CompiledSession
from prune_deploy.errors import PruneDeployError
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input, only
session = CompiledSession(nn.Conv2d(3, 4, 3).eval(), {"input": np.zeros((1, 3, 8, 8), np.float32)}, RunOptions())
try:
    session.run()
    session.check()
except PruneDeployError as error:
    print(type(error).__name__)
"""


@pytest.mark.release
@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"TORCH_COMPILE_DISABLE": "1"}, "EagerFallbackError"), ({"CXX": "/nowhere/g++"}, "CannotRunError")],
)
def test_what_the_environment_does_is_told(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **variables}
    ended = subprocess.run(
        [sys.executable, "-c", DISABLED], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.stdout.strip() == expected, ended.stderr


def test_without_a_compiler_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BACKEND.available().available
    monkeypatch.setenv("CXX", "/nowhere/g++")
    state = BACKEND.available()
    assert not state.available
    assert state.fix == "unset CXX"


def test_a_wrong_input_is_not_blamed_on_the_compiler() -> None:
    opened = session()
    opened.bind(named_input(images(2)[:, :1]))
    with pytest.raises(InputError, match="does not run on an input"):
        opened.run()


def test_freezing_is_in_force_while_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    answers = []
    for asked in (False, True):
        torch.manual_seed(0)
        module = Net().eval()
        monkeypatch.setattr("prune_deploy.export.bundle.load", lambda folder, check_hashes, module=module: module)
        with BACKEND.open(tmp_path, named_input(images(2)), RunOptions(cpu_freezing=asked)) as opened:
            opened.run()
            opened.check()
            answers.append(only(opened.outputs()))
            assert opened.settings()["freezing"] == str(asked).lower()
        assert inductor.freezing is False
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-6)


def test_in_half_precision_the_casts_are_in_the_one_graph() -> None:
    plain = session()
    plain.run()
    expected = only(plain.outputs())
    half = session(precision="bf16", channels_last=True)
    half.run()
    half.check()
    logits = only(half.outputs())
    assert logits.dtype == np.float32
    assert 0 < np.abs(logits - expected).max() < 0.1 * expected.std()
    assert (half.settings()["graphs"], half.settings()["precision_layers"]) == ("1", "1/1")
    assert half.settings()["precision"].startswith("bf16, weights and activations cast")
