"""What candidates need of a GPU's memory, and the parts of a comparison that fit it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.device_memory import candidate_bytes, parts_that_fit, peak_elements
from prune_deploy.specs import Precision, RunOptions

MIB = 1 << 20


def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def graph() -> onnx.GraphProto:
    """in → a → b, and a + b → out: `a` lives until the sum, `in` does not."""
    nodes = [
        helper.make_node("Relu", ["in"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["out"]),
    ]
    inner = [value("a", "batch", 100), value("b", "batch", 10)]
    return helper.make_graph(nodes, "g", [value("in", "batch", 50)], [value("out", "batch", 5)], value_info=inner)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_tensor_lives_until_its_last_reader(batch: int) -> None:
    assert peak_elements(graph(), batch) == 150 * batch  # in and a; then a and b; then a, b and out


def candidate(folder: Path, name: str, precision: Precision = "fp32", weights: int = MIB, batch: int = 1000) -> Candidate:
    path = folder / f"{name}.onnx"
    path.write_bytes(helper.make_model(graph()).SerializeToString())
    opened = folder / f"{name}.weights"
    opened.write_bytes(b"\0" * weights)
    options = RunOptions(device="cuda", precision=precision)
    return Candidate(
        label=name, role="candidate", backend="ort", artifact=opened, shape=(batch, 3, 8, 8), options=options, graph=path
    )


def test_half_precision_halves_the_activations(tmp_path: Path) -> None:
    whole, half = (candidate_bytes(candidate(tmp_path, "a", precision)) for precision in ("fp32", "fp16"))
    assert whole == (MIB, int(1.25 * 4 * 150 * 1000))
    assert half == (MIB, int(1.25 * 2 * 150 * 1000))


def test_a_comparison_that_fits_is_whole_and_one_that_does_not_has_the_dense_model_in_every_part(tmp_path: Path) -> None:
    candidates = [candidate(tmp_path, str(number), weights=10 * MIB, batch=1) for number in range(8)]
    process = 512 * MIB
    assert parts_that_fit(candidates, None, shared=True) == [list(range(8))], "nothing is known of the memory"
    assert parts_that_fit(candidates, 2 * process, shared=True) == [list(range(8))]
    tight = int((process + 45 * MIB) / 0.9)  # dense, copy and two others
    assert parts_that_fit(candidates, tight, shared=True) == [[0, 1, 2], [0, 3, 4], [0, 5, 6], [0, 7]]
    assert parts_that_fit(candidates, 1, shared=True) == [[0, number] for number in range(1, 8)], "a pair is always tried"
    isolated = int((4 * process + 45 * MIB) / 0.9)
    assert parts_that_fit(candidates, isolated, shared=False) == [[0, 1, 2], [0, 3, 4], [0, 5, 6], [0, 7]]


def test_sessions_of_pytorch_share_their_activations(tmp_path: Path) -> None:
    """Of ONNX Runtime each session has an arena of its own."""
    candidates = [candidate(tmp_path, str(number), weights=MIB, batch=100_000) for number in range(4)]
    activations = candidate_bytes(candidates[0])[1]
    room = int((512 * MIB + 2 * activations + 20 * MIB) / 0.9)
    assert len(parts_that_fit(candidates, room, shared=True)) == 3
    folders = []
    for number, each in enumerate(candidates):
        folder = tmp_path / f"bundle{number}"
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"\0" * MIB)
        folders.append(
            Candidate(
                label=each.label,
                role="candidate",
                backend="eager",
                artifact=folder,
                shape=each.shape,
                options=each.options,
                graph=each.graph,
            )
        )
    assert parts_that_fit(folders, room, shared=True) == [[0, 1, 2, 3]]
