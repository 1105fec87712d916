"""Tables: numbers as a frame for csv, and the same rows as text for Markdown, LaTeX, the page and the terminal."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .runs import METRICS
from .stats import by_group, finished, paired_difference, plain_of, summarise

PAIRED = ("nelbo", "rec", "kl", "shuffle_gap")
HEADERS = {"shuffle_gap": "gap", "kl_minus_floor": "kl - floor", "relative_time": "time"}
DIGITS = {"au": 1}
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
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
    return [summary(runs), paired(runs), every_run(runs)]


def summary(runs: pd.DataFrame) -> Table:
    """One line per group: mean and half-width of the t-interval over its finished seeds, and how its runs stand."""
    metrics = [*METRICS[:-1], "relative_time"]
    statistics = summarise(runs.assign(relative_time=relative_time(runs)), metrics)
    counts = runs.groupby("order")["status"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=["done", "failed", "unfinished"], fill_value=0).rename(columns={"done": "n"})
    names = runs.drop_duplicates("order").set_index("order")[["group", "head", "label", "overrides"]]
    numbers = names.join(counts).join(statistics)
    text = pd.DataFrame({"group": numbers["group"], "n": [seeds_cell(*row) for row in counts.itertuples(index=False)]})
    for metric in metrics:
        text[HEADERS.get(metric, metric)] = cells(numbers, metric, DIGITS.get(metric))
    title = "Test metrics, mean ± half-width of the 95 % t-interval over seeds; nats but for ppl, au and time."
    return Table("summary", title, numbers.reset_index(drop=True), text)


def paired(runs: pd.DataFrame) -> Table:
    """Differences to plain on shared seeds; empty where plain or shared seeds are missing."""
    done = {order: group.set_index("seed") for order, group in by_group(finished(runs))}
    pairs = [pair for pair in plain_of(runs).items() if pair[0] != pair[1] and done.keys() >= set(pair)]
    columns = ["group", "against", "n", *(f"d_{metric}_{part}" for metric in PAIRED for part in ("n", "mean", "half"))]
    numbers = pd.DataFrame([difference(done[order], done[plain]) for order, plain in pairs], columns=columns)
    numbers = numbers[numbers["n"] > 0]
    text = numbers[["group", "against", "n"]].astype(str)
    for metric in PAIRED:
        text[HEADERS.get(metric, metric)] = cells(numbers, f"d_{metric}", sign="+")
    title = "Test metrics minus plain's on shared seeds (nats), mean ± half-width of the paired 95 % t-interval."
    return Table("paired", title, numbers, text)


def difference(group: pd.DataFrame, plain: pd.DataFrame) -> dict[str, Any]:
    """One row of `paired`, from the runs of two groups indexed by seed."""
    row: dict[str, Any] = {"group": group["group"].iloc[0], "against": plain["group"].iloc[0]}
    row["n"] = len(group.index.intersection(plain.index))
    for metric in PAIRED:
        statistics = paired_difference(group[metric], plain[metric])
        row |= {f"d_{metric}_{part}": value for part, value in zip(("n", "mean", "half"), statistics, strict=True)}
    return row


def every_run(runs: pd.DataFrame) -> Table:
    columns = ["group", "seed", "status", "step", *METRICS, "kl_train_mode", "message"]
    numbers = runs[["folder", "head", *columns, "command"]]
    text = pd.DataFrame({HEADERS.get(name, name): [plain_cell(value) for value in runs[name]] for name in columns})
    return Table("runs", "Every run; test metrics of the finished ones.", numbers, text)


def relative_time(runs: pd.DataFrame) -> pd.Series:
    """Seconds per step of each run over the mean of the plain group it is compared with."""
    means = finished(runs).groupby("order")["seconds_per_step"].mean()
    return runs["seconds_per_step"] / runs["order"].map(plain_of(runs)).map(means)


# ---- cells ----------------------------------------------------------------------------------------------------------


def cells(numbers: pd.DataFrame, metric: str, digits: int | None = None, sign: str = "") -> list[str]:
    columns = numbers[[f"{metric}_mean", f"{metric}_half", f"{metric}_n", "n"]]
    rows = columns.to_numpy(dtype=float).tolist()
    return [cell(mean, half, count, n, digits, sign) for mean, half, count, n in rows]


def cell(mean: float, half: float, count: float, n: float, digits: int | None = None, sign: str = "") -> str:
    """'9.12 ± 0.30'; a single seed has no interval; '(n=2)' where some seeds lack the metric."""
    if not np.isfinite(mean):
        return "–"
    digits = digits if digits is not None else decimals(mean, half)
    value = f"{mean:{sign}.{digits}f}" if round(mean, digits) else f"{0:.{digits}f}"
    interval = f" ± {half:.{digits}f}" if np.isfinite(half) else ""
    return f"{value}{interval}" + (f" (n={count:.0f})" if count < n else "")


def decimals(mean: float, half: float) -> int:
    """Two places, three for a KL that is nearly gone, and up to five where the interval would read ± 0."""
    digits = 3 if 0 < abs(mean) < 0.1 else 2
    while digits < 5 and half > 0 and round(half, digits) == 0:
        digits += 1
    return digits


def seeds_cell(done: int, failed: int, unfinished: int) -> str:
    """'3', or '1 (+ 1 failed, 1 unfinished)'."""
    rest = ", ".join(f"{count} {name}" for count, name in ((failed, "failed"), (unfinished, "unfinished")) if count)
    return f"{done} (+ {rest})" if rest else str(done)


def plain_cell(value: object) -> str:
    return cell(value, np.nan, 1, 1) if isinstance(value, float) else str(value)


# ---- files ----------------------------------------------------------------------------------------------------------


def write(table: Table, folder: Path) -> None:
    """folder/<name>.{csv,md,tex}"""
    folder.mkdir(parents=True, exist_ok=True)
    table.numbers.to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")
    (folder / f"{table.name}.md").write_text(markdown(table.text), encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")


def markdown(text: pd.DataFrame) -> str:
    lines = [list(text.columns), ["---"] * text.shape[1], *text.to_numpy().tolist()]
    return "".join("| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |\n" for line in lines)


def latex(table: Table) -> str:
    """A booktabs tabular; the title is a comment, since captions belong to the paper."""
    line = lambda values: " & ".join(escape(str(value)) for value in values) + r" \\"  # noqa: E731
    body = [line(values) for values in table.text.to_numpy().tolist()]
    head = [f"% {table.title}", rf"\begin{{tabular}}{{l{'r' * (table.text.shape[1] - 1)}}}", r"\toprule"]
    return "\n".join([*head, line(table.text.columns), r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
