"""The page of several studies in a browser, opened from disk with the network cut."""

# ruff: noqa: F811  (parameters are named after fixtures)

from pathlib import Path
from typing import Any

import pytest
from test_report import write_run
from test_report_text import HOSTILE, put_config
from test_several_page import report, studies  # noqa: F401

WIDTHS = (390, 768, 1400, 2560)


@pytest.mark.parametrize("width", WIDTHS)
def test_page_never_overflows(studies: list[Path], open_page: Any, width: int) -> None:
    assert report(*studies) == 0
    place = studies[0].parent / "report-a-b"
    page = open_page(place / "index.html", width=width, java_script_enabled=False)
    needed, given = page.locator("html").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert needed <= given
    assert page.locator(".answers p").count() >= 5
    assert page.locator("table.ranks").count() == 3
    assert page.locator(".slopes .head").count() == 3 and page.locator(".slopes").is_visible()
    # every link of the page leads to a place on it, or to a table
    links = page.locator("a").evaluate_all("e => e.map(a => a.getAttribute('href'))")
    ids = page.locator("[id]").evaluate_all("e => e.map(one => one.id)")
    for link in links:
        assert link[1:] in ids if link.startswith("#") else (place / link).exists(), link
    boxes = page.locator(".slopes .label").evaluate_all(
        "e => e.map(one => one.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.top, box.bottom])"
    )
    frame = page.locator(".slopes").bounding_box()
    for i, (left, right, top, bottom) in enumerate(boxes):
        assert left >= frame["x"] - 1 and right <= frame["x"] + frame["width"] + 1
        for other in boxes[i + 1 :]:
            apart = right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top
            assert apart, "labels overlap"


def test_theme_follows_the_reader(studies: list[Path], open_page: Any) -> None:
    assert report(*studies) == 0
    file = studies[0].parent / "report-a-b/index.html"
    colours = [
        open_page(file, color_scheme=scheme).evaluate(
            "[document.body, document.querySelector('.slopes .label')]"
            ".map((e, i) => i ? getComputedStyle(e).fill : getComputedStyle(e).backgroundColor)"
        )
        for scheme in ("light", "dark")
    ]
    assert colours[0][0] == "rgb(255, 255, 255)" and colours[1][0] != colours[0][0]
    assert colours[0][1] != colours[1][1], "labels too"


def test_hostile_names_are_inert(tmp_path: Path, open_page: Any) -> None:
    texts = [
        *HOSTILE,
        "<img src=x onerror=alert(1)>",
        "</style><script>alert(1)</script>",
        "{{ 7 }}",
    ]
    folders = [tmp_path / name for name in ("a<b>'\"", "{0} <img src=x onerror=alert(2)>")]
    for folder in folders:
        for seed in range(2):
            write_run(folder, "plain", seed, evaluations=2, evaluated=True)
        for i, text in enumerate(texts):
            for seed in range(2):
                final = {"mi": 1.0 + i + seed / 100, "shuffle_gap": 2.0 + i + seed / 100}
                run = write_run(
                    folder, "bn_mu", seed, overrides=f"x={i}", evaluations=2, evaluated=True,
                    final=final | {"mi_saturated": False},
                )  # fmt: skip
                in_yaml = text.replace("\ud800", "").replace("\ufffe\uffff", "")
                put_config(run, label=in_yaml, overrides={"posterior.x": in_yaml or str(i)}, k=i)
    assert report(*folders) == 0
    (place,) = tmp_path.glob("report-*")
    for width in (390, 1400):
        page = open_page(place / "index.html", width=width)
        assert page.locator("table.ranks").first.locator("tbody tr").count() == len(texts)
        needed, given = page.locator("html").evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert needed <= given
        assert page.locator("img").count() == 0 and page.locator("script").count() == 0
