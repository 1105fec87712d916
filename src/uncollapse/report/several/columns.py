"""The studies of a comparison as columns, and the heads that they have in common as rows."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from uncollapse.errors import InputError
from uncollapse.report.answers.collapse import judge_code
from uncollapse.report.frontier import frontier_points
from uncollapse.report.notes import BIASED, CUT, OPEN, cut_off, is_price_biased, unconverged
from uncollapse.report.results import Study, read_study
from uncollapse.report.stats import by_group, find_prices, finished, has_saturated_mi
from uncollapse.report.text import clean_text, number_repeats, write_symbols
from uncollapse.runs.layout import check_is_study, is_pack, study_folder

# first words of settings that belong to the data and the training, not to a head
NOT_OF_HEADS = re.compile(r"(data|model|decoder|trainer|level|experiment|epochs|device|threads)\b")
# a decoder that all runs of a study share goes with their data
OF_SLOTS = re.compile(r"(posterior|objective|procedure)\b")
NEXT_SETTING = re.compile(r", (?=[\w.+~@/]+=)")
MEASURED = ("shuffle_gap", "mi", "d_nll", "d_nll_bias")


class HeadKey(NamedTuple):
    """What makes groups of several studies the same head: its name, its knobs with their values
    and its other settings; neither its data nor its training."""

    head: str
    knobs: tuple[tuple[str, float], ...]
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """One head in one study. `values`: a metric by seed; `state`: kept, collapsed, open, baseline,
    or "not run" without a finished run."""

    label: str
    slot: str
    state: str
    values: dict[str, pd.Series]
    saturated: bool  # mi is only a lower bound
    marks: str  # of doubt about its training
    price_marks: str  # and about its price


@dataclass(frozen=True)
class Column:
    """The runs of one study on one data set; `name` is shown."""

    name: str
    study: Study
    runs: pd.DataFrame
    groups: dict[HeadKey, Group]

    @property
    def done(self) -> pd.DataFrame:
        return finished(self.runs)

    @cached_property
    def points(self) -> pd.DataFrame:
        """The runs of heads at several values of their knobs, as curves."""
        return frontier_points(self.runs)

    @property
    def plain(self) -> pd.DataFrame:
        """The finished plain runs."""
        done = self.done
        return done[done["head"] == "plain"]


@dataclass(frozen=True)
class Row:
    """A head under its name, and what it is in each column; None where it was not run."""

    key: HeadKey
    name: str
    slot: str
    groups: list[Group | None]

    @property
    def count(self) -> int:
        """In how many columns it is."""
        return sum(group is not None for group in self.groups)


@dataclass(frozen=True)
class Comparison:
    """Columns, and the heads that at least two of them have; `single` are the other heads."""

    columns: list[Column]
    rows: list[Row]
    single: list[Row]
    problems: list[str] = field(default_factory=list)  # with what was named on the command line

    @property
    def compared(self) -> list[Row]:
        """The rows without plain, with which the others are compared."""
        return [row for row in self.rows if row.key.head != "plain"]

    @property
    def remedies(self) -> list[Row]:
        """The rows of heads other than plain and the baselines."""
        return [row for row in self.compared if row.slot != "baseline"]


# ---- reading -------------------------------------------------------------------------------------


def read_studies(folders: Sequence[Path], rule: str) -> tuple[list[Study], list[str]]:
    """Each study once, and what is wrong with the others. InputError if fewer than two are left."""
    studies: dict[Path, Study] = {}
    problems: list[str] = []
    for folder in folders:
        try:
            place = study_folder(folder)
            if place in studies:
                problems.append(f"{folder}: named twice; it counts once.")
                continue
            check_is_study(folder if is_pack(folder) else place)
            studies[place] = read_study(folder, rule)
        except InputError as error:
            problems.append(str(error))
    if len(studies) < 2:
        raise InputError(f"a comparison needs two studies that can be read; {' '.join(problems)}")
    return list(studies.values()), [clean_text(problem, 1000) for problem in problems]


def compare_studies(studies: Sequence[Study], problems: Iterable[str] = ()) -> Comparison:
    """The columns of all studies, and their heads as rows."""
    parts = [part for study in studies for part in split_study(study)]
    names = number_repeats(name for name, _, _ in parts)
    columns = [
        Column(name, study, runs, find_groups(runs))
        for name, (_, study, runs) in zip(names, parts, strict=True)
    ]
    rows = make_rows(columns)
    return Comparison(
        columns,
        [row for row in rows if row.count > 1],
        [row for row in rows if row.count == 1],
        list(problems),
    )


def split_study(study: Study) -> list[tuple[str, Study, pd.DataFrame]]:
    """The name and the runs of each data set of a study, with their prices."""
    runs = study.runs.assign(**find_prices(study.runs))
    parts = [(str(data), own) for data, own in runs.groupby("data_name", sort=False)]
    several = len(parts) > 1
    return [(f"{study.name}: {data}" if several else study.name, study, own) for data, own in parts]


def find_groups(runs: pd.DataFrame) -> dict[HeadKey, Group]:
    """The groups of a column by what makes them the same head in another column."""
    found: dict[HeadKey, Group] = {}
    for _, group in by_group(runs):
        # two groups may differ only in a setting that one of them did not state: the first counts
        found.setdefault(make_key(group.iloc[0]), describe_group(group))
    return found


def make_key(run: pd.Series) -> HeadKey:
    """What makes a run's group the same head as one of another study.

    Settings of data, model and training count only where they differ within the study.
    """
    knobs = run["knobs"]
    varied = set(run["override_list"])
    every = {*varied, *NEXT_SETTING.split(run["overrides"])} - {""}
    settings = (
        text
        for text in every
        if text.partition("=")[0] not in knobs
        and (text in varied or is_of_head(text.partition("=")[0]))
    )
    return HeadKey(run["head"], tuple(sorted(knobs.items())), tuple(sorted(settings)))


def is_of_head(setting: str) -> bool:
    """Whether a setting is one of a head, even if all runs of a study have the same value."""
    return bool(OF_SLOTS.match(setting)) or not ("." in setting or NOT_OF_HEADS.match(setting))


def describe_group(group: pd.DataFrame) -> Group:
    """The values of the finished runs of a group, by seed."""
    first, done = group.iloc[0], finished(group)
    by_seed = done.drop_duplicates("seed").set_index("seed")[[*MEASURED]].astype(float)
    marks = CUT * bool(cut_off(done).any()) + OPEN * bool(unconverged(done).any())
    state = "baseline" if first["slot"] == "baseline" else judge_code(done)
    return Group(
        label=first["label"],
        slot=first["slot"],
        state=state if len(done) else "not run",
        values={name: by_seed[name].dropna() for name in MEASURED},
        saturated=has_saturated_mi(done),
        marks=marks,
        price_marks=marks + BIASED * is_price_biased(by_seed),
    )


# ---- rows ----------------------------------------------------------------------------------------


def make_rows(columns: Sequence[Column]) -> list[Row]:
    """All heads, in the order in which the columns have them."""
    keys = list(dict.fromkeys(key for column in columns for key in column.groups))
    found = {key: [column.groups.get(key) for column in columns] for key in keys}
    first = {key: next(filter(None, groups)) for key, groups in found.items()}
    names = name_keys({key: group.label for key, group in first.items()})
    return [Row(key, names[key], first[key].slot, found[key]) for key in keys]


def name_keys(labels: dict[HeadKey, str]) -> dict[HeadKey, str]:
    """'BN on μ (γ=0.6)': a label with the knobs that differ between keys of its head."""
    heads: dict[str, list[HeadKey]] = {}
    for key in labels:
        heads.setdefault(key.head, []).append(key)
    used = Counter(label for label in {key.head: label for key, label in labels.items()}.values())
    names = []
    for key, label in labels.items():
        knobs = [set(other.knobs) for other in heads[key.head]]
        shared = set.intersection(*knobs)
        own = [f"{name}={value:g}" for name, value in key.knobs if (name, value) not in shared]
        details = write_symbols(", ".join([*own, *key.settings]))
        # labels that several heads have
        full = f"{label} [{key.head}]" if used[label] > 1 else label
        names.append(clean_text(f"{full} ({details})" if details else full))
    return dict(zip(labels, number_repeats(names), strict=True))
