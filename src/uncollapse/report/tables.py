"""Tables: numbers as a frame for csv, and the same rows as text for Markdown, LaTeX, the page and the terminal."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .notes import BOUND, CUT, FEW, TILTED, cut_note, cut_off, few_samples, tilted, weights_note
from .runs import BOTH, ENDED, EVALUATED, LAST, METRICS, SAMPLED, TESTED
from .stats import (
    SAMPLED_BY,
    against_plain,
    by_group,
    finished,
    paired_difference,
    plain_of,
    relative_time,
    same_samples,
    summarise,
)

PAIRED = ("nll", "nll_bias", "kl", "mi", "shuffle_gap", "probe", "nelbo", "rec")
SHOWN = (
    "nll", "nll_ess", "ppl", "kl", "mi", "au", "shuffle_gap", "probe", "oracle_gap", "nelbo", "rec", "floor", "kl_minus_floor",
)  # fmt: skip
NUMBERS = (
    *METRICS[:-1],
    *TESTED,
    *EVALUATED,
    *SAMPLED,
    "seconds_per_step",
    "kl_train_mode",
    *ENDED,
    *LAST,
)
IN_CSV = (  # of groups, beside what the text shows
    "nll_ppl", "marginal_kl", "nll_bias", "d_nll_bias", "nll_ess_low", "probe_chance", "final_weight",
    *(f"last_{metric}" for metric in BOTH),
)  # fmt: skip
PER_CHAR = (
    "nll_per_char",
    "nelbo_per_char",
)  # what runs at different levels of text can be compared by
NONE = "–"
FORMULA = tuple("=+-@＝＋－＠")  # what a cell of a spreadsheet must not begin with
LATEX_WIDTH = (
    110  # characters of one tabular: what fits a page in small print; wider tables go on below
)
HEADERS = {
    "nll_per_char": "nll / char",
    "nelbo_per_char": "nelbo / char",
    "shuffle_gap": "gap",
    "kl_minus_floor": "kl - floor",
    "relative_time": "time",
    "d_nll": "nll - plain",
}
DIGITS = {
    "au": 1, "nll_ess": 1, "nll_per_char": 4, "nelbo_per_char": 4,
    "probe": 3, "sample_grammatical": 3, "sample_distinct": 3, "sample_novel": 3, "sample_self_bleu": 1,
    "sample_self_bleu_data": 1, "sample_words": 1, "sample_lm_ppl": 1, "sample_lm_ppl_data": 1, "response_bleu4": 2,
    "response_distinct_1": 4, "response_distinct_1_data": 4, "response_distinct_2": 3, "response_distinct_2_data": 3,
    "response_variety": 3, "response_words": 1, "response_words_data": 1,
}  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    CUT: r"\dag{}", TILTED: r"\ddag{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "…": r"\ldots{}", "→": r"$\rightarrow$", "↑": r"$\uparrow$",
    "≤": r"$\leq$", "≥": r"$\geq$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "²": "$^2$", **{c: f"\\{c}" for c in "&%$#_{}"},
    **{letter: f"$\\{name}$" for letter, name in zip("αβγδεθκλμνρστφ", (
        "alpha", "beta", "gamma", "delta", "epsilon", "theta", "kappa", "lambda", "mu", "nu", "rho",
        "sigma", "tau", "phi",
    ), strict=True)},
}  # fmt: skip


class Table(NamedTuple):
    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame


def all_tables(runs: pd.DataFrame) -> list[Table]:
    return [summary(runs), paired(runs), samples(runs), every_run(runs)]


def summary(runs: pd.DataFrame) -> Table:
    """One line per group: mean and half-width of the t-interval over its finished seeds, and how its runs stand."""
    metrics = ["nll", "nll_ess", "d_nll", *per_char(runs), *SHOWN[2:], "relative_time"]
    other = runs["head"] != "plain"
    d_nll, d_nll_bias = (against_plain(runs, name).where(other) for name in ("nll", "nll_bias"))
    derived = runs.assign(relative_time=relative_time(runs), d_nll=d_nll, d_nll_bias=d_nll_bias)
    statistics = summarise(derived, [*metrics, *IN_CSV])
    counts = runs.groupby("order")["status"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=["done", "failed", "unfinished"], fill_value=0).rename(
        columns={"done": "n"}
    )
    names = runs.drop_duplicates("order").set_index("order")[
        ["group", "head", "label", "overrides", "changes"]
    ]
    numbers = (
        names.join(counts)
        .join(statistics)
        .join(ceilings(runs))
        .join(warned(runs))
        .join(sampled_by(runs))
    )
    text = pd.DataFrame(
        {
            "group": marked(numbers["group"], numbers["cut_off"] > 0, after=f" {CUT}"),
            "changes": numbers["changes"],
            "n": [seeds_cell(*row) for row in counts.itertuples(index=False)],
        }
    )
    one = one_ceiling(numbers)
    chance = one_chance(numbers)
    bound = numbers["few_samples"] > 0
    special = {
        "nll": marked(cells(numbers, "nll"), bound, f"{BOUND} "),
        "d_nll": marked(cells(numbers, "d_nll", sign="+"), biased(numbers), after=f" {TILTED}"),
        "oracle_gap": marked(cells(numbers, "oracle_gap"), bound, f"{BOUND} "),
        "ppl": ppl_cells(numbers),
        "mi": mi_cells(numbers, with_ceiling=not one),
        "probe": probe_cells(numbers, with_chance=np.isnan(chance)),
    }
    headers = HEADERS | ({"mi": f"mi (ceiling {one:.2f})"} if one else {})
    headers |= {} if np.isnan(chance) else {"probe": f"probe (chance {chance:.3f})"}
    for metric in metrics:
        text[headers.get(metric, metric)] = special.get(metric) or cells(
            numbers, metric, DIGITS.get(metric)
        )
    return Table("summary", summary_title(runs, text), numbers.reset_index(drop=True), filled(text))


def summary_title(runs: pd.DataFrame, text: pd.DataFrame) -> str:
    """What the cells are, and every mark that is in one of them."""
    marks = "".join(text.astype(str).to_numpy().ravel())
    samples, labels = (
        finished(runs)["nll_samples"].dropna(),
        finished(runs)["probe_labels"].dropna(),
    )
    examples = finished(runs)["nll_examples"].dropna()
    parts = [
        "Test metrics, mean ± half-width of the 95 % t-interval over seeds; nats but for ppl, au, probe and time.",
        f"nll: {low_to_high(samples)} samples per example, {low_to_high(examples)} examples."
        if len(samples)
        else "",
        uneven_text(runs),
        "nll - plain: paired by seed." if "nll - plain" in filled(text) else "",
        "changes: the slots of the config that differ from plain's."
        if "changes" in filled(text)
        else "",
        f"probe: accuracy at {low_to_high(labels)} labels." if len(labels) else "",
        "≤: from nelbo, an upper bound." if loose_ppl(runs) else "",
        "Runs differ in data.level: compare them per character." if per_char(runs) else "",
        bound_text(runs),
        f"{TILTED}: its bias at this number of samples is comparable with its interval."
        if TILTED in marks
        else "",
        "≥: mi within 0.5 nats of its ceiling ln N in at least one seed, so a lower bound."
        if "≥" in marks
        else "",
        cut_note(runs),
        weights_note(runs),
    ]
    return " ".join(filter(None, parts))


def per_char(runs: pd.DataFrame) -> tuple[str, ...]:
    """Metrics per character, where runs differ in level and so in what a token is."""
    return PER_CHAR if runs["level"].nunique() > 1 else ()


def bound_text(runs: pd.DataFrame) -> str:
    """What ≤ before an nll, and what comes from it, means; '' where no run has it."""
    if not few_samples(finished(runs)).any():
        return ""
    return (
        f"≤ at nll, ppl, oracle_gap: a seed with fewer than {FEW} effective samples (nll_ess) on average or in most examples, so "
        "an upper bound that more samples would lower."
    )


def uneven_text(runs: pd.DataFrame) -> str:
    """A warning where nll do not compare; '' elsewhere."""
    if (finished(runs)[list(SAMPLED_BY)].nunique() <= 1).all():
        return ""
    return "Not all nll are from as many samples and examples: do not compare these; such pairs are in no difference to plain."


def loose_ppl(runs: pd.DataFrame) -> bool:
    """Whether a group's perplexity comes from nelbo."""
    done = finished(runs)
    return bool(
        (
            done.groupby("order")["nll_ppl"].count()[done.groupby("order")["ppl"].count() > 0] == 0
        ).any()
    )


