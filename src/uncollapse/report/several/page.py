"""Write the page of several studies and its tables beside them, or the page alone to a file."""

import hashlib
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from uncollapse.disk import write_atomic
from uncollapse.errors import InputError
from uncollapse.report.answers import Answer
from uncollapse.report.assets import HERE, STRICT, hash_source, read_style
from uncollapse.report.files import (
    PAGE_MARK,
    check_single,
    claim_folder,
    load_template,
    write_files,
)
from uncollapse.report.several.answers import answer_questions_of_studies
from uncollapse.report.several.chart import draw_slopes
from uncollapse.report.several.columns import Comparison, compare_studies, read_studies
from uncollapse.report.several.measures import RankedMeasure, choose_main, list_measures
from uncollapse.report.several.tables import build_tables_of_studies, describe_measure, list_rows
from uncollapse.report.tables import Table
from uncollapse.report.tables.files import encode_table
from uncollapse.report.text import clean_text
from uncollapse.report.tokens import SLOT_TOKENS
from uncollapse.runs.layout import study_folder
from uncollapse.runs.rules import DEFAULT_RULE

SEVERAL_TEMPLATE, SEVERAL_STYLE = "several.html", "several.css"
MOST_FOLDER_NAME = 120  # characters of the folder's name
MOST_STUDY_NOTES = 20  # notes on files of one study


def write_comparison(
    folders: Sequence[Path], rule: str = DEFAULT_RULE, single: Path | None = None
) -> tuple[Path, str]:
    """Write <common parent>/report-A-B/ for the studies A and B, or one file without tables.

    single: the file; an empty path also stands for the folder, whose page needs no other files.
    Returns the path of the page and the sentences for the terminal. InputError if fewer than two
    studies can be read, or if what is in the way is not ours.
    """
    # a wrong place is refused before anything is read
    to_file = single if single and single.name else None
    if to_file:
        check_single(to_file)
    place = None if to_file else choose_folder(folders, rule)
    studies, problems = read_studies(folders, rule)
    comparison = compare_studies(studies, problems)
    measures = list_measures(comparison)
    answers = answer_questions_of_studies(comparison, measures)
    tables = build_tables_of_studies(comparison, measures)
    page = render_comparison(comparison, measures, answers, tables, linked=place is not None)
    summary = format_answers(answers)
    if place is None:
        assert to_file is not None
        write_atomic(to_file, page.encode())
        return to_file, summary
    with claim_folder(place):
        files = {"index.html": page.encode()}
        for table in tables:
            encoded = encode_table(table)
            files |= {f"tables/{table.name}.{suffix}": data for suffix, data in encoded.items()}
        # tables of levels that this comparison no longer has
        old = {f"tables/{path.name}" for path in (place / "tables").glob("*.*")} - files.keys()
        write_files(place, files, {name for name in old if is_level_table(name)})
    return place / "index.html", summary


def is_level_table(name: str) -> bool:
    """Whether a file in a report is a table at equal information, as any comparison writes it."""
    return bool(re.fullmatch(r"tables/at_[\d.]+\.(csv|md|tex)", name))


def choose_folder(folders: Sequence[Path], rule: str) -> Path:
    """The folder of the comparison, in the folder that contains all studies."""
    places = list(dict.fromkeys(study_folder(folder) for folder in folders))
    parent = Path(os.path.commonpath([place.parent for place in places]))
    if parent == Path(parent.anchor):
        raise InputError(
            "the studies have no folder in common to write to; --single FILE writes the page to "
            "a file"
        )
    name = "-".join(["report", *(clean_name(place.name) for place in places)])
    if len(name.encode()) > MOST_FOLDER_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name.encode()[: MOST_FOLDER_NAME - 9].decode(errors='ignore')}-{digest}"
    return parent / (name if rule == DEFAULT_RULE else f"{name},{rule}")


def clean_name(text: str) -> str:
    """The name of a study in that of a folder."""
    return re.sub(r"[^\w.+=]+", "-", text)


# ---- page ----------------------------------------------------------------------------------------


def render_comparison(
    comparison: Comparison,
    measures: Sequence[RankedMeasure],
    answers: Sequence[Answer],
    tables: Sequence[Table],
    linked: bool,
) -> str:
    """The HTML of the page; linked: with links to tables."""
    style = f"{read_style()}\n{(HERE / SEVERAL_STYLE).read_text(encoding='utf-8')}"
    names = [column.name for column in comparison.columns]
    main = choose_main(measures)
    chart = draw_slopes(main, names)
    return load_template(SEVERAL_TEMPLATE).render(
        mark=PAGE_MARK,
        policy=f"{STRICT}; style-src {hash_source(style)}",
        style=style,
        names=names,
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        answers=answers,
        chart=chart,
        main=main,
        others=[measure for measure in measures if measure is not main and measure.lines],
        rows={measure.name: list_rows(measure) for measure in measures},
        described={measure.name: describe_measure(measure) for measure in measures},
        tables={table.name: table for table in tables},
        single=[list_unshared(comparison, i) for i in range(len(names))],
        notes=[
            clean_text(f"{column}: {note}", 600)
            for column, notes in list_notes(comparison).items()
            for note in notes[:MOST_STUDY_NOTES]
        ],
        slots=SLOT_TOKENS,
        linked=linked,
    )


def list_unshared(comparison: Comparison, column: int) -> list[str]:
    """The names of the heads that only one column has."""
    return [row.name for row in comparison.single if row.groups[column] is not None]


def list_notes(comparison: Comparison) -> dict[str, list[str]]:
    """The notes on files of each study, once."""
    studies = {id(column.study): column.study for column in comparison.columns}
    return {study.name: study.notes for study in studies.values()}


def format_answers(answers: Sequence[Answer]) -> str:
    """The sentences for the terminal."""
    lines = []
    for answer in answers:
        mark = {"answer": "-", "unknown": "?", "caution": "!"}[answer.kind]
        lines += textwrap.wrap(f"{mark} {answer.text}", 100, subsequent_indent="  ")
        lines += [f"    {answer.command}"] if answer.command else []
    return "\n".join(lines)
