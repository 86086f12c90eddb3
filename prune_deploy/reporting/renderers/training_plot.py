"""Picture of a training: loss and top-1 over epochs."""

from __future__ import annotations

import io
from typing import Any

from scipy.stats import binomtest

from prune_deploy.evaluation.accuracy import CONFIDENCE
from prune_deploy.records import Training
from prune_deploy.reporting.renderers.palette import BETTER, GRID, INK, MUTED, WORSE

_DPI = 160
_SIZE_IN = (7.0, 3.4)


def top1_interval(share: float, images: int) -> tuple[float, float]:
    """Return the Wilson interval (Wilson, 1927) of a share of `images`.

    It has the confidence of every other interval.
    """
    bounds = binomtest(round(share * images), images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)


def training_plot(training: Training) -> bytes:
    """Return a PNG file with loss and top-1 per epoch.

    Top-1 has its interval, and top-1 before training is a line.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9.0,
        "axes.edgecolor": GRID.light,
        "axes.labelcolor": MUTED.light,
        "text.color": INK.light,
    }
    style |= {"xtick.color": MUTED.light, "ytick.color": MUTED.light, "axes.titlelocation": "left", "axes.titleweight": "bold"}
    with rc_context(style):
        figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        losses, shares = figure.subplots(1, 2)
        _draw_losses(losses, training)
        _draw_shares(shares, training)
        note = (
            f"{training.images:,} images of {training.spec.data}; top-1 on {training.validated:,} images: {training.validation}"
        )
        figure.supxlabel(note, fontsize=7, color=MUTED.light, x=0.01, ha="left", wrap=True)
        stream = io.BytesIO()
        # The file contains no date and no version, so the same training gives the same file.
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw_losses(axes: Any, training: Training) -> None:
    _prepare(axes, "Loss")
    axes.plot(*_over_epochs(training, "loss"), color=WORSE.light, linewidth=1.4, marker="o", markersize=4)
    axes.set_ylim(bottom=0)


def _draw_shares(axes: Any, training: Training) -> None:
    _prepare(axes, "Top-1, %")
    numbers, shares = _over_epochs(training, "top1")
    bounds = [top1_interval(share, training.validated) for share in shares]
    axes.fill_between(
        numbers, [100 * low for low, _ in bounds], [100 * high for _, high in bounds], color=BETTER.light, alpha=0.2, lw=0
    )
    axes.plot(numbers, [100 * share for share in shares], color=BETTER.light, linewidth=1.4, marker="o", markersize=4)
    before = 100 * training.top1_before
    axes.axhline(before, color=MUTED.light, linewidth=1.0, linestyle="--", label=f"before: {before:.1f}")
    axes.plot([], [], color=BETTER.light, marker="o", label=f"after: {100 * training.top1_after:.1f}")
    axes.legend(frameon=False, fontsize=8, loc="best")


def _prepare(axes: Any, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.grid(True, color=GRID.light, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _over_epochs(training: Training, name: str) -> tuple[list[int], list[float]]:
    return [epoch.number for epoch in training.epochs], [getattr(epoch, name) for epoch in training.epochs]
