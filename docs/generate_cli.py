"""Write docs/reference/cli.md from the program's own help texts.

Run by `make docs`. A test compares the page with the program.
"""

from __future__ import annotations

from pathlib import Path

import click

from prune_deploy.cli.main import COMMANDS, cli

PAGE = Path(__file__).with_name("reference") / "cli.md"
WIDTH = 110


def render() -> str:
    """The text of the page."""
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    program = click.Context(cli, info_name="prune-deploy", **settings)
    parts = ["# Command line\n", "Generated from the help texts by `make docs`.\n", _section("prune-deploy", program)]
    for name in COMMANDS:
        command = cli.get_command(program, name)
        assert command is not None
        parts.append(_section(f"prune-deploy {name}", click.Context(command, parent=program, info_name=name)))
    return "\n".join(parts)


def _section(title: str, context: click.Context) -> str:
    lines = (line.rstrip() for line in context.get_help().splitlines())
    return f"## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
