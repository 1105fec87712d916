"""Groups of runs that differ only in the seed: their order, their names, and what they change."""

import re
from collections import Counter
from collections.abc import Collection

import pandas as pd

from uncollapse.report.runs import CHANGEABLE_SLOTS
from uncollapse.report.stats import by_group, plain_of
from uncollapse.report.text import clean_text, number_repeats, write_symbols

MOST_GROUP_NAME = 1000  # characters of a group's name
MOST_SHORT = 30  # characters of a name in a figure
CROWD = 12  # groups that can be distinguished by colour and marker
NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def add_groups(runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The runs with columns for their groups, and the overrides that all groups share.

    The columns are `order`, `group`, `short`, `changes`, `slot` and `crowded`.
    `order` numbers the groups: plain is 0, the others follow by slot, head and values of knobs.
    Without plain the numbers start at 1, so that colours stay the same. `group` is the name of a
    group, and `short` the one for figures. `crowded`: there are so many groups that figures sort
    them.
    """
    # on a copy that the caller passes on, so columns may be added in place
    runs["overrides"] = runs["override_list"].map(", ".join)
    first = runs["override_list"].iloc[0]
    several = len(runs[["head", "overrides"]].drop_duplicates()) > 1
    # overrides that all groups share say nothing about their differences
    common = set(first).intersection(*runs["override_list"]) if several else set()
    runs["override_list"] = runs["override_list"].map(
        lambda texts: [text for text in texts if text not in common]
    )
    runs["override_list"] = fill_defaults(runs)
    texts = runs["override_list"].map(", ".join)
    # preliminary, to find the slots
    runs["order"] = runs.groupby(["head", texts, "data_name"]).ngroup()
    changed = changed_slots(runs)
    runs["changes"] = runs["order"].map(changed)
    runs["slot"] = runs["order"].map(
        {order: classify_slot(runs, order, text) for order, text in changed.items()}
    )
    keys = list(zip(runs["slot"], runs["head"], texts, runs["data_name"], strict=True))
    # colours follow the order, and plain is always black
    start = 0 if "plain" in runs["head"].values else 1
    order = {key: i for i, key in enumerate(sorted(set(keys), key=order_key), start)}
    runs["order"] = [order[key] for key in keys]
    runs["group"] = runs["order"].map(group_names(runs))
    first_runs = [row for _, row in runs.drop_duplicates("order").iterrows()]
    short = zip((row["order"] for row in first_runs), shorten_names(first_runs), strict=True)
    runs["short"] = runs["order"].map(dict(short))
    runs["crowded"] = len(order) > CROWD
    shared = ", ".join(text for text in first if text in common)
    # copied, because columns were added one by one, and slices of so many blocks are slow
    return runs.sort_values(["order", "seed"], ignore_index=True).copy(), shared


def changed_slots(runs: pd.DataFrame) -> dict[int, str]:
    """Group -> the slots of its config that differ from plain's; '' for plain, or if there is no
    plain."""
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
    """The one slot that is changed, or "several", or '' if unknown.

    "baseline" for plain and for heads that do not trade off rec and kl.
    """
    group = runs[runs["order"] == order]
    if group["head"].iloc[0] == "plain" or group["one_sided"].all():
        return "baseline"
    return "several" if "+" in changed else changed


def fill_defaults(runs: pd.DataFrame) -> list[list[str]]:
    """The overrides of each run, plus the default values of knobs that other runs of its head set.

    Not where this makes two runs equal (tau=0.5 in one, and the default 0.5 in another), since one
    result must not count as two seeds.
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
    # how many runs of one head and seed would get the same name
    alike = Counter(zip(runs["head"], runs["seed"], map(tuple, filled), strict=True))
    keys = zip(runs["head"], runs["seed"], filled, runs["override_list"], strict=True)
    return [
        texts if alike[head, seed, tuple(full)] > 1 else full for head, seed, full, texts in keys
    ]


def group_names(runs: pd.DataFrame) -> dict[int, str]:
    """Order -> label and overrides; with head or data if two groups would have the same name."""
    first = {record["order"]: record for record in runs.drop_duplicates("order").to_dict("records")}
    names = {
        i: format_group_name(record["label"], record["override_list"])
        for i, record in first.items()
    }
    # names may be equal where labels are, or where only the data differ
    for key in ("data_name", "head"):
        alike = pd.Series(names).duplicated(keep=False)
        names = {
            i: f"{text} [{first[i][key]}]" if alike[i] and first[i][key] else text
            for i, text in names.items()
        }
    return dict(zip(names, number_repeats(names.values()), strict=True))


def format_group_name(label: str, overrides: list[str]) -> str:
    """'BN on μ (γ=0.6)'."""
    if not overrides:
        return label
    return clean_text(f"{label} ({write_symbols(', '.join(overrides))})", MOST_GROUP_NAME)


def shorten_names(groups: Collection[pd.Series]) -> list[str]:
    """'BN on μ 0.6': the labels and values of overrides, for a figure.

    The full names of those that would share one; all with at most MOST_SHORT characters.
    """
    full = [str(run["group"]) for run in groups]
    short = [
        " ".join([run["label"], *(text.partition("=")[2] for text in run["override_list"])])
        for run in groups
    ]
    count = Counter(short)
    texts = [name if count[text] > 1 else text for name, text in zip(full, short, strict=True)]
    return [text if len(text) <= MOST_SHORT else f"{text[: MOST_SHORT - 1]}…" for text in texts]


def order_key(key: tuple[str, str, str, str]) -> tuple[bool, int, str, list[str | float], str]:
    """The sort key of a group from its slot, head, overrides and data."""
    slot, head, overrides, data = key
    return (
        head != "plain",
        ("baseline", *CHANGEABLE_SLOTS, "several", "").index(slot),
        head,
        natural_sort_key(overrides),
        data,
    )


def natural_sort_key(text: str) -> list[str | float]:
    """A sort key that orders numbers in text by value: text and numbers alternate."""
    # odd positions are the numbers that the pattern captured
    return [float(part) if i % 2 else part for i, part in enumerate(NUMBER_PATTERN.split(text))]
