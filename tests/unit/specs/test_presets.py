"""Sweeps as TOML: the presets hold every row of the tables they stand for, and a mistaken file is told its key and what to do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from prune_deploy.errors import InputError
from prune_deploy.presets import preset, preset_names, read_sweep
from prune_deploy.records import from_json, to_json
from prune_deploy.specs import SHORT_CODES, MaskSpec, MeasureSpec, ModelSpec, PruneSpec, QuantizeSpec, SweepSpec, Variant
from support import GOLDEN, ROOT
from support.commands import command

GOOD = """
backends = ["ort"]

[[blocks]]
models = ["resnet18"]
methods = ["l1"]
ratios = [0.5]
"""
Key = tuple[str, str, float | None, str]
"""A variant as the tables tell them apart: model, method, ratio, protocol."""

MASKS = {
    "l1-unstructured": "mask-l1-unstructured",
    "l1-unstructured-global": "mask-global-unstructured",
    "ln-structured-masked": "mask-ln-structured",
}
DEPGRAPH = {
    "depgraph-l1": {"published": "l1", "own": "l1"},
    "depgraph-random": {"published": "random", "own": "random"},
    "depgraph-group": {"published": "bn-scale", "own": "l2"},
}
ADDED_RATIO = 0.7
ADDED_MODELS = "srx"


def golden(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def key(variant: Variant) -> Key:
    return variant.model.name, variant.method, variant.ratio, variant.protocol


def keys(row: dict[str, str]) -> set[Key]:
    """The variants that a published row stands for."""
    code, method, ratio = row["code"], row["method"], float(row["ratio"])
    if method == "none":
        return {(code, "dense", None, "")}
    if method in MASKS:
        return {(code, MASKS[method], ratio, "")}
    return {(code, ours, ratio, protocol) for protocol, ours in DEPGRAPH[method].items()}


def variants(name: str) -> list[Variant]:
    return [variant for _, of_model in preset(name).models() for variant in of_model]


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "sweep.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_presets_are_those_that_the_help_names() -> None:
    assert preset_names() == ["pytorch-pruning", "quick", "resnet50-curve"]
    (option,) = (each for each in command("sweep").params if each.name == "preset")
    assert all(name in getattr(option, "help", "") for name in preset_names())


@pytest.mark.parametrize("name", ["pytorch-pruning", "quick", "resnet50-curve"])
def test_a_preset_is_a_file_like_any_other_and_fits_into_a_run(tmp_path: Path, name: str) -> None:
    packaged = ROOT / "prune_deploy" / "presets" / f"{name}.toml"
    assert read_sweep(file(tmp_path, packaged.read_bytes())) == preset(name)
    assert from_json(SweepSpec, to_json(preset(name)), source="test") == preset(name)


def test_every_published_row_of_the_benchmark_has_its_variants_and_no_others_are_there_but_our_additions() -> None:
    published = set().union(*(keys(row) for row in golden("pytorch_pruning_a2000.csv")))
    ours = {key(variant) for variant in variants("pytorch-pruning")}
    methods = {(method, protocol) for table in DEPGRAPH.values() for protocol, method in table.items()}
    added = {(code, method, ADDED_RATIO, protocol) for code in SHORT_CODES for method, protocol in methods}
    added |= {(code, method, ratio, protocol) for code in ADDED_MODELS for method, protocol in methods for ratio in (0.3, 0.5)}
    assert published <= ours
    assert ours - published == added
    assert preset("pytorch-pruning").batches == (16,)


def test_the_protocols_of_the_benchmark_are_the_published_one_and_our_defaults() -> None:
    found = {variant.name: variant.prune for variant in variants("pytorch-pruning") if variant.prune is not None}
    published = found["mobilenetv4_conv_large-bn-scale-r0.30-published"]
    ignored = ("head", "norm", "attention")
    assert published == PruneSpec(ratio=0.3, method="bn-scale", round_to=8, ignore=ignored, when_empty="skip")
    assert found["mobilenetv4_conv_large-l2-r0.70-own"] == PruneSpec(ratio=0.7, method="l2")


def test_the_curve_has_the_published_rows_in_order_each_leading_to_the_next() -> None:
    dense, *steps = variants("resnet50-curve")
    table = [float(row["pruning_ratio"]) for row in golden("torch_pruning_resnet50_curve.csv")]
    assert dense == Variant(model=ModelSpec(name="resnet50"))
    assert [0.0, *(step.ratio for step in steps)] == table
    spec = preset("resnet50-curve")
    assert spec.stages()[steps[-1].name] == tuple(table[1:])
    assert (spec.batches, spec.backends) == ((64,), ("eager", "compile", "ort", "trt"))
    assert all(step.prune is not None and step.prune.round_to == 2 and step.prune.ignore == ("none",) for step in steps)


def test_an_unknown_preset_hears_what_it_may_have_meant() -> None:
    with pytest.raises(InputError) as caught:
        preset("quik")
    assert caught.value.fix == "did you mean quick?"
    with pytest.raises(InputError) as caught:
        preset("../presets/quick")
    assert "resnet50-curve" in caught.value.fix


def test_a_file_says_the_least_and_the_rest_is_as_on_the_command_line(tmp_path: Path) -> None:
    spec = read_sweep(file(tmp_path, GOOD))
    ((model, (dense, pruned)),) = spec.models()
    assert dense == Variant(model=model)
    assert pruned.prune == PruneSpec(ratio=0.5, method="l1")
    assert spec.measure == MeasureSpec(rigor="quick")


def test_a_file_can_say_everything(tmp_path: Path) -> None:
    text = """
