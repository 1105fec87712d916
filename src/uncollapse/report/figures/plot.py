"""The definition of a figure: its name, title, data, drawing and caption."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import pandas as pd
from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A figure; `draw` and `describe` (its caption) take one frame of the study, rows or runs."""

    name: str  # of its files
    title: str
    frame: Literal["rows", "runs"]
    draw: Callable[[pd.DataFrame], Figure]
    describe: Callable[[pd.DataFrame], str]
