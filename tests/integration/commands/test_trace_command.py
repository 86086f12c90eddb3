"""`trace` and `bench --trace` as a user calls them: real bundles, real profilers, files that Perfetto opens."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from prune_deploy.records import BETWEEN_LAYERS, LayerTime, Trace
from prune_deploy.runs import read_run, read_traces, trace_stem
from support.commands import Made, call, here, made, refused

__all__ = ["here", "made"]  # fixtures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dense and a pruned bundle of a convolutional network."""
    place = tmp_path_factory.mktemp("traced")
    common = ("export", "--model", "test_resnet", "--num-classes", "10", "--engine", "none")
    assert call(*common, "--dense", "--out", place / "dense").code == 0
    assert call(*common, "--ratio", "0.5", "--out", place / "pruned").code == 0
    return place


@pytest.fixture(scope="module")
def traces(folder: Path) -> dict[tuple[str, str], Trace]:
    """Traces by bundle and backend, each in a run of its own."""
    found = {}
    for bundle in ("dense", "pruned"):
        for backend in ("eager", "ort"):
            out = folder / f"{bundle}-{backend}"
            options = ("--backend", backend, "--batch", "2", "--runs", "3", "--threads", "1", "--out", out, "--json")
            result = call("trace", folder / bundle, *options)
            assert result.code == 0, result.stderr
            (found[bundle, backend],) = read_traces(out).values()
    return found


def products(trace: Trace) -> dict[str, LayerTime]:
    """The layers that multiply by a weight, by that weight's name."""
    return {layer.parameters[0]: layer for layer in trace.layers if layer.macs and layer.parameters}


def test_a_trace_is_a_run_with_files_that_perfetto_opens(folder: Path, traces: dict[tuple[str, str], Trace]) -> None:
    for (bundle, backend), trace in traces.items():
        run = folder / f"{bundle}-{backend}"
        content = (run / "traces" / trace.chrome_file).read_bytes()
        assert content[:2] == b"\x1f\x8b"
        events = json.loads(gzip.decompress(content))["traceEvents"]
        assert all({"ph", "ts", "pid", "tid", "name"} <= event.keys() for event in events)
        assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
        names = {event["name"] for event in events}
        wanted = "layer1.0.conv1 (Conv2d)" if backend == "eager" else "model_run"
        assert wanted in names
        (record,) = read_run(run).cases
        assert trace_stem(record) in read_traces(run)
        assert (record.status, record.reason, record.latency) == ("ok", "traced, not timed", None)


@pytest.mark.parametrize("bundle", ["dense", "pruned"])
def test_layers_account_for_the_run_and_their_shares_for_all(traces: dict[tuple[str, str], Trace], bundle: str) -> None:
    for backend in ("eager", "ort"):
        trace = traces[bundle, backend]
        assert sum(layer.share for layer in trace.layers) == pytest.approx(1.0)
        assert sum(layer.time_us for layer in trace.layers) == pytest.approx(trace.run_ms * 1e3)
        assert trace.overhead == pytest.approx(trace.run_ms / trace.untraced_ms - 1)
        assert [layer.time_us for layer in trace.layers] == sorted((layer.time_us for layer in trace.layers), reverse=True)
        assert min(layer.time_us for layer in trace.layers if layer.macs) > 0
        assert [layer.name for layer in trace.layers].count(BETWEEN_LAYERS) == 1
        assert not any("overlap" in note for note in trace.warnings)


def test_runtimes_agree_on_layers_multiplications_and_weights(traces: dict[tuple[str, str], Trace]) -> None:
    for bundle in ("dense", "pruned"):
        eager, ort = products(traces[bundle, "eager"]), products(traces[bundle, "ort"])
        assert eager.keys() == ort.keys()
        assert len(eager) == 16
        for name, layer in eager.items():
            assert (layer.macs, layer.weight_shape, layer.dtype) == (ort[name].macs, ort[name].weight_shape, ort[name].dtype), (
                name
            )
            assert ort[name].name == layer.name


def test_dense_and_pruned_layers_have_the_same_names(traces: dict[tuple[str, str], Trace]) -> None:
    for backend in ("eager", "ort"):
        dense, pruned = products(traces["dense", backend]), products(traces["pruned", backend])
        assert {name: layer.name for name, layer in dense.items()} == {name: layer.name for name, layer in pruned.items()}
        assert all((pruned[name].macs or 0) <= (layer.macs or 0) for name, layer in dense.items())


