"""Content of plots as plain data.

The HTML and the PNG renderer draw the same charts.
"""

from __future__ import annotations

from prune_deploy.reporting.charts.chart import Axis, Bar, Bars, Box, Boxes, PairedBar, PairedBars, Point, Scatter, Series, View
from prune_deploy.reporting.charts.curve import curve_views
from prune_deploy.reporting.charts.distribution import distribution_views, readable_distributions
from prune_deploy.reporting.charts.forest import Forest, forest
from prune_deploy.reporting.charts.operators import operator_views
from prune_deploy.reporting.charts.tradeoff import tradeoff_views
from prune_deploy.reporting.charts.waterfall import waterfall_views

__all__ = [
    "Axis",
    "Bar",
    "Bars",
    "Box",
    "Boxes",
    "Forest",
    "PairedBar",
    "PairedBars",
    "Point",
    "Scatter",
    "Series",
    "View",
    "curve_views",
    "distribution_views",
    "forest",
    "operator_views",
    "readable_distributions",
    "tradeoff_views",
    "waterfall_views",
]
