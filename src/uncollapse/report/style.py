"""The style of figures, and their files, which are reproducible byte for byte."""

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from uncollapse.report.tokens import SLOT_TOKENS

MOST_GROUPS = 48  # in one figure, so that it fits on a page; tables have all groups
WIDTH = 7.2  # inches: the text width of a page with narrow margins
FIGURE_FORMATS = ("pdf", "svg", "png")
DPI = 160
BLACK = "#000000"
# the palette of Okabe and Ito, without yellow, which is hard to see on white
GROUP_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*Xph"
GREY = "#8a8a8a"
RC_PARAMS: Any = {  # Any: the stubs want every key as a literal
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8, "figure.labelsize": 9, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "lines.linewidth": 1.6, "lines.markersize": 4.5,
    "axes.titley": 1.0,  # fixed: automatic placement takes a fifth of the time of many panels
    "text.parse_math": False,  # a $ in a label is not mathematics
    "pdf.fonttype": 42, "svg.hashsalt": "uncollapse",
}  # fmt: skip


class NoFigure(Exception):
    """Why a figure is left out, as a sentence for the page."""


class Style(NamedTuple):
    """The style of a group's marks and lines."""

    color: str
    marker: str
    linestyle: str


# styles by the slot of the config that a head changes, for figures of many groups
SLOT_STYLES = {slot: Style(token.light, token.marker, "-") for slot, token in SLOT_TOKENS.items()}
SLOT_NAMES = {"several": "several slots", "": "not known which"}


def is_crowded(frame: pd.DataFrame) -> bool:
    """Whether there are too many groups to give each a style (see groups.add_groups)."""
    return bool(frame["crowded"].iloc[0])


def style_of(group: pd.DataFrame) -> Style:
    """The style of a group, given its rows: that of its slot if there are many groups."""
    if is_crowded(group):
        return SLOT_STYLES[group["slot"].iloc[0]]
    return style_by_order(int(group["order"].iloc[0]))


def style_by_order(order: int) -> Style:
    """Black for plain; a distinct pair of colour and marker for each of the first 30 others."""
    if order == 0:
        # plain is black in every figure
        return Style(BLACK, MARKERS[0], "-")
    # a second dash pattern once the colours repeat
    dashes = "-" if order <= len(GROUP_COLOURS) else "-."
    color = GROUP_COLOURS[(order - 1) % len(GROUP_COLOURS)]
    return Style(color, MARKERS[order % len(MARKERS)], dashes)


@contextmanager
def figure_style() -> Iterator[None]:
    """Our settings on top of matplotlib's defaults, independent of the user's matplotlibrc."""
    # rcdefaults also undoes a user's matplotlibrc
    with mpl.rc_context(), warnings.catch_warnings():
        # characters that the font lacks, such as emoji, are drawn as boxes
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(RC_PARAMS)
        yield


def render_files(fig: Figure) -> dict[str, bytes]:
    """The files of a figure by suffix, without dates.

    The layout is solved once, and each canvas draws once; `savefig` would repeat both per format.
    """
    png, pdf, svg = BytesIO(), BytesIO(), BytesIO()
    solve_layout(fig)
    # or each canvas would solve it again
    fig.set_layout_engine("none")
    FigureCanvasAgg(fig).print_png(png)
    # dates would make every file different
    FigureCanvasPdf(fig).print_pdf(pdf, metadata={"CreationDate": None})
    fig.set_dpi(DPI)  # the PDF canvas leaves 72, which would coarsen heat maps in the SVG
    FigureCanvasSVG(fig).print_svg(svg, metadata={"Date": None})
    return {"png": png.getvalue(), "pdf": pdf.getvalue(), "svg": svg.getvalue()}


def solve_layout(fig: Figure) -> None:
    """Solve the layout at our resolution without drawing, so that positions are known."""
    fig.set_dpi(DPI)
    if engine := fig.get_layout_engine():
        engine.execute(fig)


def wrap_text(text: str, width: int = 26, lines: int = 6) -> str:
    """The text in at most `lines` lines of `width` characters."""
    # matplotlib omits legend entries that start with _
    filled = textwrap.fill(text, width, max_lines=lines, placeholder=" …")
    return f" {filled}" if filled.startswith("_") else filled or " "


def truncate(text: str, width: int) -> str:
    """At most `width` characters of a text, ending in … if it is longer."""
    return text if len(text) <= width else text[: width - 1] + "…"
