"""All that only a card can show, in one command.

    python benchmarks/gpu_reference.py [--out DIR] [--only STEP,…] [--rehearse]      (or: make gpu-reference)

It runs the GPU tests and makes the reference runs, in the order of their worth, each step with a time limit. A step that passed is not run
again: the same command goes on where a kill, or the end of the lent time, left it. The results without bundles and caches end up in
DIR/gpu-reference.tar.gz, a few megabytes. Neither a network nor an installation is needed. With PyTorch, timm, ONNX, ONNX Runtime and
the small pure-Python requirements it runs from the checkout.

`--rehearse` runs the same steps on the CPU with a small network, to see that the script and the tests are right. It says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLI = (sys.executable, "-c", "from prune_deploy.cli.main import main; main()")
ARCHIVE = "gpu-reference.tar.gz"
_LEFT_OUT = {"bundles", "caches", "engines", "pytest"}
_GRACE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command with its limit.

    `engine` marks those that need a TensorRT library for this card. `codes` are the exit codes of one that passed.
    """

    name: str
    limit_s: float
    command: tuple[str, ...]
    engine: bool = False
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Amount of work: all of it, or little in a rehearsal."""

    device: str
    model: str
    batch: str
    steps: str
    together: str
    budget_s: str


FULL = Size(device="cuda", model="resnet50", batch="64", steps="20", together="20", budget_s="60")
REHEARSAL = Size(device="cpu", model="test_resnet", batch="2", steps="2", together="2", budget_s="1")


def steps(out: Path, size: Size) -> list[Step]:
    """List all steps, most valuable first."""
    curve: tuple[str, ...]
    dense, half = f"{out}/curve/bundles/{size.model}-dense", f"{out}/curve/bundles/{size.model}-l2-r0.50"
    quick = ("--rigor", "quick", "--device", size.device)
    brief = (*quick, "--budget-s", "10" if size is FULL else size.budget_s, "--batch", size.batch)
    curve = ("curve", "--model", size.model, "--batch", size.batch, "--steps", size.steps, *quick, "--budget-s", size.budget_s)
    curve = (*curve, "--together", size.together, "--open-limit-s", "240")

    def tests(name: str, limit_s: float, files: str, chosen: str = "", *, engine: bool = False) -> Step:
        mark = "engine" if engine else "not engine"
        command: tuple[str, ...] = (
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            f"--junitxml={out}/{name}.xml",
            "-m",
            mark,
        )
        command = (*command, "--basetemp", f"{out}/pytest/{name}", *(("-k", chosen) if chosen else ()), *files.split())
        return Step(name=name, limit_s=limit_s, command=command, engine=engine)

    def run(name: str, limit_s: float, *arguments: str, engine: bool = False) -> Step:
        return Step(name=name, limit_s=limit_s, command=(*CLI, *arguments, "--out", f"{out}/{name}"), engine=engine)

    def bench(name: str, limit_s: float, *arguments: str, engine: bool = False) -> Step:
        return run(name, limit_s, "bench", dense, half, *brief, *arguments, engine=engine)

    traced = ("--batch", size.batch, "--device", size.device)
    return [
        # It ends with 4 where no engine can be built, which is no reason to measure nothing.
        Step(name="doctor", limit_s=60, command=(*CLI, "doctor", "--json"), codes=(0, 4)),
        tests("test-eager", 60, "tests/gpu/test_backends.py", "eager or tf32 or precision"),
        tests("test-session", 30, "tests/gpu/test_trt_session_on_cuda.py tests/gpu/test_engine_runs.py"),
        tests("test-ort", 60, "tests/gpu/test_backends.py", "ort and not eager"),
        run("curve", 540, *curve, "--backend", "eager,ort"),
        tests("test-tracing", 90, "tests/gpu/test_tracing.py", "not compile and not cuda_graph"),
        *(bench(mode, 60, "--backend", "eager,ort", "--mode", mode) for mode in ("device", "throughput") if size is FULL),
        bench("tf32", 90, "--backend", "eager,ort", "--precision", "fp32,tf32", "--across-precisions") if size is FULL
        else bench("tf32", 90, "--backend", "eager"),
        bench("isolated", 60, "--backend", "eager", "--placement", "isolated"),
        *(run(f"trace-{each}", 60, "trace", half, *traced, "--backend", each) for each in ("eager", "ort")),
        tests("test-measuring", 240, "tests/gpu/test_measuring.py"),
        tests("test-compile", 240, "tests/gpu/test_backends.py tests/gpu/test_tracing.py", "compile or cuda_graph or modes_of"),
        bench("compile", 240, "--backend", "compile"),
        tests("test-precisions", 150, "tests/gpu/test_precisions.py"),
        *(bench(f"ort-{each}", 90, "--backend", f"ort:{each}") for each in ("tuned", "cuda-graph") if size is FULL),
        tests("test-engine", 900, "tests/gpu", engine=True),
        run("curve-trt", 3600, *curve, "--backend", "trt", engine=True),
        run("int8-trt", 900, *curve[:6], "2", *curve[7:], "--backend", "trt", "--precision", "fp32,fp16,int8", engine=True),
    ]  # fmt: skip


def environment(*, rehearse: bool) -> dict[str, str]:
    """Return the variables of all steps.

    PYTHONPATH serves workers, which start in other folders.
    """
    paths = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", ""))))
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(min(8, os.cpu_count() or 1)))}
    return os.environ | threads | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "MPLBACKEND": "agg"} | (
        {"PRUNE_DEPLOY_REHEARSE": "1"} if rehearse else {}
    )  # fmt: skip


def run_step(step: Step, out: Path, variables: dict[str, str]) -> tuple[int | None, float]:
    """Run a step, and return its exit code and its seconds.

    The exit code is None past its limit. Its output goes to <out>/<name>.log. At the limit it is interrupted as Ctrl-C would,
    which keeps what was measured, and killed if that does not end it.
    """
    begin = time.perf_counter()
    with (out / f"{step.name}.log").open("wb") as log:
        process = subprocess.Popen(
            step.command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code: int | None = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    return code, time.perf_counter() - begin


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step and what it started, gently first."""
    for number, wait_s in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue


