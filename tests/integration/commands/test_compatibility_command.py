"""`prune-deploy compatibility`: rows that tell how far an architecture comes, one process each, and none of them twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Silent
from prune_deploy.presets import architectures
from prune_deploy.records import STAGES, Compatibility, to_json
from prune_deploy.reporting.renderers.compatibility import counts, markdown_table, obstacle
from prune_deploy.workflows.compatibility import ROWS_FILE, CompatibilityRequest, choose_models, read_rows, try_models
from support.commands import call, here, refused

__all__ = ["here"]  # a fixture

DOCUMENT = "before\n<!-- compatibility -->\nold\n<!-- end of compatibility -->\nbehind\n"


def test_the_list_is_the_one_that_is_promised() -> None:
    assert len(architectures()) == len(set(architectures())) == 52
    assert choose_models((), 0, 0) == architectures()


def test_models_by_chance_are_the_same_with_the_same_seed_and_none_of_the_list() -> None:
    first = choose_models((), 5, 7)
    assert first == choose_models((), 5, 7) != choose_models((), 5, 8)
    assert not set(first) & set(architectures())
    assert choose_models(("resnet18",), 1, 7)[0] == "resnet18"


@pytest.mark.release
def test_a_row_for_each_model_and_none_is_made_twice(here: Path) -> None:
    (here / "doc.md").write_text(DOCUMENT)
    asked = ("compatibility", "--families", "test_resnet,test_vit", "--markdown", "doc.md", "--out", "out", "--json")
    first = call(*asked)
    assert first.code == 0, first.stderr
    rows = {row["model"]: row for row in first.document["rows"]}
    assert {name: (row["verdict"], row["reached"]) for name, row in rows.items()} == dict.fromkeys(
        ("test_resnet", "test_vit"), ("PASS", STAGES[-1])
    )
    assert all(row["gone"] > 0.5 and row["seconds"] > 0 for row in rows.values())
    text = (here / "doc.md").read_text()
    assert text.startswith("before\n<!-- compatibility -->")
    assert text.endswith("<!-- end of compatibility -->\nbehind\n")
    assert "old" not in text
    assert "2 PASS of 2, at ratio 0.5." in text
    assert "| test_resnet |" in text

    again = call(*asked)
    assert again.document == first.document
    assert "trying" not in again.stderr
    assert len(read_rows(here / "out" / ROWS_FILE)) == 2


def test_the_half_line_of_a_killed_run_is_dropped_and_written_behind(here: Path) -> None:
    whole = Compatibility(model="resnet18", ratio=0.5, verdict="PASS", seconds=1.0, tools="t", reached="reload")
    path = here / ROWS_FILE
    path.write_text(to_json(whole, indent=None) + "\n" + '{"model": "half')
    assert read_rows(path) == [whole]
    path.write_text("{}\n")
    with pytest.raises(InputError, match="line 1"):
        read_rows(path)


def test_a_model_that_takes_too_long_ends_as_a_row(here: Path) -> None:
    (row,) = try_models(CompatibilityRequest(models=("test_vit",), limit_s=1.0), here / "out", Silent())
    assert row.verdict == "TIMEOUT"
    assert "within 1 s" in row.reason
    assert json.loads((here / "out" / ROWS_FILE).read_text())["verdict"] == "TIMEOUT"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--families", "resnet1"), "unknown model 'resnet1'"),
        (("--families", "test_vit", "--ratio", "1.5"), "--ratio must lie between 0 and 1"),
        (("--families", "test_vit", "--markdown", "none.md"), "none.md has no lines"),
    ],
)
def test_what_makes_no_sense_is_refused(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call("compatibility", *options, "--out", "out"), 2, message, here)


def test_a_table_says_what_is_in_the_way() -> None:
    kept = Compatibility(
        model="m",
        ratio=0.5,
        verdict="PARTIAL",
        seconds=3.0,
        tools="t",
        reached="reload",
        params_before=100,
        params_after=60,
        protected=(("a", "it mixes | tokens"), ("b", "x"), ("c", "x"), ("d", "x")),
    )
    failed = Compatibility(model="n", ratio=0.5, verdict="FAIL", seconds=1.0, tools="t", reason="no\nway")
    assert counts([kept, failed]) == "1 PARTIAL, 1 FAIL"
    assert obstacle(kept) == "a, b, c and 1 more: it mixes | tokens"
    lines = markdown_table([kept, failed]).splitlines()
    assert lines[2] == "| m | 100 | 60 | 40% | all | PARTIAL | 3 | a, b, c and 1 more: it mixes \\| tokens |"
    assert lines[3] == "| n | - | - | - | none | FAIL | 1 | no way |"
