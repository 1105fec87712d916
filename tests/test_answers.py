"""The sentences of a report, from small studies whose answers are known."""

import pandas as pd
import pytest

from uncollapse.report.answers import Answer, answer_questions, describe_unread
from uncollapse.report.answers.answer import agree, format_interval, format_span, list_names
from uncollapse.report.ranking import find_different

NOISE = (-0.01, 0.0, 0.01)  # of the seeds


def make_runs(heads: dict[str, dict], seeds: int = 3, **columns) -> pd.DataFrame:
    """Runs of each head: gap, mi and nll with a little noise over seeds, or lists by seed."""
    rows = []
    for order, (name, facts) in enumerate(heads.items()):
        head, _, setting = name.partition(" ")
        label = {"plain": "plain VAE"}.get(head, head)
        for seed in range(facts.get("seeds", seeds)):
            values = {"gap": 0.0, "mi": 0.0, "nll": 20.0, **facts}
            gap, mi, nll = (
                values[key][seed] if isinstance(values[key], list) else values[key] + NOISE[seed]
                for key in ("gap", "mi", "nll")
            )
            rows.append(
                {
                    "head": head, "label": label, "order": order, "seed": seed,
                    "group": f"{label} ({setting})" if setting else label,
                    "override_list": [setting] if setting else [], "knobs": {"knob": 1.0},
                    "slot": "baseline" if head in ("plain", "lm") else "posterior",
                    "shuffle_gap": gap, "mi": mi, "nll": nll, "mi_saturated": 0.0,
                    "nll_samples": 100.0, "nll_examples": 500.0, "oracle_gap": float("nan"),
                    "status": "done", "data_name": "", "study": "s", "converged": 1.0,
                    "schedule_complete": 1.0, "unfinished": "", "next_gain": 0.0,
                    "nll_bias": 0.0, "commit": "a", "tree_changed": False,
                    "command": f"python train.py head={head} knob=1 data=digits seed={seed}",
                    **{k: v for k, v in facts.items() if k not in ("gap", "mi", "nll", "seeds")},
                    **columns,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


PLAIN = {"plain": {}}
KEPT = {"gap": 5.0, "mi": 2.0, "nll": 20.5}


def find(runs: pd.DataFrame, words: str) -> Answer:
    """The one answer that holds these words."""
    found = [answer for answer in answer_questions(runs) if words in answer.text]
    assert len(found) == 1, [answer.text for answer in answer_questions(runs)]
    return found[0]


def texts(runs: pd.DataFrame) -> str:
    return "\n".join(answer.text for answer in answer_questions(runs))


# ---------------------------------------------------------------- plain


@pytest.mark.parametrize(
    ("plain", "kind", "words"),
    [
        ({"gap": [0.01, 0.02, 0.03]}, "answer", "Plain VAE collapsed: decoding from another"),
        ({"gap": 3.0}, "answer", "Plain VAE did not collapse: decoding"),
        ({"gap": [0.0, 0.1, 0.2]}, "unknown", "collapsed is open: decoding"),
        ({"seeds": 1}, "unknown", "One seed cannot show whether plain collapses"),
        ({"gap": [float("nan")] * 3}, "unknown", "Plain has no gap"),
    ],
)
def test_plain_collapsed_or_not_or_open(plain: dict, kind: str, words: str) -> None:
    answer = find(make_runs({"plain": plain}), words)
    assert answer.kind == kind and answer.evidence == "summary"


def test_interval_of_the_gap_is_stated() -> None:
    # t(0.975, 2) * 0.01 / sqrt(3) = 0.0248
    assert "costs 0.020 ± 0.025 nats (gap, 3 seeds)" in texts(
        make_runs({"plain": {"gap": [0.01, 0.02, 0.03]}})
    )


def test_study_without_plain_names_the_command() -> None:
    answer = find(make_runs({"bn_mu": KEPT}), "no finished run of head=plain")
    assert answer.kind == "unknown"
    assert answer.command == "python train.py data=digits head=plain seed=0,1,2 -m"
    assert "cost" not in texts(make_runs({"bn_mu": KEPT})).replace("What a code costs is open", "")


def test_unfinished_plain_counts_as_missing() -> None:
    runs = make_runs({"plain": {"status": "failed"}, "bn_mu": KEPT})
    assert find(runs, "no finished run of head=plain").kind == "unknown"
    assert find(runs, "3 of 6 runs are in no mean: 3 failed").kind == "caution"


# ---------------------------------------------------------------- remedies that keep a code


def test_remedies_are_kept_collapsed_or_open() -> None:
    runs = make_runs(
        {**PLAIN, "bn_mu": KEPT, "mog": {}, "mdr": {"gap": [0.0, 0.3, 0.1]}, "vmf": KEPT}
    )
    text = find(runs, "keep a code").text
    assert text.startswith("2 of 4 remedies keep a code (")
    assert "all of them 1 nat of mi or more" in text
    assert "1 collapses: mog" in text and "1 is open: mdr" in text


def test_one_setting_that_keeps_a_code_is_enough() -> None:
    runs = make_runs({**PLAIN, "beta knob=0.9": {}, "beta knob=0.5": KEPT})
    assert find(runs, "a code").text.startswith("1 of 1 remedy keeps a code at some setting")


def test_one_seed_leaves_all_open() -> None:
    runs = make_runs({**PLAIN, "bn_mu": KEPT, "vmf": {}}, seeds=1)
    answer = find(runs, "Which remedies keep a code is open")
    assert answer.kind == "unknown" and "above 0.1 nats in 1 of 2" in answer.text
    assert find(runs, "One seed cannot show whether any of 2 settings lowers nll")
    assert "0 of" not in texts(runs)


# ---------------------------------------------------------------- prices


def make_frontiers(slopes: dict[str, float], **spans: tuple[float, ...]) -> pd.DataFrame:
    """Heads at three values of their knob, by default with 0.5, 3 and 5.5 nats of mi."""
    heads = {
        f"{head} knob={i}": {"gap": 5.0, "mi": mi, "nll": 20 + slope * mi}
        for head, slope in slopes.items()
        for i, mi in enumerate(spans.get(head, (0.5, 3.0, 5.5)))
    }
    runs = make_runs({**PLAIN, **heads})
    # the seeds' noise cancels in paired differences, so each seed gets a little of its own
    runs.loc[runs["head"] != "plain", "nll"] += 0.001 * ((runs["order"] * 7 + runs["seed"]) % 5)
    return runs


def test_heads_that_cannot_be_told_apart_are_named_together() -> None:
    runs = make_frontiers({"cheap": 0.1, "same": 0.1, "costly": 0.5})
    answer = find(runs, "At 4 nats of information")
    assert "1 other costs significantly more than the cheapest, by 1.60" in answer.text
    assert answer.evidence == "frontier"
    assert "At 8 nats" not in texts(runs), "no head reaches it"


def test_neighbouring_levels_without_differences_are_one_sentence() -> None:
    runs = make_frontiers({"one": 0.1, "other": 0.1})
    text = texts(runs)
    assert "At 1, 2 and 4 nats, none of the 2 remedies can be told from the cheapest" in text


def test_levels_without_differences_may_be_reached_by_other_heads() -> None:
    text = texts(make_frontiers({"one": 0.1, "other": 0.1, "short": 0.1}, short=(0.5, 1.5, 2.5)))
    assert "At 1, 2 and 4 nats, none of the 2 to 3 remedies can be told" in text


def test_remedies_to_take_are_cheapest_at_every_level_they_reach() -> None:
    """`late` begins at 2 nats; `early` is cheapest at first and costly at the end; `none` never."""
    prices = {
        "best": ([0.5, 3.0, 7.0], [0.1, 0.2, 0.4]),
        "late": ([1.5, 3.0, 7.0], [0.15, 0.2, 0.4]),
        "early": ([0.5, 3.0, 7.0], [0.1, 0.2, 0.9]),
        "none": ([0.5, 3.0, 7.0], [0.8, 1.0, 1.2]),
        "short": ([0.5, 2.2, 3.0], [0.1, 0.17, 0.21]),
    }
    heads = {
        f"{head} knob={i}": {"gap": 5.0, "mi": [mi + 0.001 * i] * 3, "nll": 20 + price}
        for head, (carried, costs) in prices.items()
        for i, (mi, price) in enumerate(zip(carried, costs, strict=True))
    }
    runs = make_runs({**PLAIN, **heads})
    runs.loc[runs["head"] != "plain", "nll"] += 0.01 * ((runs["order"] * 7 + 3 * runs["seed"]) % 5)
    answer = find(runs, "To keep up to")
    assert "To keep up to 6 nats of information (mi), take best: at 1, 2, 4 and 6" in (answer.text)
    assert "; from 2 nats on, also late. Price" in answer.text
    assert "plain's nll is 20.00" in answer.text and answer.evidence == "frontier"
    assert "had not converged" not in answer.text
    late = find(runs.assign(converged=(runs["head"] != "late") * 1.0), "To keep up to")
    assert "9 of their 18 runs had not converged, all with 1.5 nats or more" in late.text


def test_no_remedy_to_take_where_none_is_always_cheapest() -> None:
    prices = {"low": ([0.5, 3.0, 7.0], [0.0, 0.2, 2.0]), "high": ([0.5, 3.0, 7.0], [0.7, 0.8, 0.9])}
    heads = {
        f"{head} knob={i}": {"gap": 5.0, "mi": [mi] * 3, "nll": 20 + price}
        for head, (carried, costs) in prices.items()
        for i, (mi, price) in enumerate(zip(carried, costs, strict=True))
    }
    runs = make_runs({**PLAIN, **heads})
    runs.loc[runs["head"] != "plain", "nll"] += 0.01 * ((runs["order"] * 7 + 3 * runs["seed"]) % 5)
    assert find(runs, "No remedy is among the cheapest at every amount").kind == "answer"
    assert "take " not in texts(runs)


def test_without_frontiers_similar_heads_are_compared() -> None:
    runs = make_runs(
        {
            **PLAIN,
            "low1": {"gap": 2.0, "mi": 1.1, "nll": [20.1, 20.11, 20.1]},
            "low2": {"gap": 2.0, "mi": 1.2, "nll": [20.1, 20.1, 20.11]},
            "high1": {"gap": 5.0, "mi": 4.0, "nll": [20.2, 20.2, 20.21]},
            "high2": {"gap": 5.0, "mi": 5.0, "nll": [23.0, 23.01, 23.0]},
        }
    )
    assert "none of the 2 remedies" in find(runs, "Where 1.10 to 1.20 nats (mi) are kept").text
    high = find(runs, "Where 4.00 to 5.00 nats (mi) are kept")
    assert (
        "high1 costs least" in high.text
        and "Significantly more than the cheapest, by 2.80 ± 0.02 nats" in high.text
    )
    assert high.evidence == "paired" and high.kind == "caution"
    answer = find(runs, "at equal information is open")
    heads = "low1,low2,high1,high2"
    assert answer.command == f"python train.py data=digits head={heads} seed=0,1,2 level=1,2,3 -m"


def test_heads_that_keep_very_different_amounts_are_not_compared() -> None:
    runs = make_runs(
        {
            **PLAIN,
            "little": {"gap": 2.0, "mi": 1.2, "nll": 20.0},
            "much": {"gap": 5.0, "mi": 6.0, "nll": 20.5},
        }
    )
    assert "cost least" not in texts(runs) and "costs least:" not in texts(runs)
    assert find(runs, "With no other near in information").text == (
        "With no other near in information: little keeps 1.20 nats of information (mi) at a price "
        "of 0.00 ± 0.00; much keeps 6.00 nats of information (mi) at a price of +0.50 ± 0.00 "
        "(price: nll − plain, in nats per example; 3 seeds)."
    )


def test_bands_are_narrow_and_the_fullest_come_first() -> None:
    amounts = [0.2, 0.6, 2.0, 2.4, 2.9, 3.1, 9.0]
    runs = make_runs(
        {
            **PLAIN,
            **{f"h{mi:g}": {"gap": 2.0, "mi": mi, "nll": 20.0 + mi / 100} for mi in amounts},
        }
    )
    assert find(runs, "Where 0.20 to 0.60 nats") and find(runs, "Where 2.00 to 2.90 nats")
    assert find(runs, "With no other near in information").about == ("h3.1", "h9")


def test_price_of_a_single_remedy_is_stated() -> None:
    assert find(make_runs({**PLAIN, "a": {**KEPT, "nll": [20.1, 20.5, 20.3]}}), "a price of") == (
        Answer(
            "answer",
            "a keeps 2.00 nats of information (mi) at a price of +0.30 ± 0.48 (price: nll − plain, "
            "in nats per example; 3 seeds).",
            "paired",
            about=("a",),
        )
    )
    collapsed = make_runs({**PLAIN, "a": {"gap": 0.01, "nll": 20.1}})
    assert find(collapsed, "no remedy is known to keep one").command
    saturated = make_runs({**PLAIN, "a": KEPT}, mi_saturated=1.0)
    assert find(saturated, "a keeps at least 2.00 nats")


def test_baselines_are_no_remedies() -> None:
    runs = make_runs({**PLAIN, "lm": {"gap": 0.0, "nll": 25.0}, "a": KEPT})
    assert find(runs, "1 of 1 remedy keeps a code").about == ()
    assert "1 comparison with plain" in texts(runs) and " lm" not in texts(runs)


def test_damaged_runs_are_counted_on_the_first_screen() -> None:
    notes = ["a: metrics.jsonl: a torn row", "b: damaged; left out", "c: no config; left out"]
    (answer,) = describe_unread(notes)
    assert answer.text.startswith("2 runs could not be read") and answer.kind == "caution"
    assert describe_unread(notes[:1]) == []


def test_missing_nll_names_the_evaluation() -> None:
    runs = make_runs({**PLAIN, "bn_mu": KEPT}).assign(nll=float("nan"))
    answer = find(runs, "What a code costs is open")
    assert answer.kind == "unknown" and answer.command == "uncollapse evaluate results/s"
    assert "lower nll" not in texts(runs), "nothing was compared"


def test_nll_of_other_codes_is_not_compared() -> None:
    runs = make_runs({**PLAIN, "bn_mu": {**KEPT, "nll_samples": 5000.0}})
    assert find(runs, "as many codes and examples").kind == "unknown"


def test_savings_and_costs_must_survive_the_number_of_comparisons() -> None:
    runs = make_runs(
        {
            **PLAIN,
            "better": {**KEPT, "nll": [19.0, 19.02, 19.01]},
            "worse": {**KEPT, "nll": [22.0, 22.02, 22.01]},
            "same": {**KEPT, "nll": [19.9, 20.1, 20.05]},
        }
    )
    text = find(runs, "comparisons with plain").text
    assert text.startswith("better lowers nll (−0.99") and "Holm's adjustment for 3" in text
    assert "1 setting costs significantly more (+2.01" in text and "same" not in text


def test_lower_nll_of_a_collapsed_head_says_that_it_keeps_no_code() -> None:
    heads = {**PLAIN, "a": {"gap": 0.01, "nll": [19.0, 19.02, 19.01]}}
    assert "a lowers nll" in texts(make_runs(heads)) and "; it keeps no code" in texts(
        make_runs(heads)
    )
    both = {**heads, "b": {**KEPT, "nll": [19.0, 19.02, 19.01]}}
    assert "a and b lower nll" in texts(make_runs(both))
    assert "; a keeps no code" in texts(make_runs(both))


def test_one_clear_difference_among_noise_is_found() -> None:
    lower, higher = find_different(
        {"a": pd.Series([-1.0, -1.01, -0.99]), "b": pd.Series([0.1, -0.1, 0.05])}
    )
    assert (lower, higher) == (["a"], [])
    assert find_different({"a": pd.Series([-1.0])}) == ([], [])


def test_best_possible_nll_is_stated_only_where_it_is_known() -> None:
    assert "oracle gap" not in texts(make_runs(PLAIN))
    runs = make_runs({"plain": {"seeds": 1, "oracle_gap": 0.11}})
    assert "plain ends 0.11 nats above it (oracle gap)" in texts(runs)


# ---------------------------------------------------------------- limits


def test_disagreement_of_seeds_is_a_caution() -> None:
    runs = make_runs({**PLAIN, "vmf": {**KEPT, "mi": [1.0, 2.0, 3.0]}, "bn_mu": KEPT})
    answer = find(runs, "Seeds disagree")
    assert answer.kind == "caution" and "how much vmf keeps" in answer.text


def test_saturated_information_is_in_no_comparison_and_said() -> None:
    heads = {"low": KEPT, "other": KEPT, "full": {**KEPT, "mi": 6.0, "mi_saturated": 1.0}}
    runs = make_runs({**PLAIN, **heads})
    answer = find(runs, "within 0.5 nats of its ceiling")
    assert "mi of full is" in answer.text and "in 3 runs" in answer.text
    assert answer.kind == "caution" and answer.about == ("full",)
    assert "full" not in find(runs, "(mi) are kept").text
    assert "ceiling" not in texts(make_runs({**PLAIN, "low": KEPT}))


def test_groups_of_fewer_seeds_say_so() -> None:
    runs = make_runs({**PLAIN, "a": {**KEPT, "seeds": 2}, "b": KEPT})
    assert "(2 to 3 seeds)" in find(runs, "(mi) are kept").text
    # one of two heads with a single seed: its code is open, and it has no price
    runs = make_runs({**PLAIN, "a": {**KEPT, "seeds": 1}, "b": KEPT, "c": KEPT})
    assert "1 is open: a" in find(runs, "remedies keep a code").text
    assert "none of the 2 remedies" in find(runs, "(mi) are kept").text


def test_sentences_name_the_rows_that_show_them() -> None:
    runs = make_runs({**PLAIN, "a": KEPT, "b": {**KEPT, "gap": 0.01}})
    assert find(runs, "Plain VAE collapsed").about == ("plain VAE",)
    assert find(runs, "remedies keep a code").about == ("b",)
    frontiers = make_frontiers({"cheap": 0.1, "same": 0.1, "costly": 0.5})
    assert find(frontiers, "At 4 nats of information").about == ("costly",)
    assert {*find(frontiers, "To keep up to").about} == {"cheap", "same"}


def test_few_exceptions_at_a_level_are_named_with_the_ties() -> None:
    slopes = {f"head{i}": 0.1 for i in range(11)} | {"costly": 0.6}
    text = texts(make_frontiers(slopes))
    assert "At 1, 2 and 4 nats, none of the 12 remedies can be told from the cheapest" in text
    assert "costly at 4 nats (by 2.00" in text and "At 4 nats of information" not in text


def test_unconverged_runs_are_named() -> None:
    runs = make_runs({**PLAIN, "vmf": {**KEPT, "converged": 0.0}})
    assert "3 of 6 finished runs had not converged when training ended: vmf." in texts(runs)
    runs = make_runs({**PLAIN, "mdr": {**KEPT, "schedule_complete": 0.0}})
    assert "ended before a schedule did: mdr." in texts(runs)


def test_costs_that_few_samples_may_explain_are_marked() -> None:
    worse = {**KEPT, "nll": [22.0, 22.02, 22.01]}
    runs = make_runs({**PLAIN, "worse": {**worse, "nll_bias": 0.5}, "sure": worse})
    assert "in 1 of these more samples would lower the difference" in texts(runs)
    assert "more samples" not in texts(make_runs({**PLAIN, "worse": worse}))


def test_different_code_is_a_caution() -> None:
    runs = make_runs({**PLAIN, "vmf": {**KEPT, "commit": "b"}})
    answer = find(runs, "The runs are from 2 commits of the code")
    assert answer.kind == "caution" and answer.evidence == "provenance"
    assert "3 of 6 runs had uncommitted changes" in texts(
        make_runs({**PLAIN, "vmf": {**KEPT, "tree_changed": True}})
    )
    assert "commit" not in texts(make_runs({**PLAIN, "vmf": KEPT}))


def test_each_data_set_has_its_own_answers() -> None:
    runs = pd.concat(
        [
            make_runs(PLAIN, data_name="small"),
            make_runs({"plain": {"gap": 3.0}}, data_name="large").assign(order=1),
        ],
        ignore_index=True,
    )
    assert find(runs, "small: Plain VAE collapsed").kind == "answer"
    assert find(runs, "large: Plain VAE did not collapse").kind == "answer"
    assert texts(runs).count("All 6 runs are done.") == 1


def test_one_unfinished_run_has_no_answers_but_its_state() -> None:
    runs = make_runs(PLAIN, seeds=1, status="unfinished")
    assert texts(runs).startswith("The only run is in no mean: 1 unfinished")


TWO_HEADS = {**PLAIN, "a": KEPT, "b": {**KEPT, "gap": 0.01}}
MATRIX = {
    # fixture: (runs, what is said, what must not be)
    "one seed": (
        make_runs(TWO_HEADS, seeds=1),
        ["One seed cannot show whether plain collapses", "is open with one seed each", "One seed"],
        ["collapsed", "keep a code (", "significantly"],
    ),
    "no plain": (
        make_runs({"a": KEPT, "b": KEPT}),
        ["no finished run of head=plain", "What a code costs is open", "2 of 2 remedies keep"],
        ["nll −", "significantly"],
    ),
    "plain alone": (make_runs(PLAIN), ["Plain VAE collapsed", "All 3 runs"], ["remed", "costs is"]),
    "one run": (
        make_runs({"a": KEPT}, seeds=1),
        ["no finished run of head=plain", "open with one seed each", "The run is done."],
        ["significantly", "±"],
    ),
    "no nll": (
        make_runs(TWO_HEADS, oracle_gap=float("nan")).assign(nll=float("nan")),
        ["Plain VAE collapsed", "no run has nll", "1 of 2 remedies keep a code"],
        ["lower nll", "nll − plain"],
    ),
    "one remedy": (
        make_runs({**PLAIN, "a": {**KEPT, "nll": [20.1, 20.5, 20.3]}}),
        ["1 of 1 remedy keeps a code", "a keeps 2.00 nats", "+0.30 ± 0.48 (price: nll − plain"],
        ["cheapest", "equal information"],
    ),
    "failed seeds": (
        make_runs({**PLAIN, "a": KEPT, "b": {**KEPT, "status": "failed"}}),
        ["1 of 1 remedy keeps a code", "3 of 9 runs are in no mean: 3 failed", "1 comparison with"],
        ["b lower", "All 9"],
    ),
    "two data sets": (
        pd.concat(
            [make_runs(TWO_HEADS, data_name=name).assign(study="s") for name in ("x", "y")],
            ignore_index=True,
        ),
        ["x: Plain VAE collapsed", "y: Plain VAE collapsed", "x: 1 of 2 remedies", "All 18 runs"],
        ["is open"],
    ),
}


@pytest.mark.parametrize("name", MATRIX)
def test_every_kind_of_study_is_answered_or_abstained_from(name: str) -> None:
    runs, said, unsaid = MATRIX[name]
    if name == "two data sets":
        # groups of other data are other groups
        runs["order"] += 10 * (runs["data_name"] == "y")
    answers = answer_questions(runs)
    text = "\n".join(answer.text for answer in answers)
    assert all(words in text for words in said), text
    assert not any(words in text for words in unsaid), text
    assert "nan" not in text and len(answers) <= 8 * runs["data_name"].nunique()
    # what could be known from more runs has the command that makes them
    assert all(answer.command for answer in answers if answer.kind == "unknown"), answers


def test_command_for_more_seeds_names_all_heads_or_nothing() -> None:
    runs = make_runs(TWO_HEADS, seeds=1)
    command = find(runs, "open with one seed each").command
    assert command == "python train.py data=digits head=plain,a,b seed=1,2 -m"
    runs = make_runs({**PLAIN, "a knob=1": KEPT, "a knob=2": KEPT}, seeds=1)
    assert not find(runs, "open with one seed each").command, "no command has all settings"


# ---------------------------------------------------------------- words


def test_lists_are_cut_and_numbers_written_once() -> None:
    assert list_names(["A"]) == "A" and list_names(["A", "B", "C"]) == "A, B and C"
    assert list_names([str(i) for i in range(9)]) == "0, 1, 2, 3, 4, 5 and 3 more"
    assert format_interval(-0.123, 0.04, "+") == "−0.12 ± 0.04"
    assert format_span([(0.2, 0.1), (-0.1, 0.1)]) == "−0.10 ± 0.10 to +0.20 ± 0.10"
    assert (agree(1, "keep"), agree(2, "keep"), agree(1, "are", "is")) == ("keeps", "keep", "is")