def builds_engines() -> bool:
    """Ask whether a TensorRT library builds for the card that is here."""
    code = "from support.gpu import builders; import sys; sys.exit(not builders())"
    return (
        subprocess.run([sys.executable, "-c", code], env=environment(rehearse=False), check=False, capture_output=True).returncode
        == 0
    )


def pack(out: Path) -> Path:
    """Write the archive of all results but bundles and caches."""
    path = out / ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for each in sorted(out.iterdir()):
            if each.name not in (*_LEFT_OUT, ARCHIVE):
                archive.add(each, each.name, filter=lambda member: None if Path(member.name).name in _LEFT_OUT else member)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that have not passed yet.

    The exit code is 1 if one of them fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "profiles" / "gpu-reference", help="folder of the results")
    parser.add_argument("--only", default="", help="steps to run, comma-separated")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, small, to see that this script is right")
    asked = parser.parse_args(arguments)
    out: Path = asked.out.resolve()
    (out / "pytest").mkdir(parents=True, exist_ok=True)
    every = steps(out, REHEARSAL if asked.rehearse else FULL)
    only = [name for name in asked.only.split(",") if name]
    if unknown := sorted({*only} - {step.name for step in every}):
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(step.name for step in every)}")
    engines = builds_engines()
    results = [_result(step, out, engines, rehearse=asked.rehearse) for step in every if not only or step.name in only]
    print(f"packed into {pack(out)}")
    return int(any(result == "failed" for result in results))


def _result(step: Step, out: Path, engines: bool, *, rehearse: bool) -> str:
    """Run a step unless it passed before, and print its result."""
    done = out / f"{step.name}.passed"
    if step.engine and not engines:
        result, detail = "left out", "no TensorRT library here builds for this card"
    elif done.exists():
        result, detail = "passed", f"before, in {done.read_text(encoding='ascii')}"
    else:
        code, seconds = run_step(step, out, environment(rehearse=rehearse))
        result = "passed" if code in step.codes else "failed"
        detail = f"{seconds:.0f} s" if code is not None else f"after its limit of {step.limit_s:.0f} s"
        if result == "passed":
            done.write_text(detail, encoding="ascii")
        else:
            detail += f", exit code {code}, see {step.name}.log"
    print(f"{step.name:16} {result:9} {detail}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
