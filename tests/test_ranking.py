"""Ranks and ties of curves that share few seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import special
from scipy import stats as scipy_stats

from uncollapse.report.ranking import (
    POOLED,
    compare_with_lowest,
    count_degrees,
    find_envelope,
    find_lower,
    fit_prior,
    invert_trigamma,
    moderated_tests,
    rank_values,
    reject_holm,
)


def test_holm_by_hand() -> None:
    # limits 0.0125, 0.0167, 0.025, 0.05: the third smallest fails, and with it the fourth
    assert reject_holm(np.array([0.01, 0.04, 0.03, 0.016])).tolist() == [True, False, False, True]
    assert reject_holm(np.array([0.01, 0.016, 0.02, 0.05])).all()
    assert not reject_holm(np.array([0.013, 0.013, 0.013, 0.013])).any()


@pytest.mark.parametrize("y", [0.1, 1.0, 7.5, 300.0])
def test_trigamma_is_inverted(y: float) -> None:
    assert invert_trigamma(float(special.polygamma(1, y))) == pytest.approx(y, rel=1e-8)


def test_equal_variances_are_pooled_and_the_test_is_then_normal() -> None:
    degrees = np.full(50, 2)
    common, prior = fit_prior(np.full(50, 0.04), degrees)
    assert prior == POOLED
    # the mean of the log of s^2 with d degrees is log sigma^2 + digamma(d/2) - log(d/2)
    assert common == pytest.approx(0.04 * np.exp(np.euler_gamma), rel=1e-9)
    # of the degrees of all values, those that are not the pair's own weigh the common variance
    for most, weight in ((1e9, POOLED), (20, 18), (1, 0)):
        p = moderated_tests(np.full(50, 0.3), np.full(50, 0.04), degrees, most).p_values
        variance = (weight * common + 2 * 0.04) / (weight + 2)
        t = 0.3 / np.sqrt(variance / 3)
        assert p == pytest.approx(2 * scipy_stats.t.sf(t, weight + 2), rel=1e-4)


def test_two_curves_are_compared_by_a_paired_t_test() -> None:
    """No other pair says what the variance is."""
    one, other = pd.Series([0.1, 0.25, 0.3]), pd.Series([0.42, 0.5, 0.61])
    decided = []
    for shift in np.linspace(-0.1, 0.4, 51):
        p = scipy_stats.ttest_rel(one + shift, other).pvalue
        decided.append(bool(find_lower({"a": one + shift, "b": other})))
        assert decided[-1] == (p <= 0.05)
    assert 0 < sum(decided) < 51


def test_degrees_of_a_layout_with_gaps() -> None:
    full = {name: pd.Series([0.0, 1, 2]) for name in "abcd"}
    assert count_degrees(full) == (4 - 1) * (3 - 1)
    assert count_degrees(full | {"d": pd.Series([0.0])}) == 4


def test_prior_is_recovered_from_variances_that_follow_it() -> None:
    """Smyth's model: s^2 is scaled F with d and d0 degrees of freedom."""
    rng = np.random.default_rng(0)
    variances = 0.09 * rng.f(2, 6, 20_000)
    common, prior = fit_prior(variances, np.full(20_000, 2))
    assert common == pytest.approx(0.09, rel=0.05) and prior == pytest.approx(6, rel=0.15)


def simulate(spread: np.ndarray, means: np.ndarray, seed: int) -> dict[str, pd.Series]:
    """Values of heads at three seeds, which share the noise of plain."""
    rng = np.random.default_rng(seed)
    shared = 0.1 * rng.normal(size=3)
    return {
        f"head {i}": pd.Series(mean + shared + s * rng.normal(size=3))
        for i, (s, mean) in enumerate(zip(spread, means, strict=True))
    }


@pytest.mark.parametrize("largest", [1, 10])
def test_equal_heads_are_rarely_separated(largest: float) -> None:
    """19 equal heads, one of them of larger spread: paired t-tests separate two in 99 %."""
    spread = np.where(np.arange(19) == 5, 0.02 * largest, 0.02)
    wrong = [bool(find_lower(simulate(spread, np.zeros(19), seed))) for seed in range(60)]
    assert np.mean(wrong) < 0.2


def test_a_better_head_is_found() -> None:
    means = np.where(np.arange(19) == 7, 0.0, 0.15)
    found = []
    for seed in range(20):
        values = simulate(np.full(19, 0.03), means, seed)
        ranks = rank_values(values)
        assert ranks["head 7"] == 1
        found.append(np.mean([ranks[name] > 1 for name in ranks if name != "head 7"]))
    assert np.mean(found) > 0.8


def test_ranks_skip_over_ties_and_envelope_is_unbeaten() -> None:
    rng = np.random.default_rng(1)
    noise = {name: pd.Series(0.001 * rng.normal(size=3)) for name in "abcde"}
    offsets = {"a": 0.0, "b": 0.0005, "c": 0.5, "d": 1.0, "e": 0.5002}
    values = {name: noise[name] + offsets[name] for name in "abcde"}
    assert rank_values(values) == {"a": 1, "b": 1, "c": 3, "e": 3, "d": 5}
    assert find_envelope(values) == {"a", "b"}


def test_single_seeds_and_different_seeds_decide_nothing() -> None:
    one = pd.Series([0.1, 0.2, 0.3])
    assert not find_lower({"a": one[:1], "b": one[:1] + 5})
    assert not find_lower({"a": one.iloc[:1], "b": one.iloc[2:] + 5})
    assert find_envelope({"a": one[:1]}) == {"a"} and rank_values({}) == {}


def test_head_of_one_seed_does_not_hide_the_order_of_the_others() -> None:
    """`low` has the lowest mean but one seed: it excludes nobody, and `high` is still excluded."""
    seeds = pd.Series([0.0, 0.001, 0.002])
    values = {"low": seeds[:1] - 1, "middle": seeds, "high": seeds + pd.Series([1, 1.001, 0.999])}
    assert find_lower(values) == {("middle", "high")}
    assert find_envelope(values) == {"low", "middle"}


def test_differences_that_are_equal_in_all_seeds_decide() -> None:
    one = pd.Series([0.1, 0.2, 0.3])
    assert find_lower({"a": one, "b": one + 0.01}) == {("a", "b")}
    assert not find_lower({"a": one, "b": one.copy()})


def test_two_curves_have_the_interval_of_a_paired_t_test() -> None:
    one, other = pd.Series([0.1, 0.25, 0.3]), pd.Series([0.42, 0.5, 0.61])
    expected = scipy_stats.ttest_rel(other, one).confidence_interval(0.95)
    (mean, half) = compare_with_lowest({"b": other, "a": one})["b"]
    assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high))


def test_intervals_from_the_lowest_agree_with_its_tests() -> None:
    """Without an adjustment, so wherever Holm's separates two curves the interval excludes 0."""
    rng = np.random.default_rng(0)
    separated = 0
    for _ in range(50):
        shifts = rng.choice([0.0, 0.1, 0.3], 6)
        values = {
            f"{i}": pd.Series(shift + rng.normal(0, 0.05, 3)) for i, shift in enumerate(shifts)
        }
        values["one seed"] = pd.Series([0.2], index=[1])
        lowest = min(values, key=lambda name: values[name].mean())
        found = compare_with_lowest(values)
        assert lowest not in found and "one seed" not in found
        for lower, higher in find_lower(values):
            if lower == lowest:
                mean, half = found[higher]
                assert mean - half > 0
                separated += 1
    assert separated > 50
