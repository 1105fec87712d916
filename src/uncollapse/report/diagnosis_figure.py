"""The figure of a diagnosis: rate and moments of each dimension, collapse curve, rate, probe."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from uncollapse.json_types import JsonMapping
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.checked import MOMENT_KEYS
from uncollapse.report.diagnosis_numbers import format_found, rank_dimensions
from uncollapse.report.figures.collapse_curves import set_eps_axis
from uncollapse.report.figures.moments import MOMENT_STYLES, draw_moment_panel
from uncollapse.report.figures.rate_parts import RATE_PART_STYLES
from uncollapse.report.style import WIDTH, wrap_text
from uncollapse.report.text import capitalise

BAR, DOT, INK = "#9ecae1", "#0072B2", "#222222"
MOST_NAMED = 32  # dimensions whose numbers fit under an axis


def draw_diagnosis(found: JsonMapping) -> Figure:
    """All panels on one page, without those that the diagnosis has no numbers for."""
    # a KL that does not split has one number, while moments always have one per dimension
    splits = len(found["kl_per_dim"]) == len(found["moments"]["mu_sq"])
    factors = len(found["probe_curves"]["factors"]) if "probe" in found else 0
    heights = {
        "rrrrrr": 2.2 if splits else 0,
        "mmmmmm": 2.2,
        "cccppp": 2.2,
        "ffffff": 0.3 * factors + 0.8 if factors else 0,
    }
    # panels without numbers are left out, so the letters below stay consecutive
    shown = {line: height for line, height in heights.items() if height}
    fig = Figure(figsize=(WIDTH, sum(shown.values()) + 0.8), layout="constrained")
    axes = fig.subplot_mosaic("\n".join(shown), height_ratios=list(shown.values()))
    panels = {
        "r": draw_rate_panel,
        "m": draw_moments_panel,
        "c": draw_collapse_panel,
        "p": draw_components_panel,
        "f": draw_probe_panel,
    }
    for letter, (name, ax) in zip("abcde", axes.items(), strict=False):
        title = panels[name](ax, found)
        ax.set_title(f"{letter}  {title}", loc="left")
    title = f"{wrap_text(capitalise(found['verdict']), 112)}\n{summarise_likelihood(found)}"
    fig.suptitle(title, x=0.01, ha="left", fontsize=8.5)
    return fig


def summarise_likelihood(found: JsonMapping) -> str:
    """'nll 24.10 ± 0.20, nelbo ... nats; 1,000 examples, K = 500'."""
    names = ("nll", "nelbo", "rec", "kl")
    numbers = ", ".join(f"{name} {format_found(found, name)}" for name in names)
    return f"{numbers} nats; {found['nll_examples']:,} examples, K = {found['nll_samples']:,}"


def draw_rate_panel(ax: Axes, found: JsonMapping) -> str:
    """KL of each dimension as bars, its mi as dots, both with one standard error."""
    rank = rank_dimensions(found)
    places, kl = np.arange(1, len(rank) + 1), np.array(found["kl_per_dim"])[rank]
    ticks: dict[str, Any] = {"elinewidth": 0.9, "capsize": 0 if len(rank) > MOST_NAMED else 2}
    ax.bar(places, kl, 0.75, color=BAR, label="KL, the rate")
    kl_error = np.array(found["kl_per_dim_se"])[rank]
    ax.errorbar(places, kl, kl_error, fmt="none", ecolor="#5f9fc4", **ticks)
    # limits that include the error bars of mi
    top, low = kl.max(), 0.0
    if found["mi_per_dim"] is not None:
        mi, error = np.array(found["mi_per_dim"])[rank], np.array(found["mi_per_dim_se"])[rank]
        dots: dict[str, Any] = {"fmt": "o", "color": INK, "markersize": 3.2, **ticks}
        ax.errorbar(places, mi, error, label="mi, information about x", **dots)
        top, low = max(top, (mi + error).max()), min(low, (mi - error).min())
    top = max(1.15 * top, 0.1)  # so that the bars of a collapsed model look small
    ax.set_ylim(low - 0.03 * top, top)
    ax.set_ylabel("nats")
    add_title_legend(ax, 2)
    set_dimension_axis(ax, rank)
    return "rate of each dimension"


def draw_moments_panel(ax: Axes, found: JsonMapping) -> str:
    """E[mu], E[mu²], E[sigma²] and the sum of the last two, with lines at 0 and 1."""
    rank = rank_dimensions(found)
    draw_moment_panel(ax, *(np.array(found["moments"][key])[rank] for key in MOMENT_KEYS))
    lines = ax.get_lines()[-len(MOMENT_STYLES) :]
    for line, (_, _, label) in zip(lines, MOMENT_STYLES, strict=True):
        line.set_label(label)
    # 1 is always in view, as it is the value to compare the sum with
    low, high = ax.dataLim.y0, max(ax.dataLim.y1, 1.0)
    ax.set_ylim(min(low, 0) - 0.1 * (high - low), high + 0.1 * (high - low))
    add_title_legend(ax, 4)
    set_dimension_axis(ax, rank)
    return "moments of q(z)"


def add_title_legend(ax: Axes, columns: int) -> None:
    """A legend on the line of the panel's title, where it covers no data."""
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.995)}
    place["borderaxespad"] = 0.1
    ax.legend(**place, ncols=columns, columnspacing=1.2, handletextpad=0.3)