backends = ["trt:cuda-graph"]
precisions = ["tf32", "int8"]
quantize = { calibration = "digits", keep = ["head"], max_drop = 0 }
batches = [1, 8]
together = 2
trace = true
measure = { budget_s = 20, options = { threads = 2 } }
engine = { target = "sm89", workspace_mib = 256 }

[[blocks]]
models = ["resnet18"]
input_size = [3, 64, 64]
num_classes = 10
masks = ["2:4"]
seeds = [0, 1]
protocol = "mine"
settings = { scope = "global", group_cap = 1, ignore = ["head", "layer4*"] }
"""
    spec = read_sweep(file(tmp_path, text))
    assert (spec.measure.rigor, spec.measure.budget_s, spec.measure.options.threads) == ("quick", 20.0, 2)
    assert (spec.engine.target, spec.engine.workspace_mib) == ("sm89", 256)
    assert isinstance(spec.measure.budget_s, float)
    assert spec.quantize == QuantizeSpec(calibration="digits", keep=("head",), max_drop=0.0)
    assert [variant.mask for _, of_seed in spec.models() for variant in of_seed] == [None, MaskSpec(kind="2:4")] * 2
    assert spec.blocks[0].settings == PruneSpec(ratio=0.5, scope="global", group_cap=1.0, ignore=("head", "layer4*"))


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("", "is empty", "docs/reference/sweep-file.md"),
        ('precisions = ["int8"]\n' + GOOD, "int8 needs images to calibrate on", "`calibration`"),
        ('precisions = ["fp8"]\n' + GOOD, "precisions[0]: one of fp32", "docs/reference/sweep-file.md"),
        (" \n\t\n", "is empty", "docs/reference/sweep-file.md"),
        ('backends = ["ort"', "is no TOML", "correct that line"),
        (GOOD + GOOD, "blocks[0]: unknown backends", "move backends above the first [table]"),
        ("trace = true\n" * 2 + GOOD, "is no TOML", "correct that line"),
        ("x = " + "[" * 5000, "is no TOML", "correct that line"),
        (b"backends = ['\xff']", "not a text in UTF-8: byte 13", "save it as UTF-8"),
        ("backends = ['ort']", "blocks: is missing", "docs/reference/sweep-file.md"),
        ("blocks = []\nbackends = ['ort']", "a sweep needs models", "`models="),
        ("blocks = 3\nbackends = ['ort']", "blocks: a list is expected here, got 3", "docs/reference/sweep-file.md"),
        ("blocks = [3]\nbackends = ['ort']", "blocks[0]: a table is expected here", "docs/reference/sweep-file.md"),
        (GOOD.replace('["ort"]', '"ort"'), "backends: a list is expected here, got 'ort'", "docs/reference/sweep-file.md"),
        (GOOD.replace('["ort"]', "[1]"), "backends[0]: a text in quotes is expected here, got 1", "docs/reference/sweep-file.md"),
        (GOOD.replace("ratios", "ratio"), "blocks[0]: unknown ratio", "did you mean ratios, not ratio?"),
        (GOOD + "colour = 1", "blocks[0]: unknown colour", "drop colour; known are models, methods"),
        (GOOD + 'measure = "x"', "blocks[0]: unknown measure", "move measure above"),
        ('measure = "x"\n' + GOOD, "measure: a table is expected here", "docs/reference/sweep-file.md"),
        ('together = "4"\n' + GOOD, "together: a whole number is expected here, got '4'", "docs/reference/sweep-file.md"),
        ("together = 2.5\n" + GOOD, "together: a whole number is expected here, got 2.5", "docs/reference/sweep-file.md"),
        ("together = true\n" + GOOD, "together: a whole number is expected here, got True", "docs/reference/sweep-file.md"),
        ("together = 0\n" + GOOD, "`together` must be at least 1, got 0", "4 variants"),
        ("trace = 1\n" + GOOD, "trace: true or false is expected here, got 1", "docs/reference/sweep-file.md"),
        ("trace = 2026-11-21\n" + GOOD, "trace: true or false is expected here", "docs/reference/sweep-file.md"),
        (
            'bundles = "burn"\n' + GOOD,
            "bundles: one of keep, discard is expected here, got 'burn'",
            "docs/reference/sweep-file.md",
        ),
        ("build_limit_s = inf\n" + GOOD, "build_limit_s: a number is expected here, got inf", "docs/reference/sweep-file.md"),
        ("measure.budget_s = -1\n" + GOOD, "measure: `budget_s` must be a positive number", "`budget_s=120`"),
        (
            GOOD + "input_size = [3, 64]",
            "blocks[0].input_size: a list of 3 is expected here, got [3, 64]",
            "docs/reference/sweep-file.md",
        ),
        (GOOD + "settings.round_to = 0", "blocks[0].settings: `round_to` must be at least 1", "`round_to=8`"),
        (GOOD + "settings = 1", "blocks[0].settings: a table is expected here", "docs/reference/sweep-file.md"),
        (GOOD + "settings.ratio = 0.5", "blocks[0].settings.ratio has no effect", "say ratios in the block itself"),
        (GOOD + "settings.method = 'l2'", "blocks[0].settings.method has no effect", "say methods in the block itself"),
        (GOOD + "settings.plan = 'p.json'", "blocks[0].settings.plan: blocks prune by ratios alone", "export --plan"),
        (GOOD.replace("0.5", "1.5"), "`ratio` must lie between 0 and 1", "`ratio=0.5`"),
        (GOOD.replace("0.5", "0.5, 0.5"), "blocks[0]: `ratios` must ascend", "`ratios=(0.3, 0.5)`"),
        (
            GOOD + GOOD.partition("\n\n")[2] + "settings.round_to = 4",
            "two blocks of the sweep ask for resnet18-l1-r0.50 with different settings",
            "give one of them a protocol",
        ),
    ],
)
def test_a_mistaken_file_is_told_its_key_and_what_to_do(tmp_path: Path, text: str | bytes, message: str, fix: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_sweep(path)
    assert caught.value.message.startswith(str(path))
    assert message in caught.value.message
    assert fix in caught.value.fix


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_sweep(file(tmp_path, "together = 'x'\n" + GOOD.replace("methods", "method").replace("0.5", "'half'")))
    assert all(
        message in caught.value.message for message in ("together: a whole", "blocks[0]: unknown method", "blocks[0].ratios[0]:")
    )
    assert "did you mean methods" in caught.value.fix


def test_a_folder_or_nothing_in_the_file_s_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        read_sweep(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_sweep(tmp_path / "sweep.toml")


@pytest.mark.parametrize("length", [length for length in range(0, len(GOOD), 7) if length < len(GOOD.rstrip())])
def test_a_truncated_file_is_refused_by_its_name(tmp_path: Path, length: int) -> None:
    path = file(tmp_path, GOOD[:length])
    with pytest.raises(InputError) as caught:
        read_sweep(path)
    assert caught.value.message.startswith(str(path))
    assert caught.value.fix


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["a", '"a"', "'a.b'", '"\\""'])
@pytest.mark.parametrize("dot", [".", " . "])
def test_a_key_without_end_is_refused_before_it_is_parsed(tmp_path: Path, part: str, dot: str) -> None:
    for text in ("{} = 1", "[{}]", "x = {{ {} = 1 }}"):
        with pytest.raises(InputError, match="too many parts"):
            read_sweep(file(tmp_path, text.format(dot.join([part] * 100_000))))


def test_texts_with_dots_are_no_keys(tmp_path: Path) -> None:
    assert read_sweep(file(tmp_path, GOOD + f'protocol = "{"." * 100}"\n# {". " * 100}\n')).blocks[0].protocol == "." * 100


def test_deep_tables_and_a_text_of_megabytes_are_refused_shortly(tmp_path: Path) -> None:
    for text in (
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 100_000,
        f'together = "{"x" * 500_000}"',
        f"together = {[1] * 200_000}",
    ):
        with pytest.raises(InputError) as caught:
            read_sweep(file(tmp_path, text))
        assert len(caught.value.message) < 5000
