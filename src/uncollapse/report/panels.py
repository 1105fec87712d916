"""Grids of panels, and what figures share: axes, titles and legends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.style import BLACK, SLOT_NAMES, SLOT_STYLES, WIDTH, wrap_text

MOST_LARGE = 24  # panels that fit on a page in four columns; more are drawn smaller


def axis_label(name: str, before: str = "", after: str = "") -> str:
    """The title of a metric's column and its unit: 'validation kl (nats)'."""
    metric = METRICS[name]
    return f"{before}{metric.header}{after}" + (f" ({metric.unit})" if metric.unit else "")


def create_grid(
    n: int, columns: int, height: float, outer: str = "", key: float = 0.4, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """n panels in reading order, `height` inches each, or smaller, so that 48 fit on a page.

    outer: axes ("x", "y", "xy") with tick labels only at the outer panels, for figures whose limits
    `equalise_limits` makes equal. key: inches for a legend above small panels.
    """
    small = n > MOST_LARGE
    # five or six panels fill a page better in three columns than in four
    columns = 3 if columns == 4 and n in (5, 6) else min(columns, n)
    if small:
        columns, height = 6, min(height, 1.25)
    rows = -(-n // columns)
    size = (WIDTH, height * rows + 0.5)
    fig = Figure(figsize=size, layout=None if small else "constrained")
    if small:
        # small panels have fixed margins, because solving a layout of many panels is slow
        set_margins(fig, rows, 0.4 if "x" in outer else 0.5, key + 0.35)
    axes = list(fig.subplots(rows, columns, squeeze=False, **kwargs).flat)
    for spare in axes[n:]:
        spare.remove()
    # the lowest panel of each column keeps its labels when the axes are shared
    for ax in axes[max(n - columns, 0) : n]:
        ax.xaxis.set_tick_params(labelbottom=True)
    for i, ax in enumerate(axes[:n]):
        if "x" in outer:
            ax.tick_params(axis="x", labelbottom=i >= n - columns)
        if "y" in outer:
            ax.tick_params(axis="y", labelleft=i % columns == 0)
    return fig, axes[:n]


def set_margins(fig: Figure, rows: int, between: float, top: float) -> None:
    """Fixed margins (inches); a layout engine measures every text, which is as slow as drawing."""
    height, (left, right, bottom) = fig.get_figheight(), (0.6, 0.1, 0.55)
    panel = (height - bottom - top - (rows - 1) * between) / rows
    edges = {
        "left": left / WIDTH,
        "right": 1 - right / WIDTH,
        "bottom": bottom / height,
        "top": 1 - top / height,
    }
    fig.subplots_adjust(**edges, wspace=0.22, hspace=between / panel)


def equalise_limits(axes: Sequence[Axes]) -> None:
    """Give all panels the widest limits.

    Shared axes would do the same, but their cost is quadratic in the number of panels.
    """
    x, y = np.array([ax.get_xlim() for ax in axes]), np.array([ax.get_ylim() for ax in axes])
    for ax in axes:
        ax.set_xlim(x.min(), x.max())
        ax.set_ylim(y.min(), y.max())


def set_panel_title(ax: Axes, text: str, panels: int, color: str = BLACK) -> None:
    """A group's name above its panel; smaller where there are many panels."""
    width, size = (24, 8) if panels <= MOST_LARGE else (17, 6.8)
    ax.set_title(
        wrap_text(text, width, lines=3),
        fontsize=size,
        color=color,
        pad=3 if panels > MOST_LARGE else None,
    )


def set_kl_scale(ax: Axes, which: str = "y", minor: bool = True) -> None:
    """Linear from 0 to 0.1 nats and logarithmic above, so that 0.01 and 11 are both readable."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    set_scale = ax.set_yscale if which == "y" else ax.set_xscale
    set_limits = ax.set_ylim if which == "y" else ax.set_xlim
    set_scale("symlog", linthresh=0.1, linscale=0.5)
    axis.set_major_locator(FixedLocator([0, 0.1, 1, 10, 100, 1000]))
    # minor ticks at 0.2 ... 0.9, 2 ... 9 and so on
    ticks = [digit * 10.0**power for power in range(-1, 3) for digit in range(2, 10)]
    axis.set_minor_locator(FixedLocator(ticks if minor else []))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    # with room on both sides, measured on this scale
    low, high = ax.dataLim.intervaly if which == "y" else ax.dataLim.intervalx
    set_limits(min(-0.005, 1.4 * low), max(1.4 * high, 0.2))


def set_step_axis(ax: Axes, ticks: int = 5) -> None:
    """Ticks such as 500 and 2k on the horizontal axis."""
    ax.xaxis.set_major_formatter(FuncFormatter(format_count))
    ax.locator_params(axis="x", nbins=ticks)


def format_count(value: float, _: object = None) -> str:
    """500, 2k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def legend_entry(label: str, **style: Any) -> Line2D:
    """A line or marker that appears only in a legend."""
    return Line2D([], [], label=label, **style)


def slot_legend(frame: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the slots that occur in a frame."""
    return [
        legend_entry(
            SLOT_NAMES.get(slot, slot), linestyle="", marker=style.marker, color=style.color
        )
        for slot, style in SLOT_STYLES.items()
        if slot in frame["slot"].values
    ]


def add_legend_right(fig: Figure, handles: Sequence[Artist]) -> None:
    """A legend to the right of the axes; the figure grows if the entries need more height."""
    # 1.5 lines per entry, with the space between entries
    lines = sum(str(handle.get_label()).count("\n") + 1.5 for handle in handles)
    fig.set_figheight(max(fig.get_figheight(), 0.3 + 0.135 * lines))
    fig.legend(handles=handles, loc="outside right upper", handlelength=2.4, labelspacing=0.6)


def add_legend_above(fig: Figure, handles: Sequence[Line2D], columns: int) -> None:
    """A legend above all panels, for few entries."""
    place: Any = "outside upper center" if fig.get_layout_engine() else "upper center"
    fig.legend(handles=handles, loc=place, ncols=columns, handlelength=1.5, columnspacing=1.5)


def add_legend_below(fig: Figure, handles: Sequence[Artist], columns: int = 3) -> None:
    """A legend below all panels, for many entries; the figure grows by their rows."""
    fig.set_figheight(fig.get_figheight() + 0.25 * -(-len(handles) // columns))
    fig.legend(handles=handles, loc="outside lower center", ncols=columns, labelspacing=0.6)
