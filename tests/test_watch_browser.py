"""The page that follows a study, in a browser."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from test_report import write_run
from test_status import write_sign

from uncollapse.report.page import build_page
from uncollapse.report.server import LOCAL, Server, open_server
from uncollapse.report.watch import Follower, render_frame, render_reason


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Follower, Callable[[int], Server]]]:
    """A follower of a small study, and a function that serves it on a port."""
    study = tmp_path / "s"
    for head in ("plain", "bn_mu", "bn_tau"):
        for seed in (0, 1):
            write_run(study, head, seed, evaluations=3, evaluated=True)
    follower = Follower(study, lambda: build_page(study), lambda reason: render_reason("s", reason))
    follower.shown.frame = render_frame("s")
    follower.follow()
    servers: list[Server] = []

    def serve(port: int) -> Server:
        server = open_server(LOCAL, port, follower.shown)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield follower, serve
    for server in servers:
        server.shutdown()
        server.server_close()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> Any:
    limit = time.time() + seconds
    while not (found := condition()) and time.time() < limit:
        time.sleep(0.05)
    assert found
    return found


def shown_page(page: Any) -> Any:
    """The frame of the report, once its tag is that of the newest page."""
    wait_for(lambda: page.evaluate("document.documentElement.dataset.page"))
    return page.frames[-1]


def test_page_follows_a_run_that_ends_and_keeps_what_was_chosen(
    watched: tuple[Follower, Callable[[int], Server]], browser: Any
) -> None:
    follower, serve = watched
    server = serve(0)
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 600})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.address)
    report = shown_page(page)
    assert page.locator("#head").inner_text() == "s: 6 done"
    report.locator('tr[data-place]:has-text("BN")').first.click()
    report.locator("#text").fill("bn")
    report.evaluate("scrollTo(0, 200)")
    chosen = report.evaluate("location.hash")
    wait_for(lambda: page.evaluate("location.hash") == chosen)
    # a further run starts ...
    running = write_run(follower.folder, "bn_mu", 2, status="unfinished", evaluations=2)
    write_sign(running, time=time.time(), started=time.time() - 50)
    follower.follow()
    row = page.locator("#runs tbody tr")
    wait_for(lambda: row.count() == 1)
    assert "step 300 of 1,000, 3 min left, on a" in row.inner_text()
    assert row.locator("progress").get_attribute("aria-label", timeout=5000)
    # ... and ends
    shutil.rmtree(running)
    write_run(follower.folder, "bn_mu", 2, evaluations=3, evaluated=True)
    follower.cost = 0.0
    follower.follow()
    tag = follower.shown.page_tag
    wait_for(lambda: page.evaluate("document.documentElement.dataset.page") == tag)
    report = page.frames[-1]
    assert len(page.frames) == 2 and "7 runs" in report.locator("header").inner_text()
    assert report.evaluate("location.hash") == chosen and report.evaluate("scrollY") == 200
    assert report.locator("#text").input_value() == "bn"
    # the command is started again
    server.shutdown()
    server.server_close()
    wait_for(lambda: "asking again" in page.locator("#connection").inner_text())
    serve(server.server_address[1])
    wait_for(lambda: not page.locator("#connection").inner_text())
    assert [text for text in said if "ERR_CONNECTION" not in text] == []
    page.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_frame_fits_the_window(
    width: int, watched: tuple[Follower, Callable[[int], Server]], browser: Any
) -> None:
    _, serve = watched
    page = browser.new_page(viewport={"width": width, "height": 700})
    page.goto(serve(0).address)
    report = shown_page(page)
    for frame in (page.main_frame, report):
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_error_is_said_until_it_is_over(
    watched: tuple[Follower, Callable[[int], Server]],
    browser: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follower, serve = watched
    page = browser.new_page(viewport={"width": 1400, "height": 700})
    page.goto(serve(0).address)
    shown_page(page)
    problem = page.locator("#connection")
    assert problem.inner_text() == ""
    with monkeypatch.context() as patch:
        patch.setattr(follower, "update_page", lambda: [][0])
        follower.follow()
        wait_for(problem.inner_text)
    said = "The study could not be read (IndexError: list index out of range); trying again."
    assert problem.inner_text() == said and "6 done" in page.locator("#head").inner_text()
    follower.follow()
    wait_for(lambda: not problem.inner_text())
    page.close()


def test_study_without_rows_is_said_in_place_of_the_page(tmp_path: Path, browser: Any) -> None:
    follower = Follower(tmp_path, lambda: build_page(tmp_path), lambda why: render_reason("s", why))
    follower.shown.frame = render_frame("<b>s")
    follower.follow()
    with open_server(LOCAL, 0, follower.shown) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(server.address)
        report = shown_page(page)
        assert "No report of s yet: " in report.locator("main").inner_text()
        assert page.title() == "<b>s – watched"
        page.close()
        server.shutdown()
