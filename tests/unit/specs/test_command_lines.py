"""Comma lists, their older spellings, shell completion, and a help that waits for no library."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from prune_deploy.cli.main import COMMANDS, cli
from prune_deploy.cli.options.values import only
from prune_deploy.errors import InputError
from support.commands import command

LISTS = ("export", "bench", "compare", "eval", "sweep", "curve", "explain", "trace")
ARGUMENTS = {
    "export": ("--model", "resnet18"),
    "bench": ("bundle",),
    "compare": ("old", "new"),
    "eval": ("bundle", "--data", "digits"),
    "sweep": (),
    "curve": ("--model", "resnet18"),
    "explain": ("bundle",),
    "trace": ("bundle",),
    "run": ("bundle",),
    "finetune": ("bundle", "--data", "digits"),
}


def parsed(name: str, *options: str) -> dict[str, Any]:
    return command(name).make_context(name, [*ARGUMENTS[name], *options]).params


def completions(*arguments: str, incomplete: str) -> list[str]:
    shell = ShellComplete(cli, {}, "prune-deploy", "_PRUNE_DEPLOY_COMPLETE")
    return [item.value for item in shell.get_completions(list(arguments), incomplete)]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("option", ["--precision", "--precisions"])
def test_every_command_takes_a_list_of_precisions_in_both_spellings(name: str, option: str) -> None:
    assert parsed(name, option, "fp32,fp16")["precision"] == ("fp32", "fp16")


@pytest.mark.parametrize("name", [*LISTS, "finetune"])
@pytest.mark.parametrize("text", ["1,8,64", "1:8:64"])
def test_every_command_reads_a_list_of_batches_in_both_spellings(name: str, text: str) -> None:
    assert parsed(name, "--batch", text)["batch"] == (1, 8, 64)


@pytest.mark.parametrize("name", ["bench", "compare", "eval", "sweep", "curve", "explain", "trace", "run"])
@pytest.mark.parametrize("option", ["--backend", "--backends"])
def test_every_command_takes_a_list_of_backends_in_both_spellings(name: str, option: str) -> None:
    assert parsed(name, option, "ort, trt:cuda-graph")["backend"] == ("ort", "trt:cuda-graph")


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_the_help_names_one_spelling(name: str) -> None:
    text = command(name).get_help(click.Context(command(name), info_name=name))
    assert "--precisions" not in text
    assert "--backends" not in text


def test_a_command_for_one_case_refuses_a_list_with_a_sentence() -> None:
    with pytest.raises(InputError, match="--backend takes one backend in this command, got ort,trt") as caught:
        only(parsed("run", "--backend", "ort,trt"), "backend", "backend")
    assert caught.value.fix == "name one backend"
    assert only(parsed("run"), "backend", "backend") == "ort"
    assert only(parsed("eval"), "batch", "batch size") is None


def test_the_last_word_of_a_list_is_completed() -> None:
    assert completions("bench", "bundle", "--backend", incomplete="eager,o") == ["eager,ort"]
    assert completions("bench", "bundle", "--precision", incomplete="fp32,fp") == ["fp32,fp32", "fp32,fp16"]


def test_no_help_imports_torch() -> None:
    program = (
        "import sys\n"
        "import click\n"
        "from prune_deploy.cli.main import COMMANDS, cli\n"
        "for name in COMMANDS:\n"
        "    command = cli.get_command(click.Context(cli), name)\n"
        "    command.get_help(click.Context(command, info_name=name))\n"
        "    assert 'torch' not in sys.modules, name\n"
        "    assert 'timm' not in sys.modules, name\n"
        "print(len(COMMANDS))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(COMMANDS)
