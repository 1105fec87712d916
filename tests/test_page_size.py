"""A page of many runs stays small, and a browser has little to lay out."""

from pathlib import Path
from typing import Any

import pytest
from test_page_browser import write_page
from test_report import write_run

pytestmark = pytest.mark.slow
HEADS = ("bn_tau", "rms_tau")
MOST_BYTES = 3_000_000
MOST_BOXES = 20_000  # elements that are laid out, whatever the number of runs


def write_study(folder: Path, values: int, seeds: int) -> None:
    """Plain, and heads at `values` settings each."""
    for seed in range(seeds):
        for head, settings in [("plain", 1), *((head, values) for head in HEADS)]:
            for value in range(settings):
                final = {"mi": 3 + value / 10, "shuffle_gap": 2.0, "nll": 20 + value / 100 + seed}
                options = {"evaluated": True, "final": {**final, "mi_saturated": False}}
                setting = f"tau={(value + 1) / 200}" if settings > 1 else "default"
                write_run(folder, head, seed, overrides=setting, evaluations=26, **options)


@pytest.mark.timeout(1200)  # 3,010 runs are written and read
@pytest.mark.parametrize(("values", "seeds"), [(20, 3), (150, 10)])
def test_page_of_many_runs_is_small(
    values: int, seeds: int, tmp_path: Path, open_page: Any
) -> None:
    write_study(tmp_path / "s", values, seeds)
    runs = (1 + len(HEADS) * values) * seeds
    write_page(tmp_path / "s")
    single = tmp_path / "s/single.html"
    assert single.stat().st_size <= MOST_BYTES
    page = open_page(single)
    page.locator("html[data-ready]").wait_for(state="attached", timeout=60_000)
    count = "[...document.querySelectorAll('*')].filter((e) => e.getClientRects().length).length"
    assert page.evaluate(count) <= MOST_BOXES
    rows = page.locator("#runs tr")
    assert rows.count() == runs + 1, "every run is in the HTML"
    page.locator("#runs summary").click()
    shown = page.locator("#runs tr:visible").count() - 1
    assert shown == min(runs, 200)
    if runs > shown:
        assert page.locator("#more-runs").inner_text() == f"{runs - shown:,} more runs"
        page.locator("#more-runs").click()
        assert page.locator("#runs tr:visible").count() == runs + 1
