"""Figure: validation KL of each latent dimension over training, as heat maps."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import validation_rows
from uncollapse.report.figures.plot import Plot
from uncollapse.report.panels import MOST_LARGE, create_grid, set_panel_title, set_step_axis
from uncollapse.report.stats import outlying
from uncollapse.report.style import MOST_GROUPS, NoFigure


def draw_kl_per_dim(rows: pd.DataFrame) -> Figure:
    """Heat maps [D, evaluations] of KL (nats), dimensions sorted by their last value."""
    shown = select_mapped_runs(rows)
    if not shown:
        raise NoFigure("no run has a KL that splits over dimensions.")
    maps = [arrange_heat_map(run) for run in shown]
    top, above = find_colour_limit(highest_kl(shown))
    # the square root makes 0.05 nats visible beside a dimension with 3 nats
    norm = PowerNorm(0.5, 0, top)
    # the labels of the vertical axis are shared only if all panels have equally many dimensions
    same = len({len(values) for _, values in maps}) == 1
    fig, axes = create_grid(len(maps), 4, 1.8, outer="y" * same, key=0.0)
    for ax, run, (edges, values) in zip(axes, shown, maps, strict=True):
        image = ax.pcolormesh(
            edges, np.arange(len(values) + 1), values, norm=norm, cmap="viridis", rasterized=True
        )
        set_panel_title(ax, run["group"].iloc[0], len(maps))
        ax.set_ylim(len(values), 0)
        ax.grid(False)
        set_step_axis(ax, 5 if len(maps) <= MOST_LARGE else 3)
    fig.supxlabel("training step")
    fig.supylabel("latent dimension, sorted by last KL")
    add_colour_bar(fig, axes, image, "max" if above else "neither")
    return fig


def describe_kl_per_dim(rows: pd.DataFrame) -> str:
    shown, groups = select_mapped_runs(rows), rows["order"].nunique()
    clipped = (
        "; it ends below the KL of runs far above the others"
        if find_colour_limit(highest_kl(shown))[1]
        else ""
    )
    seeds = ", ".join(map(str, sorted({int(run["seed"].iloc[0]) for run in shown})))
    hidden = (
        f" {len(shown)} of {groups} groups are shown: those whose KL splits over dimensions, "
        f"at most the first {MOST_GROUPS}."
    )
    return (
        "Validation KL of every latent dimension over training, in evaluation mode, "
        "sorted by the last value. "
        f"The first seed of each group (n = 1 run per panel, seed {seeds}), so no interval. "
        f"All panels share one colour scale, which is linear in the square root of the KL{clipped}."
        + (hidden if len(shown) < groups else "")
    )


def add_colour_bar(
    fig: Figure, axes: list[Axes], image: QuadMesh, extend: Literal["max", "neither"]
) -> None:
    """A colour bar on the right, no longer than on a small figure."""
    shrink = min(1.0, 3.6 / fig.get_figheight())
    place = {"fraction": 0.1, "pad": 0.03} if len(axes) > MOST_LARGE else {}
    bar: dict[str, Any] = {"aspect": 25, "shrink": shrink, "anchor": (0, 1), **place}
    fig.colorbar(image, ax=axes, label="KL of the dimension (nats)", extend=extend, **bar)


def highest_kl(shown: list[pd.DataFrame]) -> list[tuple[int, float]]:
    """The group of each run and the highest KL of a dimension (nats)."""
    return [(int(run["order"].iloc[0]), np.nanmax(arrange_heat_map(run)[1])) for run in shown]


def find_colour_limit(tops: list[tuple[int, float]]) -> tuple[float, bool]:
    """End of the colour scale (nats), and whether some groups have a far higher KL."""
    frame = pd.DataFrame(tops, columns=["order", "top"])
    far = outlying(frame, "top")
    # not 0, so that a collapsed study still gets a scale
    return max(float(frame.loc[~far, "top"].max()), 1e-3), bool(far.any())


def select_mapped_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Validation rows of one run per group, the first finished one if there is any.

    Only groups whose KL is a sum over dimensions.
    """
    rows = validation_rows(rows, "kl")
    rows = rows[
        rows["kl_per_dim"].map(lambda values: len(values) > 1 and bool(np.isfinite(values).any()))
    ]
    rows = rows.assign(late=rows["status"] != "done").sort_values(["order", "late", "seed", "step"])
    first = rows.drop_duplicates("order")["run"].head(MOST_GROUPS)
    return [rows[rows["run"] == run] for run in first]


def arrange_heat_map(run: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Edges between evaluations [T+1] in steps and KL [D, T] in nats, sorted by the last column."""
    # a run resumed under another version may have rows of another length
    run = run[run["kl_per_dim"].map(len) == len(run["kl_per_dim"].iloc[-1])]
    values = np.stack(run["kl_per_dim"].tolist(), axis=1)
    steps = run["step"].to_numpy(dtype=float)
    # an evaluation extends halfway to its neighbours
    middles = (steps[1:] + steps[:-1]) / 2
    edges = (
        np.concatenate([steps[:1], middles, steps[-1:]])
        if len(steps) > 1
        else np.array([0.0, max(steps[0], 1.0)])
    )
    return edges, values[np.argsort(-values[:, -1], kind="stable")]


KL_PER_DIM_FIGURE = Plot(
    "kl_per_dim", "KL per dimension", "rows", draw_kl_per_dim, describe_kl_per_dim
)
