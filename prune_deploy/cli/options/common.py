"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from prune_deploy.cli.options.values import BACKENDS, BATCHES, PRECISIONS, RATIO, SIZE, WORDS, ListOption, build, complete_list
from prune_deploy.errors import InputError, setting
from prune_deploy.specs import SHORT_CODES, ModelSpec, Precision, weights_path
from prune_deploy.timm_names import architectures, require_architecture

F = TypeVar("F", bound=Callable[..., Any])


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several option decorators as one, shown in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _complete_models(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = [*SHORT_CODES, *sorted(architectures())]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _complete_methods(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from prune_deploy.pruning import methods

    return [CompletionItem(name) for name in methods.discover() if name.startswith(incomplete)]


def _backend_names() -> Sequence[str]:
    from prune_deploy import backends

    return list(backends.discover())


def backend_option(help_text: str, default: str | None = None) -> Callable[[F], F]:
    """The option --backend, which takes a comma list."""
    return click.option(
        "--backend",
        cls=ListOption,
        aliases=("--backends",),
        type=BACKENDS,
        metavar="LIST",
        default=default,
        show_default=default is not None,
        shell_complete=complete_list(_backend_names),
        help=help_text,
    )


def precision_option(help_text: str, default: str) -> Callable[[F], F]:
    """The option --precision, which takes a comma list."""
    return click.option(
        "--precision",
        cls=ListOption,
        aliases=("--precisions",),
        type=PRECISIONS,
        metavar="LIST",
        default=default,
        show_default=bool(default),
        shell_complete=complete_list(lambda: get_args(Precision)),
        help=help_text,
    )


def batch_option(help_text: str, default: str | None = None) -> Callable[[F], F]:
    """The option --batch, which takes a comma list."""
    return click.option(
        "--batch", type=BATCHES, metavar="LIST", default=default, show_default=default is not None, help=help_text
    )


def _seconds(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a positive number of seconds.")
    return value


model_option = click.option(
    "--model", required=True, shell_complete=_complete_models, help="Short code (c e s v m r x) or timm name."
)

network_options = options(
    click.option(
        "--num-classes", type=int, help="Classes. Default: 10 for short codes with random weights, else the model's own."
    ),
    click.option(
        "--input-size", type=SIZE, help="Channels,height,width in pixels, for example 3,224,224. Default: the model's own."
    ),
    click.option(
        "--weights", default="random", show_default=True, help="random (seeded), pretrained, or a safetensors or state-dict file."
    ),
)

model_options = options(
    model_option,
    network_options,
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        help="Seed of random weights and of random scores.",
    ),
)

method_option = click.option(
    "--method", default="l2", show_default=True, shell_complete=_complete_methods, help="How channels are scored."
)

width_options = options(
    click.option(
        "--scope",
        type=click.Choice(["local", "global", "isomorphic"]),
        default="local",
        show_default=True,
        help="Channels compete within their group, with all groups, or with groups of the same structure.",
    ),
    click.option("--group-cap", type=float, default=1.0, show_default=True, help="Remove at most this share of any one group."),
    click.option(
        "--round-to", type=int, default=8, show_default=True, help="Keep widths (inside attention: head widths) in multiples."
    ),
    click.option(
        "--rounding", type=click.Choice(["down", "nearest", "up"]), default="down", show_default=True, help="Which multiple."
    ),
    click.option(
        "--when-empty",
        type=click.Choice(["unit", "skip"]),
        default="unit",
        show_default=True,
        help="Where rounding would leave nothing: keep one multiple, or leave the group alone as torch-pruning does.",
    ),
    click.option(
        "--ignore",
        type=WORDS,
        default="head",
        show_default=True,
        help="What keeps its outputs: head, norm, attention, none, or name patterns, comma-separated.",
    ),
    click.option("--heads", is_flag=True, help="Remove whole attention heads instead of narrowing every head."),
    click.option("--bottleneck", is_flag=True, help="Leave residual streams at full width; prune only inside blocks."),
    click.option("--allow-shortfall", is_flag=True, help="Accept groups that keep more than asked; the receipt names them."),
)

pruning_options = options(
    click.option("--ratio", type=RATIO, help="Share of each group's channels to remove, 0.5 or 50%."),
    click.option("--target-macs", help="Aim for this many MACs: 0.5x or 2.0G."),
    click.option("--target-params", help="Aim for this many parameters: 0.5x or 50M."),
    click.option("--plan", type=click.Path(dir_okay=False), help="Take the widths from a plan.json."),
    method_option,
    width_options,
    click.option("--steps", type=int, default=1, show_default=True, help="Prune in this many steps, scoring anew before each."),
    click.option(
        "--graph-limit-s",
        type=float,
        callback=_seconds,
        default=60.0,
        show_default=True,
        help="Give up on the dependency graph after this long.",
    ),
)


def model_spec(values: Mapping[str, Any]) -> ModelSpec:
    """The ModelSpec of parsed options.

    Raises:
        InputError: there is no such architecture, or the weights are a file that is not there.
    """
    if values["model"]:
        require_architecture(values["model"])
    weights = weights_path(values["weights"])
    if weights is not None and not weights.is_file():
        raise InputError(
            f"{setting('weights', values['weights'])}: no such file",
            fix="use random, pretrained, or the path of a safetensors or state-dict file",
            field="weights",
        )
    return build(ModelSpec, values)
