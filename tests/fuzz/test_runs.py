"""Damaged runs are refused, and what was read can be shown."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.mutations import changed_bytes, documents, json_texts, with_one_odd_value
from fuzz.oracle import attempt, use
from fuzz.originals import DENSE, PRUNED, RECORDS, RUN, copy_run, document, write_records
from prune_deploy.cli.output.latency_table import print_records
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.samples import CLOCK, pack, unpack
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.reporting.figures.report import make_report
from prune_deploy.reporting.figures.run_pairs import pair_runs
from prune_deploy.reporting.renderers import Format, render
from prune_deploy.runs import EXPLANATIONS_DIR, RECORDS_FILE, RUN_FILE, TRACES_DIR, mend_records, read_run
from support.measuring import WITH_COPY, make_samples

_FORMATS: tuple[Format, ...] = ("json", "md", "csv")
_FILES = (RUN_FILE, f"{TRACES_DIR}/*.layers.json", f"{EXPLANATIONS_DIR}/*.json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return copy_run(tmp_path / "run")


def _show(folder: Path, formats: Sequence[Format] = _FORMATS) -> None:
    """Use a run in every way that takes no runtime."""
    place = folder.parent
    read = attempt(lambda: read_run(folder), place)
    if read is None:
        return
    report = use(lambda: make_report([read]), place)
    for form in formats if report is not None else ():
        use(lambda form=form: render(report, form, folder), place)  # type: ignore[misc, arg-type]
    use(lambda: print_records(read.cases), place)
    use(lambda: list(reanalyze(read)), place)
    use(lambda: list(pair_runs(read, read_run(RUN))), place)
    use(lambda: mend_records(read), place)


@given(records=documents(RECORDS))
@settings(max_examples=100)
def test_mutated_records_are_refused_or_shown(records: Any, run: Path) -> None:
    write_records(run, records)
    _show(run)


@given(record=with_one_odd_value(PRUNED))
@settings(max_examples=80)
def test_an_odd_figure_is_refused_or_shown(record: Any, run: Path) -> None:
    write_records(run, [DENSE, record])
    _show(run)


@given(record=with_one_odd_value(PRUNED))
@settings(max_examples=5)
def test_an_odd_figure_is_refused_or_drawn(record: Any, run: Path) -> None:
    write_records(run, [DENSE, record])
    _show(run, ("html", "png"))


@given(data=st.data())
@settings(max_examples=5)
def test_an_odd_trace_beside_its_dense_one_is_refused_or_drawn(data: st.DataObject, run: Path) -> None:
    for path in RUN.glob(f"{TRACES_DIR}/*.layers.json"):
        shutil.copyfile(path, run / TRACES_DIR / path.name)
    chosen = data.draw(st.sampled_from(sorted(run.glob(f"{TRACES_DIR}/*.layers.json"))))
    chosen.write_text(json.dumps(data.draw(with_one_odd_value(json.loads(chosen.read_text(encoding="utf-8"))))), encoding="utf-8")
    _show(run, ("html",))


@pytest.mark.parametrize("name", _FILES)
@given(data=st.data())
@settings(max_examples=40)
def test_the_other_documents_of_a_run_are_refused_or_shown(name: str, data: st.DataObject, run: Path) -> None:
    (path,) = run.glob(name)
    path.write_bytes(data.draw(json_texts(document(next(RUN.glob(str(path.relative_to(run))))))))
    formats: tuple[Format, ...] = ("json", "md", "html") if data.draw(st.integers(0, 3)) == 0 else ("json", "md")
    _show(run, formats)


@given(data=st.data())
@settings(max_examples=150)
def test_mutated_lines_are_read_or_refused(data: st.DataObject, run: Path) -> None:
    (run / RECORDS_FILE).write_bytes(data.draw(changed_bytes((RUN / RECORDS_FILE).read_bytes()[:20_000])))
    attempt(lambda: read_run(run), run.parent)


_PLAIN = make_samples(np.full((2, 4, 3, 2), 1e6), roles=WITH_COPY)
_CLOCKED = tuple(replace(block, readings={CLOCK: 1400.0}) for block in _PLAIN.blocks)
SAMPLES = pack(replace(_PLAIN, blocks=_CLOCKED))

_ODD_NS = (0, 1, 1000, 10**9, 300 * 10**9, 86_400 * 10**9)
"""Times that a run may have, and which no two launches of a program have."""

_ODD_MHZ = (0.0, 5e-324, 1e-3, 1.0, 1e5, 1e18, -1.0, float("inf"), float("nan"))


@given(content=changed_bytes(SAMPLES))
@settings(max_examples=200)
def test_mutated_samples_are_unpacked_or_refused(content: bytes, tmp_path: Path) -> None:
    samples = attempt(lambda: unpack(content, source="samples"), tmp_path)
    if samples is not None:
        use(lambda: analyze(samples), tmp_path)


@st.composite
def _repacked(draw: st.DrawFn) -> bytes:
    """Draw whole archives of samples with odd headers or numbers."""
    with np.load(io.BytesIO(SAMPLES)) as file:
        arrays = {name: file[name].copy() for name in file.files}
    if draw(st.booleans()):
        text = draw(json_texts(json.loads(arrays["header"].tobytes())))
        arrays["header"] = np.frombuffer(text, np.uint8)
    for _ in range(draw(st.integers(0, 2))):
        array = arrays[draw(st.sampled_from(("blocks", "ns")))].reshape(-1)
        if len(array):
            array[draw(st.integers(0, len(array) - 1))] = draw(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3))
    if draw(st.booleans()):
        for name, odd in (("ns", _ODD_NS), (f"reading_{CLOCK}", _ODD_MHZ)):
            first, last = sorted(draw(st.integers(0, arrays[name].size)) for _ in range(2))
            arrays[name][first:last] = draw(st.sampled_from(odd))
    if draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(("blocks", "ns", "header", "extra")))
        shape = draw(st.sampled_from(((0,), (0, 8), (8,), (1, 1), (), (3, 8, 1))))
        arrays[name] = np.zeros(shape, draw(st.sampled_from(("i8", "f8", "u1", "i4", "c16", "S3", "M8[s]"))))
    if draw(st.integers(0, 9)) == 0:
        del arrays[draw(st.sampled_from(sorted(arrays)))]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@given(content=_repacked())
@settings(max_examples=200)
def test_odd_samples_with_the_right_hash_are_analysed_or_refused(content: bytes, run: Path) -> None:
    records = [record for record in RECORDS if record["samples_file"] and "ort-fp32-b8" in record["comparison"]]
    digest = hashlib.sha256(content).hexdigest()
    write_records(run, [record | {"samples_sha256": digest} for record in records])
    (run / records[0]["samples_file"]).write_bytes(content)
    attempt(lambda: list(reanalyze(read_run(run))), run.parent)
