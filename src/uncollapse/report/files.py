"""Write the files of a report, all or none, and only to a folder that is a report."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from uncollapse.disk import hold_lock, join_inside, write_atomic, write_together
from uncollapse.errors import InputError
from uncollapse.report.text import glue, typeset
from uncollapse.runs.rules import DEFAULT_RULE

PAGE_MARK = '<meta name="generator" content="uncollapse report">'  # in every page
OWNER = ".uncollapse"  # marks a folder as a report; never rewritten
OWNED = "Made by `uncollapse report`, which replaces page, figures, tables and samples.\n"
FOLDERS = ("figures", "tables", "samples")
SCRATCH = ".*.new"  # temporary files, left behind if a report is killed
SINGLE = "single.html"  # a copy of the page in reports of earlier versions
OURS = re.compile(  # the files of a report
    r"index\.html|single\.html|figures/[\w-]+\.(pdf|svg|png)|figures/drawn\.json"
    r"|tables/\w+\.(csv|md|tex)|samples/\d+-\w+\.png"
)


def name_report(study: Path, rule: str) -> Path:
    """The folder of the report on the weights that a rule chose."""
    return study / ("report" if rule == DEFAULT_RULE else f"report-{rule}")


@contextmanager
def claim_folder(report: Path) -> Iterator[None]:
    """Create the folder, or check that it is a report, and lock it against other processes.

    InputError for a folder with other content, and for links in it that lead out of the study.
    """
    join_inside(report.parent, report.name)
    for name in (OWNER, "index.html", SINGLE, *FOLDERS):
        join_inside(report, name)
    if report.exists() and not report.is_dir():
        raise InputError(f"{report} is in the way: it is not a folder.")
    if report.is_dir() and not is_ours(report):
        raise InputError(
            f"{report} is not a report of ours (no {OWNER} and no index.html with our mark); "
            "move it away."
        )
    report.mkdir(exist_ok=True)
    with hold_lock(report, "report"):
        if not (report / OWNER).exists():
            write_atomic(report / OWNER, OWNED.encode())
        yield


def is_ours(report: Path) -> bool:
    """Whether a folder is a report: it has the file OWNER or, from versions before that file, our
    page or nothing but files of a report."""
    if (report / OWNER).is_file():
        return True
    files = [path for path in report.rglob("*") if not path.is_dir() and not path.match(SCRATCH)]
    page = report / "index.html"
    if page in files and not is_page(page, "page.html", PAGE_MARK):
        return False
    if page in files and PAGE_MARK in page.read_text(encoding="utf-8", errors="replace"):
        return True
    names = [path.relative_to(report).as_posix() for path in files]
    first = report / "tables/summary.csv"  # earlier versions wrote this file first
    return not set(files) - {page} or (
        all(map(OURS.fullmatch, names))
        and first.is_file()
        and first.read_bytes().startswith(b"group,")
    )


def is_page(page: Path, name: str, mark: str) -> bool:
    """Whether a page has our mark, or is one of ours that ends before the mark.

    A power cut can truncate a file or fill it with zeros.
    """
    if not page.is_file():
        return False
    text = page.read_text(encoding="utf-8", errors="replace")
    opening = read_source(name).partition("{{")[0] + mark
    # after a power cut the end of a file may be missing or zero
    written = text.rstrip("\0\n ")
    return (
        mark in text or opening.startswith(written) or f"<!doctype html>{mark}".startswith(written)
    )


def check_single(path: Path) -> None:
    """InputError for a path to which a single file of a report may not be written."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--single {path}: give the name of a file in a folder that exists.")
    if path.exists() and not is_page(path, "page.html", PAGE_MARK):
        raise InputError(f"--single {path} exists and is not a page of ours; move it away.")


def write_files(report: Path, files: Mapping[str, bytes], obsolete: set[str]) -> None:
    """Write files by their path in the report, all or none; then remove the `obsolete` ones.

    Files that are there already, with the same content, stay as they are.
    """
    for folder in {(report / name).parent for name in files}:
        folder.mkdir(exist_ok=True)
    paths = {join_inside(report, *name.split("/")): data for name, data in files.items()}
    # files first, so that no page refers to figures that were removed already
    write_together({path: data for path, data in paths.items() if not has_content(path, data)})
    # obsolete and temporary files that cannot be removed do no harm
    with suppress(OSError):
        for path in [*(report / name for name in obsolete), *report.rglob(SCRATCH)]:
            path.unlink(missing_ok=True)


def has_content(path: Path, data: bytes) -> bool:
    """Whether a file exists with this content."""
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def load_template(name: str) -> Template:
    """A page template of this package, which escapes every value."""
    # values may come from anyone's runs, and must not become markup
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["glue"] = glue
    return environment.get_template(name)


def read_source(name: str) -> str:
    """The text of a page template."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
