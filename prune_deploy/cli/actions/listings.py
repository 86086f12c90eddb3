"""Prints models, methods and backends that can be named."""

from __future__ import annotations

import dataclasses

import timm

from prune_deploy import backends
from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.interfaces import Backend
from prune_deploy.models import resolve, skeleton
from prune_deploy.pruning import methods
from prune_deploy.pruning.counting import count_params
from prune_deploy.specs import SHORT_CODES, ModelSpec


def print_models(pattern: str | None, as_json: bool) -> None:
    """Print the seven short codes with their dense parameters.

    On request, timm's names follow.
    """
    codes = {code: count_params(skeleton(resolve(ModelSpec(name=code)))) for code in SHORT_CODES}
    names: list[str] = timm.list_models(pattern) if pattern else []
    if as_json:
        emit_json({"short_codes": [{"code": c, "model": SHORT_CODES[c], "params": n} for c, n in codes.items()], "timm": names})
        return
    rows = table("code", "timm model", "dense parameters, 10 classes")
    for code, params in codes.items():
        rows.add_row(code, SHORT_CODES[code], f"{params:,}")
    data_console.print(rows)
    if names:
        data_console.print("\n".join(names), soft_wrap=True)
    if not pattern:
        data_console.print(f"\nAnd every timm name: {len(timm.list_models()):,} of them; see --filter '*resnet50*'.")


def print_methods(as_json: bool) -> None:
    """Print the pruning methods and their papers."""
    described = [methods.create(name) for name in methods.discover()]
    if as_json:
        emit_json([{"name": m.name, "summary": m.summary, "source": m.source, "needs": sorted(m.needs)} for m in described])
        return
    rows = table("method", "scores channels by", "source")
    for method in described:
        rows.add_row(method.name, method.summary, method.source)
    data_console.print(rows)


def print_backends(as_json: bool) -> None:
    """Print the runtimes for bundles, and whether they work here."""
    known = backends.discover()
    states = {name: backend.available() for name, backend in known.items()}
    if as_json:
        emit_json([{**_described(known[name]), **dataclasses.asdict(state)} for name, state in states.items()])
        return
    rows = table("backend", "works here", "what it is")
    for name, state in states.items():
        works = "yes" if state.available else f"no: {state.reason}; {state.fix}"
        variants = "".join(f"; variant {variant}" for variant in known[name].variants if variant)
        rows.add_row(name, works, known[name].summary + variants)
    data_console.print(rows)


def _described(backend: Backend) -> dict[str, object]:
    return {
        "name": backend.name,
        "summary": backend.summary,
        "consumes": backend.consumes,
        "variants": backend.variants,
    }
