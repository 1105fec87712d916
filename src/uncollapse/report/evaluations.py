"""The nll of a run under each of its evaluations, which differ in their codes and examples."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from uncollapse.report.checked import Values
from uncollapse.report.stats import SAMPLED_BY, against_plain
from uncollapse.runs.results import RESULTS_KEY

# the name of a result: evaluation/settings.py
NLL_RESULT = re.compile(r"test-nll-(K(\d+)(?:-T([\d.]+(?:e-?\d+)?))?(?:-N\d+)?)")
NUMBERS = ("nll", "nll_codes", "nll_ess", *SAMPLED_BY)


class NllEvaluation(NamedTuple):
    """One evaluation: `key` is the end of its results' names, such as K500-T0.05-N200."""

    samples: int  # K, the most codes of an example
    exact: bool  # every example has K codes
    examples: int
    tolerance: float  # nats; 0 if exact
    key: str

    def label(self, with_examples: bool) -> str:
        """'K = 500, T = 0.05, N = 200'."""
        tolerance = "" if self.exact else f", T = {self.tolerance:g}"
        return f"K = {self.samples:,}{tolerance}" + f", N = {self.examples:,}" * with_examples


def read_nll_results(summary: Values) -> dict[str, dict[str, float]]:
    """The numbers of every nll of the test split, by the key of its evaluation."""
    results = summary.inside(RESULTS_KEY)
    found = {}
    for name in results.found:
        if match := NLL_RESULT.fullmatch(str(name)):
            result = results.inside(str(name))
            numbers = {number: result.number(number) for number in NUMBERS}
            # results of older versions have K codes of each example
            if np.isnan(numbers["nll_codes"]):
                numbers["nll_codes"] = numbers["nll_samples"]
            found[match[1]] = numbers
    return found


def list_evaluations(runs: pd.DataFrame) -> list[NllEvaluation]:
    """The evaluations of all runs, those with few codes first."""
    found = set()
    for results in runs["nll_results"]:
        for key, numbers in results.items():
            match = NLL_RESULT.fullmatch(f"test-nll-{key}")
            if match and np.isfinite([numbers["nll"], numbers["nll_examples"]]).all():
                tolerance = float(match[3] or 0)
                found.add(
                    NllEvaluation(
                        int(match[2]), not match[3], int(numbers["nll_examples"]), tolerance, key
                    )
                )
    return sorted(found)


def under_evaluation(runs: pd.DataFrame, evaluation: NllEvaluation) -> pd.DataFrame:
    """The runs with the numbers of this evaluation, and `d_nll`, nll minus plain's."""
    numbers = pd.DataFrame(
        [
            results.get(evaluation.key, dict.fromkeys(NUMBERS, np.nan))
            for results in runs["nll_results"]
        ],
        runs.index,
    )
    frame = runs.assign(**{name: numbers[name] for name in NUMBERS})
    # a subset larger than the split is the split, under another name
    frame.loc[frame["nll_examples"] != evaluation.examples, "nll"] = np.nan
    return frame.assign(d_nll=against_plain(frame, "nll").reindex(frame.index))
