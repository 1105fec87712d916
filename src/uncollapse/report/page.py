"""The page: figures, tables, status and provenance of a study in one HTML file without scripts."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from uncollapse.runs.layout import CONFIG, is_run

from .figures import Shown, draw_all
from .files import MARK, claimed, put, template
from .notes import cut_note, weights_note
from .results import Study, read_study
from .samples import Sampled, all_samples
from .stats import finished
from .style import FIGURE_FORMATS
from .tables import Table, all_tables, bound_text, uneven_text, written

TERMINAL = (
    "group",
    "n",
    "nll",
    "nll_ess",
    "kl",
    "mi",
    "au",
    "gap",
    "probe",
    "nelbo",
    "rec",
    "kl - floor",
    "time",
)
SHORTENED = (
    f"Paths are shortened to … here: {CONFIG} in a run's folder begins with its command as typed."
)
MOST_NOTES, MOST_OPEN = 50, 100  # notes on files, and runs without an end, that a page lists


def write_report(folder: str | Path) -> tuple[Path, str]:
    """Writes <folder>/report/ for a study or a single run; returns the page's path and the summary for the terminal."""
    study = read_study(folder)
    report = study.folder / "report"
    with claimed(report):
        tables, figures, samples = (
            all_tables(study.runs),
            draw_all(study),
            all_samples(study.runs, study.notes),
        )
        files = {
            f"figures/{figure.name}.{suffix}": data
            for figure in figures
            for suffix, data in figure.files.items()
        }
        for table in tables:
            if not (table.name == "samples" and table.text.empty):
                files |= {
                    f"tables/{table.name}.{suffix}": data for suffix, data in written(table).items()
                }
        files |= {view.picture: view.data for _, views in samples for view in views if view.picture}
        files["index.html"] = render(study, tables, figures, samples).encode()
        gone = {
            f"figures/{figure.name}.{suffix}"
            for figure in figures
            if figure.missing
            for suffix in FIGURE_FORMATS
        }
        put(report, files, gone)
    return report / "index.html", terminal(study, tables[0])


def render(
    study: Study,
    tables: Iterable[Table],
    figures: Iterable[Shown],
    samples: Iterable[tuple[str, list[Sampled]]],
) -> str:
    runs = study.runs
    unended = runs[runs["status"] != "done"]
    made = {
        "data": distinct(runs["data"]),
        "code": distinct(runs["code"]),
        "machines": distinct(runs["machine"]),
    }
    return template("page.html").render(
        mark=MARK,
        study=study,
        single=is_run(study.folder),
        figures=list(figures),
        samples=list(samples),
        tables={table.name: table for table in tables},
        counts=status_counts(runs),
        open_runs=unended.head(MOST_OPEN).to_dict("records"),
        more_open=max(len(unended) - MOST_OPEN, 0),
        note=evaluation_note(study),
        commands=list(dict.fromkeys(runs["command"])),
        shortened=SHORTENED if runs["command"].str.contains("…", regex=False).any() else "",
        made=made,
        differ=[name for name, facts in made.items() if len(facts) > 1],
        uncommitted=int(runs["tree_changed"].eq(True).sum()),
        notes=study.notes[:MOST_NOTES],
        more_notes=max(len(study.notes) - MOST_NOTES, 0),
    )


def status_counts(runs: pd.DataFrame) -> str:
    """'12 runs in 4 groups: 10 done, 1 failed, 1 unfinished'."""
    count = runs["status"].value_counts()
    parts = [
        f"{count[status]} {status}"
        for status in ("done", "failed", "unfinished")
        if status in count
    ]
    groups = runs["order"].nunique()
    return f"{len(runs)} run{'s' * (len(runs) > 1)} in {groups} group{'s' * (groups > 1)}: {', '.join(parts)}"


def evaluation_note(study: Study) -> str:
    """Which finished runs lack the metrics of scripts/evaluate.py, and how to get them; '' where none does."""
    runs = finished(study.runs)
    lacking = int(runs["lacks_nll"].sum())
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
    files = f"Notes on files: {len(study.notes):,}, on the page." if study.notes else ""
    texts = (uneven_text, bound_text, cut_note, weights_note)
    notes = [note for note in (*(text(study.runs) for text in texts), files) if note]
    return "\n\n".join(
        [
            f"{study.name}: {status_counts(study.runs)}",
            lines,
            *(["\n".join(notes)] if notes else []),
        ]
    )
