"""The table of settings: every field and option in it exists, and code spans become the options of the command that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import pytest

from prune_deploy.cli.main import COMMANDS
from prune_deploy.errors import InputError, setting
from prune_deploy.specs import MeasureSpec, PruneSpec
from prune_deploy.specs.options import ARGUMENT_OPTIONS, SPEC_OPTIONS, as_options, option_for
from support.commands import command

_OF_EVERY_COMMAND = {"--help", "--json"}


def own_options(name: str) -> list[str]:
    return [
        option for each in command(name).params if isinstance(each, click.Option) for option in (*each.opts, *each.secondary_opts)
    ]


def test_the_table_names_fields_that_exist() -> None:
    for spec, table in SPEC_OPTIONS.items():
        assert dataclasses.is_dataclass(spec)
        assert set(table) <= {field.name for field in dataclasses.fields(spec)}, spec


def test_every_option_of_the_table_is_one_of_some_command() -> None:
    offered = {option for name in COMMANDS for option in own_options(name)}
    named = {option for table in (*SPEC_OPTIONS.values(), ARGUMENT_OPTIONS) for option in table.values()}
    assert named <= offered


def test_python_errors_speak_python() -> None:
    with pytest.raises(InputError) as caught:
        PruneSpec(ratio=2)
    assert "--" not in str(caught.value)
    assert "`ratio` must lie between 0 and 1" in caught.value.message
    assert caught.value.fix == "for example `ratio=0.5`"
    assert caught.value.field == "ratio"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`ratio` must lie between 0 and 1", "--ratio must lie between 0 and 1"),
        ("for example `ratio=0.5`", "for example --ratio 0.5"),
        ("accept it with `allow_shortfall=True`", "accept it with --allow-shortfall"),
        ("raise `memory_limit_mib`", "raise --memory-limit"),
        ("build with `sparse_weights=False`", "build with --no-sparse-weights"),
        ("measure without `channels_last=False`", "measure without `channels_last=False`"),
        ("`ignore=('head', 'norm')`", "--ignore head,norm"),
        ("export it with `precisions=(..., 'int8')`", "export it with --precision …,int8"),
        ("`keep=('blocks.0.*',)`", "--int8-keep 'blocks.0.*'"),
        ("choose another with `out=DIR`", "choose another with --out DIR"),
        ("export the dense model (`prune=None`)", "export the dense model (--dense)"),
        ("`across='backends'` holds all", "--across-backends holds all"),
        ("call `torch.compile` or `model.eval()`", "call `torch.compile` or `model.eval()`"),
        ("no `unheard_of=3` here", "no `unheard_of=3` here"),
        ("`quantize.method='entropy'`", "--calib-method entropy"),
    ],
)
def test_spans_become_options_and_other_spans_stay(text: str, expected: str) -> None:
    assert as_options(text) == expected


def test_one_name_is_the_option_of_the_command_that_runs() -> None:
    assert option_for("samples", own_options("finetune")) == "--samples"
    assert option_for("samples", own_options("export")) == "--calib-samples"
    assert option_for("method", own_options("export")) == "--method"
    assert as_options("export it with `target='sm86'`", own_options("bench")) == "export it with --target sm86"


def test_markup_may_keep_the_span() -> None:
    assert as_options("raise `budget_s`", quote="`") == "raise `--budget-s`"


def test_a_setting_writes_a_span_that_reads_back() -> None:
    assert setting("out", Path("a b")) == "`out='a b'`"
    assert as_options(setting("out", Path("a b"))) == "--out 'a b'"
    assert as_options(setting("budget_s", MeasureSpec(budget_s=3.5).budget_s)) == "--budget-s 3.5"
