"""Groups over several knobs for the page, which draws them in parallel coordinates."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.report.groups import natural_sort_key
from uncollapse.report.page_numbers import round_number
from uncollapse.report.text import write_symbols

RESULTS = ("mi", "shuffle_gap", "d_nll")  # axes after those of the knobs
FEWEST_KNOBS, FEWEST_GROUPS = 2, 20  # below, tables and frontiers show more
WIDE = 30.0  # an axis of positive values is logarithmic from this ratio on
KnobValues = dict[str, str]  # knob -> value


def encode_knob_sets(
    runs: pd.DataFrame, place: Mapping[int, int], metrics: Collection[str]
) -> list[JsonObject]:
    """Of all heads together and of each head: its groups and axes, if it varies enough knobs."""
    first = runs.drop_duplicates("order")
    sets = [("all heads", first), *((str(head), own) for head, own in first.groupby("head"))]
    described = [describe_knob_set(name, groups, place, metrics) for name, groups in sets]
    # all heads with these knobs may be one
    alone = [found["places"] for found in described[1:] if found]
    together = [found for found in described[:1] if found and found["places"] not in alone]
    return together + [found for found in described[1:] if found]


def describe_knob_set(
    name: str, groups: pd.DataFrame, place: Mapping[int, int], metrics: Collection[str]
) -> JsonObject:
    """One set of groups; {} if fewer than FEWEST_KNOBS knobs vary over FEWEST_GROUPS groups."""
    settings = {
        order: dict(text.split("=", 1) for text in overrides if "=" in text)
        for order, overrides in zip(groups["order"].tolist(), groups["override_list"], strict=True)
    }
    knobs = find_varied(list(settings.values()))
    # heads without some of the knobs, such as plain, have no place on their axes
    kept = {order: own for order, own in settings.items() if knobs <= own.keys()}
    knobs = find_varied(list(kept.values())) & knobs
    if len(knobs) < FEWEST_KNOBS or len(kept) < FEWEST_GROUPS:
        return {}
    axes = [
        make_axis(write_symbols(knob), [own[knob] for own in kept.values()])
        for knob in sorted(knobs)
    ]
    labels = dict(zip(groups["order"].tolist(), groups["label"].tolist(), strict=True))
    if len({labels[order] for order in kept}) > 1:
        axes.insert(0, make_axis("head", [labels[order] for order in kept]))
    results = [result for result in RESULTS if result in metrics]
    return {
        "name": name,
        "places": [place[order] for order in kept],
        "axes": [*axes, *({"name": result, "metric": True} for result in results)],
    }


def find_varied(settings: Sequence[KnobValues]) -> set[str]:
    """The knobs that many groups set, to at least two values."""
    pairs = {(knob, value) for own in settings for knob, value in own.items()}
    values = Counter(knob for knob, _ in pairs)
    groups = Counter(knob for own in settings for knob in own)
    return {knob for knob in values if values[knob] > 1 and groups[knob] >= FEWEST_GROUPS}


def make_axis(name: str, texts: Sequence[str]) -> JsonObject:
    """An axis with the number of each group or, for other values, with the rank of its label."""
    numbers = [parse_number(text) for text in texts]
    known = [number for number in numbers if number is not None]
    if len(known) == len(texts):
        low, high = min(known), max(known)
        return {"name": name, "values": known, "log": low > 0 and high / low >= WIDE}
    labels = sorted(set(texts), key=natural_sort_key)
    return {"name": name, "values": [labels.index(text) for text in texts], "labels": labels}


def parse_number(text: str) -> float | None:
    """The finite number that a text is; None for any other text."""
    try:
        return round_number(float(text))
    except ValueError:
        return None
