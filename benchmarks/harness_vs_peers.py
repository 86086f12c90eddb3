"""How far off are the ways to measure latency that are in use, and ours? Same artifacts, machine and time for all of them.

    python benchmarks/harness_vs_peers.py --out results.jsonl [--trials 20] [--budget-s 15] [--conditions quiet,burner] [--threads N]
    python benchmarks/harness_vs_peers.py --table results.jsonl

A trial gives two errors of each protocol (peers.py): the ratio of a dense model to itself, opened a second time, is 1; its ratio to a
pruned one is known from runs of each model alone in a process. Protocols take turns in random order, without and with a process that
burns one core (burner.py). Every trial is a line of the file as soon as it has ended; called again, the script goes on where it was,
failed trials included in what is done. Leave the machine alone meanwhile: forty trials of 15 s take about an hour and a half.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from peers import ALONE, OURS, SEQUENTIAL, Request
from peers_table import table

from prune_deploy.environment import capture

HERE = Path(__file__).parent
CONDITIONS = ("quiet", "burner")
PROTOCOLS = (*SEQUENTIAL, OURS)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE", help="JSON lines; what is there already is not measured again")
    what.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and measure nothing")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--budget-s", type=float, default=15.0, help="seconds per trial of a protocol")
    parser.add_argument("--rigor", choices=("quick", "full"), default="full", help="of our own comparisons")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="one of them; may be repeated; all by default")
    parser.add_argument("--threads", type=int, default=0, help="threads of ONNX Runtime, 0 for its own choice")
    parser.add_argument("--model", default="resnet18", help="a timm model, pruned by half")
    parser.add_argument("--pixels", type=int, default=96, help="height and width of its input")
    parser.add_argument(
        "--artifacts", type=Path, nargs=2, metavar=("DENSE", "PRUNED"), help="ONNX files to use instead of --model"
    )
    parser.add_argument("--truth-pairs", type=int, default=6, help="times that each model runs alone, half of them at the end")
    parser.add_argument("--truth-s", type=float, default=10.0, help="seconds of each of these, half of them to warm up")
    asked = parser.parse_args()
    asked.conditions = asked.conditions.split(",")
    if unknown := set(asked.conditions) - set(CONDITIONS):
        parser.error(f"--conditions: {', '.join(sorted(unknown))} is none of {', '.join(CONDITIONS)}")
    return asked


@contextmanager
def artifacts(asked: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """The ONNX files, dense and pruned."""
    if asked.artifacts is not None:
        yield asked.artifacts
        return
    from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle

    model, engine = ModelSpec(name=asked.model, input_size=(3, asked.pixels, asked.pixels)), EngineSpec(library="none")
    with tempfile.TemporaryDirectory() as folder:
        files: list[Path] = []
        for prune in (None, PruneSpec(ratio=0.5)):
            exported = export_bundle(ExportSpec(model=model, prune=prune, engine=engine), Path(folder, str(len(files))))
            files.append(exported.folder / "model.onnx")
        yield files[0], files[1]


def settings(asked: argparse.Namespace, dense: Path, pruned: Path) -> dict[str, Any]:
    """All that must be the same for trials to belong together."""
    here = capture()
    return {
        "kind": "settings",
        "model": None if asked.artifacts else asked.model,
        **{name: getattr(asked, name) for name in ("pixels", "threads", "budget_s", "rigor", "truth_s")},
        "sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in (dense, pruned)],
        "cpu": here.cpu,
        "cpu_count": here.cpu_count,
        "python": here.python,
        "libraries": here.libraries,
    }


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is the result of."""
    return tuple(row.get(name) for name in ("kind", "pair", "condition", "trial", "protocol"))


