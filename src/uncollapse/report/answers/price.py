"""What information costs: nll minus plain's.

At equal information where heads have frontiers (`levels`). Without them, heads that keep a code are
compared within groups of similar mi, since a head that keeps less pays less. Ranks and tests are
those of `ranking`.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from uncollapse.report.answers.answer import (
    MINUS,
    Answer,
    agree,
    count_seeds,
    format_interval,
    format_span,
    levels_command,
    list_heads,
    more_seeds_command,
    plain_command,
    quote_name,
)
from uncollapse.report.answers.collapse import judge_code
from uncollapse.report.answers.levels import compare_levels, describe_level, describe_levels
from uncollapse.report.frontier import FEWEST_SEEDS, frontier_points
from uncollapse.report.notes import BIASED, MOST_GROUPS_NAMED, is_price_biased
from uncollapse.report.ranking import find_different, rank_values
from uncollapse.report.stats import (
    against_plain,
    by_group,
    find_prices,
    finished,
    has_saturated_mi,
    remedies_of,
    t_interval,
)

# bands of settings that keep a similar amount of information, where there are no frontiers
BANDS_DESCRIBED = 3
FEWEST_IN_BAND = 2
BAND_RATIO = 1.5  # the most mi over the least
BAND_WIDTH = 0.5  # nats: allowed whatever the ratio


def describe_prices(runs: pd.DataFrame) -> list[Answer]:
    """Which heads cost least, at equal information or among heads of similar information."""
    if problem := explain_no_prices(runs):
        return [problem]
    return describe_levels(runs) or describe_bands(runs)


def explain_no_prices(runs: pd.DataFrame) -> Answer | None:
    """What is missing, as an answer; None if some head can be compared with plain."""
    done = finished(runs)
    others = remedies_of(done)
    if others.empty:
        return None
    study = runs["study"].iloc[0]
    if others["nll"].isna().all():
        command = f"uncollapse evaluate results/{study}"
        return Answer("unknown", "What a code costs is open: no run has nll.", "summary", command)
    if not (done["head"] == "plain").any():
        text = "What a code costs is open: there is no plain run to compare nll with."
        return Answer("unknown", text, "summary", plain_command(runs))
    if against_plain(runs, "nll")[done["head"] != "plain"].isna().all():
        text = (
            "What a code costs is open: no run has a plain run of the same seed whose nll is from "
            "as many codes and examples."
        )
        return Answer("unknown", text, "summary", f"uncollapse evaluate results/{study}")
    return None


# ---------------------------------------------------------------- similar information


def describe_bands(runs: pd.DataFrame) -> list[Answer]:
    """The cheapest of the settings that keep a similar amount, the price of the others, and how to
    compare them at equal information.

    Bands are cautions, as the cheapest of a band may be the one that keeps least.
    """
    kept = find_kept(runs)
    if not kept:
        text = "What a code costs is open: no remedy is known to keep one."
        known = find_priced_groups(runs, FEWEST_SEEDS)
        return [Answer("unknown", text, "summary", levels_command(runs))] if known else []
    answers = []
    bands = split_into_bands(kept)
    fullest = sorted(range(len(bands)), key=lambda place: -len(bands[place]))[:BANDS_DESCRIBED]
    for band in (bands[place] for place in sorted(fullest)):
        values = {name: group.set_index("seed")["d_nll"].dropna() for name, group in band.items()}
        where = f"Where {name_band(band)} are kept, so at unequal information"
        found = describe_level(where, values, rank_values(values), "paired")
        answers.append(replace(found, kind="caution"))
    alone = [name for name in kept if not any(name in band for band in bands)]
    if alone:
        answers.append(describe_alone({name: kept[name] for name in alone}))
    if len(kept) > 1:
        text = (
            "Which remedy costs least at equal information is open: it takes several values of "
            "each one's knob."
        )
        answers.append(Answer("unknown", text, "paired", levels_command(runs)))
    return answers


def find_kept(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The groups that keep a code and whose price is known from FEWEST_SEEDS seeds."""
    priced = find_priced_groups(runs, FEWEST_SEEDS)
    return {name: group for name, group in priced.items() if judge_code(group) == "kept"}


def split_into_bands(groups: dict[str, pd.DataFrame]) -> list[dict[str, pd.DataFrame]]:
    """Bands of groups that keep a similar amount of information, by mi.

    The band with most groups is found first. Groups with none near are in no band.
    """
    left = sort_by_mi(groups)
    bands: list[pd.Series] = []
    while len(left):
        # the first of those with most groups, so the one that keeps least
        most = max((left[left.between(low, limit_band(low))] for low in left), key=len)
        if len(most) < FEWEST_IN_BAND:
            break
        bands.append(most)
        left = left.drop(most.index)
    bands.sort(key=pd.Series.min)
    return [{name: groups[name] for name in band.index} for band in bands]


def sort_by_mi(groups: dict[str, pd.DataFrame]) -> pd.Series:
    """The mean mi of each group, the least first.

    Without groups that have no mi, or whose mi has reached what its samples can show.
    """
    means = {
        name: group["mi"].mean() for name, group in groups.items() if not has_saturated_mi(group)
    }
    return pd.Series(means, dtype=float).dropna().sort_values()


def limit_band(low: float) -> float:
    """The most mi in a band whose least is `low`, in nats."""
    return max(low * BAND_RATIO, low + BAND_WIDTH)


