"""`prune-deploy models`, `methods` and `backends`: what can be asked for."""

from __future__ import annotations

import dataclasses

import click

from prune_deploy.cli.output.console import data_console, emit_json, json_option, table
from prune_deploy.interfaces import Backend
from prune_deploy.specs import SHORT_CODES, ModelSpec


@click.command("models")
@click.option("--filter", "pattern", help="Also list timm names that match, for example '*resnet50*'.")
@json_option
def models(pattern: str | None, as_json: bool) -> None:
    """List the seven short codes with their dense parameters, and on request timm's names."""
    import timm

    from prune_deploy.models import resolve, skeleton
    from prune_deploy.pruning.counting import count_params

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


@click.command("methods")
@json_option
def methods(as_json: bool) -> None:
    """List the pruning methods and their papers."""
    from prune_deploy.pruning import methods as found

    described = [found.create(name) for name in found.discover()]
    if as_json:
        emit_json([{"name": m.name, "summary": m.summary, "source": m.source, "needs": sorted(m.needs)} for m in described])
        return
    rows = table("method", "scores channels by", "source")
    for method in described:
        rows.add_row(method.name, method.summary, method.source)
    data_console.print(rows)


@click.command("backends")
@json_option
def backends(as_json: bool) -> None:
    """List the runtimes a bundle can be run with, and whether they work here."""
    from prune_deploy import backends as found

    backends = found.discover()
    states = {name: backend.available() for name, backend in backends.items()}
    if as_json:
        emit_json([{**_described(backends[name]), **dataclasses.asdict(state)} for name, state in states.items()])
        return
    rows = table("backend", "works here", "what it is")
    for name, state in states.items():
        works = "yes" if state.available else f"no: {state.reason}; {state.fix}"
        variants = "".join(f"; variant {variant}" for variant in backends[name].variants if variant)
        rows.add_row(name, works, backends[name].summary + variants)
    data_console.print(rows)


def _described(backend: Backend) -> dict[str, object]:
    return {
        "name": backend.name,
        "summary": backend.summary,
        "consumes": backend.consumes,
        "variants": backend.variants,
    }
