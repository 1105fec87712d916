"""The page of `uncollapse.diagnose`: one table and one printable figure from its dictionary."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from uncollapse.disk import write_together
from uncollapse.errors import InputError
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.diagnosis_figure import draw_diagnosis
from uncollapse.report.diagnosis_numbers import format_found, format_with_error, rank_dimensions
from uncollapse.report.files import SCRATCH, is_page, load_template
from uncollapse.report.style import figure_style, render_files
from uncollapse.report.text import clean_keys

TEMPLATE = "diagnosis.html"
# how a later call knows that the page is ours
DIAGNOSIS_MARK = '<meta name="generator" content="uncollapse diagnosis">'


def check_page_folder(page: str | Path) -> Path:
    """The folder, which need not exist yet. InputError where it holds something of others."""
    folder = Path(page)
    index = folder / "index.html"
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"page={folder}: it is not a folder; "
            "allowed is a new or empty one, or one with an earlier diagnosis"
        )
    files = folder.iterdir() if folder.is_dir() else ()
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


def write_page(found: Mapping[str, Any], folder: Path, nearly: float) -> None:
    """Write folder/index.html and folder/diagnosis.{pdf,svg,png}; equal numbers, equal bytes.

    A gap below `nearly` (nats) counts as collapse.
    """
    found = clean_factor_names(found)
    with figure_style():
        files = {
            folder / f"diagnosis.{suffix}": data
            for suffix, data in render_files(draw_diagnosis(found)).items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    # the page first, since it marks the folder as ours
    page = render_diagnosis(found, nearly).encode()
    write_together({folder / "index.html": page, **files})


def clean_factor_names(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with names of factors, which the caller chose, that are safe to show."""
    if "probe_curves" not in found:
        return found
    curves = found["probe_curves"]
    return {**found, "probe_curves": {**curves, "factors": clean_keys(curves["factors"])}}


def render_diagnosis(found: Mapping[str, Any], nearly: float) -> str:
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
