"""Did plain collapse, and which remedies keep a code?

The shuffled-z gap decides: what it costs to decode from another example's code. A head keeps a code
where the 95 % t-interval over seeds lies above COLLAPSED, and has collapsed where it lies below.
"""

import pandas as pd

from uncollapse.report.answers.answer import (
    Answer,
    agree,
    count_seeds,
    format_interval,
    list_heads,
    more_seeds_command,
    plain_command,
)
from uncollapse.report.stats import by_group, finished, remedies_of, t_interval
from uncollapse.report.text import capitalise

COLLAPSED = 0.1  # nats of gap
MUCH = 1.0  # nats of mi: less is hardly a code
STATES = ("kept", "collapsed", "open")


def judge_code(group: pd.DataFrame) -> str:
    """Whether the finished runs of a group "kept" a code, "collapsed", or it is "open"."""
    mean, half = t_interval(group["shuffle_gap"])
    # one seed has no interval, and a comparison with nan is false
    if mean - half > COLLAPSED:
        return "kept"
    return "collapsed" if mean + half < COLLAPSED else "open"


def describe_plain(runs: pd.DataFrame) -> list[Answer]:
    """Whether plain collapsed, for each of its settings."""
    plain = finished(runs[runs["head"] == "plain"])
    if plain.empty:
        return [
            Answer(
                "unknown",
                "Whether the plain VAE collapses here is not known: the study has no finished run "
                "of head=plain, so nothing can be compared with it.",
                "summary",
                plain_command(runs),
            )
        ]
    return [describe_plain_group(group) for _, group in by_group(plain)]


def describe_plain_group(group: pd.DataFrame) -> Answer:
    """Whether plain collapsed, with one group of its runs."""
    label, count = str(group["group"].iloc[0]), group["shuffle_gap"].count()
    mean, half = t_interval(group["shuffle_gap"])
    price = format_interval(mean, half, short=False)
    costs = f"decoding from another example's code costs {price} nats (gap, {count_seeds([count])})"
    if not count:
        text = "Plain has no gap, so whether it collapsed is open."
        return Answer("unknown", text, "summary", about=(label,))
    if count == 1:
        text = f"One seed cannot show whether plain collapses: {costs}."
        return Answer("unknown", text, "summary", plain_command(group, "1,2"), (label,))
    state = judge_code(group)
    if state == "open":
        text = f"Whether plain collapsed is open: {costs}, an interval around {COLLAPSED:g}."
        more = more_seeds_command(group)
        return Answer("unknown", text, "summary", more, (label,))
    said = "collapsed" if state == "collapsed" else "did not collapse"
    return Answer("answer", f"{capitalise(label)} {said}: {costs}.", "summary", about=(label,))


def describe_kept(runs: pd.DataFrame) -> list[Answer]:
    """How many remedies keep a code at some setting, and which do not."""
    others = finished(remedies_of(runs))
    if others.empty:
        return []
    heads = name_heads(others)
    names: dict[str, list[str]] = {state: [] for state in STATES}
    exceptions: list[str] = []
    for head, group in others.groupby("head", sort=False):
        states = [judge_code(one) for _, one in by_group(group)]
        # one setting that keeps a code is enough; all must collapse to say that the head does
        state = "kept" if "kept" in states else "open" if "open" in states else "collapsed"
        names[state].append(heads[str(head)])
        if state != "kept":
            exceptions += group["group"].unique().tolist()
    total, groups = len(heads), by_group(others)
    most = max(group["shuffle_gap"].count() for _, group in groups)
    some = " at some setting" if len(groups) > total else ""
    if most < 2:
        above = others.loc[others["shuffle_gap"] > COLLAPSED, "head"].nunique()
        text = (
            f"Which remedies keep a code is open with one seed each; the gap is above "
            f"{COLLAPSED:g} nats in {above} of {total}{some}."
        )
        return [Answer("unknown", text, "summary", more_seeds_command(runs))]
    parts = [
        f"{len(names['kept'])} of {total} {agree(total, 'remedies keep', 'remedy keeps')} a code"
        f"{some} (the whole interval of the gap is above {COLLAPSED:g} nats)"
        f"{describe_much(others, len(names['kept']))}"
    ]
    if found := names["collapsed"]:
        parts.append(f"{len(found)} {agree(len(found), 'collapse')}: {list_heads(found)}")
    if found := names["open"]:
        parts.append(f"{len(found)} {agree(len(found), 'are', 'is')} open: {list_heads(found)}")
    more = more_seeds_command(runs) if names["open"] else ""
    return [Answer("answer", f"{'; '.join(parts)}.", "summary", more, tuple(exceptions))]


def describe_much(runs: pd.DataFrame, kept: int) -> str:
    """How many of the heads that keep a code keep at least MUCH nats of mi, if that is known."""
    groups = [group for _, group in by_group(runs) if judge_code(group) == "kept"]
    means = pd.Series([group["mi"].mean() for group in groups], dtype=float)
    heads = pd.Series([group["head"].iloc[0] for group in groups], dtype=object)
    if means.isna().all() or not kept:
        return ""
    much = heads[means >= MUCH].nunique()
    if kept == 1:
        return f", with {'at least' if much else 'less than'} {MUCH:g} nat of mi"
    return f", {'all' if much == kept else much} of them {MUCH:g} nat of mi or more"


def name_heads(runs: pd.DataFrame) -> dict[str, str]:
    """Head -> its label, with the head in brackets where several heads share a label."""
    labels = runs.groupby("head", sort=False)["label"].first()
    shared = labels.duplicated(keep=False)
    return {
        str(head): f"{label} [{head}]" if is_shared else str(label)
        for (head, label), is_shared in zip(labels.items(), shared, strict=True)
    }
