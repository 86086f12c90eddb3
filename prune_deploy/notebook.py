"""Views of results in notebooks.

A result that inherits from `HtmlView` is shown as tables, one that inherits from `Tabular` becomes a DataFrame too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_RENDERERS = "prune_deploy.reporting.renderers"
"""The package that makes the views.

It lies above the classes that are shown, so it is looked up when a notebook asks for a view.
"""


class HtmlView:
    """A result that notebooks show as tables."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the tables, without scripts and with every text escaped."""
        text: str = _renderer("notebook").view(self)
        return text


class Tabular(HtmlView):
    """A result with measured cases."""

    __slots__ = ()

    def to_frame(self) -> pandas.DataFrame:
        """Return a line per case, in the columns of `report.csv`.

        Figures that a case lacks are missing values. Texts are strings, counts integers and verdicts categories.

        Raises:
            CannotRunError: pandas is not installed.
        """
        return _renderer("frame").frame(self)


def _renderer(name: str) -> Any:
    return importlib.import_module(f"{_RENDERERS}.{name}")
