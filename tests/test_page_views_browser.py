"""The views of the page in a browser: an opened head, curves, frontiers, parallel coordinates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_page_browser import list_rows, list_selected, write_page
from test_page_views import write_grid
from test_report import write_run
from test_report_text import HOSTILE, put_config

from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.page_data import COMPARED
from uncollapse.report.results import Study, read_study
from uncollapse.report.stats import finished, paired_difference, same_samples
from uncollapse.report.tables.cells import format_cell
from uncollapse.report.tables.summary import derive_metrics
from uncollapse.report.text import typeset

Page = Any  # playwright may not be installed
OpenPage = Callable[..., Page]
VALUES = {"plain": (0.0, 20.0), "tau=0.1": (1.0, 20.1), "tau=0.2": (2.0, 20.3), "tau=0.3": (3, 21)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bn_tau along its frontier, bn_mu with other samples of nll and a failed run, one seed of
    kl_anneal, and two seeds of a head without a file."""
    study = tmp_path_factory.mktemp("views") / "s"
    rng = np.random.default_rng(0)
    for name, (mi, nll) in VALUES.items():
        for seed in range(3):
            final = {"mi": mi + rng.normal(0, 0.1), "shuffle_gap": 2 * mi + rng.normal(0, 0.1)}
            final |= {"nll": nll + rng.normal(0, 0.05), "mi_saturated": False}
            head, overrides = ("plain", "default") if name == "plain" else ("bn_tau", name)
            options = {"evaluations": 4, "evaluated": True, "final": final, "label": head}
            write_run(study, head, seed, overrides=overrides, **options)
    for seed, samples in ((0, 500), (1, 7)):
        final = {"mi": 8.0, "nll": 20.0 + seed, "nll_samples": samples, "mi_saturated": True}
        write_run(study, "bn_mu", seed, evaluations=4, evaluated=True, final=final, label="bn_mu")
    write_run(study, "bn_mu", 2, status="failed", evaluations=4, label="bn_mu")
    final = {"mi": 0.5, "nll": 20.0, "mi_saturated": False}
    write_run(study, "kl_anneal", 1, evaluations=4, evaluated=True, final=final, label="kl_anneal")
    for seed in (5, 6):
        run = write_run(study, "rms_tau", seed, evaluations=4, label="mine")
        put_config(run, head="mine")
    return study


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    return write_page(folder) / "index.html"


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return read_study(folder)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(write_grid(tmp_path_factory.mktemp("grid") / "s").folder) / "index.html"


def click_row(page: Page, name: str) -> None:
    page.locator("#heads tr[data-place]", has_text=name).locator("td").first.click()


def read_comparison(page: Page) -> dict[str, list[str]]:
    """Header of a metric -> the cells of its row: difference, this, other, n."""
    rows = page.get_by_role("group", name="Comparison").locator("tbody tr")
    texts = [row.locator("th, td").all_inner_texts() for row in rows.all()]
    return {cells[0].split()[0]: cells[1:] for cells in texts}


