"""One figure of a study, drawn without the rest of its report."""

from pathlib import Path
from typing import NamedTuple

from uncollapse.disk import join_inside, write_atomic
from uncollapse.errors import InputError, check_choice
from uncollapse.report.figures import PLOTS
from uncollapse.report.figures.plane import PLANE, check_axis, make_plane
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.shown import name_file
from uncollapse.report.files import claim_folder, name_report
from uncollapse.report.results import read_study
from uncollapse.report.style import (
    FIGURE_FORMATS,
    MADE_BY,
    WIDTHS,
    NoFigure,
    figure_style,
    render_figure,
)
from uncollapse.runs.rules import DEFAULT_RULE


class Asked(NamedTuple):
    """The words of the command line: a figure, the axes of a plane, a width and a file."""

    figure: str
    x: str = ""
    y: str = ""
    width: str = "page"
    to: str = ""


def find_plot(asked: Asked) -> Plot:
    """The figure that is asked for. InputError, before any work, for words that are not allowed."""
    check_choice("--width", asked.width, WIDTHS)
    check_choice("--figure", asked.figure, [PLANE, *PLOTS])
    if asked.to:
        check_target(Path(asked.to))
    if asked.figure != PLANE:
        if asked.x or asked.y:
            option = "--x" if asked.x else "--y"
            raise InputError(f"{option} belongs to --figure {PLANE}, not to {asked.figure}")
        return PLOTS[asked.figure]
    if not (asked.x and asked.y):
        raise InputError(f"--figure {PLANE} needs two metrics: --x mi --y nll_minus_plain")
    return make_plane(check_axis("--x", asked.x), check_axis("--y", asked.y))


def check_target(path: Path) -> None:
    """InputError for a file to which a figure may not be written."""
    check_choice("--to: ending", path.suffix.removeprefix("."), FIGURE_FORMATS)
    if not path.parent.is_dir():
        raise InputError(f"--to {path}: {path.parent} is not a folder")
    check_ours(path)


def check_ours(path: Path) -> None:
    """InputError if there is something else than a figure that we made."""
    if path.is_dir() or (path.exists() and MADE_BY.encode() not in path.read_bytes()):
        raise InputError(f"{path} exists and is not a figure of ours; move it away")


def write_figure(folder: Path, rule: str, asked: Asked) -> tuple[Path, str]:
    """Write one figure of a study, by default into its report; its path and its caption."""
    plot = find_plot(asked)
    study = read_study(folder, rule)
    frame = study.rows if plot.frame == "rows" else study.runs
    suffix = Path(asked.to).suffix.removeprefix(".") if asked.to else "pdf"
    try:
        with figure_style():
            content = render_figure(plot.draw(frame, WIDTHS[asked.width]), suffix)
        caption = plot.describe(frame)
    except NoFigure as reason:
        raise InputError(f"--figure {asked.figure} is not drawn: {reason}") from None
    if asked.to:
        write_atomic(Path(asked.to), content)
        return Path(asked.to), caption
    report = name_report(study.folder, rule)
    with claim_folder(report):
        path = join_inside(report, "figures", name_file(plot.name, asked.width))
        path.parent.mkdir(exist_ok=True)
        check_ours(path)
        write_atomic(path, content)
    return path, caption


def format_command(study: str, rule: str, words: str) -> str:
    """The command that draws a figure of a study again."""
    select = "" if rule == DEFAULT_RULE else f" --select {rule}"
    return f"uncollapse report results/{study}{select} --figure {words}"
