"""Commands are documented, links lead somewhere, and documented lines parse."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from prune_deploy.cli.main import COMMANDS
from support import ROOT
from support.commands import command

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("engines/*.md"), *ROOT.glob("profiles/*.md")])


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    assert command(name).help
    assert COMMANDS[name][2].endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    without = [p.name for p in command(name).params if isinstance(p, click.Option) and not p.help]
    assert without == []


def test_the_command_line_page_is_what_the_program_says() -> None:
    module = generator()
    assert module.PAGE.read_text(encoding="utf-8") == module.render(), "run: make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_both_spellings_in_a_context_without_the_program(name: str) -> None:
    text = command(name).get_help(click.Context(command(name), info_name=name))
    assert "-h, --help" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_of_headings() -> None:
    assert anchors("# One: `two`, 3\n```bash\n# not this\n```\n## A-b c\n") == {"one-two-3", "a-b-c"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    local = [(page.parent / target if target else page, anchor) for target, anchor in links if "://" not in target]
    assert [(str(to), anchor) for to, anchor in local if anchor not in anchors(to.read_text(encoding="utf-8"))] == []


def documented_lines() -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|sh)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            commands = [line.split("#")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
            lines.extend((page.name, line) for line in commands if line.startswith("prune-deploy "))
    return lines


def test_there_are_documented_lines() -> None:
    assert len(documented_lines()) >= 5


@pytest.mark.parametrize(("page", "line"), documented_lines())
def test_documented_command_lines_parse(page: str, line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command(name).make_context(name, arguments, resilient_parsing=False)


def imported_by(arguments: list[str], names: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the command line. Exit code 1: it imported a name."""
    script = (
        "import sys; from prune_deploy.cli.main import cli; "
        f"cli.main({arguments!r}, standalone_mode=False); sys.exit(any(name in sys.modules for name in {names!r}))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_help_imports_nothing_heavy() -> None:
    result = imported_by(["--help"], ("torch", "timm", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy"))
    assert result.returncode == 0, result.stderr
    assert "export" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_no_torch(name: str) -> None:
    result = imported_by([name, "--help"], ("torch",))
    assert result.returncode == 0, result.stderr


def test_importing_the_package_is_free() -> None:
    script = "import sys, prune_deploy; sys.exit(any(n in sys.modules for n in ('torch', 'click', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_public_names_exist_and_are_all_there_are() -> None:
    import prune_deploy

    assert sorted(prune_deploy.__all__) == sorted(prune_deploy._HOMES)
    assert all(getattr(prune_deploy, name) is not None for name in prune_deploy.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = prune_deploy.nonsense
