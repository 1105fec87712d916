"""The table of metrics of generated sentences and responses."""

import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.metric import RESPONSES, SAMPLES
from uncollapse.report.stats import summarise
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import drop_empty_columns, format_column


def samples_table(runs: pd.DataFrame) -> Table:
    """Metrics of sentences drawn from the prior, or of responses; empty if no run has any."""
    sampled = catalogue.csv_columns(SAMPLES, RESPONSES)
    names = [name for name in sampled if runs[name].notna().any()]
    numbers = summarise(runs, names)
    numbers = numbers.join(runs.drop_duplicates("order").set_index("order")["group"])
    numbers["n"] = runs.groupby("order")["status"].agg(lambda status: (status == "done").sum())
    numbers = numbers[(numbers[[f"{name}_n" for name in names]] > 0).any(axis=1)]
    text = pd.DataFrame({"group": numbers["group"], "n": numbers["n"].astype(str)})
    metrics = [METRICS[name] for name in names if name in METRICS]
    for metric in metrics:
        text[metric.header] = format_column(numbers, metric.name, metric.digits)
    of_responses = any(metric.stage == RESPONSES for metric in metrics)
    what = "Responses" if of_responses else "Sentences drawn from the prior"
    notes = [f"{metric.header}: {metric.meaning}" for metric in metrics]
    title = " ".join([f"{what}, mean ± half-width of the 95 % t-interval over seeds.", *notes])
    shown = drop_empty_columns(text)
    return Table("samples", title, numbers.reset_index(drop=True), shown, optional=True)