def set_dimension_axis(ax: Axes, rank: np.ndarray) -> None:
    """Numbers of the dimensions in their order [D] as ticks, unless there are many."""
    ax.set_xlim(0.4, len(rank) + 0.6)
    ax.grid(axis="x", visible=False)
    if len(rank) <= MOST_NAMED:
        ax.set_xticks(np.arange(1, len(rank) + 1), [str(i) for i in rank])
        ax.set_xlabel("latent dimension, sorted by rate")
    else:
        ax.set_xlabel("rank of the latent dimension by rate")


def draw_collapse_panel(ax: Axes, found: JsonMapping) -> str:
    """Share of dimensions whose KL is below eps for nearly all examples."""
    curve = found["collapse"]
    ax.plot(curve["eps"], curve["share"], "o-", color=DOT, markersize=3.2, clip_on=False)
    set_eps_axis(ax)
    ax.set(ylim=(-0.04, 1.04), xlabel="eps (nats)", ylabel="share of dimensions")
    return f"KL below eps for at least {100 * (1 - curve['delta']):g} % of examples"


def draw_components_panel(ax: Axes, found: JsonMapping) -> str:
    """kl = mi + total correlation + dimension-wise KL, as steps from 0 to kl."""
    split = found["total_correlation"] is not None
    names = ("mi", "total_correlation", "dimension_kl") if split else ("mi", "marginal_kl")
    ax.barh(0, found["kl"], 0.62, color=BAR)
    ax.errorbar(found["kl"], 0, xerr=found["kl_se"], color=INK, elinewidth=0.9, capsize=2)
    left = 0.0
    for y, name in enumerate(names, 1):
        color, hatch = RATE_PART_STYLES[name]
        bar: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white"}
        ax.barh(y, found[name], 0.62, left, linewidth=0, **bar)
        left += found[name]
        ax.errorbar(left, y, xerr=found[f"{name}_se"], color=INK, elinewidth=0.9, capsize=2)
    texts = [f"{wrap_text(METRICS[name].header, 12)} {found[name]:.2f}" for name in ("kl", *names)]
    ax.set_yticks(range(len(texts)), texts)
    ax.set_ylim(len(names) + 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    draw_ceiling(ax, found["mi_ceiling"], found["mi_n"])
    return "parts of the rate"


def draw_ceiling(ax: Axes, ceiling: float, examples: int) -> None:
    """The ceiling of mi (nats): dashes across its bar, or only a note if it is far to the right."""
    low, high = min(ax.dataLim.x0, 0.0), max(ax.dataLim.x1, 0.1)
    inside = ceiling < 1.6 * high
    right = max(high, ceiling if inside else 0) * 1.06
    name = f"ceiling of mi: ln {examples:,} = {ceiling:.2f}"
    if inside:
        ax.vlines(ceiling, 0.5, 1.5, color=INK, linestyle=(0, (2, 1)), linewidth=1.3)
    ax.set_xlim(low - (0.04 * right if low < 0 else 0), right)
    ax.set_xlabel(f"nats; dashes: {name}" if inside else f"nats; {name} →")


def draw_probe_panel(ax: Axes, found: JsonMapping) -> str:
    """Accuracy of each factor (one line each) and number of labels, darker for more; chance."""
    curves = found["probe_curves"]
    factors, budgets = curves["factors"], curves["labels"]
    shades = np.linspace(0.75, 0.0, len(budgets)) if len(budgets) > 1 else [0.0]
    for i, (budget, shade) in enumerate(zip(budgets, shades, strict=True)):
        values = np.array([[curve["accuracy"][i], curve["se"][i]] for curve in factors.values()])
        places = np.arange(len(factors)) + 0.12 * (i - (len(budgets) - 1) / 2)
        dots: dict[str, Any] = {"fmt": "o", "markersize": 3.6, "elinewidth": 0.9}
        dots |= {"color": str(shade), "label": f"{budget:,} labels"}
        ax.errorbar(values[:, 0], places, xerr=values[:, 1], **dots)
    chance = [curve["chance"] for curve in factors.values()]
    bars: dict[str, Any] = {"color": "#D55E00", "markersize": 9, "markeredgewidth": 1.6}
    ax.plot(chance, range(len(factors)), "|", label="commonest class", **bars)
    ax.set_yticks(range(len(factors)), [wrap_text(name, 18, lines=2) for name in factors])
    ax.set_ylim(len(factors) - 0.5, -0.5)
    ax.set_xlim(max(0.0, ax.dataLim.x0 - 0.05), 1.01)
    ax.set_xlabel("accuracy on the other half of the examples")
    # in inches, clear of the axis label
    below = ax.transAxes + ScaledTranslation(0, -0.4, ax.figure.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    ax.legend(**place, bbox_transform=below, ncols=6, columnspacing=1.2)
    return "what a linear classifier reads from the mean"
