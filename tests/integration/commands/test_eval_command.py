"""`prune-deploy eval`: the exact files are scored, each in its own precision; what cannot be scored is a row or a refusal that says why."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from prune_deploy.interfaces import Silent, Stage
from prune_deploy.records import LATENCY_ONLY, Accuracy, from_json
from prune_deploy.specs import RunOptions
from prune_deploy.workflows import evaluate
from prune_deploy.workflows.evaluate import EvaluationRequest, EvaluationRow, evaluate_all, plan_evaluation
from support.commands import Made, call, here, interrupt, made, refused, remains, start
from support.fakes.recorded_progress import RecordedProgress
from support.models.precise import file_of, precise

__all__ = ["here", "made", "precise"]  # fixtures

SOME = ("--data", "digits", "--data-samples", "60", "--threads", "1", "--device", "cpu")


def test_every_artifact_of_a_bundle_has_a_row(precise: Path) -> None:
    done = call("eval", precise, *SOME)
    assert done.code == 0, done.stderr
    lines = {tuple(line.split()[:4]): line for line in done.stdout.splitlines()}
    layers = file_of(precise, "int8").share
    assert layers is not None
    for expected in (
        ("weights.safetensors", "eager", "fp32", "16/16"),
        ("model.onnx", "ort", "fp32", "60"),
        (file_of(precise, "int8").name, "ort", "int8", layers.text),
    ):
        assert expected in lines, done.stdout
        assert "[" in lines[expected]
    assert "eager    bf16" not in done.stdout, "no file is that"
    assert "model.fp16.onnx ort fp16: unavailable: ONNX Runtime's CPU provider computes FP16 files in FP32 (0/16" in done.stdout
    assert "model.bf16.onnx ort bf16: unavailable: ONNX Runtime's CPU provider has no BF16 kernels" in done.stdout
    assert "weights are random: chance level, 10 %, is expected" in done.stdout
    assert LATENCY_ONLY not in done.stdout, "it was calibrated on digits"
    assert done.stderr.count("evaluating bundle") == 5


def test_modules_are_scored_in_the_precisions_that_are_asked_for(precise: Path) -> None:
    done = call("eval", precise, *SOME, "--backends", "eager", "--precisions", "bf16,int8")
    assert done.code == 0, done.stderr
    lines = {tuple(line.split()[:4]): line for line in done.stdout.splitlines()}
    assert "[" in lines["weights.safetensors", "eager", "bf16", "16/16"]
    assert "-                    eager    int8        -" in done.stdout
    assert "eager int8: unavailable:" in done.stdout


def test_the_document_has_all_that_was_seen(precise: Path) -> None:
    done = call("eval", precise, *SOME, "--backend", "ort", "--precision", "fp32,int8,fp16", "--batch", "7", "--json")
    assert done.code == 0, done.stderr
    assert done.document["data"] == "digits"
    rows = {row["precision"]: row for row in done.document["rows"]}
    assert list(rows) == ["fp32", "int8", "fp16"], "in the order of the command line"
    assert all(row.keys() == {field.name for field in dataclasses.fields(EvaluationRow)} | {"warnings"} for row in rows.values())
    fp32, int8, fp16 = (from_json_row(rows[each]) for each in ("fp32", "int8", "fp16"))
    assert fp32 is not None
    assert int8 is not None
    assert (fp32.agreement, fp32.images, fp32.batch, fp32.random_weights, fp32.warnings) == (1.0, 60, 7, True, ())
    assert int8.agreement is not None
    assert int8.agreement >= 0.9
    share = file_of(precise, "int8").share
    assert share is not None
    assert rows["int8"]["layers"] == rows["int8"]["settings"]["precision_layers"] == share.text
    assert fp16 is None
    assert (rows["fp16"]["status"], rows["fp16"]["artifact"]) == ("unavailable", "model.fp16.onnx")
    assert "FP32" in rows["fp16"]["reason"]
    assert rows["fp16"]["fix"]


def from_json_row(row: dict[str, Any]) -> Accuracy | None:
    found = row["accuracy"]
    return None if found is None else from_json(Accuracy, json.dumps(found), source="the row")


def test_by_default_each_bundle_is_scored_in_the_precisions_that_it_has_files_for(precise: Path, made: Made) -> None:
    asked = dataclasses.replace(request(precise, precisions=(), backends=("ort",)), bundles=(precise, made.folder, precise))
    planned = [(case.bundle.folder, case.case.precision) for case in plan_evaluation(asked)]
    here_too = [(precise, each) for each in ("fp32", "fp16", "bf16", "int8")]
    assert planned[:4] == here_too
    assert (made.folder, "fp32") in planned
    assert (made.folder, "int8") not in planned
    assert len(set(planned)) == len(planned), "a bundle that is named twice is scored once"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--data", "imagefolder:nowhere"), 2, "there is no folder nowhere"),
        (("--data", "imagenet"), 2, "unknown data 'imagenet'"),
        (("--data", "digits", "--data-samples", "0"), 2, "--data-samples must be at least 1"),
        (("--data", "digits", "--batch", "0"), 2, "--batch got '0'"),
        (("--data", "digits", "--backends", "onnx"), 2, "unknown backend 'onnx'"),
        (("--data", "digits", "--precisions", "fp8"), 2, "unknown precision 'fp8'"),
        (("--data", "digits", "--backends", ","), 2, "no backend is named"),
        (("--data", "digits", "--backends", "ort", "--precisions", "int8"), 4, "the bundle has no int8 onnx"),
        (("--data", "digits", "--backends", "eager", "--precisions", "int8"), 4, "eager runs no int8"),
        (("--data", "digits", "--threads", "0"), 2, "--threads must be at least 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(made: Made, here: Path, options: tuple[str, ...], code: int, message: str) -> None:
    refused(call("eval", made.folder, *options, "--device", "cpu"), code, message, here)


def test_of_images_of_other_classes_only_the_agreement_is_told(made: Made, here: Path) -> None:
    for name in "ab":
        (here / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(here / "images" / name / "0.png")
    result = call("eval", made.folder, "--data", "imagefolder:images", "--backends", "ort", "--precisions", "fp32", "--json")
    assert result.code == 0, result.stderr
    (row,) = result.document["rows"]
    assert (row["accuracy"]["top1"], row["accuracy"]["top5"], row["accuracy"]["low"]) == (None, None, None)
    assert row["accuracy"]["agreement"] == 1.0
    assert row["warnings"] == ["the model has 10 classes, imagefolder:images has 2: only agreement with FP32 means something"]
    refused(call("eval", here, "--data", "digits"), 2, "no bundle")


def test_a_damaged_bundle_is_not_scored(bundle_copy: Path) -> None:
    weights = bundle_copy / "model.onnx"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(call("eval", bundle_copy, "--data", "digits"), 1, "model.onnx is not the file that was exported")


@pytest.fixture
def bundle_copy(made: Made, here: Path) -> Path:
    return Path(shutil.copytree(made.folder, here / "bundle"))


def test_what_must_be_said_is_said_beside_the_figures(precise: Path, here: Path) -> None:
    for name in map(str, range(10)):
        (here / "images" / name).mkdir(parents=True)
        Image.new("L", (40, 40), 20 * int(name)).save(here / "images" / name / "a.png")
    (here / "images" / "3" / "b.png").write_bytes(b"no image")
    folder = Path(shutil.copytree(precise, here / "made"))
    record = json.loads((folder / "bundle.json").read_text())
    for artifact in record["artifacts"]:
        if artifact["quantization"] is not None:
            artifact["quantization"]["calibration"]["data"] = "synthetic"
    (folder / "bundle.json").write_text(json.dumps(record))
    asked = ("--data", "imagefolder:images", "--backends", "ort", "--precisions", "fp32,int8", "--device", "cpu")
    done = call("eval", folder, precise, *asked)
    assert done.code == 0, done.stderr
    assert "1 of the images could not be read: 3/b.png" in done.stdout
    assert f"* {LATENCY_ONLY}" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if " ort " in line]
    assert [(row[0], row[3], "*" in row) for row in rows] == [
        ("made", "fp32", False),
        ("made", "int8", True),
        ("bundle", "fp32", False),
        ("bundle", "int8", False),
    ]
    assert rows[0][-1] == rows[2][-1] == "100.0", "FP32 agrees with FP32"


def request(folder: Path, **changes: Any) -> EvaluationRequest:
    fields: dict[str, Any] = {"backends": ("eager", "ort"), "precisions": ("fp32",), "data": "digits", "data_samples": 40}
    return EvaluationRequest(bundles=(folder,), options=RunOptions(threads=1), **(fields | changes))


@pytest.mark.release
def test_what_takes_its_process_down_costs_its_row_only(precise: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = request(precise, backends=("ort",))

    class Killing(RecordedProgress):
        def stage(self, stage: Stage, detail: str = "", /) -> None:
            super().stage(stage, detail)
            if len(self.stages) == 2:
                for child in psutil.Process().children():
                    if "prune_deploy.execution.jobs.server" in child.cmdline():
                        child.kill()

    rows = list(evaluate_all(plan_evaluation(asked) * 3, asked, Killing()))
    assert [row.status for row in rows] == ["ok", "failed", "ok"]
    assert "SIGKILL" in rows[1].reason
    assert rows[0].accuracy == rows[2].accuracy
    assert [path for path in tmp_path.rglob("*") if path.parent != tmp_path] == [], "but the user's own folder"


def test_what_grows_too_large_is_ended(precise: Path) -> None:
    asked = request(precise, memory_limit_mib=60, backends=("ort",))
    (row,) = evaluate_all(plan_evaluation(asked), asked, Silent())
    assert row.status == "failed"
    assert "the limit is 60 MiB" in row.reason
    assert "`memory_limit_mib`" in row.fix


def test_what_takes_too_long_says_which_option_helps(precise: Path) -> None:
    asked = request(precise, limit_s=0.01, backends=("ort",))
    (row,) = evaluate_all(plan_evaluation(asked), asked, Silent())
    assert (row.status, row.fix) == ("timeout", "lower `data_samples`, or raise `limit_s`")


@pytest.mark.locked
def test_an_engine_is_scored_at_the_batch_nearest_to_the_usual(made: Made) -> None:
    (case, *_) = plan_evaluation(request(made.folder, backends=("ort", "trt")))
    assert case.case.batch == evaluate.BATCH
    engines = [each for each in plan_evaluation(request(made.folder, backends=("ort", "trt"))) if each.case.backend == "trt"]
    assert {each.case.batch for each in engines} == {4}, "it was built for 1 and 4"
    row = evaluate._row(engines[0])
    assert row.status == "unavailable" or row.layers


def test_ctrl_c_ends_it_with_130_and_leaves_nothing_running(precise: Path, here: Path) -> None:
    with start("eval", precise, "--data", "digits", "--threads", "1", folder=here) as child:
        rest = interrupt(child, "] evaluating")
    assert rest.rstrip().endswith("interrupted: nothing half-made was left behind")
    assert remains(here) == []
    # A child that was only just being started hears of its coordinator's end from the kernel, a moment later.
    ends = time.monotonic() + 120
    while (left := _build_workers_of(child.pid)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert left == ""


def _build_workers_of(pid: int) -> str:
    """The process ids of a coordinator's build workers."""
    found = subprocess.run(["pgrep", "-f", f"execution.jobs.server.* {pid}$"], capture_output=True, text=True, check=False)
    return found.stdout
