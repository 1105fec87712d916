"""One sentence on a study, and how values and names are written in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from uncollapse.metrics.catalogue import choose_decimals
from uncollapse.report.notes import MOST_GROUPS_NAMED, name_groups
from uncollapse.report.stats import remedies_of
from uncollapse.report.tables.cells import format_cell

MINUS = "\N{MINUS SIGN}"
MOST_HEADS_TYPED = 8  # in one command
LEVELS_TYPED = "1,2,3"  # three values of the knob make a frontier
OWN_WORDS = ("head", "seed", "level")  # of a command, which say which run of a study it is


@dataclass(frozen=True)
class Answer:
    """`text` is one or two sentences; `evidence` the id of the place on the page that shows it.

    kind: an answer, "unknown" (with the command that would answer, if there is one), or a caution.
    about: the groups or curves whose rows are meant, where it is not the whole table.
    """

    kind: Literal["answer", "unknown", "caution"]
    text: str
    evidence: str
    command: str = ""
    about: tuple[str, ...] = ()

    def located(self, where: str) -> "Answer":
        """The same, about the data set named by `where`."""
        return replace(self, text=where + self.text)


def format_interval(mean: float, half: float, sign: str = "", short: bool = True) -> str:
    """'+0.02 ± 0.03' nats, as tables write it, but with a minus sign and usually two decimals.

    With the decimals of tables unless `short`.
    """
    digits = choose_decimals(mean, half)
    if short:
        # more than two where the half-width would be 0.00
        digits = min(digits, 4 if half < 0.005 else 2)
    return format_cell(mean, half, 1, 1, digits, sign).replace("-", MINUS)


def agree(count: int, plural: str, singular: str = "") -> str:
    """The form of a verb or noun for a count; without `singular`, the plural and an s."""
    return plural if count != 1 else singular or f"{plural}s"


def format_span(values: Iterable[tuple[float, float]], short: bool = True, sign: str = "+") -> str:
    """'+0.02 ± 0.03', or '+0.01 ± 0.02 to +0.04 ± 0.03' for several: the lowest and the highest."""
    ordered = sorted(values)
    texts = [format_interval(mean, half, sign, short) for mean, half in (ordered[0], ordered[-1])]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def list_names(names: Sequence[str], last: str = "and") -> str:
    """'A', 'A and B', 'A, B and C', or the first few 'and 5 more'; `last` may be "or"."""
    if len(names) > MOST_GROUPS_NAMED:
        return name_groups(names[:MOST_GROUPS_NAMED], len(names))
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def list_heads(names: Sequence[str], last: str = "and") -> str:
    """As `list_names`, for names of heads, which may have commas."""
    return list_names([quote_name(name) for name in names], last)


def quote_name(name: str) -> str:
    """A name in quotation marks if it would look like two in a list."""
    return f"“{name}”" if ", " in name or " and " in name else name


def count_seeds(counts: Iterable[int]) -> str:
    """'3 seeds', or '2 to 3 seeds'."""
    found = [int(count) for count in counts]
    low, high = min(found), max(found)
    return f"{high} seed{'s' * (high > 1)}" if low == high else f"{low} to {high} seeds"


def plain_command(runs: pd.DataFrame, seeds: str = "0,1,2") -> str:
    """The command that trains head=plain as the runs of this study were trained."""
    return sweep_command(runs, ["plain"], f"seed={seeds}")


def more_seeds_command(runs: pd.DataFrame) -> str:
    """The command that trains all heads of these runs with two more seeds; '' if they differ in
    more than the head, which one command cannot say."""
    if any(runs["override_list"].map(len)):
        return ""
    first = int(runs["seed"].max()) + 1
    return sweep_command(runs, runs["head"], f"seed={first},{first + 1}")


def levels_command(runs: pd.DataFrame) -> str:
    """The command that trains the remedies of these runs at three values of their knobs."""
    heads = list(dict.fromkeys(remedies_of(runs)["head"]))[:MOST_HEADS_TYPED]
    return sweep_command(runs, heads, f"seed=0,1,2 level={LEVELS_TYPED}")


def sweep_command(runs: pd.DataFrame, heads: Iterable[str], words: str) -> str:
    """The command of the first run with other heads and words; '' without heads, or if it was not
    recorded."""
    first = runs.iloc[0]
    own = {*OWN_WORDS, *first["knobs"]}
    kept = [word for word in first["command"].split() if word.partition("=")[0] not in own]
    names = list(dict.fromkeys(heads))
    return f"{' '.join(kept)} head={','.join(names)} {words} -m" if kept and names else ""