def describe_alone(groups: dict[str, pd.DataFrame]) -> Answer:
    """The price of settings in no band, each with what it keeps."""
    named = [*groups][:MOST_GROUPS_NAMED]
    prices = "; ".join(describe_one_price(name, groups[name]) for name in named)
    rest = len(groups) - len(named)
    more = f"; the table has {rest} more" if rest else ""
    seeds = count_seeds(group["d_nll"].count() for group in groups.values())
    where = "With no other near in information: " if len(groups) > 1 else ""
    text = f"{where}{prices} (price: nll {MINUS} plain, in nats per example; {seeds}){more}."
    return Answer("answer", text, "paired", about=tuple(groups))


def describe_one_price(name: str, group: pd.DataFrame) -> str:
    """'BN keeps 5.61 nats of information (mi) at a price of +0.16 ± 0.05'."""
    mi = group["mi"].mean()
    least = "at least " if has_saturated_mi(group) else ""
    kept = f"{least}{mi:.2f} nats of information (mi)" if np.isfinite(mi) else "a code"
    price = format_interval(*t_interval(group["d_nll"]), sign="+")
    return f"{quote_name(name)} keeps {kept} at a price of {price}"


def name_band(band: dict[str, pd.DataFrame]) -> str:
    """'1.20 to 2.46 nats (mi)'."""
    means = [group["mi"].mean() for group in band.values()]
    low, high = f"{min(means):.2f}", f"{max(means):.2f}"
    return f"{low} nats (mi)" if low == high else f"{low} to {high} nats (mi)"


def find_priced_groups(runs: pd.DataFrame, fewest: int = 1) -> dict[str, pd.DataFrame]:
    """The finished runs of each remedy's group, with d_nll and d_nll_bias; without groups with
    d_nll of fewer than `fewest` seeds."""
    done = finished(runs.assign(**find_prices(runs)))
    return {
        str(group["group"].iloc[0]): group
        for _, group in by_group(remedies_of(done))
        if group["d_nll"].count() >= fewest
    }


# ---------------------------------------------------------------- against plain


def describe_savings(runs: pd.DataFrame) -> list[Answer]:
    """Whether any remedy's nll differs from plain's, given how many were compared."""
    groups = find_priced_groups(runs)
    values = {name: group.set_index("seed")["d_nll"].dropna() for name, group in groups.items()}
    if not values:
        return []
    tested = {name: seeds for name, seeds in values.items() if len(seeds) >= FEWEST_SEEDS}
    if not tested:
        which = f"any of {len(values)} settings" if len(values) > 1 else quote_name(*values)
        text = f"One seed cannot show whether {which} lowers nll."
        return [Answer("unknown", text, "paired", more_seeds_command(runs))]
    # a reader sees each interval on its own, so it must agree with the test
    clear = {name: seeds for name, seeds in tested.items() if excludes_zero(seeds)}
    lower, higher = ([name for name in names if name in clear] for names in find_different(tested))
    count = f"{len(tested)} {agree(len(tested), 'comparisons', 'comparison')}"
    adjusted = f"Holm's adjustment for {count} with plain"
    if lower:
        span = format_span((t_interval(tested[name]) for name in lower), short=False)
        verb = agree(len(lower), "lower")
        text = f"{list_heads(lower)} {verb} nll ({span} nats), also after {adjusted}"
        if empty := [name for name in lower if judge_code(groups[name]) == "collapsed"]:
            who = list_heads(empty) if len(lower) > 1 else "it"
            text += f"; {who} {agree(len(empty), 'keep', 'keeps')} no code"
    else:
        text = f"No setting has a significantly lower nll than plain, after {adjusted}"
    # where there are frontiers, what is kept has a price of its own
    if higher and not compare_levels(frontier_points(runs)):
        span = format_span((t_interval(tested[name]) for name in higher), short=False)
        cost = f"{agree(len(higher), 'settings cost', 'setting costs')} significantly more"
        listed = f"{list_heads(higher)}{describe_bias([groups[name] for name in higher])}"
        text += f"; {len(higher)} {cost} ({span} nats), whatever they keep: {listed}"
    return [Answer("answer", f"{text}.", "paired", about=(*lower, *higher))]


def describe_bias(groups: list[pd.DataFrame]) -> str:
    """How many of the groups may owe much of their higher nll to too few samples."""
    count = sum(map(is_price_biased, groups))
    if not count:
        return ""
    which = "all of these" if count == len(groups) else f"{count} of these"
    return f" (in {which} more samples would lower the difference noticeably, {BIASED})"


def excludes_zero(values: pd.Series) -> bool:
    """Whether the t-interval of values lies on one side of 0."""
    mean, half = t_interval(values)
    return bool(abs(mean) > half)


def describe_optimum(runs: pd.DataFrame) -> list[Answer]:
    """How far plain ends from the best possible nll, where that is known."""
    plain = finished(runs[runs["head"] == "plain"])
    mean, half = t_interval(plain["oracle_gap"])
    if not np.isfinite(mean):
        return []
    gap = format_interval(mean, half, short=False)
    text = (
        "The lowest possible nll of these test examples is known, as the data have an exact "
        f"probability; plain ends {gap} nats above it (oracle gap)."
    )
    return [Answer("answer", text, "summary")]
