"""The `prune-deploy` command.

It finds a command's module by name, and turns errors into two or three lines and an exit code.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import re
import sys
from typing import Any, NoReturn

import click

from prune_deploy import __version__, signals
from prune_deploy.errors import OutOfMemoryError, PruneDeployError, refusal_by_the_system

# Name → (module, object in it, first line of its help). The program's help is printed from here, so that it imports nothing heavy.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "export": ("export", "command", "Prune a timm model, export ONNX and a TensorRT engine, write a bundle."),
    "verify": ("verify", "command", "Re-hash a bundle, reload its module, re-run parity on every file that can run here."),
    "bench": ("bench", "command", "Measure bundles against their dense models: which is faster, by how much, how sure."),
    "compare": ("compare", "command", "Compare two bundles, measured now, or two runs; a gate for CI."),
    "eval": ("eval", "command", "Score a bundle's files on labelled images: top-1, top-5, agreement with the FP32 module."),
    "recover": ("recover", "command", "Bring a pruned bundle's accuracy back in seconds, from unlabelled images."),
    "finetune": ("finetune", "command", "Recover a pruned bundle's accuracy: train it further, write a new bundle."),
    "sweep": ("sweep", "command", "Make and measure models × methods × ratios; survives any case and any kill."),
    "curve": ("sweep", "curve", "Prune iteratively and measure every step beside the dense model."),
    "report": ("report", "command", "Show runs as a table and an HTML page, or as Markdown, CSV, JSON or plots."),
    "explain": ("explain", "command", "Say why a pruned model is not as fast as its MACs promise, layer by layer."),
    "trace": ("trace", "command", "Show where a bundle's time goes, layer by layer, and write a trace for Perfetto."),
    "compatibility": ("compatibility", "command", "Try architectures from name to engine: which prune, and what is in the way."),
    "run": ("run", "command", "Classify an image with a bundle."),
    "doctor": ("doctor", "command", "Show what this machine can do, and fixes for the rest."),
    "models": ("listings", "models", "List the models that can be asked for."),
    "methods": ("listings", "methods", "List the pruning methods and their papers."),
    "backends": ("listings", "backends", "List the runtimes a bundle can be run with, and whether they work here."),
}

_HELP_OPTIONS = ["-h", "--help"]

_ENDLESS = re.compile(r"\S{1000,}")
"""Words that no reader wants whole: an error repeats the value that it refuses."""


class _Refusal(click.ClickException):
    """Error of the library in the words of its command."""

    def __init__(self, error: PruneDeployError, ctx: click.Context) -> None:
        from prune_deploy.cli.output.console import in_options  # rich is not for the program's own help

        group, name = ctx.command, ctx.invoked_subcommand
        command = group.get_command(ctx, name) if isinstance(group, click.Group) and name is not None else None
        with click.Context(command or group):
            super().__init__(in_options(f"{_indented(error.message)}\nFix: {_indented(error.fix)}"))
        self.code = error.exit_code


def _indented(text: str) -> str:
    """Return a text whose further lines are indented.

    A line break in a name can thus not begin another message.
    """
    return "\n  ".join(line for line in text.splitlines() if line.strip())


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"prune_deploy.cli.commands.{module}"), name)
        # A command keeps the help option of its first context, which may be one without this group above it.
        command.context_settings.setdefault("help_option_names", _HELP_OPTIONS)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PruneDeployError as error:
            raise _Refusal(error, ctx) from error
        except OSError as error:
            if (refusal := refusal_by_the_system(error)) is None:
                raise
            raise _Refusal(refusal, ctx) from error
        except MemoryError as error:
            refusal = OutOfMemoryError("memory ran out", fix="free memory, or name something smaller")
            raise _Refusal(refusal, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, _, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": _HELP_OPTIONS, "max_content_width": 110})
@click.version_option(__version__, prog_name="prune-deploy")
def cli() -> None:
    """Prune timm models, export them and measure which is really faster.

    The result is the pruned model that is faster on the runtime you deploy on, as an artifact to ship.

    \b
    prune-deploy export --model v --ratio 0.5        ViT-Large, half the channels → engines/vit_large_patch16_224-l2-r0.50
    prune-deploy bench engines/vit_large_patch16_224-l2-r0.50 --batch 1,8
    prune-deploy run engines/vit_large_patch16_224-l2-r0.50 --image cat.jpg
    prune-deploy doctor

    \b
    Exit codes:
    - 0: done.
    - 1: failed, less removed than asked, parity or verification failed.
    - 2: usage and bad input.
    - 3: a gate that cannot be decided.
    - 4: cannot run here, disk full, unwritable.
    - 130: interrupted.
    """


def main() -> NoReturn:
    """Entry point: run the command line and exit with the documented code."""
    _open_standard_streams()
    signals.program.watch()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without "…" is no reason to fail
    try:
        os.getcwd()  # noqa: PTH109 - whether it is still there is the question
    except FileNotFoundError:
        _leave("Error: the current folder was removed\nFix: change to a folder that exists", 4)
    try:
        code = cli.main(prog_name="prune-deploy", standalone_mode=False)
        if sys.stdout is not None:  # a daemon's may be closed
            sys.stdout.flush()
        signals.program.ignore()  # everything is done, and the interpreter takes a while to end
    except BrokenPipeError:
        _discard_output()
        sys.exit(0)  # the reader of the help has seen enough
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_output()
        _leave(f"Error: cannot write standard output: {error.strerror}\nFix: send the output where there is room", 4)
    except (click.exceptions.Abort, KeyboardInterrupt):
        signals.program.ignore()
        _leave("interrupted: nothing half-made was left behind", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        _leave(error.format_message(), error.exit_code)
    except _Refusal as error:
        _leave(f"Error: {error.format_message()}", error.code)
    except click.ClickException as error:
        _leave(f"Error: {error.format_message()}\nFix: {_help_hint(error)}", error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _open_standard_streams() -> None:
    """Open the null device where a standard stream is closed.

    Daemons start programs so. The next file or socket would take its number, and children would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _discard_output() -> None:
    """Discard what the interpreter would flush once more at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help_hint(error: click.ClickException) -> str:
    """Name the help that lists the right spelling."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see: {context.command_path if context is not None else 'prune-deploy'} --help"


def _leave(message: str, code: int) -> NoReturn:
    from prune_deploy.cli.output.console import printable  # rich is not for the program's own help

    with contextlib.suppress(OSError):  # stderr may be closed, and the exit code still tells
        click.echo(printable(_ENDLESS.sub(lambda word: f"{word[0][:100]}…{word[0][-40:]}", message)), err=True)
    sys.exit(code)
