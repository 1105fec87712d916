"""Pages in a browser under the accessibility rules of axe-core, in light and dark, on two sizes.

Everything that can be opened is open, since axe checks what is visible.
"""

# ruff: noqa: F811  (parameters are named after fixtures)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import import_for_browser, one_in
from test_page_browser import write_page
from test_page_views import write_grid
from test_report import write_run
from test_report_text import put_config
from test_several_page import report, studies  # noqa: F401
from test_watch_browser import shown_page, watched  # noqa: F401

from uncollapse.report.server import Server
from uncollapse.report.watch import Follower

CASES = [("light", 1400), ("light", 390), ("dark", 390), ("dark", 1400)]
everywhere = pytest.mark.parametrize(("scheme", "width"), one_in(2, CASES))
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


@pytest.fixture(scope="module")
def axe() -> Any:
    return import_for_browser("axe_playwright_python.sync_playwright").Axe()


def list_findings(axe: Any, page: Any) -> list[str]:
    """Rule and place of each finding."""
    page.evaluate(OPEN_ALL)
    found = axe.run(page).response["violations"]
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]


@pytest.fixture(scope="module")
def page_of_all_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of two knobs, which has frontiers too, with samples, a failed and a running run."""
    study = write_grid(tmp_path_factory.mktemp("all") / "s").folder
    for seed, status in enumerate(("done", "failed", "unfinished")):
        run = write_run(study, "kl_anneal", seed, status=status, evaluations=3, label="kl_anneal")
        put_config(run, head="kl_anneal")
        (run / "samples").mkdir()
        (run / "samples/prior.txt").write_text("a\tb\nc\tx\n")
    return write_page(study) / "index.html"


@everywhere
def test_page_of_a_study(
    axe: Any, page_of_all_views: Path, open_page: Any, scheme: str, width: int
) -> None:
    page = open_page(page_of_all_views, width=width, color_scheme=scheme)
    for part in ("plane", "frontiers", "curves", "knobs"):
        assert page.locator(f"#{part}-section").is_visible(), part
    page.locator("#heads td").first.click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#opened").is_visible()
    assert list_findings(axe, page) == []


@everywhere
def test_page_of_several_studies(
    axe: Any, studies: list[Path], open_page: Any, scheme: str, width: int
) -> None:
    assert report(*studies) == 0
    place = studies[0].parent / "report-a-b/index.html"
    assert list_findings(axe, open_page(place, width=width, color_scheme=scheme)) == []


@everywhere
def test_frame_of_a_watched_study(
    axe: Any, watched: tuple[Follower, Callable[[int], Server]], browser: Any,
    scheme: str, width: int,
) -> None:  # fmt: skip
    follower, serve = watched
    write_run(follower.folder, "bn_mu", 2, status="failed", evaluations=2)
    follower.follow()
    page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
    page.goto(serve(0).address)
    # axe follows frames that have it
    shown_page(page).evaluate(axe.axe_script)
    page.locator("#runs tbody tr").wait_for()
    assert list_findings(axe, page) == []
    page.close()


def test_findings_are_reported(axe: Any, browser: Any) -> None:
    page = browser.new_page()
    page.set_content("<main><button></button></main>")
    found = [text.partition(":")[0] for text in list_findings(axe, page)]
    assert {"button-name", "html-has-lang"} <= {*found}
    page.close()
