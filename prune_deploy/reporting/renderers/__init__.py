"""Renderers from a report to files: HTML, Markdown, CSV, JSON, PNG.

Each renderer takes a report and returns bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prune_deploy.reporting.figures.report import Report

Format = Literal["html", "md", "csv", "json", "png"]


def render(report: Report, form: Format, folder: Path) -> dict[str, bytes]:
    """Return the files of a report by their names.

    There is one file, or one per plot for "png". `folder` is where they will lie, and links start there.

    Raises:
        InputError: png: a file of samples is damaged.
        VerificationError: png: samples differ from those that were measured.
    """
    if form == "html":
        from prune_deploy.reporting.renderers.html import render_html

        return {"report.html": render_html(report, folder)}
    if form == "png":
        from prune_deploy.reporting.renderers.png_plots import render_plots

        return dict(render_plots(report))
    if form == "md":
        from prune_deploy.reporting.renderers.markdown import render_markdown

        return {"report.md": render_markdown(report)}
    if form == "csv":
        from prune_deploy.reporting.renderers.csv_table import render_csv

        return {"report.csv": render_csv(report)}
    from prune_deploy.reporting.renderers.json_document import render_json

    return {"report.json": render_json(report)}
