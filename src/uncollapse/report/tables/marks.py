"""Facts about groups that decide which cells of a table are marked."""

import numpy as np
import pandas as pd

from uncollapse.report.notes import cut_off, few_samples, has_large_bias, unconverged
from uncollapse.report.stats import SAMPLED_BY, finished


def count_warned(runs: pd.DataFrame) -> pd.DataFrame:
    """How many finished runs of each group (index `order`) were cut off, had not converged, and
    have an nll that is only a bound."""
    done = finished(runs)
    marks = pd.DataFrame(
        {
            "order": done["order"],
            "cut_off": cut_off(done),
            "unconverged": unconverged(done),
            "few_samples": few_samples(done),
        }
    )
    return marks.groupby("order").sum()


def is_biased(numbers: pd.DataFrame) -> list[bool]:
    """Whether the difference in nll of each group has a large bias."""
    rows = numbers[["d_nll_mean", "d_nll_half", "d_nll_bias_mean"]].to_numpy(dtype=float).tolist()
    return [has_large_bias(*row) for row in rows]


def samples_used(runs: pd.DataFrame) -> pd.DataFrame:
    """The minimum and maximum of nll_samples and nll_examples in each group (index `order`)."""
    groups = finished(runs).groupby("order")
    return pd.DataFrame(
        {
            f"{name}_{end}": getattr(groups[name], end)()
            for name in SAMPLED_BY
            for end in ("min", "max")
        }
    )


def mi_ceilings(runs: pd.DataFrame) -> pd.DataFrame:
    """The lowest and highest ceiling ln N in each group (index `order`), and the number of its
    finished runs that are saturated."""
    groups = finished(runs).dropna(subset=["mi"]).groupby("order")
    return pd.DataFrame(
        {
            "mi_ceiling_low": groups["mi_ceiling"].min(),
            "mi_ceiling_high": groups["mi_ceiling"].max(),
            "mi_saturated": groups["mi_saturated"].sum(),
        }
    )


def shared_ceiling(numbers: pd.DataFrame) -> float:
    """The ceiling (nats) if it is the same in every group with mi; 0 otherwise."""
    ends = numbers.loc[numbers["mi_n"] > 0, ["mi_ceiling_low", "mi_ceiling_high"]]
    values = ends.to_numpy(dtype=float)
    # ceilings that round to the same two digits count as equal
    return float(values[0, 0]) if values.size and np.ptp(values) < 0.005 else 0.0


def shared_chance(numbers: pd.DataFrame) -> float:
    """The chance level if it is the same for all probes; nan if they differ or none is known."""
    values = numbers.loc[numbers["probe_n"] > 0, "probe_chance_mean"].to_numpy(dtype=float)
    return float(values[0]) if values.size and np.ptp(values) < 0.0005 else np.nan


def has_loose_ppl(runs: pd.DataFrame) -> bool:
    """Whether the perplexity of some group comes from nelbo."""
    groups = finished(runs).groupby("order")
    # groups without any perplexity do not count
    with_ppl = groups["ppl"].count() > 0
    return bool((groups["nll_ppl"].count()[with_ppl] == 0).any())


def levels_differ(runs: pd.DataFrame) -> bool:
    """Whether runs differ in data.level, and so in what a token is."""
    return bool(runs["level"].nunique() > 1)
