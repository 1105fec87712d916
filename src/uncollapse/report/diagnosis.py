"""The page of `uncollapse.diagnose`: a printable figure and tables of its result."""

from functools import partial
from pathlib import Path

from uncollapse.disk import write_together
from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.diagnosis_figure import draw_diagnosis
from uncollapse.report.diagnosis_numbers import format_found, format_with_error, rank_dimensions
from uncollapse.report.files import SCRATCH, is_page, load_template
from uncollapse.report.style import FIGURE_FORMATS, figure_style, render_figure
from uncollapse.report.text import clean_keys

TEMPLATE = "diagnosis.html"
# marks pages that a later call may overwrite
DIAGNOSIS_MARK = '<meta name="generator" content="uncollapse diagnosis">'


def check_page_folder(page: str | Path) -> Path:
    """The folder of the page, which need not exist. InputError if it holds other files."""
    folder = Path(page)
    index = folder / "index.html"
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"page={folder}: it is not a folder; "
            "allowed is a new or empty one, or one with an earlier diagnosis"
        )
    files = folder.iterdir() if folder.is_dir() else ()
    # leftovers of a killed call do not count
    if any(not path.match(SCRATCH) for path in files) and not index.exists():
        raise InputError(
            f"page={folder}: it holds other files; "
            "allowed is a new or empty folder, or one with an earlier diagnosis"
        )
    if index.exists() and not is_page(index, TEMPLATE, DIAGNOSIS_MARK):
        raise InputError(
            f"page={folder}: its index.html was not written by diagnose; "
            "move it away or name another folder"
        )
    return folder


def write_page(found: JsonMapping, folder: Path, nearly: float) -> None:
    """Write folder/index.html and folder/diagnosis.{pdf,svg,png}, deterministically.

    found: the result of a diagnosis. A gap below `nearly` (nats) counts as collapse.
    """
    # names that the caller chose must not contain markup or control characters
    found = clean_factor_names(found)
    with figure_style():
        figure = draw_diagnosis(found)
        files = {
            folder / f"diagnosis.{suffix}": render_figure(figure, suffix)
            for suffix in FIGURE_FORMATS
        }
    folder.mkdir(parents=True, exist_ok=True)
    # the page is first, since it marks the folder as one that may be overwritten
    page = render_diagnosis(found, nearly).encode()
    write_together({folder / "index.html": page, **files})


def clean_factor_names(found: JsonMapping) -> JsonMapping:
    """The same result, with names of factors (which the caller chose) that are safe to show."""
    if "probe_curves" not in found:
        return found
    curves = found["probe_curves"]
    return {**found, "probe_curves": {**curves, "factors": clean_keys(curves["factors"])}}


def render_diagnosis(found: JsonMapping, nearly: float) -> str:
    """The HTML of the page."""
    legend = [m for m in METRICS.values() if m.name in found and m.kind == "number"]
    return load_template(TEMPLATE).render(
        mark=DIAGNOSIS_MARK,
        found=found,
        legend=legend,
        format_found=partial(format_found, found),
        ranked=rank_dimensions(found).tolist(),
        format_with_error=format_with_error,
        nearly=nearly,
    )
