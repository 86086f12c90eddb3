"""The SweepSpec that the options of `sweep` and `curve` describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, get_args

from prune_deploy.cli.commands.export import engine_target
from prune_deploy.cli.options.common import parse_batches, parse_size, prune_spec
from prune_deploy.cli.options.measure import device, measure_spec, words
from prune_deploy.cli.options.quantize import QUANTIZE_OPTIONS, quantize_spec
from prune_deploy.errors import InputError
from prune_deploy.presets import preset, read_sweep
from prune_deploy.specs import Block, EngineSpec, MaskKind, MeasureSpec, RunOptions, SweepSpec, parse_precisions

# Options that change what a preset, a file or a run already says; all others that say what to sweep contradict it.
_OPEN = {
    "models",
    "backends",
    "precisions",
    "batch",
    "target",
    "together",
    "bundles",
    "build_limit_s",
    "trace",
    "data",
    "data_samples",
    *QUANTIZE_OPTIONS,
}
HOW_TO_RUN = {"out", "dry_run", "share_machine", "preset", "spec", "resume"}
_RENAMED = {"memory_limit": "memory_limit_mib", "lock_clocks": "lock_clocks_mhz"}


def spec_of(values: dict[str, Any], given: set[str]) -> SweepSpec:
    """The sweep that `sweep` is to run, unless it goes on with one; `given` are the options on the command line.

    Raises:
        InputError: options contradict each other, or describe no sweep.
    """
    source = next((name for name in ("preset", "spec") if values[name] is not None), None)
    if source is None:
        return _grid(values)
    named = preset(values["preset"]) if source == "preset" else read_sweep(values["spec"])
    return _changed(named, values, given, source)


def refuse(names: set[str], source: str) -> None:
    """Refuse options that contradict a preset, a file or a run.

    Raises:
        InputError: there are some.
    """
    if names:
        option = f"--{min(names).replace('_', '-')}"
        raise InputError(
            f"{option} contradicts --{source}, which says it already", fix=f"drop one of the two, or edit the {source}"
        )


def _changed(spec: SweepSpec, values: dict[str, Any], given: set[str], source: str) -> SweepSpec:
    """A preset's or a file's sweep with what the command line says otherwise."""
    how_to_measure = {_RENAMED.get(name, name) for name in given} & {
        field.name for cls in (MeasureSpec, RunOptions) for field in fields(cls)
    }
    refuse({name for name in given - _OPEN - HOW_TO_RUN if _RENAMED.get(name, name) not in how_to_measure}, source)
    if "models" in given:
        asked = set(words(values["models"]))
        blocks = [
            replace(block, models=tuple(m for m in block.models if m in asked))
            for block in spec.blocks
            if asked & set(block.models)
        ]
        unknown = asked - {model for block in spec.blocks for model in block.models}
        if unknown:
            raise InputError(f"the {source} has no model {min(unknown)}", fix="leave it out, or make a sweep of its own")
        spec = replace(spec, blocks=tuple(blocks))
    if "precisions" in given:
        # Both at once: INT8 and where it comes from depend on each other.
        precisions = parse_precisions(words(values["precisions"]))
        spec = replace(spec, precisions=precisions, quantize=quantize_spec(values, precisions))
    named = (given - {"precisions"}) | ({"batches"} if "batch" in given else set())
    spec = replace(spec, **{name: value for name, value in _run_fields(values).items() if name in named})
    measure = _measured(spec.measure, measure_spec(values), how_to_measure, values["device"])
    return replace(spec, engine=_engine(values, spec.engine, spec.backends), measure=measure)


def _measured(base: MeasureSpec, asked: MeasureSpec, names: set[str], where: str) -> MeasureSpec:
    """`base` with the fields `names` of `asked`; the device is the one that is here."""
    options = {name: getattr(asked.options, name) for name in names if hasattr(asked.options, name)}
    own = {name: getattr(asked, name) for name in names if name in {field.name for field in fields(MeasureSpec)}}
    return replace(base, **own, options=replace(base.options, **(options | {"device": device(where)})))


def _run_fields(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "backends": words(values["backends"]),
        "precisions": parse_precisions(words(values["precisions"])),
        "batches": parse_batches(values["batch"]),
        "together": values["together"],
        "bundles": values["bundles"],
        "build_limit_s": values["build_limit_s"],
        "trace": values["trace"],
        "data": values["data"],
        "data_samples": values["data_samples"],
    }


def _engine(values: dict[str, Any], base: EngineSpec, backends: Sequence[str]) -> EngineSpec:
    """The engine for the GPU that is here, where engines are wanted at all."""
    wanted = "trt" in {name.partition(":")[0] for name in backends}
    return replace(base, target=engine_target(values["target"], "auto" if wanted else "none"))


def _grid(values: dict[str, Any]) -> SweepSpec:
    """The sweep that options alone describe."""
    block = Block(
        models=words(values["models"]),
        methods=words(values["methods"]),
        masks=_masks(values["masks"]),
        ratios=_numbers(values["ratios"], "--ratios", float),
        seeds=_numbers(values["seeds"], "--seeds", int),
        protocol=values["protocol"],
        settings=prune_spec({**values, "ratio": 0.5}),
        **network(values),
    )
    return sweep_of(block, values)


def sweep_of(block: Block, values: dict[str, Any]) -> SweepSpec:
    """A sweep of one block with the options that say how to run it."""
    engine = _engine(values, EngineSpec(), words(values["backends"]))
    quantize = quantize_spec(values, parse_precisions(words(values["precisions"])))
    return SweepSpec(blocks=(block,), engine=engine, measure=measure_spec(values), quantize=quantize, **_run_fields(values))


def network(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Block that say which network a model's name stands for."""
    return {
        "num_classes": values["num_classes"],
        "input_size": parse_size(values["input_size"]),
        "weights": values["weights"],
    }


def _masks(text: str) -> tuple[MaskKind, ...]:
    unknown = [word for word in words(text) if word not in get_args(MaskKind)]
    if unknown:
        raise InputError(f"unknown mask {unknown[0]!r}", fix=f"one of {', '.join(get_args(MaskKind))}")
    return words(text)  # type: ignore[return-value]  # each was looked up


def _numbers(text: str, option: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(word) for word in words(text))
    except ValueError:
        raise InputError(
            f"{option} got {text!r}", fix=f"list numbers, for example {option} {'0.3,0.5' if kind is float else '0,1'}"
        ) from None
