"""The page of `uncollapse.diagnose`: one table and one printable figure from its dictionary."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from uncollapse.disk import write_together
from uncollapse.errors import InputError

from .checked import MOMENT_KEYS
from .figures.collapse_curves import set_eps_axis
from .figures.moments import MOMENT_STYLES, draw_moment_panel
from .figures.rate_parts import RATE_PART_STYLES
from .files import SCRATCH, is_page, load_template
from .style import WIDTH, figure_style, render_files, wrap_text
from .text import clean_keys

MARK = '<meta name="generator" content="uncollapse diagnosis">'  # how a later call knows that the page is ours


def free_folder(page: str | Path) -> Path:
    """The folder, not yet made; InputError where something of others is in the way."""
    folder = Path(page)
    index = folder / "index.html"
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"page={folder}: it is not a folder; allowed is a new or empty one, or one with an earlier diagnosis"
        )
    others = (
        [path for path in folder.iterdir() if not path.match(SCRATCH)] if folder.is_dir() else []
    )
    if others and not index.exists():
        raise InputError(
            f"page={folder}: it holds other files; allowed is a new or empty folder, or one with an earlier diagnosis"
        )
    if index.exists() and not is_page(index, "diagnosis.html", MARK):
        raise InputError(
            f"page={folder}: its index.html was not written by diagnose; move it away or name another folder"
        )
    return folder


def write_page(found: Mapping[str, Any], folder: Path, nearly: float) -> None:
    """folder/index.html and folder/diagnosis.{pdf,svg,png}: the same numbers give the same bytes."""
    found = with_shown_names(found)
    with figure_style():
        files = {
            folder / f"diagnosis.{suffix}": data
            for suffix, data in render_files(figure(found)).items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    # the page first: by it the folder is known as ours
    write_together({folder / "index.html": rendered(found, nearly).encode(), **files})


def with_shown_names(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with names of factors, which the caller chose, as they may be shown."""
    if "probe_curves" not in found:
        return found
    curves = found["probe_curves"]
    return {**found, "probe_curves": {**curves, "factors": clean_keys(curves["factors"])}}


def rendered(found: Mapping[str, Any], nearly: float) -> str:
    return load_template("diagnosis.html").render(
        mark=MARK,
        found=found,
        cell=partial(cell, found),
        ranked=ranking(found).tolist(),
        measured=measured,
        nearly=nearly,
    )