def warned(runs: pd.DataFrame) -> pd.DataFrame:
    """Per group (index `order`): how many of its finished runs were cut off, and how many have an nll that is only a bound."""
    done = finished(runs)
    marks = pd.DataFrame(
        {"order": done["order"], "cut_off": cut_off(done), "few_samples": few_samples(done)}
    )
    return marks.groupby("order").sum()


def biased(numbers: pd.DataFrame) -> list[bool]:
    """Where a difference of nll has a bias as large as its interval."""
    rows = numbers[["d_nll_mean", "d_nll_half", "d_nll_bias_mean"]].to_numpy(dtype=float).tolist()
    return [tilted(*row) for row in rows]


def one_chance(numbers: pd.DataFrame) -> float:
    """The chance level that all probes share; nan where they differ or none is known."""
    values = numbers.loc[numbers["probe_n"] > 0, "probe_chance_mean"].to_numpy(dtype=float)
    return float(values[0]) if values.size and np.ptp(values) < 0.0005 else np.nan


def sampled_by(runs: pd.DataFrame) -> pd.DataFrame:
    """Per group (index `order`): the fewest and the most samples and examples that its nll are from."""
    groups = finished(runs).groupby("order")
    return pd.DataFrame(
        {
            f"{name}_{end}": getattr(groups[name], end)()
            for name in SAMPLED_BY
            for end in ("min", "max")
        }
    )


