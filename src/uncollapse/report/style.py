"""How figures look, and how they are saved so that the same rows give the same bytes."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

MOST_GROUPS = 48  # in one figure, so that it fits a page; the tables hold the rest
WIDTH = 7.2  # inches: the text width of a page with narrow margins
MOST_LARGE = 24  # panels in four columns on one page; more are smaller
FORMATS = ("pdf", "svg", "png")
DPI = 160
PLAIN = "#000000"
# Okabe and Ito's other colours, without the yellow, which is lost on white paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*Xph"
GREY = "#8a8a8a"
RC: Any = {  # Any: the stubs want every key as a literal
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "figure.labelsize": 9, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "lines.linewidth": 1.6, "lines.markersize": 4.5,
    "axes.titley": 1.0,  # said outright, since searching for free space takes a fifth of the time of many panels
    "text.parse_math": False,  # a $ in a label is a $
    "pdf.fonttype": 42, "svg.hashsalt": "uncollapse",
}  # fmt: skip


class NoFigure(Exception):
    """Why a figure is left out, in a sentence for the page."""


class Style(NamedTuple):
    color: str
    marker: str
    linestyle: str


SLOTS = {  # styles where there are too many groups for one each: by the slot of the config that a head changes
    "baseline": Style(PLAIN, "o", "-"),
    "posterior": Style("#0072B2", "s", "-"),
    "objective": Style("#D55E00", "D", "-"),
    "procedure": Style("#009E73", "^", "-"),
    "decoder": Style("#CC79A7", "v", "-"),
    "several": Style("#E69F00", "P", "-"),
    "": Style("#56B4E9", "X", "-"),
}
SLOT_NAMES = {"several": "several slots", "": "not known which"}


def crowded(frame: pd.DataFrame) -> bool:
    """Whether the study has more groups than a reader can tell apart by style (results.add_groups decides)."""
    return bool(frame["crowded"].iloc[0])


def style_of(group: pd.DataFrame) -> Style:
    """Style of a group from its rows: by its slot in a crowd, else its own."""
    return (
        SLOTS[group["slot"].iloc[0]]
        if crowded(group)
        else style_by_order(int(group["order"].iloc[0]))
    )


def style_by_order(order: int) -> Style:
    """Colour, marker and line: black for plain; the others' pairs of colour and marker differ up to 30."""
    if order == 0:
        return Style(PLAIN, MARKERS[0], "-")
    dashes = "-" if order <= len(COLOURS) else "-."
    return Style(COLOURS[(order - 1) % len(COLOURS)], MARKERS[order % len(MARKERS)], dashes)


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"Glyph \d+ .* missing from"
        )  # an emoji is a box in a figure
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def printed(fig: Figure) -> dict[str, bytes]:
    """The figure as files by their suffix, without dates.

    The layout is solved once and each canvas draws once; savefig would do both again for every format.
    """
    png, pdf, svg = BytesIO(), BytesIO(), BytesIO()
    settle(fig)
    fig.set_layout_engine("none")
    FigureCanvasAgg(fig).print_png(png)
    FigureCanvasPdf(fig).print_pdf(pdf, metadata={"CreationDate": None})
    fig.set_dpi(
        DPI
    )  # the PDF canvas leaves 72 behind, which would coarsen the heat maps in the SVG
    FigureCanvasSVG(fig).print_svg(svg, metadata={"Date": None})
    return {"png": png.getvalue(), "pdf": pdf.getvalue(), "svg": svg.getvalue()}


def settle(fig: Figure) -> None:
    """Solve the layout at our resolution, so that sizes in inches are known; without drawing, which takes longer."""
    fig.set_dpi(DPI)
    if engine := fig.get_layout_engine():
        engine.execute(fig)


