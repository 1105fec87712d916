"""What figures share: labels of axes, scales, margins and legends."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.style import (
    DPI,
    LINE_HEIGHT,
    SLOT_NAMES,
    SLOT_STYLES,
    TEXT_SIZE,
    fit_text,
    measure_text,
)
from uncollapse.report.text import write_symbols

KL_TICKS = (0, 0.1, 1, 10, 100, 1000)  # nats
HANDLE, BETWEEN = 0.28, 0.16  # inches: of the mark of a legend entry, and between its columns
LEGEND_LINE = LINE_HEIGHT + 0.02  # inches
LEGEND_STYLE: dict[str, Any] = {
    "handlelength": 1.6,
    "handletextpad": 0.5,
    "columnspacing": BETWEEN * 72 / TEXT_SIZE,
    "labelspacing": 0.3,
    "borderaxespad": 0.2,
    "borderpad": 0.1,
}


def axis_label(name: str, before: str = "", after: str = "") -> str:
    """The title of a metric's column and its unit: 'validation kl (nats)'."""
    metric = METRICS[name]
    header = write_symbols(metric.header).replace(" - ", " − ")
    return f"{before}{header}{after}" + (f" ({metric.unit})" if metric.unit else "")


def set_label(ax: Axes, which: str, text: str) -> None:
    """The label of an axis, in as many lines as its length needs."""
    fig: Any = ax.figure  # a Figure, not a SubFigure
    box = ax.get_position()
    share = box.width * fig.get_figwidth() if which == "x" else box.height * fig.get_figheight()
    set_text = ax.set_xlabel if which == "x" else ax.set_ylabel
    set_text(fit_text(text, share, 3))


def set_kl_scale(ax: Axes, which: str = "y", minor: bool = True) -> None:
    """Linear from 0 to 0.1 nats and logarithmic above, so that 0.01 and 11 are both readable."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    set_scale = ax.set_yscale if which == "y" else ax.set_xscale
    set_limits = ax.set_ylim if which == "y" else ax.set_xlim
    set_scale("symlog", linthresh=0.1, linscale=0.5)
    axis.set_major_locator(FixedLocator([*KL_TICKS]))
    # minor ticks at 0.2 ... 0.9, 2 ... 9 and so on
    ticks = [digit * 10.0**power for power in range(-1, 3) for digit in range(2, 10)]
    axis.set_minor_locator(FixedLocator(ticks if minor else []))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    # with room on both sides, measured on this scale
    low, high = ax.dataLim.intervaly if which == "y" else ax.dataLim.intervalx
    set_limits(min(-0.005, 1.4 * low), max(1.4 * high, 0.2))


def format_count(value: float, _: object = None) -> str:
    """500, 2k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


# ---- legends -------------------------------------------------------------------------------------


def legend_entry(label: str, **style: Any) -> Line2D:
    """A line or marker that appears only in a legend."""
    return Line2D([], [], label=label, **style)


def slot_legend(frame: pd.DataFrame, lines: bool = False) -> list[Line2D]:
    """Legend entries for the slots that occur in a frame, as marks or as lines."""
    return [
        legend_entry(
            SLOT_NAMES.get(slot, slot),
            linestyle="-" if lines else "",
            marker="" if lines else style.marker,
            color=style.color,
        )
        for slot, style in SLOT_STYLES.items()
        if slot in frame["slot"].values
    ]


def legend_columns(handles: Sequence[Artist], width: float) -> int:
    """How many columns of entries fit into a width (inches)."""
    entry = measure_text(str(handle.get_label()) for handle in handles) + HANDLE + BETWEEN
    return max(1, min(len(handles), int((width - 0.1 + BETWEEN) / entry)))


def measure_legend(handles: Sequence[Artist], width: float) -> float:
    """The height of a legend (inches) in a figure of this width; 0 without entries."""
    if not handles:
        return 0.0
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    return -(-len(handles) // legend_columns(handles, width)) * lines * LEGEND_LINE + 0.08


def add_legend_at(fig: Figure, handles: Sequence[Artist], top: float) -> None:
    """A legend across the figure, whose upper edge is `top` inches above the lower edge."""
    if handles:
        columns = legend_columns(handles, fig.get_figwidth())
        place: dict[str, Any] = {"loc": "upper center"}
        place["bbox_to_anchor"] = (0.5, top / fig.get_figheight())
        fig.legend(handles=handles, ncols=columns, **place, **LEGEND_STYLE)


def create_framed(
    width: float,
    height: float,
    handles: Sequence[Artist],
    left: float,
    *,
    bottom: float = 0.42,
    top: float = 0.1,
    columns: int = 1,
    right: float = 0.12,
    shared: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Axes of this height (inches) side by side, with fixed margins and a legend below.

    A layout engine would measure every text, which is as slow as drawing.
    """
    below = measure_legend(handles, width)
    total = height + top + bottom + below
    fig = Figure(figsize=(width, total), dpi=DPI)
    fig.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=(bottom + below) / total,
        top=1 - top / total,
        wspace=0.12,
    )
    axes = list(fig.subplots(1, columns, sharey=shared, squeeze=False).flat)
    add_legend_at(fig, handles, below)
    return fig, axes
