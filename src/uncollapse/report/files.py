"""Writing a report: which folders are ours, and all of its files or none."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from uncollapse.disk import hold_lock, join_inside, write_atomic, write_together
from uncollapse.errors import InputError

PAGE_MARK = '<meta name="generator" content="uncollapse report">'  # in every page
OWNER = ".uncollapse"  # in every folder of ours, and never rewritten
OWNED = (
    "Made by uncollapse's scripts/report.py, which replaces page, figures, tables and samples.\n"
)
FOLDERS = ("figures", "tables", "samples")
SCRATCH = ".*.new"  # left behind by a writer that was killed
OURS = re.compile(
    r"index\.html|figures/\w+\.(pdf|svg|png)|tables/\w+\.(csv|md|tex)"
    r"|samples/\d+-\w+\.png"
)


@contextmanager
def claim_folder(report: Path) -> Iterator[None]:
    """Make the folder, or use one of ours, and lock it against other reports.

    InputError for a folder that is not ours, and for links in it that lead elsewhere.
    """
    join_inside(report.parent, report.name)
    for name in (OWNER, "index.html", *FOLDERS):
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
    """Whether it holds our file or, from earlier versions, our page or only files named as ours."""
    if (report / OWNER).is_file():
        return True
    files = [path for path in report.rglob("*") if not path.is_dir() and not path.match(SCRATCH)]
    page = report / "index.html"
    if page in files and not is_page(page, "page.html", PAGE_MARK):
        return False
    if page in files and PAGE_MARK in page.read_text(encoding="utf-8", errors="replace"):
        return True
    names = [path.relative_to(report).as_posix() for path in files]
    first = report / "tables/summary.csv"  # earlier versions wrote it first
    return not set(files) - {page} or (
        all(map(OURS.fullmatch, names))
        and first.is_file()
        and first.read_bytes().startswith(b"group,")
    )


def is_page(page: Path, name: str, mark: str) -> bool:
    """Whether a page has our mark, or ends before it (a power cut can leave zeros)."""
    if not page.is_file():
        return False
    text = page.read_text(encoding="utf-8", errors="replace")
    opening = read_source(name).partition("{{")[0] + mark
    written = text.rstrip("\0\n ")
    return (
        mark in text or opening.startswith(written) or f"<!doctype html>{mark}".startswith(written)
    )


def write_files(report: Path, files: Mapping[str, bytes], gone: set[str]) -> None:
    """Write files by their path in the report, all or none; then remove those that are `gone`."""
    for folder in {(report / name).parent for name in files}:
        folder.mkdir(exist_ok=True)
    write_together({join_inside(report, *name.split("/")): data for name, data in files.items()})
    # if these, or what killed writers left, cannot be removed, they do no harm
    with suppress(OSError):
        for path in [*(report / name for name in gone), *report.rglob(SCRATCH)]:
            path.unlink(missing_ok=True)


def load_template(name: str) -> Template:
    """A page of this package, in which every value is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(read_source(name))


def read_source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
