"""Hypothesis's profiles, the time of each test, and the counts."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, is_hypothesis_test, settings
from hypothesis.configuration import set_hypothesis_home_dir

from fuzz.oracle import counts

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
"""Minutes that all tests of this package share, 0 for the gate."""

_SHARED: dict[str, Any] = {
    "deadline": None,  # the machine may be busy, and what hangs is found by the oracle
    "database": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("gate", derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink), **_SHARED)
settings.register_profile("nightly", **_SHARED)
# What libraries keep goes where tests/conftest.py lets it: into a folder that is removed at the end.
os.environ["MPLCONFIGDIR"] = os.environ["XDG_CACHE_HOME"]
set_hypothesis_home_dir(os.environ["XDG_CACHE_HOME"])
settings.load_profile("nightly" if MINUTES else "gate")

_MARGIN_S = 600.0
_PROPERTY = "inputs of the fuzz test"
_SHARE_S = pytest.StashKey[float]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that draws its inputs its share of the time."""
    drawing = [item for item in items if is_hypothesis_test(getattr(item, "obj", None))]
    for item in drawing:
        share_s = 60 * MINUTES / len(drawing)
        item.stash[_SHARE_S] = share_s
        item.add_marker(pytest.mark.timeout(share_s + _MARGIN_S))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Repeat a test with other examples until its time is over."""
    counts.clear()
    begun = time.monotonic()
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    try:
        result = yield
        while time.monotonic() - begun < pyfuncitem.stash.get(_SHARE_S, 0.0):
            pyfuncitem.obj(**arguments)
    finally:
        if counts:
            pyfuncitem.user_properties.append((_PROPERTY, dict(counts)))
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was run, test by test and in all."""
    rows: dict[str, Counter[str]] = {}
    seconds = 0.0
    for report in [each for status in ("passed", "failed") for each in terminalreporter.stats.get(status, [])]:
        counted = dict(report.user_properties).get(_PROPERTY)
        if counted is not None and report.when == "call":
            rows[report.nodeid.removeprefix("tests/fuzz/")] = Counter(counted)
            seconds += report.duration
    if rows:
        rows["in all"] = sum(rows.values(), Counter[str]())
        terminalreporter.section(f"fuzz, {'nightly' if MINUTES else 'gate'}, {seconds:.0f} s")
        for name, row in rows.items():
            terminalreporter.write_line(f"{name}: {', '.join(f'{count:,} {word}' for word, count in row.items())}")
