"""Records survive JSON unchanged; anything else is refused with the file's name, exit code 2 and a fix."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from prune_deploy.errors import InputError
from prune_deploy.records import (
    SCHEMA_VERSION,
    SHORTFALL_REASONS,
    Artifact,
    BundleRecord,
    Counts,
    EngineProfile,
    EngineRecord,
    Environment,
    Estimate,
    GroupWidth,
    Parity,
    ParityCheck,
    Preprocessing,
    Receipt,
    Recipe,
    Selection,
    WeightsSource,
    WidthPlan,
    from_json,
    to_json,
)
from prune_deploy.specs import EngineSpec, ExportSpec, ModelSpec, PruneSpec, ResolvedModel
from support.run_records import speedup

MODEL = ModelSpec(name="vit_large_patch16_224", num_classes=10, input_size=(3, 224, 224), weights="pfad/gewichte ü.pt", seed=7)
PRUNE = PruneSpec(
    target_macs="0.5x",
    method="random",
    scope="isomorphic",
    group_cap=0.9,
    round_to=16,
    rounding="nearest",
    when_empty="skip",
    ignore=("head", "blocks.*.attn"),
    heads=True,
    bottleneck=True,
    steps=3,
    seed=11,
    allow_shortfall=True,
)
ENGINE = EngineSpec(library="tensorrt-rtx", target="sm120", batches=(1, 5), workspace_mib=256, optimization_level=3)
RESOLVED = ResolvedModel(**dataclasses.asdict(MODEL))
REQUEST = ExportSpec(model=MODEL, prune=PRUNE, engine=ENGINE)
PROTECTED = GroupWidth(
    name="blocks.0.attn.qkv",
    channels=48,
    kept=48,
    blocks=3,
    whole_blocks=True,
    asked=16,
    reason="protected",
    detail="RuntimeError: shape '[-1, 48]' is invalid — “quoted”",
    members=("blocks.0.attn.qkv", "blocks.0.attn.proj"),
)
ROUNDED = GroupWidth(name="fc", channels=60, kept=24, asked=24, reason="rounded", detail="30 moved to a multiple of 8")
PLAN = WidthPlan(groups=(PROTECTED, ROUNDED), model="VisionTransformer")
SELECTION = Selection(kept={"a": (0, 2, 5), "b": ()})
COUNTS = Counts(params=303_311_882, macs=2**62, macs_with_attention=61_000_000_000)
RECEIPT = Receipt(request=PRUNE, before=COUNTS, after=COUNTS, groups=(PROTECTED, ROUNDED), warnings=("a warning",))
CHECK = ParityCheck(batch=2, max_abs_diff=1e-7, relative_diff=0.1 + 0.2, cosine=1.0, top1_agreement=0.5)
PARITY = Parity(status="passed", threshold_relative_diff=1e-3, threshold_cosine=0.999, response_cosine=1.0, checks=(CHECK, CHECK))
ENGINE_RECORD = EngineRecord(
    library="tensorrt-rtx",
    library_version="1.7",
    target="sm86",
    precision="fp32",
    tf32=False,
    profiles=(EngineProfile(minimum=1, optimum=1, maximum=1), EngineProfile(minimum=8, optimum=8, maximum=8)),
    workspace_mib=None,
    optimization_level=3,
    build_s=12.25,
    layer_types={"Float": 120, "Int64": 3},
    layer_source="build log",
    warnings=("a warning",),
    trtexec="trtexec --onnx=model.onnx",
)
ARTIFACT = Artifact(
    name="model.onnx", role="onnx", size_bytes=5, sha256="ab" * 32, precision="fp32", parity=PARITY, engine=ENGINE_RECORD
)
PREPROCESSING = Preprocessing(
    input_size=(3, 224, 224),
    interpolation="bicubic",
    crop_pct=0.875,
    crop_mode="center",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
ENVIRONMENT = Environment(
    python="3.11.4", platform="Linux", cpu="a CPU", cpu_count=2, memory_bytes=2**34, libraries={"torch": "2.15"}, gpus=("a GPU",)
)
BUNDLE = BundleRecord(
    key="12" * 32,
    model=RESOLVED,
    weights=WeightsSource(kind="file", path="w.pt", sha256="cd" * 32),
    request=REQUEST,
    receipt=RECEIPT,
    preprocessing=PREPROCESSING,
    input_name="images",
    output_name="logits",
    num_classes=10,
    artifacts=(ARTIFACT, dataclasses.replace(ARTIFACT, parity=None, engine=None, precision=None)),
    environment=ENVIRONMENT,
    engine_note="engine built; not run",
)
RECIPE = Recipe(
    model=RESOLVED,
    attributes={"fc": {"out_features": 5}, "norm": {"normalized_shape": {"tuple": [24]}}},
    buffers=("bn.running_mean",),
    selection=SELECTION,
    libraries={"timm": "1.0.31"},
)
EVERYTHING: list[Any] = [
    MODEL,
    RESOLVED,
    PRUNE,
    PruneSpec(ratio=0.3),
    ENGINE,
    REQUEST,
    ExportSpec(model=MODEL, prune=None, engine=ENGINE),
    PROTECTED,
    PLAN,
    SELECTION,
    COUNTS,
    RECEIPT,
    Receipt(request=None, before=COUNTS, after=COUNTS, groups=()),
    CHECK,
    PARITY,
    Parity(status="not_run", reason="no CUDA device"),
    ENGINE_RECORD,
    ARTIFACT,
    PREPROCESSING,
    WeightsSource(kind="random", seed=0),
    ENVIRONMENT,
    BUNDLE,
    RECIPE,
]


def refusal(cls: type[Any], text: str | bytes) -> InputError:
    """The error of reading `text`, which must name the file and say what to do."""
    with pytest.raises(InputError) as caught:
        from_json(cls, text, source="here.json")
    assert caught.value.exit_code == 2
    assert caught.value.fix
    assert "here.json" in caught.value.message
    return caught.value


@pytest.mark.parametrize("indent", [2, None])
@pytest.mark.parametrize("value", EVERYTHING, ids=lambda value: type(value).__name__)
def test_records_and_specs_survive_json(value: Any, indent: int | None) -> None:
    text = to_json(value, indent=indent)
    again = from_json(type(value), text, source="memory")
    assert again == value
    assert type(again) is type(value)
    assert to_json(again, indent=indent) == text
    assert from_json(type(value), text.encode(), source="memory") == value


def test_a_resolved_model_is_written_as_the_request_for_it_and_read_only_whole() -> None:
    assert to_json(RESOLVED) == to_json(RESOLVED.spec) == to_json(MODEL)
    open_request = to_json(ModelSpec(name="resnet50", input_size=(3, 224, 224)))
    assert "num_classes" in refusal(ResolvedModel, open_request).message
    impossible = to_json(MODEL).replace('"num_classes": 10', '"num_classes": -1')
    assert impossible != to_json(MODEL)
    assert "num_classes" in refusal(ResolvedModel, impossible).message


def test_tuples_come_back_as_tuples_and_numbers_exactly() -> None:
    again = from_json(Selection, to_json(SELECTION), source="memory")
    assert again.kept["a"] == (0, 2, 5)
    assert isinstance(again.kept["a"], tuple)
    parity = from_json(Parity, to_json(PARITY), source="memory")
    assert parity.checks[0].relative_diff == 0.1 + 0.2
    assert from_json(Counts, to_json(COUNTS), source="memory").macs == 2**62


@pytest.mark.parametrize("value", [PLAN, BUNDLE, RECIPE], ids=lambda value: type(value).__name__)
def test_files_carry_the_schema_version(value: Any) -> None:
    assert json.loads(to_json(value))["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("value", [PLAN, BUNDLE, RECIPE], ids=lambda value: type(value).__name__)
def test_a_newer_schema_is_refused_before_anything_else_is_read(value: Any) -> None:
    data = json.loads(to_json(value)) | {"schema_version": SCHEMA_VERSION + 1, "from_the_future": True}
    error = refusal(type(value), json.dumps(data))
    assert f"schema version {SCHEMA_VERSION + 1}" in error.message
    assert "upgrade" in error.fix


def test_unknown_keys_are_refused_by_name_at_any_depth() -> None:
    data = json.loads(to_json(PLAN))
    assert "surprise" in refusal(WidthPlan, json.dumps(data | {"surprise": 1})).message
    data["groups"][1]["surplus"] = 1
    assert "surplus" in refusal(WidthPlan, json.dumps(data)).message


def test_missing_keys_are_refused_by_name() -> None:
    data = json.loads(to_json(PLAN))
    del data["groups"][0]["channels"]
    assert "channels" in refusal(WidthPlan, json.dumps(data)).message


@pytest.mark.parametrize("text", ["", "{", "not json", '{"groups": [}', "\x00\x01", '{"groups": []'])
def test_damaged_json_is_refused(text: str) -> None:
    assert "not valid JSON" in refusal(WidthPlan, text).message


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_truncated_file_is_refused(cut: int) -> None:
    refusal(BundleRecord, to_json(BUNDLE)[:-cut])


def test_bytes_that_are_not_utf8_are_refused() -> None:
    refusal(WidthPlan, b"\xff\xfe{}\x80")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"', '{"groups": 3, "model": "m"}', '{"groups": [3], "model": "m"}'])
def test_json_of_something_else_is_refused(text: str) -> None:
    assert "not a WidthPlan" in refusal(WidthPlan, text).message


def test_a_wrong_type_inside_is_refused() -> None:
    data = json.loads(to_json(PLAN))
    data["groups"][0]["channels"] = "many"
    assert "channels" in refusal(WidthPlan, json.dumps(data)).message


def test_values_outside_a_fixed_list_are_refused() -> None:
    data = json.loads(to_json(PLAN))
    data["groups"][0]["reason"] = "because"
    assert "because" in refusal(WidthPlan, json.dumps(data)).message


def test_a_spec_that_contradicts_itself_is_refused_when_read() -> None:
    data = json.loads(to_json(PruneSpec(ratio=0.5))) | {"target_macs": "0.5x"}
    assert "`target_macs`" in refusal(PruneSpec, json.dumps(data)).message


def test_numbers_that_json_lacks_are_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json(dataclasses.replace(CHECK, cosine=float("nan")))


def test_a_plan_that_keeps_everything_removes_nothing() -> None:
    assert not PLAN.removes_nothing
    assert dataclasses.replace(PLAN, groups=(PROTECTED,)).removes_nothing
    assert dataclasses.replace(PLAN, groups=()).removes_nothing


def test_shortfalls_are_groups_that_keep_more_for_a_reason_nobody_asked_for() -> None:
    wide = dataclasses.replace(PROTECTED, kept=48, asked=16)
    groups = {
        "protected": wide,
        "no-score": dataclasses.replace(wide, reason="no-score"),
        "ignored": dataclasses.replace(wide, reason="ignored"),
        "ignored-member": dataclasses.replace(wide, reason="ignored-member"),
        "bottleneck": dataclasses.replace(wide, reason="bottleneck"),
        "minimum": dataclasses.replace(wide, reason="minimum"),
    }
    short = dataclasses.replace(RECEIPT, groups=tuple(groups.values())).shortfalls
    assert {g.reason for g in short} == {"protected", "no-score"} == SHORTFALL_REASONS
    nothing_lost = dataclasses.replace(wide, asked=48)
    assert dataclasses.replace(RECEIPT, groups=(nothing_lost,)).shortfalls == ()


@pytest.mark.parametrize(
    ("source", "label"),
    [
        (WeightsSource(kind="random", seed=3), "random, seed 3"),
        (WeightsSource(kind="pretrained", tag="timm a1_in1k"), "pretrained timm a1_in1k"),
        (WeightsSource(kind="file", path="w.pt", sha256="00"), "file w.pt"),
    ],
)
def test_weights_are_labelled_with_their_origin(source: WeightsSource, label: str) -> None:
    assert source.label == label


@pytest.mark.parametrize("number", ["1" * 21, "1" * 100_000, "-" + "1" * 20, "1e101", "-1e200"])
def test_numbers_that_no_figure_can_be_computed_with_are_refused(number: str) -> None:
    text = to_json(Counts(params=1, macs=2, macs_with_attention=3)).replace("2", number)
    with pytest.raises(InputError, match="too large a number"):
        from_json(Counts, text, source="here")


def test_a_number_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(InputError, match="too many digits"):
        to_json(Counts(params=1, macs=10**400, macs_with_attention=3))


@pytest.mark.parametrize(("value", "low", "high"), [(5e-324, None, None), (1e41, None, None), (1.0, 1.1, 1.2), (1.0, 0.9, 0.99)])
def test_an_estimate_lies_within_its_interval_and_has_a_sensible_size(
    value: float, low: float | None, high: float | None
) -> None:
    with pytest.raises(ValueError, match="no time and no ratio"):
        Estimate(value=value, low=low, high=high, confidence=0.975, unit="round", count=5)


@pytest.mark.parametrize("value", [1e-15, 1e15])
def test_no_speedup_is_more_than_a_day_over_a_nanosecond(value: float) -> None:
    assert speedup(value * (0.01 if value > 1 else 100)).verdict == "FASTER"
    with pytest.raises(ValueError, match="no ratio of two runs"):
        speedup(value)