def cell(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    if value is None or value != value:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return measured(value, found.get(f"{name}_se"))


def measured(value: float, error: float | None = None) -> str:
    """'12.34 ± 0.21': two digits of the error, at least two places and at most five."""
    small = error if error else abs(value)
    places = 2 if not small or small != small else min(max(1 - math.floor(math.log10(small)), 2), 5)
    return f"{value:.{places}f}" + (
        "" if error is None or error != error else f" ± {error:.{places}f}"
    )


def ranking(found: Mapping[str, Any]) -> np.ndarray:
    """Dimensions by falling KL; by E[mu²] where the KL does not split. [D]"""
    mu_sq = found["moments"]["mu_sq"]
    by = found["kl_per_dim"] if len(found["kl_per_dim"]) == len(mu_sq) else mu_sq
    return np.argsort(-np.array(by), kind="stable")


# ---- the figure --------------------------------------------------------------------------------------------------------

BAR, DOT, INK = "#9ecae1", "#0072B2", "#222222"
MOST_NAMED = 32  # dimensions whose numbers fit under an axis


def figure(found: Mapping[str, Any]) -> Figure:
    """One page: per dimension rate and mi, moments; the collapse curve, the parts of the rate; the probe where there are labels."""
    splits = len(found["kl_per_dim"]) == len(found["moments"]["mu_sq"])
    factors = len(found["probe_curves"]["factors"]) if "probe" in found else 0
    heights = {
        "rrrrrr": 2.2 if splits else 0,
        "mmmmmm": 2.2,
        "cccppp": 2.2,
        "ffffff": 0.3 * factors + 0.8 if factors else 0,
    }
    shown = {line: height for line, height in heights.items() if height}
    fig = Figure(figsize=(WIDTH, sum(shown.values()) + 0.8), layout="constrained")
    axes = fig.subplot_mosaic("\n".join(shown), height_ratios=list(shown.values()))
    panels = {
        "r": rate_panel,
        "m": moments_panel,
        "c": collapse_panel,
        "p": parts_panel,
        "f": probe_panel,
    }
    for letter, (name, ax) in zip("abcde", axes.items(), strict=False):
        title = panels[name](ax, found)
        ax.set_title(f"{letter}  {title}", loc="left")
    fig.suptitle(
        f"{wrap_text(sentence(found['verdict']), 112)}\n{summary(found)}",
        x=0.01,
        ha="left",
        fontsize=8.5,
    )
    return fig


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def summary(found: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{name} {cell(found, name)}" for name in ("nll", "nelbo", "rec", "kl"))
    return f"{numbers} nats; {found['nll_examples']:,} examples, K = {found['nll_samples']:,}"


def rate_panel(ax: Axes, found: Mapping[str, Any]) -> str:
    """KL of each dimension as bars, its mi as dots, both with one standard error."""
    rank = ranking(found)
    places, kl = np.arange(1, len(rank) + 1), np.array(found["kl_per_dim"])[rank]
    ticks: dict[str, Any] = {"elinewidth": 0.9, "capsize": 0 if len(rank) > MOST_NAMED else 2}
    ax.bar(places, kl, 0.75, color=BAR, label="KL, the rate")
    ax.errorbar(
        places, kl, np.array(found["kl_per_dim_se"])[rank], fmt="none", ecolor="#5f9fc4", **ticks
    )
    top, low = kl.max(), 0.0
    if found["mi_per_dim"] is not None:
        mi, error = np.array(found["mi_per_dim"])[rank], np.array(found["mi_per_dim_se"])[rank]
        ax.errorbar(
            places,
            mi,
            error,
            fmt="o",
            color=INK,
            markersize=3.2,
            label="mi, what it tells of x",
            **ticks,
        )
        top, low = max(top, (mi + error).max()), min(low, (mi - error).min())
    top = max(1.15 * top, 0.1)  # a collapsed model looks collapsed
    ax.set_ylim(low - 0.03 * top, top)
    ax.set_ylabel("nats")
    legend_above(ax, 2)
    dimension_axis(ax, rank)
    return "rate of each dimension"


def moments_panel(ax: Axes, found: Mapping[str, Any]) -> str:
    """E[mu], E[mu²], E[sigma²] and the sum of the last two, with lines at 0 and 1."""
    rank = ranking(found)
    draw_moment_panel(ax, *(np.array(found["moments"][key])[rank] for key in MOMENT_KEYS))
    for line, (_, _, label) in zip(
        ax.get_lines()[-len(MOMENT_STYLES) :], MOMENT_STYLES, strict=True
    ):
        line.set_label(label)
    low, high = ax.dataLim.y0, max(ax.dataLim.y1, 1.0)
    ax.set_ylim(min(low, 0) - 0.1 * (high - low), high + 0.1 * (high - low))
    legend_above(ax, 4)
    dimension_axis(ax, rank)
    return "moments of q(z)"


def legend_above(ax: Axes, columns: int) -> None:
    """On the line of the panel's title, where it covers no data."""
    place: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1.0, 0.995),
        "borderaxespad": 0.1,
    }
    ax.legend(**place, ncols=columns, columnspacing=1.2, handletextpad=0.3)


def dimension_axis(ax: Axes, rank: np.ndarray) -> None:
    ax.set_xlim(0.4, len(rank) + 0.6)
    ax.grid(axis="x", visible=False)
    if len(rank) <= MOST_NAMED:
        ax.set_xticks(np.arange(1, len(rank) + 1), [str(i) for i in rank])
        ax.set_xlabel("latent dimension, sorted by rate")
    else:
        ax.set_xlabel("rank of the latent dimension by rate")


