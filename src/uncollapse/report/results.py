"""The runs of a study as two tidy frames: one row per run, one per evaluation. Only reads."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from uncollapse.errors import InputError
from uncollapse.report.notes import name_groups
from uncollapse.report.runs import CHANGEABLE_SLOTS, PLACE, flatten_run, row_numbers
from uncollapse.report.stats import by_group, plain_of
from uncollapse.report.text import clean_override, clean_text, number_repeats
from uncollapse.runs.identity import locations, place_names
from uncollapse.runs.layout import CONFIG, ROWS, home, is_run
from uncollapse.runs.reading import Saved
from uncollapse.runs.study import each_run

MOST_NOTE = 500  # characters
MOST_RUN_NOTES = 5  # notes on one run, and keys in one note
MOST_GROUP_NAME = 1000  # characters of a group's name
CROWD = 12  # groups; more cannot be distinguished by colour and marker
NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


@dataclass(frozen=True)
class Study:
    """A study as frames: `runs` has a row per run, in figure order, `rows` one per evaluation."""

    folder: Path
    name: str
    runs: pd.DataFrame
    rows: pd.DataFrame
    common: str  # overrides that all groups share and labels therefore leave out
    notes: list[str] = field(default_factory=list)


def read_study(folder: str | Path) -> Study:
    """Everything a report needs, from a study, its pack or a single run folder."""
    notes: list[str] = []
    records = [
        record for saved in each_run(Path(folder), notes) if (record := readable(saved, notes))
    ]
    folder = home(Path(folder))
    if not records:
        why = f"; the first note says: {clean_text(notes[0], MOST_NOTE)}" if notes else ""
        raise InputError(f"no run in {folder} has a readable {CONFIG}{why}")
    records = without_twins(records, notes)
    drop_locations(records)
    name_overrides(records)
    rows = [row | {"run": i} for i, record in enumerate(records) for row in record.pop("rows")]
    if not rows:
        raise InputError(no_rows_message(folder, records))
    runs, common = add_groups(pd.DataFrame(records).rename_axis("run").reset_index())
    name = runs["study"].iloc[0] if is_run(folder) else clean_text(folder.name)
    return Study(
        folder,
        name,
        runs,
        tidy_rows(rows, runs),
        common,
        [clean_text(note, MOST_NOTE) for note in notes],
    )


def readable(saved: Saved, notes: list[str]) -> dict[str, Any] | None:
    """The record of a run, and what is wrong with it in `notes`.

    None where an unforeseen error stops its reading: it must not stop that of the others.
    """
    said, record = list(saved.notes), None
    try:
        record = flatten_run(saved)
    except Exception as error:
        said.insert(0, f"cannot be shown ({type(error).__name__}); left out")
    if record and (odd := record.pop("odd")):
        said.insert(
            0, f"odd values count as missing: {name_groups(odd[:MOST_RUN_NOTES], len(odd))}"
        )
    more = [f"and {len(said) - MOST_RUN_NOTES:,} more notes"] if len(said) > MOST_RUN_NOTES else []
    notes += [f"{saved.name}: {note}" for note in [*said[:MOST_RUN_NOTES], *more]]
    return record


def without_twins(records: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """Runs of one resolved config count once: the finished one, or the one with most steps."""
    kept: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: (record["status"] != "done", -record["step"])):
        first = kept.setdefault(record["identity"], record)
        if first is not record:
            notes.append(
                f"{record['folder']}: the same run as {first['folder']} (the same resolved "
                "config); counted once."
            )
    return [record for record in records if kept[record["identity"]] is record]


def drop_locations(records: list[dict[str, Any]]) -> None:
    """Leave out overrides that only say where the data are, if all runs have the same data.

    Overrides that all runs share stay, and so do those of a run that does not say which data it
    had.
    """
    known = [record for record in records if record["saved"].data]
    if not same_data([record["saved"] for record in known]):
        return
    shared = set.intersection(*(set(record["override_list"]) for record in records))
    for record in known:
        places = locations(record["saved"].config)
        record["override_list"] = [
            text
            for text in record["override_list"]
            if text in shared or text.partition("=")[0] not in places
        ]


def same_data(runs: list[Saved]) -> bool:
    """Whether all have one fingerprint of their data; for older runs, the same facts and names."""
    contents = {content for saved in runs if isinstance(content := saved.data.get("content"), str)}
    if len(contents) == 1 and all(isinstance(saved.data.get("content"), str) for saved in runs):
        return True
    stated = {
        json.dumps([facts_of(saved), place_names(saved.config)], sort_keys=True) for saved in runs
    }
    return len(contents) <= 1 and len(stated) == 1


def facts_of(saved: Saved) -> dict[str, Any]:
    return {key: value for key, value in saved.data.items() if key != "content"}


def name_overrides(records: list[dict[str, Any]]) -> None:
    """Clean the overrides; different ones stay different: `…/ptb`, `…/ptb (2)`."""
    raw = sorted({text for record in records for text in record["override_list"]})
    names = dict(zip(raw, number_repeats(map(clean_override, raw)), strict=True))
    for record in records:
        record["override_list"] = [names[text] for text in record["override_list"]]


def no_rows_message(folder: Path, records: list[dict[str, Any]]) -> str:
    failed = [record for record in records if record["status"] == "failed"]
    last = f"; one failure says: {failed[-1]['message']}" if failed else ""
    return (
        f"no evaluation yet in {folder} ({len(records)} runs, {len(failed)} failed: no row in "
        f"{ROWS}){last}."
    )


# ---- groups --------------------------------------------------------------------------------------


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
    runs["override_list"] = with_defaults(runs)
    texts = runs["override_list"].map(", ".join)
    runs["order"] = runs.groupby(["head", texts]).ngroup()  # any, until the slots are known
    changed = changed_slots(runs)
    runs["changes"] = runs["order"].map(changed)
    runs["slot"] = runs["order"].map(
        {order: slot_of(runs, order, text) for order, text in changed.items()}
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


def slot_of(runs: pd.DataFrame, order: int, changed: str) -> str:
    """The one slot that is changed, "several", '' where it is unknown, or "baseline" for plain and
    what does not trade off rec and kl."""
    group = runs[runs["order"] == order]
    if group["head"].iloc[0] == "plain" or group["one_sided"].all():
        return "baseline"
    return "several" if "+" in changed else changed


def with_defaults(runs: pd.DataFrame) -> list[list[str]]:
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
        i: with_overrides(record["label"], record["override_list"]) for i, record in first.items()
    }
    alike = pd.Series(names).duplicated(keep=False)
    texts = [f"{text} [{first[i]['head']}]" if alike[i] else text for i, text in names.items()]
    return dict(zip(names, number_repeats(texts), strict=True))


def with_overrides(label: str, overrides: list[str]) -> str:
    return clean_text(f"{label} ({', '.join(overrides)})", MOST_GROUP_NAME) if overrides else label


def order_key(key: tuple[str, str, str]) -> tuple[Any, ...]:
    slot, head, overrides = key
    return (
        head != "plain",
        ("baseline", *CHANGEABLE_SLOTS, "several", "").index(slot),
        head,
        natural(overrides),
    )


def natural(text: str) -> list[str | float]:
    """A sort key in which tau=0.5 comes before tau=0.25e1: text and numbers in turn."""
    return [float(part) if i % 2 else part for i, part in enumerate(NUMBER_PATTERN.split(text))]


def tidy_rows(rows: list[dict[str, Any]], runs: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "run",
        "order",
        "group",
        "slot",
        "crowded",
        "seed",
        "status",
        "latent",
        "entropy",
        "oracle_valid",
    ]
    metrics = row_numbers()
    frame = pd.DataFrame(rows).reindex(columns=["run", *PLACE, *metrics, "kl_per_dim"])
    frame[metrics] = frame[metrics].apply(pd.to_numeric, errors="coerce")
    return frame.merge(runs[columns], on="run").sort_values(
        ["order", "seed", "step"], ignore_index=True, kind="stable"
    )