def read_runs(page: Page) -> list[list[str]]:
    rows = page.get_by_role("group", name="Runs").locator("tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


# ---------------------------------------------------------------- an opened head


def test_click_opens_and_escape_closes(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    assert not page.locator("#opened").is_visible() and not page.locator("#jump").is_visible()
    click_row(page, "bn_tau (τ=0.2)")
    title = page.locator("#opened-title").inner_text()
    assert title == "bn_tau (τ=0.2), n = 3" and page.locator("#opened").is_visible()
    said = page.locator("#opened-parts").inner_text()
    for words in (
        "Settings: tau=0.2",
        "Promise. in training, batch-mean KL",
        "kexue.fm",
        "-(D/2) ln(1 - τ)",
        "τ, tau (0.5",
        "head = BatchNormTau(hidden, latent, tau=0.2)",
    ):
        assert words in said, words
    page.keyboard.press("Escape")
    assert not page.locator("#opened").is_visible() and list_selected(page)[0] == []


def test_enter_opens_and_escape_returns(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    focused = "document.activeElement.id || document.activeElement.innerText"
    for selector in ("#heads tbody button", "#plane .mark", ".panel", "#frontier-plot .frontier"):
        start = page.locator(f'{selector}[tabindex="0"]').first
        start.focus()
        start.evaluate("e => (e.dataset.start = '1')")
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == "opened-title", selector
        # Enter on a selected head shows it again, and closes nothing
        assert page.locator("#opened").is_visible()
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "against"
        page.keyboard.press("Escape")
        assert not page.locator("#opened").is_visible()
        assert page.evaluate("document.activeElement.dataset.start") == "1", selector
        start.evaluate("e => delete e.dataset.start")


def test_button_leads_to_the_opened_head_and_back_out(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    click_row(page, "bn_mu")
    jump = page.locator("#jump")
    jump.wait_for()
    assert jump.inner_text() == "bn_mu: details ↓"
    jump.click()
    jump.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "opened-title"
    page.locator("#close").click()
    assert not page.locator("#opened").is_visible()
    # the row that was clicked
    assert page.evaluate("document.activeElement.innerText").startswith("bn_mu")


def pair(study: Study, one: pd.DataFrame, other: pd.DataFrame, name: str) -> tuple[str, str]:
    """The difference and n that the page should show."""
    a, b = (finished(runs).set_index("seed") for runs in (one, other))
    alike = same_samples(a, b.reindex(a.index))
    values = a[name].where(alike) if name == "nll" else a[name]
    n, mean, half = paired_difference(values, b[name])
    text = format_cell(mean, half, 1, 1, METRICS[name].digits, "+")
    return (typeset(text.replace("- ", "-")) if n else "no shared seed"), str(n)


def test_comparison_of_every_pair_is_what_python_computes(
    report: Path, study: Study, open_page: OpenPage
) -> None:
    page = open_page(report)
    groups = {str(name): runs for name, runs in study.runs.groupby("group")}
    compared = 0
    for name, own in groups.items():
        click_row(page, name)
        for other in (other for other in groups if other != name):
            page.locator("#against").select_option(label=page.evaluate(
                "n => [...document.querySelector('#against').options]"
                ".find(o => o.text === n || o.text.startsWith(n + ' ')).text", other))  # fmt: skip
            cells = read_comparison(page)
            for metric in COMPARED:
                difference, *_, n = cells[METRICS[metric].header]
                expected = pair(study, own, groups[other], metric)
                assert (difference, n) == expected, (name, other, metric)
                compared += n != "0"
    assert len(groups) == 7 and compared > 100


def test_comparison_at_unequal_information_says_so(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    click_row(page, "bn_tau (τ=0.2)")
    assert "different amounts" not in page.locator("#opened-parts").inner_text(), "with plain"
    page.locator("#against").select_option(label="bn_tau (τ=0.1)")
    assert "different amounts of information (mi 2." in page.locator("#opened-parts").inner_text()


def test_search_finds_what_a_head_is_about(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#text").fill("batch norm")
    names = page.locator("#heads tr[data-place]:visible th").all_inner_texts()
    assert {name.split()[0] for name in names} == {"bn_tau", "bn_mu"}


def test_comparison_leaves_out_missing_seeds_and_other_samples(
    report: Path, open_page: OpenPage
) -> None:
    page = open_page(report)
    click_row(page, "bn_mu")
    cells = read_comparison(page)
    # of plain: seed 2 failed, and the nll of seed 1 is from other samples
    assert cells["nll"][3] == "1" and "±" not in cells["nll"][0]
    assert cells["mi"][3] == "2" and "±" in cells["mi"][0]
    assert "lower bound" in page.locator("#opened-parts").inner_text()
    click_row(page, "mine")
    cells = read_comparison(page)
    assert {cell[0] for cell in cells.values()} == {"no shared seed"}
    assert "neither in this package" in page.locator("#opened-parts").inner_text()


def test_head_with_nothing_to_compare_says_so(tmp_path: Path, open_page: OpenPage) -> None:
    write_run(tmp_path / "s", "bn_mu", 0, evaluations=2)
    page = open_page(write_page(tmp_path / "s") / "index.html")
    page.locator("#heads td").first.click()
    assert "no other head" in page.locator("#opened-parts").inner_text()
    assert page.locator("#against option").all_inner_texts() == ["–"]


def test_plain_waits_for_a_choice(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    click_row(page, "plain")
    assert "Choose a head to compare with" in page.locator("#opened-parts").inner_text()
    page.locator("#against").select_option(label="bn_tau (τ=0.1)")
    # the differences of that head from plain, with the other sign
    assert read_comparison(page)["nll"][0].startswith("−")
    assert not page.locator("#opened .line.other").count() % 3


def test_every_run_is_listed_as_python_writes_it(
    report: Path, study: Study, open_page: OpenPage
) -> None:
    page = open_page(report)
    runs = study.runs.assign(**derive_metrics(study.runs))
    names = ("mi", "shuffle_gap", "d_nll", "nll", "kl", "probe")
    for group, own in runs.groupby("group"):
        click_row(page, str(group))
        shown = read_runs(page)
        assert [cells[0] for cells in shown] == own["seed"].astype(str).tolist()
        for cells, run in zip(shown, own.to_dict("records"), strict=True):
            assert cells[1].startswith(run["status"]) and cells[2] == f"{run['step']:,}"
            expected = [
                typeset(format_cell(run[name], np.nan, 1, 1, METRICS[name].digits,
                                    "+" if name == "d_nll" else ""))
                for name in names
            ]  # fmt: skip
            assert cells[3:-2] == expected
            assert cells[-2:] == [run["folder"], run["command"]]
    failed = page.locator("#opened td.failed")
    click_row(page, "bn_mu")
    assert "FloatingPointError" in failed.inner_text()


def test_bars_are_sorted_means_of_dimensions(
    report: Path, study: Study, open_page: OpenPage
) -> None:
    page = open_page(report)
    click_row(page, "plain")
    heights = page.locator("#opened rect.bar-of").evaluate_all(
        "bars => bars.map(bar => Number(bar.getAttribute('height')))"
    )
    own = study.rows[(study.rows["group"] == "plain") & (study.rows["split"] == "test")]
    own = own[own["mode"] == "eval"]
    kl = np.mean([np.sort(values)[::-1] for values in own["kl_per_dim"]], axis=0)
    ratios = np.array(heights) / heights[0]
    assert ratios == pytest.approx(kl[: len(heights)] / kl[0], abs=0.2) and ratios[1] < 1
    assert list(heights) == sorted(heights, reverse=True)
    assert page.locator("#opened circle.seed").count() == 3 * len(heights)
    click_row(page, "kl_anneal")
    assert "points: seeds" in page.locator("#opened figcaption").first.inner_text()


def test_address_keeps_the_opened_head_and_its_comparison(
    report: Path, open_page: OpenPage
) -> None:
    page = open_page(report)
    click_row(page, "bn_mu")
    page.locator("#against").select_option(label="bn_tau (τ=0.1)")
    page.locator("#curve-metric").select_option("nelbo")
    page.locator("#frontier-axis").select_option(label="gap")
    address = "#" + page.evaluate("location.hash.slice(1)")
    other = open_page(report, address)
    assert other.locator("#opened-title").inner_text().startswith("bn_mu")
    assert other.locator("#against option:checked").inner_text() == "bn_tau (τ=0.1)"
    assert other.locator("#curve-metric").input_value() == "nelbo"
    assert other.locator("#frontier-axis option:checked").inner_text() == "gap"
    odd = open_page(report, "#head=bn_mu&with=bn_mu&curve=constructor&frontier=-1&curve-log=x")
    assert odd.locator("#against option:checked").inner_text() == "plain"
    assert odd.locator("#curve-metric").input_value() == "kl"


def test_samples_of_the_head_are_linked(tmp_path: Path, open_page: OpenPage) -> None:
    for head in ("plain", "bn_mu"):
        run = write_run(tmp_path / "s", head, 0, evaluations=2, label=head)
        (run / "samples").mkdir()
        (run / "samples/prior.txt").write_text(f"a\tb\n{head}\tx\n")
    write_run(tmp_path / "s", "bn_tau", 0, evaluations=2, label="bn_tau")
    page = open_page(write_page(tmp_path / "s") / "index.html")
    click_row(page, "bn_mu")
    page.get_by_role("button", name="samples of this head").click()
    # beside the samples of all heads for the first input
    opened = page.locator("main > details[open] > summary").all_inner_texts()
    assert opened == ["1", "bn_mu, seed 0"]
    click_row(page, "bn_tau")
    assert not page.get_by_role("button", name="samples of this head").count()


# ---------------------------------------------------------------- curves


def list_panels(page: Page) -> list[str]:
    return page.locator(".panel:not([hidden]) .name").all_inner_texts()


def test_panels_are_in_the_order_of_the_table(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    assert len(list_panels(page)) == 7
    shown = [name.replace(" (τ=", " ").rstrip(")") for name in list_rows(page)]
    assert [name.split(" §")[0] for name in shown] == list_panels(page)
    page.locator('#heads th[data-column="mi"] button').click()
    assert list_panels(page)[0] == "plain" == list_rows(page)[0]
    page.locator("#text").fill("tau")
    assert list_panels(page) == ["bn_tau 0.1", "bn_tau 0.2", "bn_tau 0.3"]


def test_panel_shows_seeds_and_plain_and_selects(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    panel = page.locator(".panel", has_text="bn_mu")
    panel.scroll_into_view_if_needed()
    panel.locator("path.line").first.wait_for()
    assert panel.locator("path[data-run]").count() == 3
    assert panel.locator("path.open").count() == 1, "the failed run is dashed"
    assert panel.locator("path.plain").count() == 1
    assert "kl at the end: " in panel.text_content()
    panel.click()
    assert list_selected(page) == (["bn_mu"], ["bn_mu"])
    assert panel.get_attribute("aria-pressed") == "true"
    assert page.locator(".panel.selected").count() == 1
    panel.press("Space")
    assert list_selected(page) == ([], []) and panel.get_attribute("aria-pressed") == "false"


def test_pointer_on_a_curve_names_its_run(report: Path, study: Study, open_page: OpenPage) -> None:
    page = open_page(report)
    panel = page.locator(".panel", has_text="kl_anneal")
    panel.scroll_into_view_if_needed()
    panel.locator("path[data-run]").wait_for()
    box = panel.locator("> svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 50)
    lines = page.locator("#curve-tip").inner_text().splitlines()
    own = study.rows[(study.rows["head"] == "kl_anneal")] if "head" in study.rows else study.rows
    own = own[(own["group"] == "kl_anneal") & (own["split"] == "valid")]
    assert lines[:3] == ["kl_anneal", "seed 1", f"step {own['step'].iloc[-1]:,}"]
    value = float(f"{own['kl'].iloc[-1]:.4g}")
    assert lines[3] == f"kl {format_cell(value, np.nan, 1, 1, METRICS['kl'].digits)} nats"
    assert panel.locator("path.hot").count() == 1
    page.mouse.move(2, 2)
    assert not page.locator("#curve-tip").is_visible() and not page.locator(".hot").count()


def test_metric_and_scale_of_curves_change(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    panel = page.locator(".panel", has_text="kl_anneal")
    panel.scroll_into_view_if_needed()
    line = panel.locator("path[data-run]")
    line.wait_for()
    metrics = page.locator("#curve-metric option").all_inner_texts()
    assert metrics[:2] == ["kl", "nelbo"] and {"gap", "au"} <= set(metrics)
    seen = {line.get_attribute("d")}
    for change in (
        lambda: page.locator("#curve-metric").select_option("nelbo"),
        lambda: page.locator("#curve-bar").get_by_role("button", name="log").click(),
    ):
        change()
        page.wait_for_timeout(200)
        seen.add(line.get_attribute("d"))
    assert len(seen) == 3
    assert "nelbo at the end" in panel.text_content()
    assert page.locator("#curve-caption").inner_text().startswith("nelbo (nats, lower is better)")


def test_panels_far_away_are_drawn_for_print(tmp_path: Path, open_page: OpenPage) -> None:
    for i in range(40):
        run = write_run(tmp_path / "s", "bn_mu", 0, overrides=f"x={i}", evaluations=2)
        put_config(run, x=i)
    page = open_page(write_page(tmp_path / "s") / "index.html", width=390)
    drawn = page.locator(".panel > svg")
    assert drawn.count() < 20
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert drawn.count() == 40


# ---------------------------------------------------------------- frontiers


def test_frontier_shows_seeds_selects_and_dims(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    curve = page.locator("#frontier-plot .frontier")
    assert curve.count() == 1 and curve.locator("circle").count() == 9
    assert curve.get_attribute("aria-label").startswith("bn_tau: mi ")
    hidden = "e => getComputedStyle(e.querySelector('.band')).display"
    assert curve.evaluate(hidden) == "none"
    page.locator("#frontier-plot").scroll_into_view_if_needed()
    box = curve.locator("circle").nth(4).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    lines = page.locator("#frontier-plot .tip").inner_text().splitlines()
    assert lines[0].startswith("bn_tau (τ=") and lines[1].startswith("seed ")
    assert lines[2].startswith("mi ") and lines[3].startswith("nll − plain +")
    page.mouse.click(*middle)
    assert list_selected(page)[0] == [lines[0]]
    assert curve.evaluate(hidden) == "inline"
    assert "dim" in page.locator("#frontier-plot > svg").get_attribute("class")


def test_frontier_has_other_axes(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    options = page.locator("#frontier-axis option").all_inner_texts()
    assert options == ["mi", "gap", "kl"]
    seen = {page.locator("#frontier-plot circle").first.get_attribute("cx")}
    for name in options[1:]:
        page.locator("#frontier-axis").select_option(label=name)
        label = page.locator("#frontier-plot > svg").get_attribute("aria-label")
        assert label.startswith(f"nll − plain over {name}")
        seen.add(page.locator("#frontier-plot circle").first.get_attribute("cx"))
    assert len(seen) == 3


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def test_dragging_enlarges_a_box_of_frontiers(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#frontier-plot").scroll_into_view_if_needed()
    circles = page.locator("#frontier-plot circle")

    def list_centres() -> list[list[float]]:
        return circles.evaluate_all(
            "all => all.map(one => one.getBoundingClientRect())"
            ".map(box => [box.x + box.width / 2, box.y + box.height / 2])"
        )

    def find_box(centres: list[list[float]]) -> tuple[tuple[float, float], tuple[float, float]]:
        xs, ys = zip(*centres, strict=True)
        return (min(xs) - 12, min(ys) - 12), (max(xs) + 12, max(ys) + 12)

    before = list_centres()
    # the three seeds of the second of three values
    start, end = find_box(before[3:6])
    drag(page, start, end)
    caption = page.locator("#frontier-caption").inner_text()
    assert caption.endswith("3 of 9 runs are in the box.")
    after = list_centres()
    plot = page.locator("#frontier-plot > svg").bounding_box()
    # the margins of drawing.js
    left, right, top, bottom = 58, 18, 28, 44
    width, height = plot["width"] - left - right, plot["height"] - top - bottom
    for (x0, y0), (x1, y1) in zip(before[3:6], after[3:6], strict=True):
        # where it was in the box is where it is in the plot
        share = (x0 - start[0]) / (end[0] - start[0]), (y0 - start[1]) / (end[1] - start[1])
        assert (x1 - plot["x"] - left) / width == pytest.approx(share[0], abs=0.01)
        assert (y1 - plot["y"] - top) / height == pytest.approx(share[1], abs=0.01)
    assert list_selected(page)[0] == [], "a drag selects nothing"
    page.mouse.click(*after[4])
    assert list_selected(page)[0] == ["bn_tau (τ=0.2)"]
    page.keyboard.press("Escape")
    # by keyboard
    page.locator("#frontier-all").press("Enter")
    assert list_centres() == before and not page.locator("#frontier-all").is_visible()
    drag(page, start, end)
    page.mouse.dblclick(*after[4])
    assert list_centres() == before and list_selected(page)[0] == []
    assert "in the box" not in page.locator("#frontier-caption").inner_text()


def test_box_without_a_curve_is_empty(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#frontier-plot").scroll_into_view_if_needed()
    plot = page.locator("#frontier-plot > svg").bounding_box()
    corner = plot["x"] + 70, plot["y"] + 35
    drag(page, corner, (corner[0] + 20, corner[1] + 20))
    assert page.locator("#frontier-plot .frontier").count() == 0
    assert "0 of 9 runs are in the box" in page.locator("#frontier-caption").inner_text()
    # another axis shows all of it
    page.locator("#frontier-axis").select_option(label="gap")
    assert page.locator("#frontier-plot .frontier").count() == 1


def test_study_without_frontier_or_knobs_has_no_such_view(
    tmp_path: Path, open_page: OpenPage
) -> None:
    write_run(tmp_path / "s", "plain", 0, status="failed", evaluations=2)
    page = open_page(write_page(tmp_path / "s") / "index.html")
    for selector in ("#frontiers-section", "#knobs-section", "#plane-section"):
        assert not page.locator(selector).is_visible(), selector
    assert page.locator("#curves-section").is_visible()


# ---------------------------------------------------------------- parallel coordinates


def test_range_by_dragging_narrows_all_views(grid: Path, open_page: OpenPage) -> None:
    page = open_page(grid)
    assert page.locator(".knob-line").count() == 20 and len(list_rows(page)) == 21
    plot = page.locator("#knob-plot > svg")
    plot.scroll_into_view_if_needed()
    titles = plot.locator("text[text-anchor=middle]").all_text_contents()
    assert titles == ["lr", "τ", "mi", "gap", "nll − plain"]
    box = plot.locator("line.zero").first.bounding_box()
    # the upper part of the axis of lr: 0.1 and 1 of 0.001 to 1, on a logarithmic axis
    page.mouse.move(box["x"], box["y"] - 5)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert page.locator(".knob-line:not(.out)").count() == 10
    assert page.locator("#knob-count").inner_text() == "10 of 20 groups"
    assert len(list_rows(page)) == 10 and page.locator("#plane .mark").count() == 10
    assert len(list_panels(page)) == 10
    page.locator("#knob-all").click()
    assert len(list_rows(page)) == 21 and not page.locator("#knob-all").is_visible()


def test_ranges_by_keyboard_add_up(grid: Path, open_page: OpenPage) -> None:
    page = open_page(grid)
    page.get_by_label("τ from").fill("0.05")
    page.get_by_label("τ from").press("Tab")
    assert len(list_rows(page)) == 16
    page.get_by_label("lr to").fill("0.01")
    page.get_by_label("lr to").press("Tab")
    assert len(list_rows(page)) == 8
    page.get_by_label("τ from").fill("")
    page.get_by_label("τ from").press("Tab")
    assert len(list_rows(page)) == 10


def test_lines_are_named_and_selected(grid: Path, open_page: OpenPage) -> None:
    page = open_page(grid)
    line = page.locator('.knob-line[tabindex="0"]')
    assert line.count() == 1
    line.focus()
    said = line.get_attribute("aria-label").split(", ")
    assert page.locator("#knob-plot .tip").inner_text().splitlines()[1:] == said[-5:]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator(".knob-line.selected").count() == 1
    assert page.evaluate("document.activeElement.id") == "opened-title"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('knob-line')")


# ---------------------------------------------------------------- all of it


@pytest.mark.parametrize("width", [390, 768, 1400, 2560])
def test_views_never_overflow(report: Path, grid: Path, open_page: OpenPage, width: int) -> None:
    for path in (report, grid):
        page = open_page(path, width=width)
        page.locator("#heads td").first.click()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        needed, given = page.locator("html").evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert needed <= given


def test_heads_are_described_without_scripts(report: Path, open_page: OpenPage) -> None:
    page = open_page(report, java_script_enabled=False)
    described = page.locator("details[data-head]")
    assert described.count() == 5
    tau = page.locator('details[data-head="bn_tau"]')
    tau.locator("summary").click()
    assert "Promise. in training" in tau.inner_text()
    for selector in ("#opened", "#jump", "#curves-section", "#frontiers-section"):
        assert not page.locator(selector).is_visible(), selector


def test_compressed_data_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage
) -> None:
    monkeypatch.setattr("uncollapse.report.page_data.MOST_PLAIN", 10)
    page = open_page(write_page(folder) / "index.html")
    assert page.locator("#data").get_attribute("type") == "application/gzip"
    page.locator("html[data-ready]").wait_for(state="attached")
    assert len(list_panels(page)) == 7


def test_hostile_text_is_inert_in_an_opened_head(tmp_path: Path, open_page: OpenPage) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2, evaluated=True)
    texts = [*HOSTILE[::3], "<img src=x onerror=alert(1)>", '"]<script>alert(2)</script>']
    for i, text in enumerate(texts):
        run = write_run(study, "bn_mu", i, overrides=f"x={i}", evaluations=2, evaluated=True)
        in_yaml = text.replace("\ud800", "").replace("\ufffe\uffff", "")
        command = f"python train.py head={in_yaml}".replace("\n", " ").replace("\r", " ")
        put_config(run, label=in_yaml, head=in_yaml, overrides={"x": in_yaml}, command=command)
    page = open_page(write_page(study) / "index.html")
    rows = page.locator("#heads tr[data-place]")
    for i in range(rows.count()):
        rows.nth(i).locator("td").first.click()
        assert page.locator("#opened").is_visible() and read_runs(page)
        page.keyboard.press("Escape")
    assert not page.locator("#opened img, #opened script").count()
