"""The page: figures, tables, status and provenance of a study in one HTML file without scripts."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from tabulate import tabulate

from .figures import Shown, draw_all
from .notes import cut_note, weights_note
from .results import ReportError, Study, is_run, read_study
from .samples import Sampled, all_samples
from .stats import finished
from .tables import Table, all_tables, bound_text, write

MARK = '<meta name="generator" content="uncollapse report">'  # how a later call knows that the folder is ours
TERMINAL = ("group", "n", "nll", "nll_ess", "kl", "mi", "au", "gap", "probe", "nelbo", "rec", "kl - floor", "time")


def write_report(folder: str | Path) -> tuple[Path, str]:
    """Writes <folder>/report/ for a study or a single run; returns the page's path and the summary for the terminal."""
    study = read_study(folder)
    report = claim(study.folder / "report")
    tables = all_tables(study.runs)
    for table in tables:
        if not (table.name == "samples" and table.text.empty):
            write(table, report / "tables")
    figures = draw_all(study, report / "figures")
    page = report / "index.html"
    samples = all_samples(study.runs, study.folder, report)
    page.write_text(render(study, tables, figures, samples), encoding="utf-8")
    return page, terminal(study, tables[0])


def claim(report: Path) -> Path:
    """Makes the folder, or takes one with our mark; the mark is written first, so a report cut short stays ours."""
    page = report / "index.html"
    if report.exists() and not report.is_dir():
        raise ReportError(f"{report} is in the way: it is not a folder.")
    if report.is_dir() and any(report.iterdir()) and not (page.is_file() and MARK in page.read_text(errors="replace")):
        raise ReportError(f"{report} is not a report of ours (no index.html with our mark); move it away first.")
    report.mkdir(exist_ok=True)
    if not page.exists():
        page.write_text(f"<!doctype html>{MARK}<p>This report was not finished.", encoding="utf-8")
    return report


def render(
    study: Study, tables: Iterable[Table], figures: Iterable[Shown], samples: Iterable[tuple[str, list[Sampled]]]
) -> str:
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    runs = study.runs
    return environment.from_string(template).render(
        mark=MARK,
        study=study,
        single=is_run(study.folder),
        figures=list(figures),
        samples=list(samples),
        tables={table.name: table for table in tables},
        counts=status_counts(runs),
        open_runs=runs[runs["status"] != "done"].to_dict("records"),
        note=evaluation_note(study),
        commands=list(dict.fromkeys(runs["command"])),
        data=distinct(runs["data"]),
        machines=distinct(runs["machine"]),
    )


def status_counts(runs: pd.DataFrame) -> str:
    """'12 runs in 4 groups: 10 done, 1 failed, 1 unfinished'."""
    count = runs["status"].value_counts()
    parts = [f"{count[status]} {status}" for status in ("done", "failed", "unfinished") if status in count]
    groups = runs["order"].nunique()
    return f"{len(runs)} run{'s' * (len(runs) > 1)} in {groups} group{'s' * (groups > 1)}: {', '.join(parts)}"


def evaluation_note(study: Study) -> str:
    """Which finished runs lack the metrics of scripts/evaluate.py, and how to get them; '' where none does."""
    runs = finished(study.runs)
    lacking = int(runs["nll"].isna().sum())
    command = f"python scripts/evaluate.py results/{study.name}"
    if not lacking:
        return ""
    if lacking == len(runs):
        return f"nll, probe and oracle_gap are computed by `{command}`."
    share = f"{lacking} of {len(runs)} finished runs lack{'s' * (lacking == 1)}"
    return f"{share} nll, probe and oracle_gap: `{command}` computes them."


def distinct(facts: pd.Series) -> list[tuple[str, int]]:
    """Each different text and how many runs share it; runs that state nothing are not counted."""
    return [(str(text), int(n)) for text, n in facts[facts != ""].value_counts().items()]


def terminal(study: Study, table: Table) -> str:
    text = table.text.loc[:, [name.split(" (")[0] in TERMINAL for name in table.text.columns]]
    lines = tabulate(text.to_numpy().tolist(), list(text.columns), disable_numparse=True)
    notes = "".join(
        f"\n{note}" for note in (bound_text(study.runs), cut_note(study.runs), weights_note(study.runs)) if note
    )
    return f"{study.name}: {status_counts(study.runs)}\n\n{lines}" + (f"\n{notes}" if notes else "")
