"""The page of a study: answers, heads, figures, tables, status and provenance.

All text is in the HTML, so that it can be read without scripts, which only add to it.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from uncollapse.disk import join_inside, write_atomic
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.answers import answer_questions, describe_unread
from uncollapse.report.data_sets import data_note
from uncollapse.report.figures import Shown, draw_all
from uncollapse.report.figures.drawn import DRAWN_FILE, Drawn
from uncollapse.report.figures.plane import PLANE
from uncollapse.report.figures.shown import name_file
from uncollapse.report.files import (
    PAGE_MARK,
    SINGLE,
    check_single,
    claim_folder,
    name_report,
    write_files,
)
from uncollapse.report.heads import make_head_table
from uncollapse.report.notes import convergence_note, cut_note, weights_note
from uncollapse.report.one_figure import format_command
from uncollapse.report.page_data import encode_page_data, make_page_data
from uncollapse.report.remedies import describe_remedies
from uncollapse.report.rendering import GroupSamples, describe_size, fill_page, list_pictures
from uncollapse.report.results import Study, read_study
from uncollapse.report.samples import all_samples
from uncollapse.report.setting import describe_setting
from uncollapse.report.side_by_side import arrange_views
from uncollapse.report.stats import finished
from uncollapse.report.style import FIGURE_FORMATS
from uncollapse.report.tables import Table, build_tables
from uncollapse.report.tables.files import encode_table
from uncollapse.report.tables.titles import few_samples_note, uneven_note
from uncollapse.report.tokens import SLOT_TOKENS
from uncollapse.report.unknown_metrics import unknown_metrics_note
from uncollapse.runs.layout import CONFIG, is_run
from uncollapse.runs.rules import DEFAULT_RULE

SHORTENED = (
    f"Paths are shortened to … here; the first line of a run's {CONFIG} has the command as typed."
)
MOST_NOTES, MOST_OPEN = 50, 100  # notes on files, and unfinished or failed runs, on one page


def write_report(
    folder: str | Path, rule: str = DEFAULT_RULE, single: Path | None = None
) -> tuple[Path, str]:
    """Write <folder>/report/ for a study or a single run, of the weights that `rule` chose.

    Another rule than the default has a folder of its own, report-<rule>. `single`: also write the
    page to this file, without links to other files; the page itself if it is empty. Returns the
    path of the page and the summary for the terminal.
    """
    study = read_study(folder, rule)
    report = name_report(study.folder, rule)
    elsewhere = single is not None and bool(single.name)
    if single and elsewhere:
        check_single(single)
    # claimed before anything is computed, so that a wrong folder is refused at once
    with claim_folder(report):
        drawn = Drawn(join_inside(report, "figures"))
        tables, figures = build_tables(study.runs), draw_all(study, drawn)
        # may add notes, so it comes before the page
        samples = all_samples(study.runs, study.notes)
        files = encode_files(tables, figures, samples)
        files[f"figures/{DRAWN_FILE}"] = drawn.encode()
        facts = page_facts(study, tables, figures, samples, rule)
        pictures = list_pictures(figures, samples)
        page, left_out = fill_page(facts, pictures)
        files["index.html"] = page
        summary = format_terminal(study, tables[0])
        if single is not None:
            if elsewhere:
                page, left_out = fill_page(facts, pictures, linked=False)
                write_atomic(single, page)
            place = single if elsewhere else report / "index.html"
            summary += f"\n\nOne file: {place} ({describe_size(page, left_out)})"
        write_files(report, files, list_obsolete(figures) - files.keys())
    return report / "index.html", summary


def build_page(folder: str | Path, rule: str = DEFAULT_RULE) -> bytes:
    """The page of a study as it is now, without the figures, which take long to draw."""
    study = read_study(folder, rule)
    samples = all_samples(study.runs, study.notes)
    facts = page_facts(study, build_tables(study.runs), [], samples, rule)
    page, _ = fill_page(facts, list_pictures([], samples), linked=False)
    return page


def list_obsolete(figures: Iterable[Shown]) -> set[str]:
    """Files of earlier reports and earlier versions that this report may not have."""
    names = [figure.name for figure in figures]
    old = {f"figures/{name}.{suffix}" for name in names for suffix in FIGURE_FORMATS}
    return old | {f"figures/{name_file(name, 'column')}" for name in names} | {SINGLE}


def encode_files(
    tables: Iterable[Table], figures: Iterable[Shown], samples: Iterable[GroupSamples]
) -> dict[str, bytes]:
    """The files of figures, tables and samples, by their path in the report."""
    files = {f"figures/{name}": data for figure in figures for name, data in figure.files.items()}
    for table in tables:
        # a study without samples has no such table
        if table.optional and table.text.empty:
            continue
        encoded = encode_table(table)
        files |= {f"tables/{table.name}.{suffix}": data for suffix, data in encoded.items()}
    return files | {
        view.picture: view.data for _, views in samples for view in views if view.picture
    }


def page_facts(
    study: Study,
    tables: Iterable[Table],
    figures: Iterable[Shown],
    samples: Iterable[GroupSamples],
    rule: str = DEFAULT_RULE,
) -> dict[str, object]:
    """What the template shows, without pictures."""
    command = partial(format_command, study.name, rule)
    runs = study.runs
    unended = runs[runs["status"] != "done"]
    made = {
        "data": count_facts(runs["data"]),
        "code": count_facts(runs["code"]),
        "machines": count_facts(runs["machine"]),
    }
    heads = make_head_table(runs)
    data, data_type = encode_page_data(make_page_data(study, heads))
    return {
        "mark": PAGE_MARK,
        "study": study,
        "single": is_run(study.folder),
        "setting": describe_setting(runs),
        "answers": answer_questions(runs) + describe_unread(study.notes),
        "contents": list_contents(tables, figures, samples),
        "heads": heads,
        "remedies": describe_remedies(runs),
        "places": {head.order: place for place, head in enumerate(heads.heads)},
        "slots": SLOT_TOKENS,
        "metrics": METRICS,
        "data": data,
        "data_type": data_type,
        "figures": list(figures),
        "figure_commands": {figure.name: command(figure.name) for figure in figures},
        "plane_command": command(PLANE),
        "samples": list(samples),
        "compared": arrange_views(list(samples)),
        "tables": {table.name: table for table in tables},
        "counts": status_counts(runs),
        "open_runs": unended.head(MOST_OPEN).to_dict("records"),
        "more_open": max(len(unended) - MOST_OPEN, 0),
        "note": evaluation_note(study),
        "legend": list(METRICS.values()),
        "commands": list(dict.fromkeys(runs["command"])),
        # only if a path was in fact shortened
        "shortened": SHORTENED if runs["command"].str.contains("…", regex=False).any() else "",
        "made": made,
        "differ": [name for name, facts in made.items() if len(facts) > 1],
        "uncommitted": int(runs["tree_changed"].eq(True).sum()),
        "notes": study.notes[:MOST_NOTES],
        "more_notes": max(len(study.notes) - MOST_NOTES, 0),
    }


def list_contents(
    tables: Iterable[Table], figures: Iterable[Shown], samples: Iterable[GroupSamples]
) -> dict[str, str]:
    """The sections of the page that it has, each by the id of its heading."""
    filled = {table.name for table in tables if not table.text.empty}
    sections = {
        "summary": ("remedies", True),
        "frontier": ("equal information", "frontier" in filled),
        "remedies": ("what each does, in Python", True),
        "paired": ("difference from plain", True),
        "figures": ("figures", any(True for _ in figures)),
        "samples": ("samples", any(True for _ in samples)),
        "metrics": ("what the numbers mean", True),
        "provenance": ("data, code, commands", True),
    }
    return {name: title for name, (title, is_there) in sections.items() if is_there}


def status_counts(runs: pd.DataFrame) -> str:
    """'12 runs in 4 groups: 10 done, 1 failed, 1 unfinished'."""
    count = runs["status"].value_counts()
    statuses = [status for status in ("done", "failed", "unfinished") if status in count]
    parts = ", ".join(f"{count[status]} {status}" for status in statuses)
    groups = runs["order"].nunique()
    return f"{len(runs)} run{'s' * (len(runs) > 1)} in {groups} group{'s' * (groups > 1)}: {parts}"


def evaluation_note(study: Study) -> str:
    """How many finished runs have no nll, and the command that computes it; '' if all have one."""
    runs = finished(study.runs)
    lacking = int(runs["lacks_nll"].sum())
    command = f"uncollapse evaluate results/{study.name}"
    if not lacking:
        return ""
    if lacking == len(runs):
        return f"nll, probe and oracle_gap are computed by `{command}`."
    share = f"{lacking} of {len(runs)} finished runs lack{'s' * (lacking == 1)}"
    return f"{share} nll, probe and oracle_gap; `{command}` computes them."


def count_facts(facts: pd.Series) -> list[tuple[str, int]]:
    """Each distinct text and the number of runs with it; empty texts are left out."""
    return [(str(text), int(n)) for text, n in facts[facts != ""].value_counts().items()]


# ---- terminal ------------------------------------------------------------------------------------


def format_terminal(study: Study, table: Table) -> str:
    """The main columns of the summary table, and the notes on it."""
    headers = terminal_headers()
    # columns may have a suffix such as (ceiling 9.21)
    shown = [name.split(" (")[0] in headers for name in table.text.columns]
    text = table.text.loc[:, shown]
    lines = tabulate(text.to_numpy().tolist(), list(text.columns), disable_numparse=True)
    files = f"Notes on files: {len(study.notes):,}, on the page." if study.notes else ""
    makers = (
        uneven_note,
        data_note,
        few_samples_note,
        cut_note,
        convergence_note,
        weights_note,
        unknown_metrics_note,
    )
    notes = [note for note in (*(make(study.runs) for make in makers), files) if note]
    counts = f"{study.name}: {status_counts(study.runs)}"
    return "\n\n".join([counts, lines, *(["\n".join(notes)] if notes else [])])


def terminal_headers() -> set[str]:
    """The columns of the summary table that the terminal shows."""
    metrics = [m for m in METRICS.values() if m.column is not None and m.in_text and m.in_terminal]
    return {"group", "n", *(metric.header for metric in metrics)}