def low_to_high(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def ceilings(runs: pd.DataFrame) -> pd.DataFrame:
    """Per group (index `order`): lowest and highest ceiling ln N of its finished runs, and how many are saturated."""
    groups = finished(runs).dropna(subset=["mi"]).groupby("order")
    return pd.DataFrame(
        {
            "mi_ceiling_low": groups["mi_ceiling"].min(),
            "mi_ceiling_high": groups["mi_ceiling"].max(),
            "mi_saturated": groups["mi_saturated"].sum(),
        }
    )


def one_ceiling(numbers: pd.DataFrame) -> float:
    """The ceiling (nats) that every group with mi shares; 0 where there is none."""
    values = numbers.loc[numbers["mi_n"] > 0, ["mi_ceiling_low", "mi_ceiling_high"]].to_numpy(
        dtype=float
    )
    return float(values[0, 0]) if values.size and np.ptp(values) < 0.005 else 0.0


def paired(runs: pd.DataFrame) -> Table:
    """Differences to plain on shared seeds; empty where plain or shared seeds are missing."""
    done = {order: group.set_index("seed") for order, group in by_group(finished(runs))}
    pairs = [
        pair for pair in plain_of(runs).items() if pair[0] != pair[1] and done.keys() >= set(pair)
    ]
    columns = [
        "group",
        "against",
        "n",
        *(f"d_{metric}_{part}" for metric in PAIRED for part in ("n", "mean", "half")),
    ]
    numbers = pd.DataFrame(
        [difference(done[order], done[plain]) for order, plain in pairs], columns=columns
    )
    numbers = numbers[numbers["n"] > 0]
    text = numbers[["group", "against", "n"]].astype(str)
    cut = text["group"].isin(runs.loc[cut_off(runs), "group"])
    text["group"] = marked(text["group"], cut, after=f" {CUT}")
    for metric in PAIRED:
        text[HEADERS.get(metric, metric)] = cells(
            numbers, f"d_{metric}", DIGITS.get(metric), sign="+"
        )
    text["nll"] = marked(text["nll"], biased(numbers), after=f" {TILTED}")
    title = "Test metrics minus plain's on shared seeds (nats; probe: accuracy), mean ± half-width of the paired t-interval (95 %)."
    if (finished(runs)["mi_saturated"] == 1).any():
        title += " A saturated mi (≥ in the summary) is a lower bound, and its differences are not exact."
    if cut.any():
        title += f" {CUT}: cut off, see the summary."
    if any(TILTED in cell for cell in text["nll"]):
        title += f" {TILTED}: nll_bias, the part of the difference that more samples would take away, is comparable with its interval."
    return Table("paired", title, numbers, filled(text))


def difference(group: pd.DataFrame, plain: pd.DataFrame) -> dict[str, Any]:
    """One row of `paired`, from the runs of two groups indexed by seed."""
    row: dict[str, Any] = {"group": group["group"].iloc[0], "against": plain["group"].iloc[0]}
    row["n"] = len(group.index.intersection(plain.index))
    shared = plain.reindex(group.index)
    alike = same_samples(group, shared)
    for metric in PAIRED:
        values = group[metric].where(alike) if metric.startswith("nll") else group[metric]
        statistics = paired_difference(values, plain[metric])
        row |= {
            f"d_{metric}_{part}": value
            for part, value in zip(("n", "mean", "half"), statistics, strict=True)
        }
    return row


SAMPLE_NOTES = {
    "sample_grammatical": "grammatical: share that is in the grammar; oracle ppl: their perplexity under its exact probabilities.",
    "sample_lm_ppl": "lm ppl: perplexity to the study's language model (head=lm); lm ppl data: of as many test sentences.",
    "sample_distinct": "distinct, novel: shares of different sentences, and of those not in the training part. self bleu: BLEU-4 against "
    "each other, 0 to 100; self bleu data: of as many training sentences, which is what a faithful model reaches. words: a sentence.",
    "response_bleu4": "bleu4: of the likeliest responses to codes of the prior, against the real ones, 0 to 100. distinct: different "
    "words and pairs of words among all; data: of the real ones. variety: share of different responses among five to one context, "
    "0.2 where the code is ignored.",
}


def samples(runs: pd.DataFrame) -> Table:
    """How good samples of the prior, or responses, are; empty where no run has been asked for them."""
    metrics = [name for name in SAMPLED if runs[name].notna().any()]
    numbers = summarise(runs, metrics)
    numbers = numbers.join(runs.drop_duplicates("order").set_index("order")["group"])
    numbers["n"] = runs.groupby("order")["status"].agg(lambda status: (status == "done").sum())
    numbers = numbers[(numbers[[f"{name}_n" for name in metrics]] > 0).any(axis=1)]
    text = pd.DataFrame({"group": numbers["group"], "n": numbers["n"].astype(str)})
    for metric in metrics:
        text[metric.split("_", 1)[1].replace("_", " ")] = cells(numbers, metric, DIGITS.get(metric))
    notes = [note for metric, note in SAMPLE_NOTES.items() if metric in metrics]
    what = "Responses" if "response_bleu4" in metrics else "Sentences drawn from the prior"
    title = " ".join([f"{what}, mean ± half-width of the 95 % t-interval over seeds.", *notes])
    return Table("samples", title, numbers.reset_index(drop=True), filled(text))


def every_run(runs: pd.DataFrame) -> Table:
    """Every run with all its numbers; the text has what a reader compares."""
    names = ["group", "seed", "status", "step"]
    numbers = runs[
        [
            "folder",
            "head",
            *names,
            *NUMBERS,
            "weights",
            "unfinished",
            "commit",
            "tree_changed",
            "message",
            "command",
        ]
    ]
    columns = [*names, *SHOWN, *per_char(runs), "seconds_per_step", "kl_train_mode", "message"]
    text = pd.DataFrame(
        {name: [plain_cell(value, DIGITS.get(name)) for value in runs[name]] for name in columns}
    )
    exact, bound = runs["nll_ppl"].notna(), few_samples(runs)
    shown_ppl = [plain_cell(value) for value in runs["nll_ppl"].where(exact, runs["ppl"])]
    text["ppl"] = marked(shown_ppl, ~exact | bound, "≤ ")
    for name in ("nll", "oracle_gap"):
        text[name] = marked(text[name], bound, "≤ ")
    text["probe"] = [
        chance_beside(cell, chance)
        for cell, chance in zip(text["probe"], runs["probe_chance"], strict=True)
    ]
    text["group"] = marked(text["group"], cut_off(runs), after=f" {CUT}")
    text["message"] = text["message"].where(text["message"] != "", runs["unfinished"])
    text["mi"] = marked(text["mi"], runs["mi_saturated"] == 1, "≥ ")
    title = (
        f"Every run; test metrics of the finished ones (≤: from nelbo, or from fewer than {FEW} effective samples, an upper bound; "
        f"≥: saturated, a lower bound; {CUT}: cut off, see its message)."
    )
    return Table(
        "runs",
        f"{title} Standard errors over examples are in the csv.",
        numbers,
        filled(text.rename(columns=HEADERS)),
    )


# ---- cells ----------------------------------------------------------------------------------------------------------


def cells(
    numbers: pd.DataFrame, metric: str, digits: int | None = None, sign: str = ""
) -> list[str]:
    columns = numbers[[f"{metric}_mean", f"{metric}_half", f"{metric}_n", "n"]]
    rows = columns.to_numpy(dtype=float).tolist()
    return [cell(mean, half, count, n, digits, sign) for mean, half, count, n in rows]


def ppl_cells(numbers: pd.DataFrame) -> list[str]:
    """From nll where a seed of the group has it, else from nelbo and marked as an upper bound; also where nll is one."""
    bounds = marked(cells(numbers, "ppl"), numbers["nll_ppl_n"] == 0, "≤ ")
    pairs = zip(
        marked(cells(numbers, "nll_ppl"), numbers["few_samples"] > 0, "≤ "), bounds, strict=True
    )
    return [bound if better == NONE else better for better, bound in pairs]


def mi_cells(numbers: pd.DataFrame, with_ceiling: bool) -> list[str]:
    """'≥ 6.92 ± 0.10 (7.60)': a lower bound as a seed is saturated, and the ceiling where groups differ in it."""
    texts = marked(cells(numbers, "mi"), numbers["mi_saturated"] > 0, "≥ ")
    if not with_ceiling:
        return texts
    ends = numbers[["mi_ceiling_low", "mi_ceiling_high"]].to_numpy(dtype=float).tolist()
    return [
        text
        if text == NONE or np.isnan(low)
        else f"{text} ({'–'.join(dict.fromkeys((f'{low:.2f}', f'{high:.2f}')))})"
        for text, (low, high) in zip(texts, ends, strict=True)
    ]


def probe_cells(numbers: pd.DataFrame, with_chance: bool) -> list[str]:
    """'0.913 ± 0.010 (chance 0.367)' where groups differ in the chance level."""
    texts = cells(numbers, "probe", DIGITS["probe"])
    if not with_chance:
        return texts
    return [
        chance_beside(text, chance)
        for text, chance in zip(texts, numbers["probe_chance_mean"], strict=True)
    ]


def chance_beside(text: str, chance: float) -> str:
    return text if text == NONE or np.isnan(chance) else f"{text} (chance {chance:.3f})"


def marked(
    texts: Iterable[str], where: Iterable[bool], before: str = "", after: str = ""
) -> list[str]:
    """A mark before or after the cells that hold something and are to have it."""
    return [
        before + text + after if bad and text != NONE else text
        for text, bad in zip(texts, where, strict=True)
    ]


def filled(text: pd.DataFrame) -> pd.DataFrame:
    """Without the columns in which no line has a value."""
    return text.loc[
        :, [text.empty or not text[name].isin([NONE, ""]).all() for name in text.columns]
    ]


def cell(
    mean: float, half: float, count: float, n: float, digits: int | None = None, sign: str = ""
) -> str:
    """'9.12 ± 0.30'; a single seed has no interval; '(n=2)' where some seeds lack the metric."""
    if not np.isfinite(mean):
        return NONE
    digits = digits if digits is not None else decimals(mean, half)
    value = f"{mean:{sign}.{digits}f}" if round(mean, digits) else f"{0:.{digits}f}"
    value = value if abs(mean) < 1e15 else f"{mean:{sign}.4g}"
    interval = (
        f" ± {half:.{digits}f}" if half < 1e15 else f" ± {half:.4g}" if np.isfinite(half) else ""
    )
    return f"{value}{interval}" + (f" (n={count:.0f})" if count < n else "")


def decimals(mean: float, half: float) -> int:
    """Two places, three for a KL that is nearly gone, and up to five where the interval would read ± 0."""
    digits = 3 if 0 < abs(mean) < 0.1 else 2
    while digits < 5 and half > 0 and round(half, digits) == 0:
        digits += 1
    return digits


def seeds_cell(done: int, failed: int, unfinished: int) -> str:
    """'3', or '1 (+ 1 failed, 1 unfinished)'."""
    rest = ", ".join(
        f"{count} {name}"
        for count, name in ((failed, "failed"), (unfinished, "unfinished"))
        if count
    )
    return f"{done} (+ {rest})" if rest else str(done)


def plain_cell(value: object, digits: int | None = None) -> str:
    return cell(value, np.nan, 1, 1, digits) if isinstance(value, float) else str(value)


# ---- files ----------------------------------------------------------------------------------------------------------


def written(table: Table) -> dict[str, bytes]:
    """The table as files by their suffix."""
    texts = {"csv": comma_separated(table.numbers), "md": markdown(table.text), "tex": latex(table)}
    return {suffix: text.encode() for suffix, text in texts.items()}


def comma_separated(numbers: pd.DataFrame) -> str:
    """Text that a spreadsheet would take for a formula has a ' before it."""
    return numbers.map(lambda value: inert(value) if isinstance(value, str) else value).to_csv(
        index=False, lineterminator="\n"
    )


def inert(text: str) -> str:
    return f"'{text}" if text.lstrip()[:1] in FORMULA and text.strip() else text


def markdown(text: pd.DataFrame) -> str:
    lines = [list(text.columns), ["---"] * text.shape[1], *text.to_numpy().tolist()]
    return "".join("| " + " | ".join(map(markdown_cell, line)) + " |\n" for line in lines)


def markdown_cell(value: object) -> str:
    """Plain text: no markup, no tag, no formula; a _ inside a word is none anyway."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]$~])|(?<![^\W_])_|_(?![^\W_])", lambda found: f"\\{found[0]}", text)


def latex(table: Table) -> str:
    """Booktabs tabulars, one below the other where a page is too narrow; the title is a comment for the caption."""
    return (
        "\n\n".join([f"% {table.title}", *(tabular(block) for block in blocks(table.text))]) + "\n"
    )


def tabular(text: pd.DataFrame) -> str:
    line = lambda values: " & ".join(escape(str(value)) for value in values) + r" \\"  # noqa: E731
    body = [line(values) for values in text.to_numpy().tolist()]
    head = [
        rf"\begin{{tabular}}{{l{'r' * (text.shape[1] - 1)}}}",
        r"\toprule",
        line(text.columns),
        r"\midrule",
    ]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}"])


def blocks(text: pd.DataFrame) -> list[pd.DataFrame]:
    """The first column with some of the others, then with the next ones: few parts that fit a page, alike in width."""
    widths = [max(map(len, [name, *text[name].astype(str)])) + 2 for name in text.columns]
    few = len(packed(widths, LATEX_WIDTH))
    parts = next(
        parts for room in range(LATEX_WIDTH + 1) if len(parts := packed(widths, room)) == few
    )
    return [text.iloc[:, part] for part in parts]


def packed(widths: list[int], room: int) -> list[list[int]]:
    """Columns 1, 2, … in lists that start with column 0 and are at most `room` characters wide, or two columns."""
    parts: list[list[int]] = [[0]]
    for column, width in enumerate(widths[1:], 1):
        if len(parts[-1]) > 1 and sum(widths[i] for i in parts[-1]) + width > room:
            parts.append([0])
        parts[-1].append(column)
    return parts


def escape(text: str) -> str:
    """For LaTeX; signs that no usual font has, such as emoji, by their number."""
    return "".join(
        LATEX.get(c, c if ord(c) < 0x2100 or c.isalnum() else f"{{[}}U+{ord(c):04X}{{]}}")
        for c in text
    )
