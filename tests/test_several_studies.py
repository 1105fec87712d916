"""Several studies together: which heads are the same, ranks, agreement, and sentences on them."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from test_answers import make_runs

from uncollapse.report.answers import Answer
from uncollapse.report.results import Study
from uncollapse.report.several.agreement import (
    compare_all,
    compare_columns,
    concordance_p,
    count_ties,
    find_significant_pairs,
    kendall_w,
    permutation_p,
    rank_means,
    spearman,
    spearman_interval,
)
from uncollapse.report.several.agreement_answers import format_p
from uncollapse.report.several.answers import answer_questions_of_studies
from uncollapse.report.several.chart import draw_slopes, place_heads
from uncollapse.report.several.columns import Comparison, compare_studies, is_of_head
from uncollapse.report.several.measures import RankedMeasure, choose_main, list_measures
from uncollapse.report.several.page import render_comparison
from uncollapse.report.several.tables import build_tables_of_studies, list_rows

NOISE = ((-0.01, 0.0, 0.01), (0.01, -0.01, 0.0), (0.0, 0.01, -0.01))  # of three seeds, by head
PRICES = {"a": 0.1, "b": 0.3, "c": 0.5, "d": 0.7, "e": 0.9}
PLAIN = {"plain": {"slot": "baseline"}}


def make_study(
    name: str,
    prices: dict[str, float],
    plain: bool = True,
    seeds: int = 3,
    changed: dict[str, dict] | None = None,
    saved: dict | None = None,
    **columns: Any,
) -> Study:
    """A study in which each head keeps 2 nats of mi, and as much gap, at a price over plain."""
    heads: dict[str, dict] = {**PLAIN} if plain else {}
    for place, (head, price) in enumerate(prices.items()):
        noise = NOISE[place % 3]
        heads[head] = {
            "gap": [5.0 + place + e for e in noise],
            "mi": [2.0 + place / 10 + e for e in noise],
            "nll": [20.0 + own + price + e for own, e in zip(NOISE[0], noise, strict=True)],
            "slot": "posterior",
            **(changed or {}).get(head, {}),
        }
    runs = make_runs(heads, seeds=seeds, **columns)
    runs["nll"] = np.where(
        runs["head"] == "plain", 20.0 + runs["seed"].map(dict(enumerate(NOISE[0]))), runs["nll"]
    )
    filled = {
        "overrides": runs["override_list"].map(", ".join),
        "identity": [f"{name} {i}" for i in range(len(runs))],
        "saved": [SimpleNamespace(data=saved or {}, config={})] * len(runs),
        "entropy": np.nan,
        "data": name,
    }
    runs = runs.assign(**{key: found for key, found in filled.items() if key not in columns})
    return Study(Path(name), name, runs, pd.DataFrame(), "")


def compare(
    *studies: Study, problems: Sequence[str] = ()
) -> tuple[Comparison, list[RankedMeasure]]:
    comparison = compare_studies(studies, problems)
    return comparison, list_measures(comparison)


def answer(*studies: Study, problems: Sequence[str] = ()) -> list[Answer]:
    return answer_questions_of_studies(*compare(*studies, problems=problems))


def find(words: str, *studies: Study) -> Answer:
    """The one answer that holds these words."""
    answers = answer(*studies)
    found = [one for one in answers if words in one.text]
    assert len(found) == 1, [one.text for one in answers]
    return found[0]


def texts(*studies: Study) -> str:
    return "\n".join(one.text for one in answer(*studies))


def price_of(*studies: Study) -> RankedMeasure:
    return next(measure for measure in compare(*studies)[1] if measure.name == "d_nll")


# ---------------------------------------------------------------- statistics


def series(*values: float) -> dict[str, pd.Series]:
    return {str(i): pd.Series([value]) for i, value in enumerate(values)}


def test_equal_means_share_the_mean_of_their_ranks() -> None:
    assert rank_means(series(3, 1, 1, 2)).tolist() == [4, 1.5, 1.5, 3]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12))
def test_spearman_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(found, float) for found in zip(*pairs, strict=True))
    own = spearman(*(rank_means(series(*found)) for found in (x, y)))
    if len({*x}) > 1 and len({*y}) > 1:
        assert own == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)
    else:
        assert math.isnan(own), "without an order there is no correlation"


def test_p_is_the_share_of_orders() -> None:
    order = np.arange(1.0, 5)
    # of 24 orders, only the same and the reverse are as far from 0
    assert permutation_p(order, order) == permutation_p(order, order[::-1]) == 2 / 24
    # rho of 0: every order is at least as far
    assert permutation_p(order, np.array([2.0, 4, 1, 3])) == 1


def test_exact_p_is_that_of_scipy() -> None:
    x, y = np.arange(1.0, 8), np.array([2.0, 1, 3, 5, 4, 7, 6])
    exact = scipy_stats.permutation_test(
        (y,), lambda order: spearman(x, order), permutation_type="pairings", n_resamples=10_000
    )
    assert permutation_p(x, y) == pytest.approx(exact.pvalue)


def test_random_orders_agree_with_all_orders() -> None:
    x = np.arange(1.0, 10)
    y = np.array([4.0, 1, 2, 6, 3, 9, 5, 8, 7])
    expected = scipy_stats.spearmanr(x, y).pvalue
    found = permutation_p(x, y)
    assert found == permutation_p(x, y), "the same every time"
    assert found == pytest.approx(expected, abs=0.01)


def test_interval_by_hand() -> None:
    # atanh 0.5 = 0.5493, half = 1.96 sqrt((1 + 0.125) / 7) = 0.7857
    low, high = spearman_interval(0.5, 10)
    assert (low, high) == pytest.approx((math.tanh(-0.23637), math.tanh(1.33498)), abs=1e-4)
    assert np.isnan(spearman_interval(1.0, 10)).all(), "not [1, 1]"


def test_w_by_hand() -> None:
    ranks = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 4, 3]])
    # sums 3, 6, 10, 11 with S = 41, so 12 * 41 / (9 * 60)
    assert kendall_w(ranks) == pytest.approx(492 / 540)
    assert kendall_w(np.tile(ranks[:1], (3, 1))) == 1
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == 0


def test_w_is_corrected_for_ties() -> None:
    assert count_ties(np.array([1.5, 1.5, 3, 5, 5, 5])) == 6 + 24
    tied = np.array([[1.5, 1.5, 3], [1.5, 1.5, 3]])
    assert kendall_w(tied) == 1, "two rankings that agree, ties included"


def test_p_of_w_is_small_only_for_agreement() -> None:
    same = np.tile(np.arange(1.0, 7), (3, 1))
    assert concordance_p(same) < 0.001
    assert concordance_p(np.array([[1.0, 2, 3, 4], [4, 3, 2, 1], [2, 1, 4, 3]])) > 0.5


@pytest.mark.parametrize(
    ("p", "text"), [(0.0001, "p < 0.001"), (0.0314, "p = 0.031"), (0.314, "p = 0.31")]
)
def test_p_is_rounded(p: float, text: str) -> None:
    assert format_p(p) == text


# ---------------------------------------------------------------- the same head


def test_heads_match_by_name_and_knobs() -> None:
    one = make_study("one", {"a": 0.1, "b": 0.2, "alone": 0.3})
    other = make_study("other", {"b": 0.2, "a": 0.1}, changed={"b": {"knobs": {"knob": 2.0}}})
    comparison, _ = compare(one, other)
    assert [row.name for row in comparison.rows] == ["plain VAE", "a"]
    assert [row.name for row in comparison.single] == ["b (knob=1)", "alone", "b (knob=2)"]
    assert "No remedy" not in texts(one, other)


def test_integers_and_floats_are_one_knob() -> None:
    one = make_study("one", {"a": 0.1}, changed={"a": {"knobs": {"knob": 13}}})
    other = make_study("other", {"a": 0.1}, changed={"a": {"knobs": {"knob": 13.0}}})
    assert [row.name for row in compare(one, other)[0].rows] == ["plain VAE", "a"]


def test_settings_that_differ_within_a_study_are_other_heads() -> None:
    one = make_study("one", {"a": 0.1, "a model.latent=8": 0.2})
    other = make_study("other", {"a": 0.1})
    comparison, _ = compare(one, other)
    assert [row.name for row in comparison.rows] == ["plain VAE", "a"]
    assert [row.name for row in comparison.single] == ["a (model.latent=8)"]


@pytest.mark.parametrize(
    ("setting", "is_own"),
    [
        ("posterior.floor", True), ("objective", True), ("schedule", True),
        ("model.latent", False), ("data", False), ("decoder", False), ("trainer.lr", False),
        ("level", False), ("database", True),
    ],
)  # fmt: skip
def test_settings_of_heads_are_told_from_those_of_training(setting: str, is_own: bool) -> None:
    assert is_of_head(setting) == is_own


def test_two_data_sets_of_one_study_are_two_columns() -> None:
    one = make_study("one", {"a": 0.1})
    half = pd.concat([one.runs.assign(data_name=name) for name in ("ptb", "yelp")])
    runs = half.assign(order=half["order"] + 2 * (half["data_name"] == "yelp"))
    mixed = Study(Path("mixed"), "mixed", runs.reset_index(drop=True), pd.DataFrame(), "")
    comparison, _ = compare(mixed, one)
    assert [column.name for column in comparison.columns] == ["mixed: ptb", "mixed: yelp", "one"]
    assert [row.count for row in comparison.rows] == [3, 3]


# ---------------------------------------------------------------- ranks


def test_ranks_follow_prices_and_ties_are_shared() -> None:
    one = make_study("one", PRICES)
    other = make_study("other", {**PRICES, "b": 0.1, "e": 0.0})
    measure = price_of(one, other)
    assert measure.ranks[0] == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert measure.ranks[1] == {"e": 1, "a": 2, "b": 2, "c": 4, "d": 5}
    (first,) = [row for row in list_rows(measure) if row.name == "b"]
    assert [cell.rank for cell in first.cells] == ["2", "2"]
    assert [cell.text for cell in first.cells] == ["+0.30 ± 0.02", "+0.10 ± 0.02"]


def test_more_information_ranks_first() -> None:
    _, measures = compare(make_study("one", PRICES), make_study("other", PRICES))
    mi = next(measure for measure in measures if measure.name == "mi")
    assert mi.ranks[0] == {"e": 1, "d": 2, "c": 3, "b": 4, "a": 5}


@pytest.mark.parametrize(
    "changed",
    [
        {"gap": 0.02},  # collapsed
        {"gap": [0.0, 0.1, 0.3]},  # open
        {"slot": "baseline"},
        {"seeds": 1},
        {"status": "failed"},
    ],
)
def test_heads_without_a_code_have_no_rank(changed: dict) -> None:
    one = make_study("one", PRICES, changed={"a": changed})
    measure = price_of(one, make_study("other", PRICES))
    assert "a" not in measure.ranks[0] and len(measure.ranks[0]) == 4
    assert measure.ranks[1]["a"] == 1


def test_saturated_mi_is_a_bound_without_a_rank() -> None:
    one = make_study("one", PRICES, changed={"e": {"mi_saturated": 1.0}})
    _, measures = compare(one, make_study("other", PRICES))
    mi = next(measure for measure in measures if measure.name == "mi")
    assert "e" not in mi.ranks[0] and mi.ranks[1]["e"] == 1
    (row,) = [row for row in list_rows(mi) if row.name == "e"]
    assert row.cells[0].text.startswith("≥ 2.40") and row.cells[1].text.startswith("2.40")


def test_heads_of_two_studies_are_ranked_where_all_share_too_few() -> None:
    studies = (
        make_study("one", PRICES),
        make_study("two", PRICES),
        make_study("three", {"a": 0.1, "b": 0.3}),
    )
    measure = price_of(*studies)
    assert not measure.shared and [*map(len, measure.ranks)] == [5, 5, 2]
    four = make_study("three", {key: PRICES[key] for key in "abcd"})
    measure = price_of(*studies[:2], four)
    assert measure.shared and [*map(len, measure.ranks)] == [4, 4, 4]


# ---------------------------------------------------------------- agreement


def test_agreement_of_known_orders() -> None:
    # c and d are exchanged: rho = 1 - 6 * 2 / (5 * 24) = 0.9
    swapped = {**PRICES, "c": 0.7, "d": 0.5}
    pair = compare_columns(price_of(make_study("one", PRICES), make_study("other", swapped)), 0, 1)
    assert pair.n == 5 and pair.rho == pytest.approx(0.9)
    assert pair.p == pytest.approx(10 / 120), "the share of orders with |rho| of 0.9 or 1"
    assert not pair.tied


def test_only_heads_with_a_code_in_both_studies_count() -> None:
    one = make_study("one", PRICES, changed={"a": {"gap": 0.0}})
    assert compare_columns(price_of(one, make_study("other", PRICES)), 0, 1).n == 4


def test_holm_is_applied_to_all_pairs() -> None:
    six = {**PRICES, "f": 1.1}
    measure = price_of(*(make_study(name, six) for name in ("one", "two", "three")))
    pairs = [compare_columns(measure, *places) for places in ((0, 1), (0, 2), (1, 2))]
    # each has p = 2 / 720
    assert find_significant_pairs(pairs) == pairs
    assert find_significant_pairs([pairs[0]._replace(p=0.03)] * 2) == []
    assert compare_all(measure).w == pytest.approx(1)


# ---------------------------------------------------------------- sentences


def test_ranking_that_carries_over() -> None:
    six = {**PRICES, "f": 1.1}
    found = find("carries over", make_study("one", six), make_study("other", six))
    assert found.kind == "answer" and found.evidence == "agreement"
    assert "by nll − plain carries over between one and other" in found.text
    assert "rho = 1.00 over 6 heads, p = 0.003" in found.text


def test_reversed_ranking() -> None:
    six = {**PRICES, "f": 1.1}
    back = dict(zip(six, reversed(six.values()), strict=True))
    found = find("is reversed", make_study("one", six), make_study("other", back))
    assert found.kind == "answer" and "rho = −1.00" in found.text


def test_agreement_by_chance_is_not_claimed() -> None:
    four = {key: PRICES[key] for key in "abcd"}
    found = find("No agreement", make_study("one", four), make_study("other", four))
    assert found.kind == "unknown" and "even the same order has p = 0.083" in found.text


def test_ties_leave_the_agreement_open() -> None:
    same = dict.fromkeys(PRICES, 0.3)
    found = find(
        "no head can be told from the first", make_study("one", same), make_study("other", PRICES)
    )
    assert found.kind == "unknown" and found.text.startswith("Whether the ranking")


def test_three_studies_have_kendalls_w() -> None:
    studies = [make_study(name, PRICES) for name in ("one", "two", "three")]
    found = find("Kendall's W = 1.00 over 5 heads", *studies)
    assert found.kind == "answer" and "all 3 studies agree" in found.text
    assert find("after Holm's adjustment, between one and two", *studies).kind == "answer"


def test_tied_set_is_named_and_not_its_first() -> None:
    one = make_study("one", {**PRICES, "b": 0.1})
    text = find("cheapest that keep a code", one, make_study("other", PRICES)).text
    assert "on one a and b, which are tied (of 5; +0.10" in text
    assert "on other a (of 5; +0.10 ± 0.02 nats, 3 seeds)" in text


def test_collapsed_heads_are_never_the_cheapest() -> None:
    one = make_study("one", PRICES, changed={"a": {"gap": 0.0, "nll": 15.0}})
    text = find("cheapest that keep a code", one, make_study("other", PRICES)).text
    assert "on one b (of 4" in text


def test_codes_on_all_some_and_no_studies() -> None:
    one = make_study("one", PRICES, changed={"b": {"gap": 0.0}, "c": {"gap": 0.0}})
    other = make_study("other", PRICES, changed={"c": {"gap": 0.0}, "d": {"gap": [0.0, 0.1, 0.3]}})
    text = find("common remedies", one, other).text
    assert text.startswith("2 of 5 common remedies keep a code in every study that ran them")
    assert "a and e; on some only: b (not on one); on none: c; open: d." in text


def test_names_with_commas_are_quoted() -> None:
    changed = {"a": {"label": "BN on mu, RMS"}}
    studies = [make_study(name, PRICES, changed=changed) for name in ("one", "other")]
    assert "“BN on mu, RMS”, b, c, d and e" in find("common remedies", *studies).text


def test_plain_on_each_study() -> None:
    kept = make_study("kept", PRICES)
    kept.runs.loc[kept.runs["head"] == "plain", "shuffle_gap"] = [3.0, 3.1, 3.2]
    text = find("Plain ", make_study("one", PRICES), kept).text
    assert text == "Plain collapses on one; it keeps a code of its own on kept."


def test_study_without_plain_names_the_command() -> None:
    found = find(
        "no finished run of head=plain",
        make_study("one", PRICES),
        make_study("bare", PRICES, plain=False),
    )
    assert found.kind == "unknown" and found.text.startswith("bare has")
    assert found.command == "python train.py data=digits head=plain seed=0,1,2 -m"
    measure = price_of(make_study("one", PRICES), make_study("bare", PRICES, plain=False))
    assert measure.ranks[1] == {} and measure.ranks[0]


def test_without_prices_another_measure_is_drawn() -> None:
    _, measures = compare(*(make_study(n, PRICES, plain=False) for n in ("one", "other")))
    assert choose_main(measures).name == "mi"


def test_one_seed_names_the_command() -> None:
    single = make_study("one", PRICES, seeds=1), make_study("other", PRICES, seeds=1)
    found = find("one seed has no interval", *single)
    assert found.kind == "unknown" and "open for all 5" in found.text
    assert found.command == "python train.py data=digits head=plain,a,b,c,d,e seed=1,2 -m"
    assert "cheapest that keep" not in texts(*single) and "rho" not in texts(*single)


def test_no_common_head() -> None:
    one, other = make_study("one", {"a": 0.1}), make_study("other", {"b": 0.1})
    found = find("No remedy was run with the same settings in two studies", one, other)
    assert found.kind == "unknown" and found.evidence == "studies"
    assert found.command == "python train.py data=digits head=b seed=0,1,2 -m"
    assert "common remed" not in texts(one, other)


def test_few_common_heads() -> None:
    one, other = make_study("one", PRICES), make_study("other", {"a": 0.1, "b": 0.3})
    found = find("Only 2 remedies were run with the same settings in both studies", one, other)
    assert found.kind == "unknown" and "head=c,d,e" in found.command


def test_braces_in_names_are_no_templates() -> None:
    changed = {"a": {"label": "{0} {x} %s {}"}}
    studies = [make_study(name, {"a": 0.1}, changed=changed) for name in ("o{n}e", "{}")]
    assert "{0} {x} %s {}" in texts(*studies)


def test_other_numbers_of_codes_are_stated() -> None:
    found = find(
        "other numbers of codes",
        make_study("one", PRICES),
        make_study("other", PRICES, nll_samples=2000.0),
    )
    assert found.kind == "caution"
    assert "100 codes and 500 examples on one; 2,000 codes and 500 examples on other" in found.text


def test_same_data_and_same_source_are_stated() -> None:
    facts = {"vocab": 5, "content": "abc"}
    one, other = (make_study(name, PRICES, saved=facts) for name in ("one", "other"))
    assert find("have the same data", one, other).kind == "caution"
    one = make_study("one", PRICES, saved=facts, entropy=23.6)
    other = make_study("other", PRICES, saved=facts | {"content": "abd"}, entropy=23.6)
    assert "the same source (entropy 23.60 nats)" in texts(one, other)


def test_copied_runs_are_stated() -> None:
    one, other = (make_study(name, PRICES, identity="x") for name in ("one", "other"))
    assert find("share 1 run", one, other).kind == "caution"


def test_unfinished_and_unconverged_runs_are_counted() -> None:
    one = make_study("one", PRICES, changed={"e": {"status": "failed"}, "d": {"converged": 0.0}})
    other = make_study("other", PRICES)
    assert "Not finished, and in no mean: 3 of 18 runs of one." in texts(one, other)
    assert "may change ranks: 3 of 18 runs of one." in texts(one, other)
    assert "All 36 runs are done." in texts(other, make_study("third", PRICES))


def test_doubts_are_marked_in_the_tables() -> None:
    """Of training in every table, of too few samples at prices only."""
    changed = {"c": {"nll_bias": 0.5}, "d": {"converged": 0.0}, "e": {"schedule_complete": 0.0}}
    one, other = make_study("one", PRICES, changed=changed), make_study("other", PRICES)
    comparison, measures = compare(one, other)
    tables = {table.name: table for table in build_tables_of_studies(comparison, measures)}
    marks = {
        name: {head: text[text.index("±") :].split(" ")[2:3] for head, text in
               tables[name].text[["head", "one"]].to_numpy()}
        for name in ("d_nll", "mi")
    }  # fmt: skip
    found = {name: {head: own[0] for head, own in heads.items() if own and own[0] in "†§‡"}
             for name, heads in marks.items()}  # fmt: skip
    assert found == {"d_nll": {"c": "‡", "d": "§", "e": "†"}, "mi": {"d": "§", "e": "†"}}
    assert not tables["d_nll"].text["other"].str.contains("[†§‡]").any()
    assert "§: some runs had not converged." in tables["mi"].title
    assert "‡" not in tables["mi"].title and "‡: too few" in tables["d_nll"].title


# ---------------------------------------------------------------- equal information


def make_frontiers(name: str, slopes: dict[str, float]) -> Study:
    """Heads at three values of their knob with 0.5, 3 and 6 nats of mi, priced per nat."""
    prices = {f"{head} knob={i}": slope * mi for head, slope in slopes.items()
              for i, mi in enumerate((0.5, 3.0, 6.0))}  # fmt: skip
    changed = {key: {"mi": (0.5, 3.0, 6.0)[int(key[-1])], "knobs": {"knob": float(key[-1])}}
               for key in prices}  # fmt: skip
    return make_study(name, prices, changed=changed)


def test_frontiers_are_compared_at_equal_information() -> None:
    slopes = {"a": 0.1, "b": 0.3, "c": 0.5, "d": 0.7}
    studies = make_frontiers("one", slopes), make_frontiers("other", {**slopes, "a": 0.3})
    comparison, measures = compare(*studies)
    assert [measure.name for measure in measures] == [
        "at_1",
        "at_2",
        "at_4",
        "at_6",
        "d_nll",
        "mi",
        "gap",
    ]
    two = measures[1]
    assert two.title == "nll − plain at 2 nats of mi"
    assert two.ranks == [{"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 1, "b": 1, "c": 3, "d": 4}]
    prices = {line.name: line.values[0].mean() for line in two.lines}
    assert prices == pytest.approx({"a": 0.2, "b": 0.6, "c": 1.0, "d": 1.4}, abs=0.02)
    text = "\n".join(one.text for one in answer_questions_of_studies(comparison, measures))
    assert "At 2 nats of mi, the cheapest are: on one a (of 4" in text
    assert "on other a and b, which are tied (of 4" in text
    assert "12 of 12 common settings of 4 remedies keep a code" in text
    assert "unequal information" not in text and choose_main(measures).is_level


def test_study_without_frontier_names_the_command() -> None:
    found = find(
        "Who is cheapest at equal information is open",
        make_study("one", PRICES),
        make_study("other", PRICES),
    )
    assert found.command == ("python train.py data=digits head=a,b,c,d,e level=1,2,3 seed=0,1,2 -m")


# ---------------------------------------------------------------- chart and tables


def test_places_of_heads_never_overlap() -> None:
    one = make_study("one", PRICES, changed={"c": {"gap": 0.0}})
    measure = price_of(one, make_study("other", PRICES))
    for column in (0, 1):
        places = place_heads(measure, measure.lines, column)
        ys = sorted(place.y for place in places.values())
        assert min(np.diff(ys)) >= 20 and len(ys) == 5
        ranked = [place.y for place in places.values() if place.ranked]
        assert [place.ranked for place in places.values()].count(False) == 1 - column
        assert column or max(ranked) < places["c"].y


def test_chart_marks_ties_and_escapes_names() -> None:
    changed = {"a": {"label": "<img src=x onerror=alert(1)>"}}
    one = make_study("o<ne", {**PRICES, "b": 0.1}, changed=changed)
    other = make_study("other", PRICES, changed=changed)
    chart = draw_slopes(price_of(one, other), ["o<ne", "other"])
    assert "<img" not in chart.svg and "&lt;img src=x onerror" in chart.svg
    # four sets in the first column, five in the second
    assert chart.svg.count('class="tie"') == 4 + 5
    assert chart.svg.count('class="slope"') == 5 and chart.slots == ["posterior"]


def test_chart_is_limited_to_the_best_heads() -> None:
    many = {f"h{i:02}": 0.1 * i for i in range(50)}
    chart = draw_slopes(price_of(make_study("one", many), make_study("two", many)), ["one", "two"])
    assert chart.left_out == 10 and chart.svg.count("<g ") == 40 and "h39" in chart.svg


def test_tables_hold_numbers_and_text() -> None:
    comparison, measures = compare(make_study("one", PRICES), make_study("other", PRICES))
    tables = {table.name: table for table in build_tables_of_studies(comparison, measures)}
    assert [*tables] == ["d_nll", "mi", "gap", "agreement", "studies"]
    row = tables["d_nll"].numbers.iloc[0]
    assert row["head"] == "a" and row["one_mean"] == pytest.approx(0.1)
    assert (row["one_n"], row["one_rank"], row["other_rank"]) == (3, 1, 1)
    assert tables["d_nll"].text.iloc[0].tolist() == ["a", "+0.10 ± 0.02 [1]", "+0.10 ± 0.02 [1]"]
    assert tables["agreement"].text.iloc[0, 1] == "1.00 (5 heads, p = 0.017)"
    assert tables["agreement"].numbers["by"].tolist() == ["d_nll", "mi", "gap"]


def test_order_of_columns_does_not_change_ranks() -> None:
    one = make_study("one", PRICES)
    other = make_study("other", {**PRICES, "a": 0.8})
    assert price_of(one, other).ranks == price_of(other, one).ranks[::-1]


@pytest.mark.slow
def test_three_thousand_runs_are_compared() -> None:
    rng = np.random.default_rng(0)
    prices = {f"h{i}": float(rng.gamma(2)) for i in range(500)}
    other = {name: price + float(rng.normal()) for name, price in prices.items()}
    comparison, measures = compare(make_study("one", prices), make_study("other", other))
    assert sum(len(column.runs) for column in comparison.columns) == 3006
    tables = build_tables_of_studies(comparison, measures)
    answers = answer_questions_of_studies(comparison, measures)
    page = render_comparison(comparison, measures, answers, tables, linked=False)
    assert len(page) < 3_000_000 and page.count("<tr>") > 1500
