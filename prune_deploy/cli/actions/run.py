"""Classifies an image and prints the likeliest classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.specs import RANDOM_WEIGHTS
from prune_deploy.store import read_bundle


def run(bundle: Path, image: Path | None, backend: str, top: int, as_json: bool, *, check_hashes: bool = True) -> None:
    """Classify an image and print the likeliest classes.

    Raises:
        PruneDeployError: as `classify`.
    """
    record = read_bundle(bundle)
    if record.is_untrained:
        say(RANDOM_WEIGHTS)
    from prune_deploy.evaluation.classify import classify  # PyTorch takes seconds, and a wrong folder is said before

    result = classify(bundle, image, backend=backend, top=top, check_hashes=check_hashes)
    if image is None:
        say("no image was named: the classes are those of a synthetic one")
    if as_json:
        emit_json({"bundle": str(bundle), "backend": backend, **dataclasses.asdict(result)})
        return
    rows = table("class", "probability %", "label")
    for guess in result.guesses:
        rows.add_row(str(guess.index), f"{100 * guess.probability:.2f}", guess.label)
    data_console.print(rows)
    data_console.print(
        f"{result.one_run_ms:.1f} ms for one image through {backend} ({result.artifact}); one run, not a measurement"
    )
