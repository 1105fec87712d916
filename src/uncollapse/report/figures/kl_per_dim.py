"""Figure: validation KL of each latent dimension over training, as heat maps."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import validation_rows
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sheet import Scale, Sheet, step_scale
from uncollapse.report.stats import outlying
from uncollapse.report.style import MOST_GROUPS, WIDTH, NoFigure, names_of, style_of

PIXELS = 120  # of a heat map, at least, on each side
COLOUR_BAR = 0.75  # inches on the right


def draw_kl_per_dim(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Heat maps [D, evaluations] of KL (nats), dimensions sorted by their last value."""
    shown = select_mapped_runs(rows)
    if not shown:
        raise NoFigure("no run has a KL that splits over dimensions.")
    maps = [arrange_heat_map(run) for run in shown]
    top, above = find_colour_limit(highest_kl(shown))
    end = max(edges[-1] for edges, _ in maps)
    dims = max(len(values) for _, values in maps)
    # dimension 1 is on top, in panels that all have as many places
    scales = step_scale([end]), Scale(dims, 0, [1, dims] if dims > 1 else [1])
    sheet = Sheet(
        names_of(shown),
        scales,
        ("training step", "latent dimension, sorted by last KL"),
        width,
        colors=[style_of(run).color for run in shown],
        right=COLOUR_BAR,
    )
    for panel, (edges, values) in enumerate(maps):
        sheet.add_image(panel, paint_map(edges, values, (end, dims, top)))
    add_colour_bar(sheet, top, above)
    return sheet.finish()


def paint_map(
    edges: np.ndarray, values: np.ndarray, limits: tuple[float, int, float]
) -> np.ndarray:
    """The pixels [H, W, 3] of a heat map; white beyond its evaluations and its dimensions.

    limits: the last step, the number of dimensions and the KL (nats) of the last colour.
    """
    end, dims, top = limits
    steps = (np.arange(PIXELS) + 0.5) / PIXELS * end
    columns = np.searchsorted(edges, steps, side="right") - 1
    inside = (steps >= edges[0]) & (steps <= edges[-1])
    columns = np.clip(columns, 0, values.shape[1] - 1)
    height = -(-PIXELS // dims)
    # the square root makes 0.05 nats visible beside a dimension with 3 nats
    shades = np.sqrt(np.clip(values[:, columns], 0, top) / top)
    colors = mpl.colormaps["viridis"](shades, bytes=True)[..., :3]
    colors[:, ~inside] = 255
    full = np.full((dims, PIXELS, 3), 255, dtype=np.uint8)
    full[: len(colors)] = colors
    return np.repeat(full, height, axis=0)


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
        " Colours of titles show which slot of the config a head changes."
        + (hidden if len(shown) < groups else "")
    )


def add_colour_bar(sheet: Sheet, top: float, above: bool) -> None:
    """A colour bar on the right, as high as the first row of panels, with the KL in nats."""
    width = sheet.figure.get_figwidth()
    left, bottom = width - COLOUR_BAR + 0.12, sheet.corners[0][1]
    ramp = mpl.colormaps["viridis"](np.linspace(1, 0, 128)[:, None], bytes=True)[..., :3]
    high = bottom + sheet.height
    extent = (left, left + 0.1, bottom, high)
    sheet.axes.imshow(ramp, extent=extent, interpolation="none", aspect="auto")
    for share in (0, 0.25, 1):
        value = f"{'≥ ' if above and share == 1 else ''}{share * top:.2g}"
        place = (left + 0.14, bottom + sheet.height * share**0.5)
        sheet.axes.text(*place, value, va="center_baseline")
    sheet.axes.text(left - 0.02, bottom - 0.06, "KL (nats)", va="top")


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
    "kl_per_dim",
    "KL per dimension",
    "rows",
    draw_kl_per_dim,
    describe_kl_per_dim,
    on_page=True,
)