class Results:
    """The file of results: whole lines only, those of an earlier call kept."""

    def __init__(self, path: Path, expected: dict[str, Any]) -> None:
        self._path = path
        path.touch()
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # a kill may have cut the last line short
        rows = read(path)
        if rows and rows[0] != expected:
            sys.exit(f"{path} holds results of other settings: {rows[0]}\nFix: choose another file with --out FILE")
        self._done = {key(row) for row in rows}
        if not rows:
            self.add(expected)

    def add(self, row: dict[str, Any]) -> None:
        """Append a line."""
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self._done.add(key(row))

    def complete(self, row: dict[str, Any], measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Measure what a row is about and add it, unless it is there."""
        if key(row) in self._done:
            return
        row = row | measure(row)
        self.add(row)
        print(json.dumps(row), file=sys.stderr, flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that has no end is none."""
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def in_process(request: Request) -> dict[str, Any]:
    """What a protocol in a process of its own found, and the wall time of it all; or the error that it ended with."""
    limit_s = 120 + 10 * request.budget_s
    command = [sys.executable, str(HERE / "peers.py"), json.dumps(asdict(request))]
    start_s = time.monotonic()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"wall_s": time.monotonic() - start_s, "error": f"no answer within {limit_s:.0f} s"}
    wall_s = time.monotonic() - start_s
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"wall_s": wall_s, "error": f"exit code {ended.returncode}: {last}"}
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return {"wall_s": wall_s, **found}


@contextmanager
def burner(seed: int) -> Iterator[None]:
    """A process that burns one core while the block lasts."""
    with subprocess.Popen([sys.executable, str(HERE / "burner.py"), str(seed)]) as process:
        try:
            yield
            if process.poll() is not None:
                sys.exit(f"the burner ended with status {process.returncode} before the trial did")
        finally:
            process.terminate()


def measure_truth(asked: argparse.Namespace, dense: Path, pruned: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of each model alone on the quiet machine, in alternating order."""
    found = {}
    for name in ("dense", "pruned") if row["pair"] % 2 == 0 else ("pruned", "dense"):
        path = str({"dense": dense, "pruned": pruned}[name])
        request = Request(
            protocol=ALONE, dense=path, pruned=path, pixels=asked.pixels, threads=asked.threads, budget_s=asked.truth_s, seed=0
        )
        answer = in_process(request)
        if "error" in answer:
            sys.exit(f"the {name} model does not run alone: {answer['error']}")
        found[f"{name}_ms"] = answer["ms"]
    return found


def measure_trial(asked: argparse.Namespace, dense: Path, pruned: Path, row: dict[str, Any]) -> dict[str, Any]:
    """One protocol once. All protocols of a trial meet the same burner: its seed is the trial's."""
    request = Request(
        protocol=row["protocol"],
        dense=str(dense),
        pruned=str(pruned),
        pixels=asked.pixels,
        threads=asked.threads,
        budget_s=asked.budget_s,
        seed=row["trial"],
        rigor=asked.rigor,
    )
    with burner(row["trial"]) if row["condition"] == "burner" else nullcontext():
        return in_process(request)


def rows_to_measure(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is to be done, in order: half of the truth, the trials, the other half of the truth."""
    truth: list[dict[str, Any]] = [{"kind": "truth", "pair": pair} for pair in range(asked.truth_pairs)]
    yield from truth[: len(truth) // 2]
    for trial in range(asked.trials):
        for condition in asked.conditions:
            protocols = list(asked.protocol or PROTOCOLS)
            random.Random(f"{condition}/{trial}").shuffle(protocols)
            yield from ({"kind": "trial", "condition": condition, "trial": trial, "protocol": each} for each in protocols)
    yield from truth[len(truth) // 2 :]


def main() -> None:
    """Measure what is missing, and print the table."""
    asked = parsed()
    if asked.table is None:
        with artifacts(asked) as (dense, pruned):
            results = Results(asked.out, settings(asked, dense, pruned))
            for row in rows_to_measure(asked):
                measure = measure_truth if row["kind"] == "truth" else measure_trial
                results.complete(row, partial(measure, asked, dense, pruned))
    print(table(read(asked.table or asked.out)))


if __name__ == "__main__":
    main()