def grid(
    n: int, columns: int, height: float, outer: str = "", key: float = 0.4, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """n panels in reading order, `height` inches each; more than 24 are smaller, so that 48 fit a page.

    outer: the axes ("x", "y", "xy") that are to be labelled on the outside only, as `alike` will make them the same;
    key: inches for a legend above small panels.
    """
    columns = (
        3 if columns == 4 and n in (5, 6) else min(columns, n)
    )  # 3 + 2 fills a page better than 4 + 1
    if n > MOST_LARGE:
        columns, height = 6, min(height, 1.25)
    rows = -(-n // columns)
    fig = Figure(
        figsize=(WIDTH, height * rows + 0.5), layout="constrained" if n <= MOST_LARGE else None
    )
    if n > MOST_LARGE:
        lay_out(fig, rows, 0.4 if "x" in outer else 0.5, key + 0.35)
    axes = list(fig.subplots(rows, columns, squeeze=False, **kwargs).flat)
    for spare in axes[n:]:
        spare.remove()
    for ax in axes[
        max(n - columns, 0) : n
    ]:  # the lowest panel of each column keeps its labels when the axes are shared
        ax.xaxis.set_tick_params(labelbottom=True)
    for i, ax in enumerate(axes[:n]):
        if "x" in outer:
            ax.tick_params(axis="x", labelbottom=i >= n - columns)
        if "y" in outer:
            ax.tick_params(axis="y", labelleft=i % columns == 0)
    return fig, axes[:n]


def lay_out(fig: Figure, rows: int, between: float, top: float) -> None:
    """Fixed margins (inches) in place of the layout engine, which measures every text and takes as long as drawing."""
    height, (left, right, bottom) = fig.get_figheight(), (0.6, 0.1, 0.55)
    panel = (height - bottom - top - (rows - 1) * between) / rows
    edges = {
        "left": left / WIDTH,
        "right": 1 - right / WIDTH,
        "bottom": bottom / height,
        "top": 1 - top / height,
    }
    fig.subplots_adjust(**edges, wspace=0.22, hspace=between / panel)


def alike(axes: Sequence[Axes]) -> None:
    """The widest limits for all. Shared axes would do the same, in a time that grows with the square of their number."""
    for letter in "xy":
        limits = np.array([getattr(ax, f"get_{letter}lim")() for ax in axes])
        for ax in axes:
            getattr(ax, f"set_{letter}lim")(limits.min(), limits.max())


def panel_title(ax: Axes, text: str, panels: int, color: str = PLAIN) -> None:
    """A group's name above one of so many panels."""
    width, size = (24, 8) if panels <= MOST_LARGE else (17, 6.8)
    ax.set_title(
        wrap(text, width, lines=3),
        fontsize=size,
        color=color,
        pad=3 if panels > MOST_LARGE else None,
    )


def wrap(text: str, width: int = 26, lines: int = 6) -> str:
    """In few lines of `width`; a legend would leave out what begins with _."""
    filled = textwrap.fill(text, width, max_lines=lines, placeholder=" …")
    return f" {filled}" if filled.startswith("_") else filled or " "


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def kl_scale(ax: Axes, which: str = "y", minor: bool = True) -> None:
    """Linear from 0 to 0.1 nats and logarithmic above: a collapsed 0.01 and a healthy 11 are both readable."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    set_scale, set_limits = (
        (ax.set_yscale, ax.set_ylim) if which == "y" else (ax.set_xscale, ax.set_xlim)
    )
    set_scale("symlog", linthresh=0.1, linscale=0.5)
    axis.set_major_locator(FixedLocator([0, 0.1, 1, 10, 100, 1000]))
    axis.set_minor_locator(
        FixedLocator([k * 10.0**p for p in range(-1, 3) for k in range(2, 10) if minor])
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    low, high = ax.dataLim.intervaly if which == "y" else ax.dataLim.intervalx
    set_limits(min(-0.005, 1.4 * low), max(1.4 * high, 0.2))


def slot_key(frame: pd.DataFrame) -> list[Line2D]:
    """The styles of a crowd's slots, of those that are there."""
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker=style.marker,
            color=style.color,
            label=SLOT_NAMES.get(slot, slot),
        )
        for slot, style in SLOTS.items()
        if slot in frame["slot"].values
    ]


def step_axis(ax: Axes, ticks: int = 5) -> None:
    ax.xaxis.set_major_formatter(FuncFormatter(short_count))
    ax.locator_params(axis="x", nbins=ticks)


def short_count(value: float, _: object = None) -> str:
    """500, 2k: the thousands of steps and labels."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def legend_right(fig: Figure, handles: Sequence[Line2D]) -> None:
    """Outside the axes, where it covers no data; the figure grows where the entries need it."""
    lines = sum(str(handle.get_label()).count("\n") + 1.5 for handle in handles)
    fig.set_figheight(max(fig.get_figheight(), 0.3 + 0.135 * lines))
    fig.legend(handles=handles, loc="outside right upper", handlelength=2.4, labelspacing=0.6)


def legend_above(fig: Figure, handles: Sequence[Line2D], columns: int) -> None:
    place: Any = "outside upper center" if fig.get_layout_engine() else "upper center"
    fig.legend(handles=handles, loc=place, ncols=columns, handlelength=1.5, columnspacing=1.5)


def legend_below(fig: Figure, handles: Sequence[Line2D], columns: int = 3) -> None:
    """The same for many entries."""
    fig.set_figheight(fig.get_figheight() + 0.25 * -(-len(handles) // columns))
    fig.legend(handles=handles, loc="outside lower center", ncols=columns, labelspacing=0.6)
