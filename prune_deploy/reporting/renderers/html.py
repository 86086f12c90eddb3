"""Report as one self-contained HTML file.

Styles, scripts, plotly.js and data are in it, and it fetches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_deploy.records import NO_DENSE_SPEEDUP
from prune_deploy.reporting.charts import (
    View,
    curve_views,
    forest,
    operator_views,
    readable_distributions,
    tradeoff_views,
    waterfall_views,
)
from prune_deploy.reporting.explain.trace_pairs import TracePair, trace_pairs
from prune_deploy.reporting.figures.formatting import interval
from prune_deploy.reporting.figures.report import Report
from prune_deploy.reporting.figures.run_warnings import absences, accuracies, warned, widths_note
from prune_deploy.reporting.figures.summary import summaries, tally, weights_note
from prune_deploy.reporting.renderers.grids import controls_grid, curve_grids, side_by_side
from prune_deploy.reporting.renderers.html_table import SIGNS, TONES, table
from prune_deploy.reporting.renderers.layers import explained, link, paired, traced
from prune_deploy.reporting.renderers.palette import dark_edition
from prune_deploy.reporting.renderers.plotly_figures import figure
from prune_deploy.reporting.renderers.receipts import machine_differences, machines, receipts
from prune_deploy.specs.options import as_options

_ASSETS = Path(__file__).with_name("assets")


def render_html(report: Report, folder: Path) -> bytes:
    """Return the page for a file in `folder`.

    Its links to traces start from there. Damaged samples cost their plot, and the page reports that.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_spoken,
    )
    distributions, damaged = readable_distributions(report)
    pairs = trace_pairs(report)
    sections = {
        "curves": curve_views(report),
        "tradeoffs": tradeoff_views(report),
        "distributions": distributions,
        "waterfalls": waterfall_views(report),
        "operators": operator_views(pairs),
    }
    page = environment.get_template("report.html.j2").render(
        **_content(report, pairs, folder),
        views={name: [view.name for view in views] for name, views in sections.items()},
        data={"tones": dark_edition(), "sections": {name: _figures(views) for name, views in sections.items()}},
        damaged=damaged,
        css=_asset("report.css"),
        script=_asset("report.js"),
        plotly=_asset("plotly/plotly-basic.min.js") if any(sections.values()) else "",
    )
    return page.encode(errors="backslashreplace")


def _spoken(value: Any) -> Any:
    """Return a text of the library with its settings as options.

    The commands beside it use the same words. Markup stays as it is.
    """
    return as_options(value) if type(value) is str else value


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _figures(views: Sequence[View]) -> list[dict[str, Any]]:
    return [
        {
            "name": view.name,
            "charts": [{"name": chart.name, "title": chart.title, "note": chart.note, **figure(chart)} for chart in view.charts],
        }
        for view in views
    ]


def _content(report: Report, pairs: Sequence[TracePair], folder: Path) -> dict[str, Any]:
    """Return the variables of the template, in the order of the page."""
    lines = list(report.lines)
    rows = [line.row for line in lines]
    return {
        "report": report,
        "summaries": summaries(report),
        "tally": _tally(report),
        "weights_note": weights_note(report),
        "forest": forest(report),
        "signs": SIGNS,
        "tones": TONES,
        "table": table(report),
        "trace_links": _trace_links(report, folder),
        "zeroed_note": NO_DENSE_SPEEDUP,
        "widths_note": widths_note(rows),
        "accuracies": accuracies(rows),
        "side_by_side": side_by_side(report),
        "curve_grids": curve_grids(report),
        "explained": explained(report),
        "pairs": paired(report, pairs, folder),
        "traces": traced(report, pairs, folder),
        "receipts": receipts(report),
        "unreadable": [each for run in report.runs for each in run.unreadable],
        "absences": [(run.machine, each) for run in report.runs for each in absences(line.row for line in run.lines)],
        "warnings": warned(rows),
        "controls": controls_grid(report),
        "machines": machines(report),
        "differences": machine_differences(report),
        "interval": interval,
    }


def _tally(report: Report) -> list[tuple[str, str, int]]:
    """Return the chips: a tone, words, a count.

    The summary's sentences count the same cases.
    """
    counts = tally(report)
    words = (("FASTER", "faster than dense"), ("SLOWER", "slower"), ("SAME", "the same"), ("INCONCLUSIVE", "undecided"))
    chips = [(TONES[verdict], f"{SIGNS[verdict]} {text}", counts.verdicts.get(verdict, 0)) for verdict, text in words]
    if counts.zeroed:
        chips.append(("even", "○ only zeroed", counts.zeroed))
    return [*chips, ("lost", "✕ not timed", counts.not_timed)]


def _trace_links(report: Report, folder: Path) -> dict[str, str]:
    """Map the id of a case to the link to its trace."""
    return {
        line.id: link(run.run.folder, run.traces[line.trace], folder) for run in report.runs for line in run.lines if line.trace
    }
