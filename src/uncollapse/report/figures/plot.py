"""What a report knows of a figure before it is drawn."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import pandas as pd
from matplotlib.figure import Figure


class Plot(NamedTuple):
    """`draw` and `describe` (the caption) take one frame of the study: its rows or its runs."""

    name: str  # of its files
    title: str
    frame: Literal["rows", "runs"]
    draw: Callable[[pd.DataFrame], Figure]
    describe: Callable[[pd.DataFrame], str]
