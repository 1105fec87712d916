"""What limits the answers: seeds that disagree, runs that are missing or had not converged."""

import pandas as pd

from uncollapse.report.answers.answer import Answer, agree, list_heads
from uncollapse.report.answers.collapse import judge_code
from uncollapse.report.notes import cut_off, unconverged
from uncollapse.report.stats import by_group, finished, t_interval
from uncollapse.report.text import capitalise
from uncollapse.runs.study import LEFT_OUT

DISAGREEMENT = 0.5  # half-width of mi over its mean, from which seeds are said to disagree


def describe_disagreement(runs: pd.DataFrame) -> list[Answer]:
    """Which heads keep a code whose size differs a lot between seeds."""
    names = []
    for _, group in by_group(finished(runs)):
        mean, half = t_interval(group["mi"])
        if judge_code(group) == "kept" and half > DISAGREEMENT * mean:
            names.append(str(group["group"].iloc[0]))
    if not names:
        return []
    text = (
        f"Seeds disagree on how much {list_heads(names)} {agree(len(names), 'keep')}: the interval "
        "of mi is wider than half its mean."
    )
    return [Answer("caution", text, "summary", about=tuple(names))]


def describe_saturated(runs: pd.DataFrame) -> list[Answer]:
    """Which heads keep more than mi can measure with these examples, so that no price at equal
    information includes them."""
    done = finished(runs)
    found = done[(done["mi_saturated"] == 1) & (done["head"] != "plain")]
    if found.empty:
        return []
    names = list(dict.fromkeys(found["group"].astype(str)))
    text = (
        f"mi of {list_heads(names)} is within 0.5 nats of its ceiling in {len(found)} "
        f"{agree(len(found), 'runs', 'run')}, so it is a lower bound, and these runs are in no "
        "comparison at equal information; more test examples would raise the ceiling."
    )
    return [Answer("caution", text, "summary", about=tuple(names))]


def describe_state(runs: pd.DataFrame) -> list[Answer]:
    """Whether all runs are done and converged."""
    count = runs["status"].value_counts()
    left = [f"{count[status]} {status}" for status in ("failed", "unfinished") if status in count]
    if left:
        total = sum(count.drop("done", errors="ignore"))
        text = (
            f"{count_of(total, len(runs), 'run')} {agree(total, 'are', 'is')} in no mean: "
            f"{' and '.join(left)}; the page lists the commands that continue them."
        )
        answers = [Answer("caution", text, "open-runs")]
    else:
        answers = []
    for where, problem in (
        (unconverged(runs), "had not converged when training ended"),
        (cut_off(runs), "ended before a schedule did"),
    ):
        if where.any():
            groups = list(dict.fromkeys(runs.loc[where, "group"].astype(str)))
            done = int((runs["status"] == "done").sum())
            of_all = count_of(int(where.sum()), done, "finished run")
            text = f"{of_all} {problem}: {list_heads(groups)}."
            answers.append(Answer("caution", text, "summary", about=tuple(groups)))
    if not answers:
        all_runs = "The run is done" if len(runs) == 1 else f"All {len(runs)} runs are done"
        answers = [Answer("answer", f"{all_runs}.", "runs")]
    return answers


def count_of(count: int, total: int, noun: str) -> str:
    """'2 of 9 runs', or 'The only run'."""
    return f"{count} of {total} {noun}s" if total > 1 else f"The only {noun}"


def describe_unread(notes: list[str]) -> list[Answer]:
    """How many runs are on no part of the page, as their folders are damaged."""
    count = sum(note.endswith(LEFT_OUT) for note in notes)
    if not count:
        return []
    text = (
        f"{count} {agree(count, 'runs', 'run')} could not be read and {agree(count, 'are', 'is')} "
        "in no number here; the notes on files say why."
    )
    return [Answer("caution", text, "provenance")]


def describe_code(runs: pd.DataFrame) -> list[Answer]:
    """Whether runs were made by different code, which may change numbers."""
    commits = runs.loc[runs["commit"] != "", "commit"].nunique()
    changed = int(runs["tree_changed"].eq(True).sum())
    parts = []
    if commits > 1:
        parts.append(f"the runs are from {commits} commits of the code")
    if changed:
        parts.append(f"{changed} of {len(runs)} runs had uncommitted changes")
    if not parts:
        return []
    text = f"{capitalise(' and '.join(parts))}; the page cannot tell whether that matters."
    return [Answer("caution", text, "provenance")]
