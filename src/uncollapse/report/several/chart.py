"""A slope chart: heads in the order of each study, joined by lines, as SVG.

A head has a place of its own in each study, so no labels or marks overlap. Frames hold heads that
share a rank. Heads without a rank in a study stand below a line there.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from uncollapse.report.answers.answer import format_interval
from uncollapse.report.several.measures import Line, RankedMeasure, interval_of
from uncollapse.report.tokens import SLOT_TOKENS

MOST_DRAWN = 40  # heads in the chart
ROW_HEIGHT = 22  # pixels between places
TOP, BOTTOM = 34, 8
CHARACTER = 7.7  # pixels, above the mean width at the size of labels
MOST_HEAD_NAME, MOST_STUDY_NAME = 30, 16  # characters of the names of heads and studies
LEAST_GAP, MOST_GAP = 84, 180  # pixels between studies
ROOM = 640  # pixels that a chart fills if it can
FRAME = 13  # half the width of a frame


class HeadPlace(NamedTuple):
    """Where a head is in a column: from the top, and whether it has a rank there."""

    y: float
    ranked: bool


class Chart(NamedTuple):
    """The SVG, the slots of the heads in it, and how many heads were too many for it."""

    svg: str
    slots: list[str]
    left_out: int


def draw_slopes(measure: RankedMeasure, names: Sequence[str]) -> Chart:
    """The chart of one measure; an empty one if no two studies rank two heads."""
    if not measure.has_rankings:
        return Chart("", [], 0)
    every = {name for ranks in measure.ranks for name in ranks}
    lines = [line for line in measure.lines if line.name in every]
    # those with the best ranks, if there are too many
    best = sorted(lines, key=lambda line: min(r.get(line.name, 10**6) for r in measure.ranks))
    kept = best[:MOST_DRAWN]
    places = [place_heads(measure, kept, i) for i in range(len(names))]
    slots = list(dict.fromkeys(line.slot for line in kept))
    return Chart(join_parts(measure, names, kept, places), slots, len(lines) - len(kept))


def place_heads(measure: RankedMeasure, lines: Sequence[Line], column: int) -> dict[str, HeadPlace]:
    """The places of heads in a column: by rank and mean, then those without a rank."""
    ranks, sign = measure.ranks[column], 1 if measure.lower else -1
    present = [line for line in lines if line.values[column] is not None]
    with_rank = [line for line in present if line.name in ranks]
    without = [line for line in present if line.name not in ranks]
    with_rank.sort(key=lambda line: (ranks[line.name], sign * mean_of(line, column)))
    without.sort(key=lambda line: sign * mean_of(line, column))
    # half a place is left free for the dividing line
    below = TOP + ROW_HEIGHT * (len(with_rank) + 0.5)
    return {
        **{line.name: HeadPlace(TOP + ROW_HEIGHT * i, True) for i, line in enumerate(with_rank)},
        **{line.name: HeadPlace(below + ROW_HEIGHT * i, False) for i, line in enumerate(without)},
    }


def mean_of(line: Line, column: int) -> float:
    return interval_of(line.values[column])[0]


# ---- drawing -------------------------------------------------------------------------------------


def join_parts(
    measure: RankedMeasure,
    names: Sequence[str],
    lines: Sequence[Line],
    places: Sequence[dict[str, HeadPlace]],
) -> str:
    """The SVG, with frames behind lines and marks in front."""
    labels = [label_head(measure, line, i) for line in lines for i in (0, len(names) - 1)]
    side = CHARACTER * max(map(len, labels)) + FRAME + 8
    gap = max(LEAST_GAP, min(MOST_GAP, (ROOM - 2 * side) / (len(names) - 1)))
    # the header of an outer column may be wider than its labels
    xs = [side + gap * i for i in range(len(names))]
    width = xs[-1] + side
    height = max(place.y for found in places for place in found.values()) + ROW_HEIGHT / 2 + BOTTOM
    parts = [
        *(draw_header(xs[i], name, len(names), gap) for i, name in enumerate(names)),
        *(draw_frames(measure, xs[i], found, i) for i, found in enumerate(places)),
        *(draw_head(measure, line, xs, places) for line in lines),
    ]
    label = (
        f"{measure.title}: heads in the order of each study, joined by lines; the table has the "
        "same numbers"
    )
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    classes = "slopes many" if len(names) > 2 else "slopes"
    return (
        f'<svg class="{classes}" role="img" aria-label="{escape(label)}" {size}>'
        f"{''.join(parts)}</svg>"
    )


def draw_header(x: float, name: str, columns: int, gap: float) -> str:
    """The name of a study above its column."""
    # between other columns there is less room
    most = MOST_STUDY_NAME if columns < 3 else min(MOST_STUDY_NAME, int(gap / (CHARACTER + 1)))
    return (
        f'<text class="study" x="{x:.1f}" y="14" text-anchor="middle">'
        f"{escape(shorten_name(name, most))}<title>{escape(name)}</title></text>"
    )


def draw_frames(measure: RankedMeasure, x: float, places: dict[str, HeadPlace], column: int) -> str:
    """A frame around each set of heads that share a rank, and the line below all ranks."""
    sets: dict[int, list[float]] = {}
    for name, place in places.items():
        if place.ranked:
            sets.setdefault(measure.ranks[column][name], []).append(place.y)
    frames = [
        f'<rect class="tie" x="{x - FRAME:.1f}" y="{min(ys) - 10:.1f}" width="{2 * FRAME}" '
        f'height="{max(ys) - min(ys) + 20:.1f}" rx="9"/>'
        for ys in sets.values()
    ]
    lower = [place.y for place in places.values() if not place.ranked]
    if lower:
        y = min(lower) - 0.75 * ROW_HEIGHT
        frames.append(
            f'<line class="divider" x1="{x - 2 * FRAME}" x2="{x + 2 * FRAME}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    return "".join(frames)


def draw_head(
    measure: RankedMeasure, line: Line, xs: Sequence[float], places: Sequence[dict[str, HeadPlace]]
) -> str:
    """The line of a head through its places, its marks and its labels."""
    token = SLOT_TOKENS[line.slot]
    points = [(i, x, found[line.name]) for i, (x, found) in enumerate(zip(xs, places, strict=True))
              if line.name in found]  # fmt: skip
    parts = []
    for (_, x0, one), (_, x1, other) in pairwise(points):
        weak = "" if one.ranked and other.ranked else " weak"
        parts.append(
            f'<line class="slope{weak}" x1="{x0:.1f}" y1="{one.y:.1f}" x2="{x1:.1f}" '
            f'y2="{other.y:.1f}"/>'
        )
    for i, x, place in points:
        hollow = "" if place.ranked else " hollow"
        parts.append(
            f'<path class="shape{hollow}" d="{token.path}" '
            f'transform="translate({x:.1f},{place.y:.1f})"/>'
        )
        if i in (0, len(xs) - 1):
            left = i == 0
            anchor, at = ("end", x - FRAME - 6) if left else ("start", x + FRAME + 6)
            parts.append(
                f'<text class="label{hollow}" x="{at:.1f}" y="{place.y + 4:.1f}" '
                f'text-anchor="{anchor}">{escape(label_head(measure, line, i))}</text>'
            )
    title = escape(describe_head_values(measure, line))
    return f'<g class="head slot-{token.css_name}"><title>{title}</title>{"".join(parts)}</g>'


def label_head(measure: RankedMeasure, line: Line, column: int) -> str:
    """'BN on mu  +0.45': the name of a head and its mean in an outer column."""
    mean = mean_of(line, column) if line.values[column] is not None else float("nan")
    sign = "+" if measure.is_price else ""
    value = format_interval(mean, float("nan"), sign)
    name = shorten_name(line.name, MOST_HEAD_NAME)
    return f"{name} {value}" if column == 0 else f"{value} {name}"


def describe_head_values(measure: RankedMeasure, line: Line) -> str:
    """The name of a head and its values, for the pointer."""
    sign = "+" if measure.is_price else ""
    values = [
        format_interval(*interval_of(found), sign) for found in line.values if found is not None
    ]
    return f"{line.name}: {', '.join(values)}"


def shorten_name(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
