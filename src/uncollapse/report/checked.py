"""Checked access to the values of a run. Invalid values count as missing, and their keys are noted.

A run folder may come from anyone, and JSON and YAML can hold anything. The methods of `Values`
return only numbers within their bounds (or NaN), strings, and curves with lists of equal length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypedDict

import numpy as np

from uncollapse.errors import MAX_NUMBER, MAX_SIZE
from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.text import clean_keys

ONE = 1 + 1e-9  # the largest share, with room for rounding
HUGE = 1e100  # squares of numbers up to this, as in a standard deviation, do not overflow
MOST_COUNT = 1e15
AXIS_LOW, AXIS_HIGH = 1e-30, 1e30  # limits that a logarithmic axis can show
MOST_POINTS, MOST_FACTORS, MOST_DIMENSIONS = 1000, 48, 2**16  # of a curve, of a probe, of a code
MOST_FACT_ITEMS, MOST_FACT_DEPTH = 1000, 4
BOUNDS_OF_UNITS = {  # bounds of metrics by their unit
    "flag": (0, 1),
    "share": (0, 1),
    "count": (0, MOST_COUNT),
    "step": (0, MAX_NUMBER),
    "seconds": (0, MAX_NUMBER),
    "perplexity": (0, HUGE),
}
OTHER_BOUNDS = {  # bounds of numbers that are not metrics
    "delta": (0, 1),
    "step": (0, MAX_NUMBER),
    "threads": (0, MAX_NUMBER),
    "latent": (1, MAX_SIZE),
}
MOMENT_KEYS = ("mu", "mu_sq", "sigma_sq")


class CollapseCurve(TypedDict):
    """The share of collapsed dimensions for each threshold eps."""

    eps: list[float]
    share: list[float]
    delta: float


class MeansOfExamples(TypedDict):
    """The means of q(z|x) and of p(z|x), [D, N] each; nan where an example is left out."""

    q: np.ndarray
    p: np.ndarray


class ProbeCurve(TypedDict):
    """Accuracy of a probe for one factor; chance and oracle are NaN where unknown."""

    points: list[tuple[float, float]]  # (labels, accuracy)
    chance: float
    oracle: float


@dataclass(frozen=True)
class Values:
    """The values of one JSON object; `where` is the prefix of its keys in notes.

    `odd` collects the keys with invalid values, in order.
    """

    found: JsonMapping
    where: str = ""
    odd: dict[str, None] = field(default_factory=dict)

    def refuse(self, key: object) -> None:
        """Note a key as invalid."""
        self.odd[f"{self.where}{key}"] = None

    def number(self, key: str) -> float:
        """A number within the bounds of its key; NaN if missing."""
        value = self.found.get(key)
        if value is None:
            return np.nan
        unit = unit_of(key)
        low, high = allowed_range(key, unit)
        # most values are floats, of which a report checks hundreds of thousands
        valid = (
            low <= value <= high
            if type(value) is float
            else is_within(value, low, high, flag=unit == "flag")
        )
        if not valid:
            self.refuse(key)
            return np.nan
        return float(value)

    def text(self, key: str, allowed: tuple[str, ...] = ()) -> str:
        """A string, or a number as a string; '' if missing."""
        value = self.found.get(key)
        if value is None:
            return ""
        known = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not known or (allowed and value not in allowed):
            self.refuse(key)
            return ""
        return str(value)

    def flag(self, key: str) -> bool | None:
        """True or False; None if missing."""
        value = self.found.get(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key)
            return None
        return value

    def inside(self, key: str) -> "Values":
        """The object under a key; empty if missing."""
        value = self.found.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.refuse(key)
        # an empty object, so that reading goes on and notes further faults
        return Values(value if isinstance(value, Mapping) else {}, f"{self.where}{key}.", self.odd)

    def texts(self, key: str) -> list[str]:
        """A list of strings; empty if missing."""
        value = self.found.get(key)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            self.refuse(key)
            return []
        return value or []

    def scalars(self, key: str) -> JsonObject:
        """The strings, numbers and flags of the object under a key."""
        inside = self.inside(key)
        kept = {
            name: value
            for name, value in inside.found.items()
            if isinstance(value, str | int | float | None)
        }
        for name in inside.found.keys() - kept.keys():
            inside.refuse(name)
        return kept

    def dimensions(self, key: str) -> np.ndarray:
        """A number per dimension, [D], with NaN for null; empty if missing."""
        value = self.found.get(key)
        if value is None:
            return np.zeros(0)
        numbers = number_list(value, MOST_DIMENSIONS, gaps=True)
        if numbers is None:
            # an invalid list counts as empty
            self.refuse(key)
        return np.array(numbers or [], dtype=float)

    def moments(self, key: str) -> dict[str, list[float]] | None:
        """The three lists of MOMENT_KEYS, of equal length; None if missing or empty."""
        value = self.found.get(key)
        if value is None or value == {}:
            return None
        inside = value if isinstance(value, Mapping) else {}
        lists = {name: number_list(inside.get(name), MOST_DIMENSIONS) for name in MOMENT_KEYS}
        kept = {name: numbers for name, numbers in lists.items() if numbers is not None}
        # lists of different lengths cannot be one per dimension
        if len(kept) < len(lists) or len({*map(len, kept.values())}) > 1:
            self.refuse(key)
            return None
        return kept if all(kept.values()) else None

    def collapse(self, key: str) -> CollapseCurve | None:
        """A collapse curve without gaps; None if it has no point."""
        curve = self.inside(key)
        if not curve.found:
            return None
        pairs = curve_points(curve.found.get("eps"), curve.found.get("share"))
        if pairs is None:
            self.refuse(key)
        if not pairs:
            return None
        eps, share = map(list, zip(*pairs, strict=True))
        return {"eps": eps, "share": share, "delta": curve.number("delta")}

    def posterior_means(self, key: str) -> MeansOfExamples | None:
        """The means of examples under q and p(z|x), of one shape; None if missing."""
        inside = self.inside(key)
        if not inside.found:
            return None
        tables = {}
        for name in ("q", "p"):
            rows = inside.found.get(name)
            rows = rows if isinstance(rows, list) and len(rows) <= MOST_DIMENSIONS else [None]
            tables[name] = [number_list(row, MOST_POINTS, gaps=True) for row in rows]
        shapes = {tuple(None if row is None else len(row) for row in t) for t in tables.values()}
        # as many dimensions in both, and as many examples in each dimension
        if len(shapes) > 1 or len({*shapes.pop()} - {None}) != 1 or None in tables["q"]:
            self.refuse(key)
            return None
        return {"q": np.array(tables["q"]), "p": np.array(tables["p"])}

    def probe_curves(self, key: str) -> dict[str, ProbeCurve]:
        """The curve of each factor, by names that are safe to show."""
        curves = self.inside(key)
        factors = curves.inside("factors")
        # each factor becomes a panel, and a page has room for a limited number
        if len(factors.found) > MOST_FACTORS:
            curves.refuse("factors")
            return {}
        found = {name: factors.factor(name, curves.found.get("labels")) for name in factors.found}
        return {name: curve for name, curve in clean_keys(found).items() if curve}

    def factor(self, name: str, labels: Json) -> ProbeCurve | None:
        """The curve of one factor; None if it has no point."""
        curve = self.inside(name)
        if curve.found.get("accuracy") is None:
            return None
        pairs = curve_points(labels, curve.found["accuracy"])
        if pairs is None:
            self.refuse(name)
        # read even without points, so that invalid values are noted
        chance, oracle = curve.share("chance"), curve.share("oracle")
        return {"points": pairs, "chance": chance, "oracle": oracle} if pairs else None

    def share(self, key: str) -> float:
        """A number from 0 to 1, whatever its key; NaN if missing."""
        value = self.found.get(key)
        if value is None or is_within(value, 0, ONE):
            # rounding may have made it a little larger than 1
            return np.nan if value is None else min(float(value), 1.0)
        self.refuse(key)
        return np.nan


def unit_of(key: str) -> str:
    """The unit of a metric; '' for any other key."""
    return METRICS[key].unit if key in METRICS else ""


@cache
def allowed_range(key: str, unit: str) -> tuple[float, float]:
    """The lowest and the highest valid value of a key; standard errors are not negative."""
    known = OTHER_BOUNDS.get(key) or BOUNDS_OF_UNITS.get(unit)
    return known or (0 if key.endswith("_se") else -HUGE, HUGE)


def is_within(value: Json, low: float, high: float, flag: bool = False) -> bool:
    """Whether a value is a number from low to high; booleans count as numbers only if `flag`."""
    return (
        isinstance(value, int | float)
        and (flag or not isinstance(value, bool))
        and low <= value <= high
    )


def number_list(value: Json, most: int, gaps: bool = False) -> list[float] | None:
    """A list of at most `most` numbers, with NaN for null if `gaps` are allowed; else None."""
    if not isinstance(value, list) or len(value) > most:
        return None
    if {*map(type, value)} == {float}:  # a fast path for the usual case
        return value if min(value) >= -HUGE and max(value) <= HUGE else None
    if not all(is_within(item, -HUGE, HUGE) or (gaps and item is None) for item in value):
        return None
    return [np.nan if item is None else float(item) for item in value]


def curve_points(places: Json, shares: Json) -> list[tuple[float, float]] | None:
    """The pairs (x, share) where both are known; x is for a logarithmic axis, share from 0 to 1.

    None unless these are two valid lists of equal length.
    """
    x, y = (number_list(value, MOST_POINTS, gaps=True) for value in (places, shares))
    if x is None or y is None or len(x) != len(y):
        return None
    pairs = [pair for pair in zip(x, y, strict=True) if not np.isnan(pair).any()]
    return (
        pairs
        if all(AXIS_LOW <= place <= AXIS_HIGH and 0 <= share <= ONE for place, share in pairs)
        else None
    )


def prune(value: Json, depth: int = MOST_FACT_DEPTH) -> Json:
    """Nested values, limited in depth and in the length of lists and objects."""
    if not isinstance(value, dict | list):
        return value
    if not depth:
        return "…"
    if isinstance(value, dict):
        return {key: prune(item, depth - 1) for key, item in list(value.items())[:MOST_FACT_ITEMS]}
    return [prune(item, depth - 1) for item in value[:MOST_FACT_ITEMS]]
