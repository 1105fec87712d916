"""Which data each run of a study has: runs of different data are not compared with each other."""

from collections import Counter

import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.report.notes import MOST_GROUPS_NAMED, name_groups
from uncollapse.report.runs import RunRecord
from uncollapse.report.text import clean_text, number_repeats
from uncollapse.runs.identity import data_file_names
from uncollapse.runs.portable import find_data_difference
from uncollapse.runs.reading import Saved

UNRECORDED = "unrecorded data"


def add_data_names(records: list[RunRecord]) -> None:
    """Set `data_name`, '' if all runs have the same data, and `data_difference`.

    The difference is the first fact in which a run's data differ from those of the most runs. A run
    that recorded nothing about its data counts as one with the data of the others if these agree.
    """
    kinds: list[Saved] = []
    # plain's data are named first
    for record in sorted(records, key=lambda record: record["head"] != "plain"):
        find_kind(record["saved"], kinds)
    places = [find_kind(record["saved"], kinds) for record in records]
    if len(kinds) < 2:
        names, places = [""], [0] * len(records)
    else:
        names = list(number_repeats(name_data(saved) for saved in kinds))
    names.append(UNRECORDED if len(kinds) > 1 else names[0])
    usual = Counter(place for place in places if place >= 0).most_common(1)[0][0]
    for record, place in zip(records, places, strict=True):
        record["data_name"] = names[place]
        other = place not in (usual, -1)
        record["data_difference"] = compare_data(kinds[usual], kinds[place]) if other else ""


def find_kind(saved: Saved, kinds: list[Saved]) -> int:
    """The place among `kinds` of the first run with the same data, added if there is none.

    -1, which is the place after the last, for a run that recorded nothing about its data.
    """
    if not saved.data:
        return -1
    for place, kind in enumerate(kinds):
        if not compare_data(kind, saved):
            return place
    kinds.append(saved)
    return len(kinds) - 1


def compare_data(one: Saved, other: Saved) -> str:
    """The first difference between the data of two runs; '' if they are the same."""
    mine, yours = known_facts(one), known_facts(other)
    difference = find_data_difference(mine, yours)
    if difference or (mine.get("content") and yours.get("content")):
        return clean_text(difference)
    names = data_file_names(one.config), data_file_names(other.config)
    return "" if names[0] == names[1] else clean_text(f"files: {names[0]} and {names[1]}")


def known_facts(saved: Saved) -> JsonObject:
    """The recorded facts, without an invalid fingerprint.

    Data that state nothing about `fresh` are not drawn every epoch.
    """
    facts = {"fresh": False, **saved.data}
    if not isinstance(facts.get("content"), str):
        facts["content"] = None
    return facts


def name_data(saved: Saved) -> str:
    """The name of a run's data: the word after `data=`, or else the name of their class."""
    stated, section = saved.config.get("overrides"), saved.config.get("data")
    if isinstance(stated, dict) and stated.get("data"):
        return clean_text(stated["data"])
    target = section.get("_target_") if isinstance(section, dict) else None
    name = str(target or "").rpartition(".")[2].removesuffix("Config").lower()
    return clean_text(name) or "data"


def data_note(runs: pd.DataFrame) -> str:
    """Which groups have which data, if they differ; '' if all runs have the same."""
    kinds = {str(name): group for name, group in runs.groupby("data_name", sort=False)}
    if len(kinds) < 2:
        return ""
    parts = []
    for name, group in kinds.items():
        groups = group["group"].unique()
        difference = group["data_difference"].iloc[0]
        shown = name_groups(groups[:MOST_GROUPS_NAMED], len(groups))
        parts.append(f"{name}{f' ({difference})' * bool(difference)} in {shown}")
    return (
        "The runs have different data, so their numbers must not be ranked in one list, and only "
        f"runs of the same data are compared: {'; '.join(parts)}."
    )
