"""Small multiples: panels with the same two axes, drawn into one Axes that is measured in inches.

A matplotlib Axes per panel costs most of the time of a figure with 39 of them, for ticks and for
the solution of the layout.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, TransformedBbox

from uncollapse.report.panels import KL_TICKS, add_legend_at, format_count, measure_legend
from uncollapse.report.style import (
    BLACK,
    COLUMN_WIDTH,
    LINE_HEIGHT,
    NoFigure,
    count_lines,
    fit_text,
    measure_text,
)

MOST_IN_COLUMN = 12  # panels that are legible in one column
RIGHT, GAP = 0.12, 0.13  # inches: the right margin, and between panels beside each other
FRAME_COLOUR = "#666666"
LINEAR_PART = 0.1  # nats: below it the scale of KLs is linear
LINEAR_LENGTH = 0.5 / 0.9  # of that part, in decades

Numbers = np.ndarray | Sequence[float] | pd.Series


class Scale(NamedTuple):
    """One axis: its limits, the numbers at ticks, and how places depend on values."""

    low: float
    high: float
    ticks: Sequence[float]
    transform: Callable[[np.ndarray], np.ndarray] = np.asarray
    write: Callable[[float], str] = "{:g}".format

    def locate(self, values: Numbers) -> np.ndarray:
        """Shares of the length of the axis, 0 to 1 for values inside the limits."""
        places = self.transform(np.asarray(values, dtype=float))
        start, end = self.transform(np.array([self.low, self.high], dtype=float))
        return (places - start) / (end - start)


def linear_scale(low: float, high: float, ticks: int = 3, integer: bool = False) -> Scale:
    """A linear scale with about this number of round ticks."""
    high = high if high > low else low + 1
    found = MaxNLocator(ticks, integer=integer, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return Scale(low, high, [tick for tick in found if low <= tick <= high])


def step_scale(steps: Numbers) -> Scale:
    """A linear scale of training steps, from 0."""
    return linear_scale(0, float(np.max(steps)), 2)._replace(write=format_count)


def log_scale(low: float, high: float, ticks: Sequence[float]) -> Scale:
    """A logarithmic scale."""
    return Scale(low, high, ticks, np.log10, format_count)


def kl_scale(highest: float, lowest: float = 0.0) -> Scale:
    """Linear from 0 to 0.1 nats and logarithmic above, so that 0.01 and 11 are both readable."""
    low, high = min(-0.005, 1.4 * lowest), max(1.4 * highest, 0.2)
    return Scale(low, high, [tick for tick in KL_TICKS if tick <= high], transform_kl)


def transform_kl(values: np.ndarray) -> np.ndarray:
    """Decades above 0.1 nats; below, LINEAR_LENGTH decades in proportion to the value."""
    size = np.maximum(np.abs(values), LINEAR_PART)
    above = LINEAR_LENGTH + np.log10(size / LINEAR_PART)
    linear = values / LINEAR_PART * LINEAR_LENGTH
    return np.where(np.abs(values) > LINEAR_PART, np.sign(values) * above, linear)


class Sheet:
    """Panels in reading order. Curves are added by panel, and `finish` adds axes and text."""

    def __init__(
        self,
        titles: Sequence[str],
        scales: tuple[Scale, Scale],
        labels: tuple[str, str],
        width: float,
        *,
        colors: Sequence[str] = (),
        legend: Sequence[Artist] = (),
        height: float = 1.2,
        right: float = RIGHT,
    ) -> None:
        """`labels`: of x and y. `height` of a panel in inches; many panels are lower."""
        panels = len(titles)
        if width <= COLUMN_WIDTH and panels > MOST_IN_COLUMN:
            raise NoFigure(f"{panels} panels are not legible in one column.")
        self.x, self.y = scales
        self.labels, self.legend, self.colors = labels, list(legend), list(colors)
        self.columns = choose_columns(panels, width)
        numbers = measure_text(map(self.y.write, self.y.ticks))
        left = 0.28 + numbers
        self.panel_width = (width - left - right - GAP * (self.columns - 1)) / self.columns
        # beside a panel is room for the half of the gap only
        self.titles = [fit_text(t, self.panel_width + 0.05, 2) for t in titles]
        rows = -(-panels // self.columns)
        between = LINE_HEIGHT * count_lines(self.titles) + 0.13
        top, bottom = measure_legend(legend, width) + between, 0.42
        # at most 9.3 inches, so that a caption fits on the same page
        height = min(height, (9.3 - top - bottom - between * (rows - 1)) / rows)
        self.height = height
        total = top + bottom + height * rows + between * (rows - 1)
        self.figure = Figure(figsize=(width, total))
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, total))
        self.axes.set_axis_off()
        self.corners = [
            (
                left + (i % self.columns) * (self.panel_width + GAP),
                total - top - height - (i // self.columns) * (height + between),
            )
            for i in range(panels)
        ]
        self.middle = left + (width - left - right) / 2, bottom + (total - top - bottom) / 2
        self.boxes = [
            TransformedBbox(Bbox.from_bounds(x, y, self.panel_width, height), self.axes.transData)
            for x, y in self.corners
        ]
        self.draw_grid()

    def locate(self, panel: int, x: Numbers, y: Numbers) -> np.ndarray:
        """Points [N, 2] of a panel in inches of the figure."""
        left, bottom = self.corners[panel]
        across, upright = self.panel_width * self.x.locate(x), self.height * self.y.locate(y)
        return np.column_stack([left + across, bottom + upright])

    def add_lines(
        self, panel: int, curves: Iterable[tuple[Numbers, Numbers]], **style: Any
    ) -> None:
        """Curves (x, y) in one style."""
        paths = [self.locate(panel, x, y) for x, y in curves if len(x)]
        if paths:
            self.add(LineCollection(paths, **style), panel)

    def add_dots(self, panel: int, x: Numbers, y: Numbers, marker: str, **style: Any) -> None:
        """Marks at (x, y)."""
        places = self.locate(panel, x, y).T
        dots = Line2D(*places, marker=marker, linestyle="", markeredgewidth=0, **style)
        self.add(dots, panel)

    def add_band(self, panel: int, x: Numbers, low: Numbers, high: Numbers, **style: Any) -> None:
        """The area between two curves."""
        lower, upper = self.locate(panel, x, low), self.locate(panel, x, high)
        area = Polygon(np.concatenate([lower, upper[::-1]]), closed=True, **style)
        self.add(area, panel)

    def add_line_across(self, value: float, **style: Any) -> None:
        """A horizontal line at the same value in every panel."""
        for panel in range(len(self.corners)):
            self.add_lines(panel, [([self.x.low, self.x.high], [value, value])], **style)

    def add_text(self, panel: int, text: str) -> None:
        """A text in the upper right corner of a panel."""
        left, bottom = self.corners[panel]
        place = (left + self.panel_width - 0.03, bottom + self.height - 0.03)
        self.axes.text(*place, text, ha="right", va="top")

    def add_image(self, panel: int, pixels: np.ndarray) -> None:
        """An image [H, W, 3] that fills a panel, the first row on top."""
        left, bottom = self.corners[panel]
        extent = (left, left + self.panel_width, bottom, bottom + self.height)
        # without an interpolation the file holds the pixels as they are
        self.axes.imshow(pixels, extent=extent, interpolation="none", aspect="auto", zorder=1)

    def add(self, artist: Any, panel: int) -> None:
        """Add an artist, which is cut at the frame of its panel."""
        # not add_collection, which measures every path
        artist.set_transform(self.axes.transData)
        self.axes.add_artist(artist)
        artist.set_clip_box(self.boxes[panel])

    def draw_grid(self) -> None:
        """Lines at the ticks of all panels, below everything."""
        across, upright = self.x.ticks, self.y.ticks
        paths = []
        for panel in range(len(self.corners)):
            for tick in across:
                paths.append(self.locate(panel, [tick, tick], [self.y.low, self.y.high]))
            for tick in upright:
                paths.append(self.locate(panel, [self.x.low, self.x.high], [tick, tick]))
        self.axes.add_artist(
            LineCollection(
                paths, colors="#e8e8e8", linewidths=0.5, zorder=0, transform=self.axes.transData
            )
        )

    def finish(self) -> Figure:
        """The figure, with frames, numbers at the outer panels, titles, labels and the legend."""
        width, height = self.panel_width, self.height
        frames, panels = [], len(self.corners)
        for panel, (left, bottom) in enumerate(self.corners):
            frames.append([(left, bottom + height), (left, bottom), (left + width, bottom)])
            color = self.colors[panel] if self.colors else BLACK
            title = (left + width / 2, bottom + height + 0.04)
            self.axes.text(*title, self.titles[panel], ha="center", va="bottom", color=color)
            if panel % self.columns == 0:
                self.write_numbers_left(panel)
            if panel + self.columns >= panels:
                self.write_numbers_below(panel)
        style: dict[str, Any] = {"colors": FRAME_COLOUR, "linewidths": 0.6, "zorder": 6}
        self.axes.add_artist(LineCollection(frames, **style, transform=self.axes.transData))
        across, upright = self.middle
        self.axes.text(across, 0.05, self.labels[0], ha="center", va="bottom")
        self.axes.text(0.04, upright, self.labels[1], ha="left", va="center", rotation=90)
        add_legend_at(self.figure, self.legend, self.figure.get_figheight())
        return self.figure

    def write_numbers_left(self, panel: int) -> None:
        """The numbers that do not overlap the one below."""
        last = -np.inf
        places = [(*self.locate(panel, [self.x.low], [tick])[0], tick) for tick in self.y.ticks]
        for x, y, tick in sorted(places, key=itemgetter(1)):
            if y - last >= LINE_HEIGHT:
                text: dict[str, Any] = {"ha": "right", "va": "center_baseline"}
                self.axes.text(x - 0.04, y, self.y.write(tick), **text)
                last = y

    def write_numbers_below(self, panel: int) -> None:
        """The numbers that do not overlap the one before, nor those of the next panel."""
        end = -np.inf
        left, _ = self.corners[panel]
        for tick in self.x.ticks:
            text = self.x.write(tick)
            half = measure_text([text]) / 2
            x = float(self.locate(panel, [tick], [self.y.low])[0, 0])
            y = self.corners[panel][1]
            beyond = x + half > left + self.panel_width + GAP / 2 and len(self.corners) > 1
            if x - half < end + 0.06 or beyond or x - half < left - GAP / 2:
                continue
            self.axes.text(x, y - 0.04, text, ha="center", va="top")
            end = x + half


def choose_columns(panels: int, width: float) -> int:
    """Panels beside each other: at most two in a column, and six on a page."""
    if width <= COLUMN_WIDTH:
        return min(panels, 2)
    if panels in (5, 6, 9):
        return 3
    if panels <= 16:
        return min(panels, 4)
    return 5 if panels <= 25 else 6
