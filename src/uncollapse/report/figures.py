"""The figures of a report: what there is, and how all of it is drawn, captioned and saved."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from . import captions, codes, curves, finals, plane
from .results import Study
from .style import NoFigure, house_style, printed


class Plot(NamedTuple):
    """`draw` and `caption` take the same frame of the study: its rows or its runs."""

    title: str
    frame: str
    draw: Callable[[pd.DataFrame], Figure]
    caption: Callable[[pd.DataFrame], str]


class Shown(NamedTuple):
    """A figure on the page with its files by suffix; `missing` says why there is none."""

    name: str
    title: str
    caption: str = ""
    missing: str = ""
    files: Mapping[str, bytes] = {}


PLOTS = {
    "kl_over_steps": Plot("KL over training", "rows", curves.kl_over_steps, captions.kl_over_steps),
    "rate_distortion": Plot(
        "Rate and distortion", "runs", plane.rate_distortion, captions.rate_distortion
    ),
    "cost_benefit": Plot("Cost and benefit", "runs", plane.cost_benefit, captions.cost_benefit),
    "cost": Plot("What it costs", "runs", finals.cost, captions.cost),
    "mi_vs_kl": Plot("Information and rate", "runs", plane.mi_vs_kl, captions.mi_vs_kl),
    "usage": Plot("Is the code used?", "runs", finals.usage, captions.usage),
    "collapse_curves": Plot(
        "Collapsed dimensions", "runs", codes.collapse_curves, captions.collapse_curves
    ),
    "probe": Plot("What a linear probe reads from the code", "runs", codes.probe, captions.probe),
    "probe_final": Plot(
        "The probe at most labels", "runs", codes.probe_final, captions.probe_final
    ),
    "rate_parts": Plot("The parts of the rate", "runs", codes.rate_parts, captions.rate_parts),
    "tau_grid": Plot("The tau grid", "runs", finals.tau_grid, captions.tau_grid),
    "learning_curves": Plot(
        "Learning curves", "rows", curves.learning_curves, captions.learning_curves
    ),
    "kl_per_dim": Plot("KL per dimension", "rows", curves.kl_per_dim, captions.kl_per_dim),
    "moments": Plot("Moments of the aggregate posterior", "runs", finals.moments, captions.moments),
    "train_vs_eval": Plot(
        "Training mode and evaluation mode", "runs", finals.train_vs_eval, captions.train_vs_eval
    ),
}


def draw_all(study: Study) -> list[Shown]:
    with house_style():
        return [draw_one(name, plot, getattr(study, plot.frame)) for name, plot in PLOTS.items()]


def draw_one(name: str, plot: Plot, frame: pd.DataFrame) -> Shown:
    try:
        files = printed(plot.draw(frame))
    except NoFigure as reason:
        return Shown(name, plot.title, missing=str(reason))
    return Shown(name, plot.title, plot.caption(frame), files=files)
