"""Python examples of the documents run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

LIMIT_S = 500


def python_blocks(page: Path) -> list[str]:
    """Return the page's Python code, block by block."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh process, in `folder`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.timeout(LIMIT_S + 60)
def test_every_example_of_the_python_page_runs(tmp_path: Path) -> None:
    blocks = python_blocks(ROOT / "docs" / "python.md")
    assert len(blocks) >= 10
    result = run_script("\n".join(blocks), tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "`ratio` must lie between 0 and 1" in result.stdout
    assert "export onnx" in result.stdout


def test_the_page_names_every_function() -> None:
    import prune_deploy

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    functions = [name for name in prune_deploy.__all__ if name[0].islower()]
    assert [name for name in functions if f"`{name}(" not in text] == []


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_other_examples_are_python_that_names_what_exists(page: str) -> None:
    import prune_deploy

    for block in python_blocks(ROOT / page):
        compile(block, page, "exec")
        assert [name for name in re.findall(r"\bpd\.(\w+)", block) if name not in prune_deploy.__all__] == []