def collapse_panel(ax: Axes, found: Mapping[str, Any]) -> str:
    """Share of dimensions whose KL is below eps for nearly all examples."""
    curve = found["collapse"]
    ax.plot(curve["eps"], curve["share"], "o-", color=DOT, markersize=3.2, clip_on=False)
    set_eps_axis(ax)
    ax.set(ylim=(-0.04, 1.04), xlabel="eps (nats)", ylabel="share of dimensions")
    return f"KL below eps for at least {100 * (1 - curve['delta']):g} % of examples"


def parts_panel(ax: Axes, found: Mapping[str, Any]) -> str:
    """kl = mi + total correlation + the dimensions' own KL, as steps from 0 to kl, with one standard error; the ceiling of mi."""
    split = found["total_correlation"] is not None
    names = ("mi", "total_correlation", "dimension_kl") if split else ("mi", "marginal_kl")
    labels = {
        "total_correlation": "total\ncorrelation",
        "dimension_kl": "dimension-\nwise KL",
        "marginal_kl": "marginal\nKL",
    }
    ax.barh(0, found["kl"], 0.62, color=BAR)
    ax.errorbar(found["kl"], 0, xerr=found["kl_se"], color=INK, elinewidth=0.9, capsize=2)
    left = 0.0
    for y, name in enumerate(names, 1):
        color, hatch, _ = RATE_PART_STYLES[name]
        ax.barh(
            y, found[name], 0.62, left, color=color, hatch=hatch, edgecolor="white", linewidth=0
        )
        left += found[name]
        ax.errorbar(left, y, xerr=found[f"{name}_se"], color=INK, elinewidth=0.9, capsize=2)
    low, high = min(ax.dataLim.x0, 0.0), max(ax.dataLim.x1, 0.1)
    ceiling, name = (
        found["mi_ceiling"],
        f"ceiling of mi: ln {found['mi_n']:,} = {found['mi_ceiling']:.2f}",
    )
    inside = ceiling < 1.6 * high
    right = max(high, ceiling if inside else 0) * 1.06
    if inside:
        ax.vlines(ceiling, 0.5, 1.5, color=INK, linestyle=(0, (2, 1)), linewidth=1.3)
    ax.set_xlim(low - (0.04 * right if low < 0 else 0), right)
    ax.set_yticks(
        range(len(names) + 1),
        [f"{labels.get(part, part)} {found[part]:.2f}" for part in ("kl", *names)],
    )
    ax.set_ylim(len(names) + 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"nats; {'dashes: ' if inside else ''}{name}{'' if inside else ' →'}")
    return "parts of the rate"


def probe_panel(ax: Axes, found: Mapping[str, Any]) -> str:
    """Accuracy for each factor (one line each) and number of labels, darker for more; chance as a bar."""
    curves = found["probe_curves"]
    factors, budgets = curves["factors"], curves["labels"]
    shades = np.linspace(0.75, 0.0, len(budgets)) if len(budgets) > 1 else [0.0]
    for i, (budget, shade) in enumerate(zip(budgets, shades, strict=True)):
        values = np.array([[curve["accuracy"][i], curve["se"][i]] for curve in factors.values()])
        places = np.arange(len(factors)) + 0.12 * (i - (len(budgets) - 1) / 2)
        ax.errorbar(
            values[:, 0], places, xerr=values[:, 1], fmt="o", color=str(shade), markersize=3.6, elinewidth=0.9,
            label=f"{budget:,} labels",
        )  # fmt: skip
    chance = [curve["chance"] for curve in factors.values()]
    ax.plot(
        chance,
        range(len(factors)),
        "|",
        color="#D55E00",
        markersize=9,
        markeredgewidth=1.6,
        label="commonest class",
    )
    ax.set_yticks(range(len(factors)), [wrap_text(name, 18, lines=2) for name in factors])
    ax.set_ylim(len(factors) - 0.5, -0.5)
    ax.set_xlim(max(0.0, ax.dataLim.x0 - 0.05), 1.01)
    ax.set_xlabel("accuracy on the other half of the examples")
    below = ax.transAxes + ScaledTranslation(
        0, -0.4, ax.figure.dpi_scale_trans
    )  # inches, clear of the axis label
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=below,
        ncols=6,
        columnspacing=1.2,
    )
    return "what a linear classifier reads from the mean"
