"""The title of the summary table, and notes on it."""

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES
from uncollapse.report.data_sets import data_note
from uncollapse.report.notes import BIASED, convergence_note, cut_note, few_samples, weights_note
from uncollapse.report.stats import SAMPLED_BY, finished
from uncollapse.report.tables.cells import drop_empty_columns
from uncollapse.report.tables.marks import has_loose_ppl, levels_differ
from uncollapse.report.unknown_metrics import unknown_metrics_note


def summary_title(runs: pd.DataFrame, text: pd.DataFrame) -> str:
    """What the cells are, and the meaning of every mark in one of them."""
    # every mark is explained, but only if it occurs
    marks = "".join(text.astype(str).to_numpy().ravel())
    done = finished(runs)
    samples, examples = done["nll_samples"].dropna(), done["nll_examples"].dropna()
    labels = done["probe_labels"].dropna()
    columns = list(drop_empty_columns(text).columns)
    paired = METRICS["d_nll"].header
    sentences = [
        "Test metrics, mean ± half-width of the 95 % t-interval over seeds; "
        f"{describe_units(columns)}.",
        f"nll: K = {format_range(samples)} samples per example{describe_codes(done)}, "
        f"{format_range(examples)} examples{describe_other_examples(done)}."
        if len(samples)
        else "",
        uneven_note(runs),
        data_note(runs),
        f"{paired}: paired by seed." if paired in columns else "",
        "changes: the slots of the config that differ from plain's."
        if "changes" in columns
        else "",
        f"probe: accuracy at {format_range(labels)} labels." if len(labels) else "",
        "≤: from nelbo, an upper bound." if has_loose_ppl(runs) else "",
        "Runs differ in data.level: compare them per character." if levels_differ(runs) else "",
        few_samples_note(runs),
        f"{BIASED}: too few samples may explain much of this difference (that in nll_bias is at "
        "least half of the interval's half-width)."
        if BIASED in marks
        else "",
        "≥: mi is within 0.5 nats of its ceiling ln N in at least one seed, so it is a lower bound."
        if "≥" in marks
        else "",
        cut_note(runs),
        convergence_note(runs),
        weights_note(runs),
        unknown_metrics_note(runs),
    ]
    return " ".join(filter(None, sentences))


def describe_codes(runs: pd.DataFrame) -> str:
    """' at most (16 to 230 on average)' if runs were evaluated with a tolerance; otherwise ''."""
    fewer = runs["nll_codes"] < runs["nll_samples"]
    if not fewer.any():
        return ""
    return f" at most ({format_range(runs.loc[fewer, 'nll_codes'].round())} on average)"


def describe_other_examples(runs: pd.DataFrame) -> str:
    """Where nelbo is of more examples than nll, that it is; otherwise ''."""
    sizes = [saved.data.get("test") for saved in runs["saved"]]
    total = pd.Series([size if type(size) is int else np.nan for size in sizes], dtype=float)
    used = runs["nll_examples"].reset_index(drop=True)
    if not (used < total).any():
        return ""
    counts = format_range(total[used < total])
    return f" (nelbo, rec and kl: all {counts}, so nll may exceed nelbo, its bound)"


def describe_units(columns: list[str]) -> str:
    """'in nats except au, probe', without what a header has in brackets."""
    other = {metric.header for metric in METRICS.values() if not metric.unit.startswith("nats")}
    bare = [column.partition(" (")[0] for column in columns]
    named = [column for column in bare if column in other]
    return "in nats" + (f" except {', '.join(named)}" if named else "")


def few_samples_note(runs: pd.DataFrame) -> str:
    """The meaning of ≤ before an nll and metrics derived from it; '' if no run needs the mark."""
    if not few_samples(finished(runs)).any():
        return ""
    headers = ", ".join(METRICS[name].header for name in catalogue.bound_columns())
    return (
        f"≤ at {headers}: a seed with fewer than {FEW_SAMPLES} effective samples "
        "(nll_ess), on average or in most examples; an upper bound that more samples would lower."
    )


def uneven_note(runs: pd.DataFrame) -> str:
    """A warning if the nll of some runs cannot be compared; '' otherwise."""
    if (finished(runs)[list(SAMPLED_BY)].nunique() <= 1).all():
        return ""
    return (
        "Values of nll are from different numbers of samples or examples: do not compare these; "
        "differences from plain leave such pairs out."
    )


def format_range(values: pd.Series) -> str:
    """'300', or '300 to 500'."""
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
