"""`curve` on a small real model: iterative stages beside the dense model, to the last unit of every group."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_deploy.execution.jobs.staged_export import StagedModel
from prune_deploy.runs import read_run
from prune_deploy.specs import EngineSpec, ExportSpec, ModelSpec, PruneSpec
from prune_deploy.store import read_bundle
from support.commands import call, here, refused, spawn

pytestmark = pytest.mark.release

__all__ = ["here"]  # a fixture


TINY = ("--model", "test_resnet", "--num-classes", "10", "--input-size", "64", "--steps", "4", "--batch", "2", "--threads", "1")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished curve; what it printed lies beside it."""
    folder = tmp_path_factory.mktemp("curve")
    done = spawn("curve", *TINY, "--backends", "ort,trt", "--budget-s", "3", "--share-machine", "--out", "run", folder=folder)
    assert done.code == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    (folder / "said.txt").write_text(done.stderr)
    return folder


def test_every_step_is_a_bundle_that_is_smaller_than_the_one_before(measured: Path) -> None:
    bundles = [
        read_bundle(measured / "run" / "bundles" / f"test_resnet-l2-r{ratio}") for ratio in ("0.25", "0.50", "0.75", "1.00")
    ]
    sizes = [bundle.receipt.after.params for bundle in bundles]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert {group.kept for group in bundles[-1].receipt.groups} == {2}, "the least that --round-to 2 can leave of each group"
    assert all(group.channels > 8 for group in bundles[-1].receipt.groups if group.name != "fc"), (
        "receipts count from the dense model"
    )
    assert all(
        artifact.parity.status == "passed"
        for b in bundles
        for artifact in b.artifacts
        if artifact.role == "onnx" and artifact.parity
    )


def test_engines_are_built_at_every_step_and_say_why_they_were_not_timed(measured: Path) -> None:
    cases = [record for record in read_run(measured / "run").cases if record.case.backend == "trt"]
    assert {record.label[-5:] for record in cases} == {"dense", "r0.25", "r0.50", "r0.75", "r1.00"}
    assert all(record.status == "unavailable" and "engine built by" in record.reason for record in cases)
    assert all(record.artifact.endswith(".engine") for record in cases)


def test_the_curve_is_printed_as_it_goes_and_as_a_whole(measured: Path) -> None:
    printed, message = (measured / "printed.txt").read_text(), (measured / "said.txt").read_text()
    for ratio in ("0.25", "0.50", "0.75", "1.00"):
        assert f"step {ratio}" in message
    lines = [line.split() for line in printed.splitlines() if line[:4] in ("0.00", "0.25", "0.50", "0.75", "1.00")]
    timed = [line for line in lines if "unavailable" not in line]
    assert [line[0] for line in timed] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert all("█" in " ".join(line) for line in timed)  # a slower step says so behind its bar
    assert "±" in " ".join(timed[0])


def test_the_same_command_only_prints_it_again(measured: Path) -> None:
    again = spawn("curve", *TINY, "--backends", "ort,trt", "--budget-s", "3", "--share-machine", "--out", "run", folder=measured)
    assert again.code == 0, again.stderr
    assert again.stdout == (measured / "printed.txt").read_text()
    assert "comparisons are there" in again.stderr


def request(ratio: float, steps: int) -> ExportSpec:
    """The request of one stage."""
    prune = PruneSpec(ratio=ratio, steps=steps, round_to=2, ignore=("none",))
    return ExportSpec(model=ModelSpec(name="test_resnet"), prune=prune, engine=EngineSpec(library="none"))


def test_a_stage_begun_anew_as_after_a_kill_is_the_stage_that_follows_from_the_one_before() -> None:
    ratios = (0.25, 0.5, 1.0)
    staged = StagedModel(request(0.25, 1))
    for done in range(1, 4):
        assert staged.can_reach(request(ratios[done - 1], done), ratios[:done])
        network = staged.go_to(request(ratios[done - 1], done), ratios[:done])
    anew = StagedModel(request(1.0, 3)).go_to(request(1.0, 3), ratios)
    assert anew.pruned is not None
    assert network.pruned is not None
    assert anew.pruned.selection == network.pruned.selection
    assert anew.receipt == network.receipt
    ours, theirs = network.loaded.module.state_dict(), anew.loaded.module.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)
    assert not staged.can_reach(request(0.5, 2), ratios[:2]), "there is no way back"
    assert not staged.can_reach(request(1.0, 3), (0.3, 1.0)), "another way leads elsewhere"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "0"), "--steps"),
        (("--to-ratio", "1.5"), "--to-ratio"),
        (("--to-ratio", "0"), "--to-ratio"),
        (("--batch", "none"), "--batch got"),
        (("--method", "nosuch"), "unknown pruning method"),
    ],
)
def test_requests_that_make_no_sense(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call("curve", "--model", "test_resnet", "--backends", "ort", *options), 2, message, here)
