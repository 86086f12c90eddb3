"""What is compared with what: ways to run, artifacts, and dense models, from records alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.errors import InputError
from prune_deploy.execution.baseline import identity, is_dense
from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import PlannedComparison, parse_run_configs, plan
from prune_deploy.records import WeightsSource
from prune_deploy.specs import Across, MeasureSpec
from prune_deploy.store import read_bundle
from support import GOLDEN

BUNDLE_V1 = GOLDEN / "bundle_v1"


@pytest.fixture
def bundle() -> LoadedBundle:
    return read_loaded_bundle(BUNDLE_V1)


def planned(bundle: LoadedBundle, *names: str, batches: tuple[int, ...] = (1,), across: Across = "") -> list[PlannedComparison]:
    return plan(bundle, [bundle], parse_run_configs(names, ("fp32",)), batches, MeasureSpec(), across=across)


def test_a_backend_is_named_with_or_without_its_variant() -> None:
    assert [config.label for config in parse_run_configs(("ort", "trt"), ("fp32",))] == ["ort", "trt", "trt:cuda-graph"]
    assert [config.label for config in parse_run_configs(("trt:cuda-graph", "ort:tensorrt-ep"), ("fp32",))] == [
        "trt:cuda-graph",
        "ort:tensorrt-ep",
    ]
    assert [config.precision for config in parse_run_configs(("ort",), ("fp32", "tf32"))] == ["fp32", "tf32"]


@pytest.mark.parametrize("names", [("onnx",), ("ort:warp",), ("ort", "ort"), ("trt", "trt:cuda-graph")])
def test_names_that_mean_nothing_or_the_same_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        parse_run_configs(names, ("fp32",))


def test_one_comparison_per_backend_and_batch(bundle: LoadedBundle) -> None:
    comparisons = planned(bundle, "null", "ort", batches=(1, 8))
    assert [each.name.removeprefix(f"{bundle.label}-") for each in comparisons] == [
        "null-fp32-b1",
        "ort-fp32-b1",
        "null-fp32-b8",
        "ort-fp32-b8",
    ]
    for comparison in comparisons:
        assert [case.role for case in comparison.cases] == ["dense", "candidate"]
        assert len({(case.case.backend, case.case.batch) for case in comparison.cases}) == 1


def test_across_backends_there_is_one_per_batch_with_one_baseline(bundle: LoadedBundle) -> None:
    (comparison,) = planned(bundle, "null", "ort", across="backends")
    assert [case.role for case in comparison.cases] == ["dense", "candidate", "candidate", "candidate"]
    assert [case.case.backend for case in comparison.cases] == ["null", "null", "ort", "ort"]


def test_a_precision_that_a_backend_or_a_bundle_has_not_is_a_row(bundle: LoadedBundle) -> None:
    for name in ("null", "ort"):
        (comparison,) = plan(bundle, [], parse_run_configs((name,), ("tf32",)), (1,), MeasureSpec())
        failure = comparison.cases[0].failure
        assert failure is not None
        assert failure.status == "unavailable"
        assert "tf32" in failure.reason or "TF32" in failure.reason
        assert not comparison.can_run


def test_a_missing_and_a_changed_file_are_found(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLE_V1, tmp_path / "bundle"))
    name = read_bundle(folder).artifacts[0].name
    (folder / name).write_bytes(b"something else")
    changed = read_loaded_bundle(folder).damage
    (folder / name).unlink()
    missing = read_loaded_bundle(folder).damage
    assert changed is not None
    assert missing is not None
    assert "its hash differs" in changed.reason
    assert "is missing" in missing.reason


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"weights": WeightsSource(kind="random", seed=1)}, False),
        ({"weights": WeightsSource(kind="file", path="a", sha256="1" * 64)}, False),
    ],
)
def test_bundles_share_a_dense_model_only_with_the_same_weights(change: dict[str, Any], is_same: bool) -> None:
    record = dataclasses.replace(read_bundle(BUNDLE_V1), weights=WeightsSource(kind="random", seed=0))
    assert (identity(dataclasses.replace(record, **change)) == identity(record)) == is_same


def test_weights_of_a_file_are_known_by_their_content_not_their_path() -> None:
    record = read_bundle(BUNDLE_V1)
    one, other = (
        dataclasses.replace(record, weights=WeightsSource(kind="file", path=path, sha256="1" * 64)) for path in ("a", "b")
    )
    assert identity(one) == identity(other)
    assert is_dense(dataclasses.replace(record, request=dataclasses.replace(record.request, prune=None)))
