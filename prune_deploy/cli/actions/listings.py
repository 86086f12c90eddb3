"""Prints models, methods and backends that can be named."""

from __future__ import annotations

import dataclasses
import fnmatch

from prune_deploy import backends
from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.interfaces import Backend
from prune_deploy.pruning import methods
from prune_deploy.specs import SHORT_CODE_PARAMS, SHORT_CODES
from prune_deploy.timm_names import architectures


def print_models(pattern: str | None, as_json: bool) -> None:
    """Print the seven short codes with their dense parameters.

    With a pattern only models that match are printed, timm's among them.
    """
    codes = [code for code, name in SHORT_CODES.items() if pattern is None or fnmatch.fnmatch(name, pattern)]
    names = [] if pattern is None else sorted(fnmatch.filter(architectures(), pattern))
    if as_json:
        described = [{"code": code, "model": SHORT_CODES[code], "params": SHORT_CODE_PARAMS[code]} for code in codes]
        emit_json({"short_codes": described, "timm": names})
        return
    if codes:
        rows = table("code", "timm model", "dense parameters, 10 classes")
        for code in codes:
            rows.add_row(code, SHORT_CODES[code], f"{SHORT_CODE_PARAMS[code]:,}")
        data_console.print(rows)
    if names:
        data_console.print("\n".join(names), soft_wrap=True)
    if pattern is None:
        data_console.print(f"\nAnd every timm name: {len(architectures()):,} of them; see --filter '*resnet50*'.")
    elif not names:
        say(f"no model of timm has a name like {pattern}; see: prune-deploy models --filter '*resnet*'")


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
    known = {name: backends.discover()[name] for name in backends.offered()}
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
