"""The figures of a report: one module each, with the drawing, its caption and its title."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context

import pandas as pd

from uncollapse.device import count_available_cores
from uncollapse.report.figures.collapse_curves import COLLAPSE_CURVES_FIGURE
from uncollapse.report.figures.cost import COST_FIGURE
from uncollapse.report.figures.cost_benefit import COST_BENEFIT_FIGURE
from uncollapse.report.figures.drawn import Drawn, digest_input
from uncollapse.report.figures.frontier import FRONTIER_FIGURES
from uncollapse.report.figures.frontier_overview import FRONTIER_OVERVIEW_FIGURE
from uncollapse.report.figures.kl_over_steps import KL_OVER_STEPS_FIGURE
from uncollapse.report.figures.kl_per_dim import KL_PER_DIM_FIGURE
from uncollapse.report.figures.learning_curves import LEARNING_CURVES_FIGURE
from uncollapse.report.figures.mi_vs_kl import MI_VS_KL_FIGURE
from uncollapse.report.figures.moments import MOMENTS_FIGURE
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.posterior_means import POSTERIOR_MEANS_FIGURE
from uncollapse.report.figures.probe import PROBE_FIGURE
from uncollapse.report.figures.probe_final import PROBE_FINAL_FIGURE
from uncollapse.report.figures.rate_distortion import RATE_DISTORTION_FIGURE
from uncollapse.report.figures.rate_parts import RATE_PARTS_FIGURE
from uncollapse.report.figures.shown import Shown, name_file
from uncollapse.report.figures.tau_grid import TAU_GRID_FIGURE
from uncollapse.report.figures.train_vs_eval import TRAIN_VS_EVAL_FIGURE
from uncollapse.report.figures.usage import USAGE_FIGURE
from uncollapse.report.results import Study
from uncollapse.report.style import COLUMN_WIDTH, NoFigure, figure_style, render_figure, shrink_png

PLOTS: dict[str, Plot] = {  # in the order of the page
    plot.name: plot
    for plot in (
        KL_OVER_STEPS_FIGURE,
        RATE_DISTORTION_FIGURE,
        FRONTIER_OVERVIEW_FIGURE,
        *FRONTIER_FIGURES,
        COST_BENEFIT_FIGURE,
        COST_FIGURE,
        MI_VS_KL_FIGURE,
        USAGE_FIGURE,
        COLLAPSE_CURVES_FIGURE,
        PROBE_FIGURE,
        PROBE_FINAL_FIGURE,
        RATE_PARTS_FIGURE,
        TAU_GRID_FIGURE,
        LEARNING_CURVES_FIGURE,
        KL_PER_DIM_FIGURE,
        MOMENTS_FIGURE,
        POSTERIOR_MEANS_FIGURE,
        TRAIN_VS_EVAL_FIGURE,
    )
}


MOST_ALONE = 3  # figures that are drawn in this process; more are shared with others
MOST_WORKERS = 4
AT_WORK: dict[str, pd.DataFrame] = {}  # the frames, which worker processes inherit


def draw_all(study: Study, drawn: Drawn | None = None) -> list[Shown]:
    """Every figure of a study; those that `drawn` has of the same input are not drawn again."""
    drawn = drawn or Drawn()
    frames = {"rows": study.rows, "runs": study.runs}
    digests = {name: digest_input(frame) for name, frame in frames.items()}
    new = [name for name, plot in PLOTS.items() if not drawn.has(name, digests[plot.frame])]
    AT_WORK.update(frames)
    try:
        with figure_style():
            figures = dict(zip(new, draw_figures(new), strict=True))
    finally:
        AT_WORK.clear()
    return [
        drawn.keep(name, digests[plot.frame], figures.get(name)) for name, plot in PLOTS.items()
    ]


def draw_figures(names: list[str]) -> list[Shown]:
    """Figures of the frames in AT_WORK, in several processes if there are many."""
    workers = min(count_available_cores(), MOST_WORKERS)
    # other ways to start processes would import everything again
    if len(names) <= MOST_ALONE or workers < 2 or "fork" not in get_all_start_methods():
        return [draw_named(name) for name in names]
    try:
        with ProcessPoolExecutor(workers, get_context("fork")) as pool:
            return list(pool.map(draw_named, names))
    except BrokenProcessPool:
        # a worker was killed, most likely for memory
        return [draw_named(name) for name in names]


def draw_named(name: str) -> Shown:
    return draw_one(PLOTS[name], AT_WORK[PLOTS[name].frame])


def draw_one(plot: Plot, frame: pd.DataFrame) -> Shown:
    """A figure with its caption, or the reason why it cannot be drawn."""
    try:
        figure = plot.draw(frame)
    except NoFigure as reason:
        return Shown(plot.name, plot.title, missing=str(reason), on_page=plot.on_page)
    files = {name_file(plot.name, "page"): render_figure(figure, "pdf")}
    picture = b"" if plot.on_page else shrink_png(render_figure(figure, "png"))
    narrow = ""
    try:
        column = plot.draw(frame, COLUMN_WIDTH)
        files[name_file(plot.name, "column")] = render_figure(column, "pdf")
    except NoFigure as reason:
        narrow = str(reason)
    caption = plot.describe(frame)
    return Shown(plot.name, plot.title, caption, "", files, narrow, picture, plot.on_page)
