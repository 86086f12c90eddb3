"""The SweepSpec that the options of `sweep` and `curve` describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import click

from prune_deploy.cli.options.engine import engine_target
from prune_deploy.cli.options.measure import device, measure_spec
from prune_deploy.cli.options.quantize import QUANTIZE_OPTIONS, quantize_spec
from prune_deploy.cli.options.values import build, fields_given, numbers_of, spec_fields, words
from prune_deploy.errors import InputError
from prune_deploy.presets import preset, read_sweep
from prune_deploy.specs import Block, EngineSpec, MaskKind, MeasureSpec, PruneSpec, RunOptions, SweepSpec, parse_precisions

# Options that may change a preset, a file or a run. Every other option that describes a sweep contradicts it.
_OPEN = {"models", "target", "precision", *QUANTIZE_OPTIONS}
HOW_TO_RUN = {"out", "dry_run", "share_machine", "preset", "spec", "resume"}


def spec_of(values: Mapping[str, Any], given: set[str]) -> SweepSpec:
    """Return the sweep to run, unless a run is resumed.

    `given` are the options on the command line.

    Raises:
        InputError: options contradict each other, or describe no sweep.
    """
    source = next((name for name in ("preset", "spec") if values[name] is not None), None)
    if source is None:
        return _grid(values)
    base = preset(values["preset"]) if source == "preset" else read_sweep(values["spec"])
    return _changed(base, values, given, source)


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


def _changed(spec: SweepSpec, values: Mapping[str, Any], given: set[str], source: str) -> SweepSpec:
    """Return a preset's or file's sweep with the command line's changes."""
    changed = fields_given(MeasureSpec, given) | fields_given(RunOptions, given)
    refuse(given - _OPEN - HOW_TO_RUN - fields_given(SweepSpec, given).keys() - changed.keys(), source)
    if "models" in given:
        models = set(values["models"])
        blocks = [
            replace(block, models=tuple(m for m in block.models if m in models))
            for block in spec.blocks
            if models & set(block.models)
        ]
        unknown = models - {model for block in spec.blocks for model in block.models}
        if unknown:
            raise InputError(f"the {source} has no model {min(unknown)}", fix="leave it out, or make a sweep of its own")
        spec = replace(spec, blocks=tuple(blocks))
    own = spec_fields(SweepSpec, {name: values[name] for name in given - {"precision"}})
    if "precision" in given:
        # Both at once, because INT8 and its calibration depend on each other.
        precisions = parse_precisions(values["precision"])
        own |= {"precisions": precisions, "quantize": quantize_spec(values, precisions)}
    spec = replace(spec, **own)
    measure = _measured(spec.measure, measure_spec(values), set(changed.values()), values["device"])
    return replace(spec, engine=_engine(values, spec.engine, spec.backends), measure=measure)


def _measured(base: MeasureSpec, given: MeasureSpec, names: set[str], where: str) -> MeasureSpec:
    """Return `base` with the fields `names` of `given`.

    The device is that of this machine.
    """
    options = {name: getattr(given.options, name) for name in names if hasattr(given.options, name)}
    own = {name: getattr(given, name) for name in names if hasattr(given, name)}
    return replace(base, **own, options=replace(base.options, **(options | {"device": device(where)})))


def _engine(values: Mapping[str, Any], base: EngineSpec, backends: Sequence[str]) -> EngineSpec:
    """Return the engine for this machine's GPU, if engines are wanted."""
    has_trt = "trt" in {name.partition(":")[0] for name in backends}
    return replace(base, target=engine_target(values["target"], "auto" if has_trt else "none"))


def _grid(values: Mapping[str, Any]) -> SweepSpec:
    """Return the sweep that options alone describe."""
    return sweep_of(build(Block, values, settings=block_settings(values)), values)


def block_settings(values: Mapping[str, Any]) -> PruneSpec:
    """Return the settings of a block.

    Its ratios and steps count instead of those here.
    """
    return build(PruneSpec, values, ratio=0.5, steps=1)


def sweep_of(block: Block, values: Mapping[str, Any]) -> SweepSpec:
    """Return a sweep of one block, with the options for running it."""
    precisions = parse_precisions(values["precision"])
    return build(
        SweepSpec,
        values,
        blocks=(block,),
        precisions=precisions,
        engine=_engine(values, EngineSpec(), values["backend"]),
        measure=measure_spec(values),
        quantize=quantize_spec(values, precisions),
    )


class MasksType(click.ParamType[tuple[MaskKind, ...]]):
    """A comma list of kinds of masks."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[MaskKind, ...]:
        kinds = words(value) if isinstance(value, str) else value
        unknown = [kind for kind in kinds if kind not in get_args(MaskKind)]
        if unknown:
            raise InputError(f"unknown mask {unknown[0]!r}", fix=f"one of {', '.join(get_args(MaskKind))}", field="masks")
        return tuple(kinds)


MASKS = MasksType()
RATIOS = numbers_of("ratios", float, "(0.3, 0.5)")
SEEDS = numbers_of("seeds", int, "(0, 1)")
