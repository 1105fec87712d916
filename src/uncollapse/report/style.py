"""The style of figures, and their files, which are reproducible byte for byte."""

import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from uncollapse.report.tokens import SLOT_TOKENS

MOST_GROUPS = 48  # in one figure, so that it fits on a page; tables have all groups
MOST_ROOMY = 20  # groups with room for several lines of text
WIDTH, COLUMN_WIDTH = 7.0, 3.3  # inches: of a page, and of one of its two columns
WIDTHS = {"page": WIDTH, "column": COLUMN_WIDTH}
TEXT_SIZE = 8  # points, at the printed size
LINE_HEIGHT = 1.25 * TEXT_SIZE / 72  # inches
FIGURE_FORMATS = ("pdf", "svg", "png")
MADE_BY = "uncollapse report"  # the creator in every file, by which we know our own
DPI = 160
PALETTE = 64  # colours of a picture on the page
BLACK = "#000000"
GREY = "#8a8a8a"
# dashes of heads that change the same slot, where lines share a panel
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.2)), (0, (6, 2, 1.5, 2)))
RC_PARAMS: Any = {  # Any: the stubs want every key as a literal
    "font.size": TEXT_SIZE, "axes.titlesize": TEXT_SIZE, "axes.labelsize": TEXT_SIZE,
    "xtick.labelsize": TEXT_SIZE, "ytick.labelsize": TEXT_SIZE, "legend.fontsize": TEXT_SIZE,
    "figure.labelsize": TEXT_SIZE, "figure.titlesize": TEXT_SIZE,
    "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.minor.size": 1.5,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.5, "lines.linewidth": 1.4, "lines.markersize": 4.5,
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
    linestyle: Any = "-"


# by the slot of the config that a head changes: the same colours and shapes as on the page
SLOT_STYLES = {slot: Style(token.light, token.marker) for slot, token in SLOT_TOKENS.items()}
SLOT_NAMES = {"several": "several slots", "": "not known which"}


def is_crowded(frame: pd.DataFrame) -> bool:
    """Whether there are so many groups that figures sort them (see groups.add_groups)."""
    return bool(frame["crowded"].iloc[0])


def style_of(group: pd.DataFrame) -> Style:
    """The style of a group, given its rows: that of the slot which its head changes."""
    return SLOT_STYLES[group["slot"].iloc[0]]


def name_of(group: pd.DataFrame) -> str:
    """The name of a group, given its rows."""
    return str(group["group"].iloc[0])


def names_of(groups: Sequence[pd.DataFrame]) -> list[str]:
    """The names of groups; the short ones if there are too many for lines of full names."""
    column = "group" if len(groups) <= MOST_ROOMY else "short"
    return [group[column].iloc[0] for group in groups]


def vary_dashes(slots: Iterable[str]) -> list[Any]:
    """The dashes of lines of heads that change these slots; equal slots get different dashes."""
    count: dict[str, int] = {}
    found = []
    for slot in slots:
        count[slot] = count.get(slot, -1) + 1
        found.append(DASHES[count[slot] % len(DASHES)])
    return found


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


# ---- files ---------------------------------------------------------------------------------------


def render_figure(fig: Figure, suffix: str) -> bytes:
    """A figure as a PDF, SVG or PNG, without dates."""
    solve_layout(fig)
    # or the canvas would solve it again
    fig.set_layout_engine("none")
    buffer = BytesIO()
    if suffix == "pdf":
        # dates would make every file different
        with plain_subsets():
            metadata = {"Creator": MADE_BY, "CreationDate": None}
            FigureCanvasPdf(fig).print_pdf(buffer, metadata=metadata)
    elif suffix == "svg":
        FigureCanvasSVG(fig).print_svg(buffer, metadata={"Creator": MADE_BY, "Date": None})
    else:
        FigureCanvasAgg(fig).print_png(buffer, metadata={"Software": MADE_BY})
    # the PDF canvas leaves 72, which would coarsen heat maps in other formats
    fig.set_dpi(DPI)
    return buffer.getvalue()


@contextmanager
def plain_subsets() -> Iterator[None]:
    """Embed fonts without the tables that lay out text, as a PDF places each glyph itself.

    Their reduction to the glyphs of a figure takes longer than drawing it.
    """
    from fontTools.subset import Options

    usual = Options._drop_tables_default
    Options._drop_tables_default = [*usual, "GSUB", "GPOS", "GDEF", "kern", "name"]
    try:
        yield
    finally:
        Options._drop_tables_default = usual


def shrink_png(content: bytes) -> bytes:
    """A picture with at most 64 colours, which is a third as large."""
    from PIL import Image

    buffer = BytesIO()
    image = Image.open(BytesIO(content)).convert("RGB")
    image.quantize(PALETTE, method=Image.Quantize.FASTOCTREE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def solve_layout(fig: Figure) -> None:
    """Solve the layout at our resolution without drawing, so that positions are known."""
    fig.set_dpi(DPI)
    if engine := fig.get_layout_engine():
        engine.execute(fig)


# ---- text ----------------------------------------------------------------------------------------


@cache
def text_renderer() -> RendererAgg:
    """What measures texts."""
    return RendererAgg(10, 10, DPI)


@cache
def measure_line(text: str, size: float = TEXT_SIZE) -> float:
    """The width of one line of text, in inches."""
    font = FontProperties(family="DejaVu Sans", size=size)
    return float(text_renderer().get_text_width_height_descent(text, font, False)[0]) / DPI


def measure_text(texts: Iterable[str]) -> float:
    """The width of the longest line of all texts, in inches; 0 without any."""
    return max((measure_line(line) for text in texts for line in text.split("\n")), default=0.0)


def fit_text(text: str, width: float, lines: int) -> str:
    """The text in at most `lines` lines of `width` inches; words before the last are left out."""
    fitted = fill_text(text, width, lines)
    words = text.split()
    # the last word is often the value of a knob, which distinguishes heads
    while fitted.endswith("…") and len(words) > 2:
        del words[-2]
        fitted = fill_text(" ".join([*words[:-1], "…", words[-1]]), width, lines)
    return fitted


def fill_text(text: str, width: float, lines: int) -> str:
    """The text in at most `lines` lines of `width` inches, ending in … if it is longer."""
    # from a generous number of characters downwards, until the widest line fits
    for count in range(max(int(width / 0.045), 4), 3, -1):
        filled = wrap_text(text, count, lines)
        if measure_text([filled]) <= width:
            break
    return filled


def wrap_text(text: str, width: int = 26, lines: int = 6) -> str:
    """The text in at most `lines` lines of `width` characters."""
    # matplotlib omits legend entries that start with _
    filled = textwrap.fill(text, width, max_lines=lines, placeholder=" …")
    return f" {filled}" if filled.startswith("_") else filled or " "


def truncate(text: str, width: int) -> str:
    """At most `width` characters of a text, ending in … if it is longer."""
    return text if len(text) <= width else text[: width - 1] + "…"


def shorten_to(text: str, width: float) -> str:
    """The text in one line of `width` inches, with … before its last word if it is longer."""
    if measure_line(text) <= width:
        return text
    start, _, end = text.rpartition(" ")
    # a last word that is long is cut off itself
    end = f" {end}" if start and len(end) <= 8 else ""
    start = text.removesuffix(end)
    for count in range(len(start), 0, -1):
        shortened = f"{start[:count].rstrip()}…{end}"
        if measure_line(shortened) <= width:
            return shortened
    return "…"


def count_lines(texts: Sequence[str]) -> int:
    """The largest number of lines of a text; 0 without any."""
    return max((text.count("\n") + 1 for text in texts), default=0)
