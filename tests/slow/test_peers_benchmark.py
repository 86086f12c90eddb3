"""The benchmark of measuring protocols: it runs, goes on where it was, and its table says what its rows say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prune_deploy.specs import RunOptions
from support import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPT = BENCHMARKS / "harness_vs_peers.py"
SEQUENTIAL = [
    "torch.utils.benchmark",
    "timm 10+40",
    "timm, same budget",
    "torch-pruning measure_latency",
    "onnxruntime_perf_test",
    "warm, then median",
]
PIXELS = 16


def network(path: Path, channels: int) -> Path:
    """One convolution and a mean over its image, so that the output has the shape of logits: (1, channels)."""
    weights = np.random.default_rng(0).standard_normal((channels, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "weights"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["features", "axes"], ["logits"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes")
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, PIXELS, PIXELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, channels])],
        [numpy_helper.from_array(weights, "weights"), axes],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of protocols, which is a script's and lies in no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("peers")


def test_these_are_all_sequential_protocols(peers: Any) -> None:
    assert sorted(peers.SEQUENTIAL) == sorted(SEQUENTIAL)


class SleepingBackend:
    """Sessions that sleep: 4 ms for the dense file, 1 ms for any other. `runs` counts, file by file, in the order of opening."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int]] = []
        self.is_open = False

    @contextmanager
    def open(self, artifact: Path, inputs: Any, options: RunOptions) -> Iterator[SleepingBackend]:
        assert not self.is_open, "one session at a time"
        assert inputs.shape == (1, 3, PIXELS, PIXELS)
        assert options == RunOptions(threads=1)
        self.runs.append((artifact.name, 0))
        self.is_open = True
        yield self
        self.is_open = False

    def run(self) -> None:
        name, runs = self.runs[-1]
        time.sleep(0.004 if name == "dense" else 0.001)
        self.runs[-1] = name, runs + 1


