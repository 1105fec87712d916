"""The definition of a figure: its name, title, data, drawing and caption."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import pandas as pd
from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A figure; `draw` and `describe` (its caption) take one frame of the study, rows or runs.

    `draw` also takes the width in inches. It raises NoFigure where there is nothing to draw, or
    where it would not be legible in that width.
    """

    name: str  # of its files
    title: str
    frame: Literal["rows", "runs"]
    draw: Callable[..., Figure]
    describe: Callable[[pd.DataFrame], str]
    on_page: bool = False  # whether the scripts of the page draw it
