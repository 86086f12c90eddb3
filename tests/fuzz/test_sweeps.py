"""Sweeps in TOML files: read, planned or refused, and quickly."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.mutations import changed_bytes, documents
from fuzz.oracle import attempt, use
from prune_deploy.presets import preset_names, read_sweep
from prune_deploy.records import to_json
from prune_deploy.workflows.sweep import folder_of
from prune_deploy.workflows.sweep_plan import plan_sweep, sweep_tasks

_FILES = {name: resources.files("prune_deploy.presets").joinpath(f"{name}.toml").read_bytes() for name in preset_names()}
_MANY = 200_000
_ENDLESS = {
    "parts of a key": ".".join("a" * _MANY) + " = 1",
    "quoted parts of a key": ".".join(['"\\""'] * _MANY) + " = 1",
    "parts of a table": "[" + " . ".join("a" * _MANY) + "]",
    "parts of an inline key": "x = {" + ".".join(["'!'"] * _MANY) + " = 1}",
    "lists in lists": "x = " + "[" * _MANY,
    "tables in tables": "x = " + "{a=" * _MANY,
    "ratios": f'backends = ["null"]\n[[blocks]]\nmodels = ["a"]\nmethods = ["l1"]\nratios = [{"0.1," * _MANY}]',
    "seeds": f'backends = ["null"]\n[[blocks]]\nmodels = ["a"]\nseeds = [{",".join(map(str, range(_MANY // 2)))}]',
    "batches": f'backends = ["null", "eager"]\nbatches = [{",".join(map(str, range(1, _MANY // 2)))}]\n[[blocks]]\nmodels = ["a"]',
    "blocks": 'backends = ["null"]\n' + '[[blocks]]\nmodels = ["a"]\nmethods = ["l1"]\nratios = [0.1, 0.2]\n' * (_MANY // 5),
    "digits": "x = " + "1" * _MANY,
    "dots of a text": f'x = "{"." * _MANY}"',
    "an unknown key": "x" * _MANY + " = 1",
}


def _toml(value: Any) -> str:
    """Write a value as inline TOML.

    What TOML has no word for becomes a text.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value if value is not None else '""')


def _plan(path: Path, tmp_path: Path) -> None:
    spec = attempt(lambda: read_sweep(path), tmp_path)
    if spec is not None:
        use(lambda: (to_json(spec), folder_of(spec, "name"), spec.stages()), tmp_path)
        use(lambda: sweep_tasks(plan_sweep(spec), spec), tmp_path)


@pytest.mark.parametrize("name", _FILES)
@given(data=st.data())
@settings(max_examples=80)
def test_a_mutated_sweep_is_refused_or_planned(name: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    if data.draw(st.integers(0, 3)):
        tables = data.draw(documents(tomllib.loads(_FILES[name].decode())))
        items = tables.items() if isinstance(tables, dict) else [("x", tables)]
        text = "".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml(value)}\n" for key, value in items)
        path.write_bytes(text.encode(errors="surrogatepass"))
    else:
        path.write_bytes(data.draw(changed_bytes(_FILES[name])))
    _plan(path, tmp_path)


@pytest.mark.parametrize("what", _ENDLESS)
def test_a_sweep_without_end_is_refused_quickly(what: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(_ENDLESS[what])
    assert attempt(lambda: read_sweep(path), tmp_path) is None
