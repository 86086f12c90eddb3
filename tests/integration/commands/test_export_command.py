"""`prune-deploy export`: what it prints, what it writes and what it reuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import timm

import prune_deploy
from prune_deploy.specs import RANDOM_WEIGHTS
from support.commands import SHARED, TINY, Made, bundle, call, engine_of, here, made, refused, remains, spawn

__all__ = ["bundle", "here", "made"]  # fixtures


HEAVY = ("torch", "timm", "numpy", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx")


@pytest.mark.locked
def test_the_document_is_all_of_stdout_and_the_story_is_on_stderr(made: Made) -> None:
    document = made.result.document
    for field in ("params_before", "params_after", "macs_before", "macs_after"):
        assert isinstance(document[field], int)
    assert document["params_after"] < 0.4 * document["params_before"]
    assert document["macs_after"] < 0.4 * document["macs_before"]
    assert document["bundle"] == "bundle"
    assert document["reused"] is False
    assert {group["name"] for group in document["receipt"]["groups"]} > {"head", "patch_embed.proj"}
    stages = re.findall(r"^\[ *\d+\.\d s\] (\w+)", made.result.stderr, flags=re.MULTILINE)
    assert stages == ["loading", "building", "pruning", "writing", "exporting", "checking", "building"]
    assert "no GPU here" in made.result.stderr or engine_of(document)["target"] != "sm86"


@pytest.mark.locked
def test_the_document_lists_the_files_that_are_there(made: Made) -> None:
    files = made.result.document["files"]
    assert sorted(files) == sorted(path.name for path in made.folder.iterdir())
    assert {"bundle.json", "model.onnx", "plan.json", "recipe.json", "weights.safetensors"} < set(files)
    (engine,) = (name for name in files if name.endswith(".engine"))
    assert re.fullmatch(r"model\.fp32\.sm\d+\.b1-4\.tensorrt(-rtx)?-\d+\.\d+\.engine", engine)
    assert remains(made.folder.parent)[0] == "bundle", "nothing lies beside it"


@pytest.mark.locked
def test_the_engine_is_real_and_says_who_built_it(made: Made) -> None:
    engine = engine_of(made.result.document)
    (path,) = made.folder.glob("*.engine")
    assert path.stat().st_size > 100_000
    assert [profile["optimum"] for profile in engine["profiles"]] == [1, 4]
    assert engine["layer_types"]["Float"] > 10
    assert engine["tf32"] is False
    assert f"engine built by {engine['library']} {engine['library_version']}" in made.result.stderr


@pytest.mark.locked
def test_parity_of_the_onnx_file_is_stored_for_batches_1_2_and_5(made: Made) -> None:
    parity = made.result.document["parity"]
    stored = json.loads((made.folder / "bundle.json").read_text())
    assert parity["model.onnx"]["status"] == "passed"
    assert [check["batch"] for check in parity["model.onnx"]["checks"]] == [1, 2, 5]
    assert all(0 < check["relative_diff"] < 1e-3 and check["top1_agreement"] == 1 for check in parity["model.onnx"]["checks"])
    assert next(a for a in stored["artifacts"] if a["name"] == "model.onnx")["parity"] == parity["model.onnx"]
    (engine,) = (parity[name] for name in parity if name.endswith(".engine"))
    assert engine["status"] == "not_run"
    assert engine["reason"]


def test_the_onnx_file_has_a_free_batch_and_opset_20(made: Made) -> None:
    model = onnx.load(made.folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import if opset.domain == ""] == [("", 20)]
    (given,), (got,) = model.graph.input, model.graph.output
    assert (given.name, got.name) == ("input", "logits")
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["batch", 3, 160, 160]
    assert [d.dim_param or d.dim_value for d in got.type.tensor_type.shape.dim] == ["batch", 10]
    assert {tensor.data_type for tensor in model.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_no_file_of_a_bundle_names_a_folder_of_the_machine_that_made_it(made: Made) -> None:
    places = {str(made.folder.parent), sys.prefix, sys.base_prefix, str(Path(prune_deploy.__file__).parents[1]), str(Path.home())}
    for path in made.folder.iterdir():
        content = path.read_bytes()
        assert [place for place in places if len(place) > 3 and place.encode() in content] == [], path.name
        assert b"site-packages" not in content, path.name


def test_all_files_can_be_read_by_whoever_can_read_the_bundle(made: Made) -> None:
    assert {path.stat().st_mode & 0o777 for path in made.folder.iterdir()} == {0o666 & ~_umask()}


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.fixture
def no_heavy_imports(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing anything heavy fails."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Forbid:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {HEAVY!r}:\n"
        "            raise ImportError(name + ' is forbidden')\n"
        "sys.meta_path.insert(0, Forbid())\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    control = subprocess.run(
        [sys.executable, "-c", "import torch"], env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert b"torch is forbidden" in control.stderr
    return environment


def test_the_same_call_again_takes_less_than_a_second_and_imports_nothing_heavy(
    made: Made, no_heavy_imports: dict[str, str]
) -> None:
    before = (made.folder / "bundle.json").stat()
    results = [spawn(*SHARED, folder=made.folder.parent, **no_heavy_imports) for _ in range(2)]
    assert [result.code for result in results] == [0, 0], results[0].stderr
    assert results[0].document == {**made.result.document, "reused": True}
    assert "was there already" in results[0].stderr
    after = (made.folder / "bundle.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert min(result.processor_s for result in results) < 1.0


def test_another_request_for_the_same_folder_is_refused_with_the_difference(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    refused(call(*SHARED, "--batch", "1:8"), 2, "engine batches [1, 4] there, [1, 8] asked for")
    refused(call(*SHARED, "--method", "l1"), 2, "prune method l2 there, l1 asked for")
    refused(call(*SHARED[:5], "--dense", "--batch", "1:4", "--out", "bundle"), 2, "the dense model asked for, a pruned one there")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_damaged_record_is_refused_and_force_replaces_the_bundle(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")
    refused(call(*TINY, "--ratio", "0.5", "--engine", "none", "--out", "bundle"), 2, "not valid JSON")
    result = call(*TINY, "--ratio", "0.5", "--engine", "none", "--out", "bundle", "--force", "--json")
    assert (result.code, result.document["reused"]) == (0, False)
    assert sorted(path.name for path in bundle.iterdir()) == sorted(result.document["files"]), "nothing is left of the old one"
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
    assert call("verify", bundle).code == 0


@pytest.mark.release
def test_an_empty_folder_is_filled_and_a_bundle_that_lost_a_file_is_made_again(here: Path) -> None:
    (here / "bundle").mkdir()
    arguments = (*TINY, "--dense", "--engine", "none", "--out", "bundle", "--json")
    assert call(*arguments).document["reused"] is False
    assert call(*arguments).document["reused"] is True
    (here / "bundle" / "model.onnx").unlink()
    assert call(*arguments).document["reused"] is False
    assert (here / "bundle" / "model.onnx").is_file()


@pytest.mark.parametrize("lying_there", ["folder", "file"])
def test_force_never_replaces_what_is_no_bundle(here: Path, lying_there: str) -> None:
    place = here / "thesis"
    if lying_there == "folder":
        place.mkdir()
        (place / "chapter1.tex").write_text("years of work")
    else:
        place.write_text("years of work")
    before = remains(here)
    refused(call(*TINY, "--ratio", "0.5", "--engine", "none", "--out", "thesis", "--force"), 2, "is no bundle")
    assert remains(here) == before


def test_a_link_stays_a_link_and_the_bundle_it_leads_to_is_replaced(bundle: Path) -> None:
    link = bundle.parent / "links" / "latest"
    link.parent.mkdir()
    link.symlink_to(bundle)
    result = call(*TINY, "--dense", "--engine", "none", "--out", link, "--force", "--json")
    assert result.code == 0
    assert link.is_symlink()
    assert sorted(path.name for path in bundle.iterdir()) == sorted(result.document["files"])
    assert [path.name for path in link.parent.iterdir()] == ["latest"]


def test_the_dense_model_is_exported_whole(here: Path) -> None:
    result = call(*TINY, "--dense", "--engine", "none", "--json")
    document = result.document
    assert document["bundle"] == "engines/test_byobnet-10classes-dense"
    assert (
        document["params_after"]
        == document["params_before"]
        == sum(parameter.numel() for parameter in timm.create_model("test_byobnet", num_classes=10).parameters())
    )
    assert document["macs_after"] == document["macs_before"] > 0
    assert document["receipt"]["groups"] == []
    assert sorted(document["files"]) == ["bundle.json", "model.onnx", "recipe.json", "weights.safetensors"]


def test_without_an_engine_the_rest_is_made_and_the_reason_is_told(here: Path) -> None:
    result = call(*TINY, "--ratio", "0.5", "--engine", "none")
    assert result.code == 0
    assert "no engine: --engine none" in result.stderr
    assert "no GPU here" not in result.stderr, "a target that nothing is built for is nobody's business"
    assert [path.name for path in here.iterdir()] == ["engines"]
    (folder,) = (here / "engines").iterdir()
    assert folder.name == "test_byobnet-10classes-l2-r0.50"
    assert list(folder.glob("*.engine")) == []
    for message in (
        "test_byobnet, 10 classes, weights random, seed 0",
        "parameters M",
        "Receipt",
        "ignored: --ignore head",
        "passed",
    ):
        assert message in result.stdout
    assert "prune-deploy verify engines/test_byobnet-10classes-l2-r0.50" in result.stdout, "the next step can be copied"
    assert "Next:  prune-deploy bench engines/" in result.stdout
    assert result.stderr.startswith(RANDOM_WEIGHTS)
    assert result.stdout.rstrip().lower().endswith(f"{RANDOM_WEIGHTS}.")


@pytest.mark.locked
@pytest.mark.parametrize(("asked", "target"), [("NVIDIA RTX A2000", "sm86"), ("sm120", "sm120")])
def test_engines_are_built_for_cards_that_are_not_here(here: Path, asked: str, target: str) -> None:
    result = call(*TINY, "--ratio", "0.5", "--engine", "tensorrt-rtx", "--target", asked, "--batch", "2", "--json")
    assert result.code == 0, result.stderr
    assert engine_of(result.document)["target"] == target
    (engine,) = Path(result.document["bundle"]).glob("*.engine")
    assert f".{target}.b2.tensorrt-rtx-" in engine.name


@pytest.mark.locked
def test_what_an_old_card_cannot_do_is_told_with_its_fix(here: Path) -> None:
    result = call(*TINY, "--ratio", "0.5", "--engine", "tensorrt-rtx", "--target", "sm75", "--batch", "2")
    refused(result, 1, "choose a newer target")
    assert remains(here) == ["engines"], "no engine, no bundle"


@pytest.mark.locked
def test_a_card_no_library_here_builds_for_leaves_the_rest(here: Path) -> None:
    result = call(*TINY, "--dense", "--target", "sm87")
    assert result.code == 0
    assert result.stderr.count("no engine for sm87 can be built here") == 1
    assert "choose one of" in result.stderr
    assert list(here.glob("engines/*/model.onnx"))


@pytest.mark.release
def test_a_target_is_met_within_one_percent(here: Path) -> None:
    result = call(*TINY, "--target-macs", "0.5x", "--round-to", "1", "--engine", "none", "--json")
    document = result.document
    assert document["macs_after"] / document["macs_before"] == pytest.approx(0.5, rel=0.01)
    assert document["bundle"] == "engines/test_byobnet-10classes-l2-macs0.50x"


@pytest.mark.release
def test_a_plan_of_one_bundle_gives_another_the_same_widths(made: Made, here: Path) -> None:
    plan = made.folder / "plan.json"
    arguments = ("--plan", plan, "--method", "l1", "--seed", "7", "--engine", "none", "--json")
    result = call("export", "--model", "test_vit", "--num-classes", "10", *arguments)
    assert result.code == 0, result.stderr
    assert widths(Path(result.document["bundle"]) / "plan.json") == widths(plan)
    assert result.document["params_after"] == made.result.document["params_after"]
    assert result.document["macs_after"] == made.result.document["macs_after"]
    assert re.fullmatch(r"engines/test_vit-seed7-10classes-l1-plan[0-9a-f]{8}", result.document["bundle"])


def widths(plan: Path) -> dict[str, tuple[int, int]]:
    return {group["name"]: (group["channels"], group["kept"]) for group in json.loads(plan.read_text())["groups"]}
