"""Classes that have moved since configs were first written with their names.

A saved config, or a command from an old table, may hold the former name: it is built under the present
one, and a run is the same run under either.
"""

from typing import Any

FORMER_TO_PRESENT = {
    "uncollapse.schedules.Scaled": "uncollapse.training.schedules.ScaledSchedule",
    "uncollapse.schedules.": "uncollapse.training.schedules.",
    "uncollapse.posteriors.nothing.Nothing": "uncollapse.posteriors.lm.NoCode",
}


def present_name(target: str) -> str:
    """The name by which a class is imported now."""
    return replace_start(target, FORMER_TO_PRESENT)


def former_name(target: str) -> str:
    """The name under which a class was first saved, which digests of configs are made from."""
    return replace_start(target, {new: old for old, new in FORMER_TO_PRESENT.items()})


def replace_start(text: str, starts: dict[str, str]) -> str:
    for start, other in starts.items():
        if text.startswith(start):
            return other + text.removeprefix(start)
    return text


def with_present_names(node: Any) -> Any:
    """Nested plain values with every `_target_` by its present name."""
    if isinstance(node, list):
        return [with_present_names(item) for item in node]
    if not isinstance(node, dict):
        return node
    named = {key: with_present_names(value) for key, value in node.items()}
    if isinstance(target := named.get("_target_"), str):
        named["_target_"] = present_name(target)
    return named
