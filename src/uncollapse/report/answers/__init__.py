"""What a study found, in sentences written from its numbers, each with its evidence or a command.

A sentence is an answer, a caution, or says what cannot be known from these runs and which command
would answer it. Sets of heads that cannot be told apart are named together, never the lucky first.
"""

import pandas as pd

from uncollapse.report.answers.answer import Answer
from uncollapse.report.answers.collapse import describe_kept, describe_plain
from uncollapse.report.answers.price import describe_optimum, describe_prices, describe_savings
from uncollapse.report.answers.state import (
    describe_code,
    describe_disagreement,
    describe_saturated,
    describe_state,
    describe_unread,
)
from uncollapse.report.stats import finished

__all__ = ["Answer", "answer_questions", "describe_unread"]

MAKERS = (describe_plain, describe_prices, describe_kept, describe_savings, describe_optimum)


def answer_questions(runs: pd.DataFrame) -> list[Answer]:
    """The sentences of a study, the most important first: those on each of its data sets, the state
    of its runs, and what else to be careful of."""
    found, cautions = [], []
    names = runs["data_name"].unique().tolist()
    for name in names:
        # the same frame, from which other parts of a report have computed frontiers
        own = runs[runs["data_name"] == name] if len(names) > 1 else runs
        if finished(own).empty:
            continue
        where = f"{name}: " if len(names) > 1 and name else ""
        found += [answer.located(where) for make in MAKERS for answer in make(own)]
        cautions += [
            answer.located(where)
            for make in (describe_saturated, describe_disagreement)
            for answer in make(own)
        ]
    return [*found, *describe_state(runs), *cautions, *describe_code(runs)]