def test_convolutions_say_how_they_are_done(traces: dict[tuple[str, str], Trace]) -> None:
    layers = products(traces["pruned", "ort"])
    assert all(layer.kernel.startswith("NCHW") for layer in layers.values() if layer.op == "Conv")
    assert products(traces["pruned", "eager"])["layer1.0.conv1.weight"].kernel.startswith("aten::")


def test_the_table_shows_layers_cost_and_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = call("trace", "pruned", "--backend", "ort", "--batch", "1,2", "--runs", "2", "--top", "3", "--out", "table")
    assert result.code == 0, result.stderr
    for trace in read_traces(folder / "table").values():
        for layer in trace.layers[:3]:
            assert f"{layer.name} " in result.stdout
            assert f"{layer.time_us:,.1f}" in result.stdout
        assert f"and {len(trace.layers) - 3} more" in result.stdout
        assert f"trace: table/traces/{trace.chrome_file}" in result.stdout
    for message in ("time µs", "pruned ort fp32 batch 2", "2 runs; the profiler adds", "run: table"):
        assert message in result.stdout, message
    report = call("report", "table")
    assert report.code == 0, report.stderr
    refused(call("trace", "pruned", "--out", "table"), 2, "is there already")


def test_measured_cases_are_traced_on_request(folder: Path, here: Path) -> None:
    (here / "engines").mkdir()
    shutil.copytree(folder / "dense", here / "engines" / "test_resnet-dense")
    options = (
        "--backends",
        "ort,null",
        "--across-backends",
        "--rigor",
        "quick",
        "--budget-s",
        "2",
        "--threads",
        "1",
        "--out",
        "run",
    )
    result = call("bench", folder / "pruned", *options, "--trace", "--json")
    assert result.code == 0, result.stderr
    records = {trace_stem(record): record for record in read_run(here / "run").cases}
    assert len(records) == 4, "a name for each case, though all have one comparison"
    traces = read_traces(here / "run")
    assert traces.keys() == {stem for stem, record in records.items() if record.case.backend == "ort"}
    assert {Path(path).name for path in result.document["traces"]} == {trace.chrome_file for trace in traces.values()}
    assert "backend null cannot be traced" in result.stderr


def test_a_trace_that_fails_is_a_record_with_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = call("trace", "pruned", "--backend", "eager", "--memory-limit", "100", "--out", "hungry", "--json")
    assert result.code == 1, result.stderr
    (case,) = result.document["traces"]
    assert case["status"] == "failed"
    assert "the limit is 100 MiB" in case["reason"]
    assert not list((folder / "hungry" / "traces").iterdir())
    (record,) = read_run(folder / "hungry").cases
    assert (record.status, record.reason) == ("failed", case["reason"])


BAD: list[tuple[tuple[str, ...], int, str]] = [
    (("--backend", "onnx"), 2, "unknown backend"),
    (("--backend", "eager,ort"), 2, "--backend takes one backend"),
    (("--backend", "null"), 4, "backend null cannot be traced"),
    (("--precision", "fp32,tf32"), 2, "--precision takes one"),
    (("--precision", "fp16"), 4, "the bundle has no fp16 onnx"),
    (("--runs", "0"), 2, "--runs must be at least 1"),
    (("--batch", "0"), 2, "--batch got"),
    (("--threads", "0"), 2, "--threads must be at least 1"),
]


@pytest.mark.parametrize(("options", "code", "message"), BAD, ids=[" ".join(options) for options, _, _ in BAD])
def test_bad_options_are_told_before_any_work(made: Made, here: Path, options: tuple[str, ...], code: int, message: str) -> None:
    refused(call("trace", made.folder, *options), code, message, here)


@pytest.mark.locked
def test_what_cannot_be_traced_says_why(made: Made, here: Path) -> None:
    refused(call("trace", here), 2, "is no bundle", here)
    refused(call("trace", made.folder, "--backend", "trt"), 4, "not timed: no CUDA device", here)
    refused(call("trace", made.folder, "--backend", "trt", "--batch", "3"), 4, "batch 3 is outside the engine's profiles", here)
    bundle = Path(shutil.copytree(made.folder, here / "bundle"))
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    refused(call("trace", bundle), 1, "its hash differs")
