"""Classes that have moved, and keys that are gone, since configs were first saved with them.

A saved config, or a command in an old table, may contain the former name. The class is then built
from its present module, and both names identify the same run. A key that is gone is ignored where
it has the value that changed nothing.
"""

from uncollapse.json_types import Json

# beginnings of names; the first one that fits is used, so longer ones come first
FORMER_TO_PRESENT = {
    "uncollapse.schedules.Scaled": "uncollapse.training.schedules.ScaledSchedule",
    "uncollapse.schedules.": "uncollapse.training.schedules.",
    "uncollapse.posteriors.nothing.Nothing": "uncollapse.posteriors.lm.NoCode",
}

# key -> the value with which a run is the same as without it
REMOVED_KEYS: dict[str, Json] = {"trainer.plateau_decays": 0}


def has_no_effect(key: str, value: Json) -> bool:
    """Whether a key of a saved config is gone and changed nothing."""
    return key in REMOVED_KEYS and value == REMOVED_KEYS[key]


def present_name(target: str) -> str:
    """The name by which a class is imported now."""
    return replace_prefix(target, FORMER_TO_PRESENT)


def former_name(target: str) -> str:
    """The name under which a class was first saved; digests of configs are made from it."""
    return replace_prefix(target, {new: old for old, new in FORMER_TO_PRESENT.items()})


def replace_prefix(text: str, prefixes: dict[str, str]) -> str:
    for prefix, other in prefixes.items():
        if text.startswith(prefix):
            return other + text.removeprefix(prefix)
    return text


def with_present_names(node: Json) -> Json:
    """Nested plain values with every `_target_` under its present name."""
    if isinstance(node, list):
        return [with_present_names(item) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: with_present_names(value) for key, value in node.items()}
    if isinstance(target := renamed.get("_target_"), str):
        renamed["_target_"] = present_name(target)
    return renamed
