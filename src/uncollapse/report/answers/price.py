"""What information costs: nll minus plain's.

At equal information where heads have frontiers (`levels`). Without them, heads that keep a code are
compared within groups of similar mi, since a head that keeps less pays less. Ranks and tests are
those of `ranking`.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from uncollapse.report.answers.answer import (
    Answer,
    agree,
    format_interval,
    format_span,
    levels_command,
    list_heads,
    more_seeds_command,
    plain_command,
)
from uncollapse.report.answers.collapse import judge_code
from uncollapse.report.answers.levels import compare_levels, describe_level, describe_levels
from uncollapse.report.frontier import FEWEST_SEEDS, frontier_points
from uncollapse.report.notes import BIASED, is_price_biased
from uncollapse.report.ranking import find_different, rank_values
from uncollapse.report.stats import (
    against_plain,
    by_group,
    find_prices,
    finished,
    remedies_of,
    t_interval,
)

BANDS = 3  # groups of heads by mi, where there is no frontier
FEWEST_IN_BAND = 2


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
    """The cheapest heads among those of similar mi, for heads that keep a code.

    Cautions, as the cheapest of a band may be the one that keeps least; and how to find out.
    """
    answers = []
    for band in split_into_bands(runs):
        values = {name: group.set_index("seed")["d_nll"].dropna() for name, group in band.items()}
        where = f"Where {name_band(band)} are kept, so at unequal information"
        found = describe_level(where, values, rank_values(values), "paired")
        answers.append(replace(found, kind="caution"))
    if answers:
        text = (
            "Which remedy costs least at equal information is open: it takes several values of "
            "each one's knob."
        )
        answers.append(Answer("unknown", text, "paired", levels_command(runs)))
    return answers


def split_into_bands(runs: pd.DataFrame) -> list[dict[str, pd.DataFrame]]:
    """The runs of each group that keeps a code, in up to BANDS bands of equal count by mi.

    Only groups whose price is known from FEWEST_SEEDS seeds; none if they are fewer than a band.
    """
    kept = {
        name: group
        for name, group in find_priced_groups(runs).items()
        if judge_code(group) == "kept"
        and not (group["mi_saturated"] == 1).any()
        and group["d_nll"].count() >= FEWEST_SEEDS
    }
    names = sorted(kept, key=lambda name: kept[name]["mi"].mean())
    if len(names) < FEWEST_IN_BAND:
        return []
    bands = min(BANDS, len(names) // FEWEST_IN_BAND)
    split = np.array_split(np.array(names, dtype=object), bands)
    return [{name: kept[name] for name in band} for band in split]


def name_band(band: dict[str, pd.DataFrame]) -> str:
    """'1.20 to 2.46 nats (mi)'."""
    means = [group["mi"].mean() for group in band.values()]
    low, high = f"{min(means):.2f}", f"{max(means):.2f}"
    return f"{low} nats (mi)" if low == high else f"{low} to {high} nats (mi)"


def find_priced_groups(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The finished runs of each remedy's group, with d_nll and d_nll_bias; without groups that lack
    d_nll."""
    done = finished(runs.assign(**find_prices(runs)))
    return {
        str(group["group"].iloc[0]): group
        for _, group in by_group(remedies_of(done))
        if group["d_nll"].notna().any()
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
        text = f"One seed each cannot show whether any of {len(values)} remedies lowers nll."
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