@pytest.mark.parametrize("protocol", SEQUENTIAL)
def test_a_sequential_protocol_times_one_model_after_the_other(
    peers: Any, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = SleepingBackend()
    monkeypatch.setattr(peers, "usable", lambda name: backend)
    found = peers.measure_in_sequence(
        peers.Request(protocol=protocol, dense="dense", pruned="pruned", pixels=PIXELS, threads=1, budget_s=0.9, seed=0)
    )
    assert [name for name, _ in backend.runs] == ["dense", "dense", "pruned"]
    if protocol == "timm 10+40":
        assert [runs for _, runs in backend.runs] == [50, 50, 50]
    else:
        # 0.3 s for each model, and what the search for a number of runs takes.
        assert all(runs * ms < 1500 for (_, runs), ms in zip(backend.runs, (4.0, 4.0, 1.0), strict=True))
    for name, least_ms in (("dense", 4.0), ("copy", 4.0), ("pruned", 1.0)):
        assert least_ms <= found["ms"][name] < 10 * least_ms
    assert found["control"] == found["ms"]["dense"] / found["ms"]["copy"]
    assert found["ratio"] == found["ms"]["dense"] / found["ms"]["pruned"]


def test_trials_end_as_rows_and_a_second_call_measures_only_what_is_missing(tmp_path: Path) -> None:
    dense, pruned = network(tmp_path / "dense.onnx", 64), network(tmp_path / "pruned.onnx", 16)
    out = tmp_path / "results.jsonl"
    request: list[str | Path] = ["--out", out, "--artifacts", dense, pruned, "--pixels", str(PIXELS), "--threads", "1"]
    request += ["--trials", "1", "--rigor", "quick", "--budget-s", "0.5", "--truth-pairs", "2", "--truth-s", "0.2"]
    ended = call(*request, "--conditions", "quiet", "--protocol", "timm 10+40", "--protocol", "prune-deploy")
    assert ended.returncode == 0, ended.stderr
    rows = read(out)
    assert [row["kind"] for row in rows] == ["settings", "truth", "trial", "trial", "truth"]
    trials = {row["protocol"]: row for row in rows if row["kind"] == "trial"}
    assert sorted(trials) == ["prune-deploy", "timm 10+40"]
    for protocol, row in trials.items():
        assert "error" not in row, f"{protocol}: {row['error']}"
        assert 0 < row["control"] < 100
        assert 0 < row["ratio"] < 100
        assert sum(line.startswith(f"| {protocol} |") for line in ended.stdout.splitlines()) == 1, ended.stdout
    assert trials["prune-deploy"]["launches"] == 1

    whole = out.read_bytes()
    out.write_bytes(whole[:-20])  # as a kill in the middle of the last line would leave it
    again = call(*request, "--conditions", "quiet,burner", "--protocol", "timm 10+40")
    assert again.returncode == 0, again.stderr
    added = read(out)[len(rows) - 1 :]
    assert out.read_bytes().startswith(whole[: whole[:-1].rfind(b"\n") + 1])
    assert [(row["kind"], row.get("condition")) for row in added] == [("trial", "burner"), ("truth", None)]
    assert "error" not in added[0]

    other = call(*request, "--budget-s", "0.6")
    assert other.returncode == 1
    assert "other settings" in other.stderr
    assert len(read(out)) == len(rows) + 1


def results(controls: dict[str, list[float]], converged: list[bool]) -> list[dict[str, Any]]:
    """Rows of trials under the burner: these A/A ratios, a known ratio of 2 that is seen as 2.02."""
    settings = {"kind": "settings", "model": "net", "pixels": 8, "threads": 0, "budget_s": 1.0, "rigor": "full"}
    settings |= {"cpu": "some CPU", "cpu_count": 2}
    truth = [
        {"kind": "truth", "pair": pair, "dense_ms": dense_ms, "pruned_ms": 1.0} for pair, dense_ms in enumerate((1.9, 2.0, 2.2))
    ]
    trials: list[dict[str, Any]] = []
    for protocol, values in controls.items():
        for number, value in enumerate(values):
            row = {"kind": "trial", "condition": "burner", "trial": number, "protocol": protocol, "wall_s": 3.0}
            row |= {"control": value, "ratio": 2.02}
            if protocol == "prune-deploy":
                certain = {"control_converged": converged[number], "ratio_converged": True, "verdict": "FASTER", "launches": 5}
                row |= certain | {"control_interval": [value - 0.01, value + 0.01], "ratio_interval": [1.9, 2.1]}
            trials.append(row)
    return [settings, *truth, *trials]


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    ended = call("--table", write(path, rows))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_table_and_the_goals_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = results({"timm 10+40": [1.1, 0.8, 1.0], "prune-deploy": [1.002, 0.996, 1.5]}, converged=[True, True, False])
    rows.append(
        {"kind": "trial", "condition": "burner", "trial": 3, "protocol": "timm 10+40", "wall_s": 9.0, "error": "no answer"}
    )
    lines = table(tmp_path / "rows.jsonl", rows).splitlines()
    assert "known ratio 2.0000 (dense 2.000 ms, pruned 1.000 ms); its 3 pairs of runs: 1.9000 to 2.2000" in lines
    known = "1.00 % | 1.00 % | 1.00 % | 3.0"
    assert f"| timm 10+40 | 10.00 % | 19.00 % | 20.00 % | {known} | 3, 3 | 1 |" in lines
    assert f"| prune-deploy | 0.40 % | 45.04 % | 50.00 % | {known} | 3, 3 | 0 |" in lines
    assert f"| prune-deploy, converged | 0.30 % | 0.39 % | 0.40 % | {known} | 2, 3 | 0 |" in lines
    message = "converged A/A 2, ratio 3; verdicts 3 FASTER; A/A interval holds 1 in 2 of 3"
    assert f"prune-deploy, 3 trials: {message}" in lines
    goals = [line for line in lines if line.startswith("- ")]
    assert [line.rpartition(", ")[2] for line in goals] == ["met", "met", "missed", "met"]
    assert goals[2].endswith("at least 5: 0.4 (timm 10+40: 19.00 %, prune-deploy: 45.04 %), missed")
    assert goals[3].endswith("at least 5: 48.7 (timm 10+40: 19.00 %, prune-deploy, converged: 0.39 %), met")


def test_a_goal_without_figures_is_neither_met_nor_missed(tmp_path: Path) -> None:
    rows = [row for row in results({"timm 10+40": [1.1], "prune-deploy": [1.1]}, converged=[False]) if row["kind"] != "truth"]
    text = table(tmp_path / "rows.jsonl", rows)
    assert "known ratio: not measured" in text
    goals = [line.rpartition(": ")[2] for line in text.splitlines() if line.startswith("- ")]
    assert goals[:2] == ["not measured", "not measured"]
    assert goals[3] == "not measured"
    assert "| timm 10+40 | 10.00 % | 10.00 % | 10.00 % | – | – | – | 3.0 | 1, 0 | 0 |" in text
