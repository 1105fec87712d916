"""Groups of runs that differ only in the seed: their order, their names, and what they change."""

import re
from collections import Counter
from typing import Any

import pandas as pd

from uncollapse.report.runs import CHANGEABLE_SLOTS
from uncollapse.report.stats import by_group, plain_of
from uncollapse.report.text import clean_text, number_repeats

MOST_GROUP_NAME = 1000  # characters of a group's name
CROWD = 12  # groups; more cannot be distinguished by colour and marker
NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def add_groups(runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The runs with `order`, `group`, `changes`, `slot` and `crowded`, and the shared overrides.

    `order` is an int: plain first, then by slot, heads by name, knobs by value. 0 is reserved for
    plain, so that the other colours are the same in a study without it. `crowded`: styles are by
    slot.
    """
    runs["overrides"] = runs["override_list"].map(", ".join)
    first = runs["override_list"].iloc[0]
    several = len(runs[["head", "overrides"]].drop_duplicates()) > 1
    common = set(first).intersection(*runs["override_list"]) if several else set()
    runs["override_list"] = runs["override_list"].map(
        lambda texts: [text for text in texts if text not in common]
    )
    runs["override_list"] = fill_defaults(runs)
    texts = runs["override_list"].map(", ".join)
    runs["order"] = runs.groupby(["head", texts]).ngroup()  # any, until the slots are known
    changed = changed_slots(runs)
    runs["changes"] = runs["order"].map(changed)
    runs["slot"] = runs["order"].map(
        {order: classify_slot(runs, order, text) for order, text in changed.items()}
    )
    keys = list(zip(runs["slot"], runs["head"], texts, strict=True))
    start = 0 if "plain" in runs["head"].values else 1
    order = {key: i for i, key in enumerate(sorted(set(keys), key=order_key), start)}
    runs["order"] = [order[key] for key in keys]
    runs["group"] = runs["order"].map(group_names(runs))
    runs["crowded"] = len(order) > CROWD
    shared = ", ".join(text for text in first if text in common)
    return runs.sort_values(["order", "seed"], ignore_index=True), shared


def changed_slots(runs: pd.DataFrame) -> dict[int, str]:
    """Group -> the slots of its config that differ from plain's; '' for plain or without plain."""
    slots = {order: group["slots"].iloc[0] for order, group in by_group(runs)}
    pairs = plain_of(runs)
    return {
        order: " + ".join(
            slot
            for slot in CHANGEABLE_SLOTS
            if own.get(slot) != slots[pairs.get(order, order)].get(slot)
        )
        for order, own in slots.items()
    }


def classify_slot(runs: pd.DataFrame, order: int, changed: str) -> str:
    """The one slot that is changed, "several", '' where it is unknown, or "baseline" for plain and
    what does not trade off rec and kl."""
    group = runs[runs["order"] == order]
    if group["head"].iloc[0] == "plain" or group["one_sided"].all():
        return "baseline"
    return "several" if "+" in changed else changed


def fill_defaults(runs: pd.DataFrame) -> list[list[str]]:
    """Each run's overrides, with the defaults of knobs that only other runs of its head set.

    Not where that makes two runs equal (tau=0.5 given, and tau left at 0.5): one result must not
    count twice.
    """
    varied: dict[str, set[str]] = {}
    for head, texts in zip(runs["head"], runs["override_list"], strict=True):
        varied.setdefault(head, set()).update(text.split("=")[0] for text in texts)
    filled = []
    for head, texts, knobs in zip(runs["head"], runs["override_list"], runs["knobs"], strict=True):
        left_alone = varied[head] - {text.split("=")[0] for text in texts}
        filled.append(
            sorted([*texts, *(f"{key}={knobs[key]}" for key in left_alone if key in knobs)])
        )
    alike = Counter(zip(runs["head"], runs["seed"], map(tuple, filled), strict=True))
    keys = zip(runs["head"], runs["seed"], filled, runs["override_list"], strict=True)
    return [
        texts if alike[head, seed, tuple(full)] > 1 else full for head, seed, full, texts in keys
    ]


def group_names(runs: pd.DataFrame) -> dict[int, str]:
    """Order -> label and overrides, with the head where two would look the same."""
    first = {record["order"]: record for record in runs.drop_duplicates("order").to_dict("records")}
    names = {
        i: format_group_name(record["label"], record["override_list"])
        for i, record in first.items()
    }
    alike = pd.Series(names).duplicated(keep=False)
    texts = [f"{text} [{first[i]['head']}]" if alike[i] else text for i, text in names.items()]
    return dict(zip(names, number_repeats(texts), strict=True))


def format_group_name(label: str, overrides: list[str]) -> str:
    return clean_text(f"{label} ({', '.join(overrides)})", MOST_GROUP_NAME) if overrides else label


def order_key(key: tuple[str, str, str]) -> tuple[Any, ...]:
    slot, head, overrides = key
    return (
        head != "plain",
        ("baseline", *CHANGEABLE_SLOTS, "several", "").index(slot),
        head,
        natural_sort_key(overrides),
    )


def natural_sort_key(text: str) -> list[str | float]:
    """A sort key in which tau=0.5 comes before tau=0.25e1: text and numbers in turn."""
    return [float(part) if i % 2 else part for i, part in enumerate(NUMBER_PATTERN.split(text))]
