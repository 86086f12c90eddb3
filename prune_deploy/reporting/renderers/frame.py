"""Report as a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prune_deploy.errors import CannotRunError, install_extra
from prune_deploy.reporting.figures.report import Report, make_report
from prune_deploy.reporting.renderers.csv_table import case_values, columns
from prune_deploy.runs import Run

if TYPE_CHECKING:
    import pandas

_DTYPES = {str: "string", bool: "boolean", int: "Int64", float: "float64"}
"""Types of pandas that have missing values. NaN is that of float64."""

_CATEGORIES = ("run", "machine", "rigor", "mode", "role", "backend", "precision", "device", "status", "verdict")


def frame(measured: Report | Run) -> pandas.DataFrame:
    """Return a line per case, in the columns of `report.csv`.

    Raises:
        CannotRunError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise CannotRunError(
            "pandas is not installed, and a DataFrame is one of its tables",
            fix=f"{install_extra('notebook')}, or read `report.csv`",
        ) from error
    report = make_report([measured]) if isinstance(measured, Run) else measured
    lines = [case_values(run, line) for run in report.runs for line in run.lines]
    series: dict[str, Any] = {}
    for name, kind in columns().items():
        dtype = "category" if name in _CATEGORIES else _DTYPES[kind]
        series[name] = pandas.Series([line[name] for line in lines], dtype=dtype)
    return pandas.DataFrame(series)
