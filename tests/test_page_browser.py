"""The page of a report in a browser, opened from disk with the network cut."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_page_parts import VALUES
from test_report import OTHER, SLOTS, write_run
from test_report_text import HOSTILE, put_config

from uncollapse.report import figures
from uncollapse.report.front import find_front
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.stats import against_plain, finished

Page = Any  # playwright may not be installed

CHANGED = {
    "bn_mu": "posterior", "bn_tau": "posterior", "rms_tau": "decoder", "kl_anneal": "objective"
}  # fmt: skip
SECTIONS = ["bn_tau", "bn_mu", "rms_tau", "kl_anneal", "plain"]  # the order of the page


def write_page(folder: Path) -> Path:
    full, figures.PLOTS = figures.PLOTS, {}
    try:
        write_report(folder, single=folder / "single.html")
    finally:
        figures.PLOTS = full
    return folder / "report"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "s"
    for head, (mi, gap, nll) in VALUES.items():
        slots = SLOTS | ({CHANGED[head]: OTHER[CHANGED[head]]} if head in CHANGED else {})
        for seed in range(3):
            final = {"mi": mi + seed / 100, "shuffle_gap": gap + seed / 100, "nll": nll}
            final["mi_saturated"] = False
            options = {"final": final, "label": head, "slots": slots, "evaluated": True}
            write_run(folder, head, seed, evaluations=2, **options)
    write_run(folder, "plain", 3, status="failed", evaluations=2, label="plain", slots=SLOTS)
    return write_page(folder)


def list_rows(page: Page) -> list[str]:
    """The names of the visible rows."""
    return page.locator("#heads tr[data-place]:not([hidden]) th").all_inner_texts()


def list_selected(page: Page) -> tuple[list[str], list[str]]:
    """The names of the selected rows, and those of the selected marks."""
    rows = page.locator("#heads tr.selected th").all_inner_texts()
    marks = page.locator("#plane .mark.selected")
    names = [marks.nth(i).get_attribute("aria-label") for i in range(marks.count())]
    return rows, [name.partition(",")[0] for name in names]


def find_mark(page: Page, head: str) -> tuple[float, float]:
    """The centre of a head's mark on the screen."""
    page.locator("#plane").scroll_into_view_if_needed()
    box = page.locator(f'#plane .mark[aria-label^="{head},"] .point').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


# ---------------------------------------------------------------- answers


def count_answers(page: Page) -> tuple[int, int]:
    """How many sentences are visible, and how many there are."""
    return page.locator(".answers p:visible").count(), page.locator(".answers p").count()


def test_narrow_screens_begin_with_three_sentences(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html", width=390)
    _, total = count_answers(page)
    assert total > 3 and count_answers(page)[0] == 3
    button = page.locator("#more-answers")
    # the fixture has a failed run
    assert button.inner_text() == f"{total - 3} more sentences, with 1 caution"
    assert button.bounding_box()["y"] < 900, "on the first screen"
    page.emulate_media(media="print")
    assert count_answers(page)[0] == total and not button.is_visible()
    page.emulate_media(media="screen")
    button.focus()
    page.keyboard.press("Enter")
    assert count_answers(page)[0] == total
    assert button.get_attribute("aria-expanded") == "true"
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == page.locator(".answers p").nth(3).text_content()
    # past the links of the sentences
    for _ in range(total - 2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "more-answers"
    page.keyboard.press("Space")
    assert count_answers(page)[0] == 3 and button.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("options", [{"width": 768}, {"width": 390, "java_script_enabled": False}])
def test_all_sentences_show_where_there_is_room_or_no_script(
    report: Path, open_page: Any, options: dict
) -> None:
    page = open_page(report / "index.html", **options)
    shown, total = count_answers(page)
    assert shown == total > 3 and not page.locator("#more-answers").is_visible()


def test_more_than_eight_sentences_come_on_request(
    tmp_path: Path, report: Path, open_page: Any
) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    # the same scripts with a lower limit, so they need no policy
    text = text.replace("MOST_ANSWERS = 8", "MOST_ANSWERS = 4")
    (tmp_path / "page.html").write_text(text.replace("Content-Security-Policy", "x"), "utf-8")
    page = open_page(tmp_path / "page.html")
    shown, total = count_answers(page)
    assert shown == 4 < total
    page.set_viewport_size({"width": 390, "height": 900})
    assert count_answers(page)[0] == 3
    page.locator("#more-answers").click()
    assert count_answers(page)[0] == total
    page.locator("#more-answers").click()
    page.set_viewport_size({"width": 1400, "height": 900})
    assert count_answers(page)[0] == 4


def test_sentence_leads_to_the_rows_that_it_means(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html", "#find=bn_tau")
    assert "plain" not in list_rows(page)

    def show(words: str) -> list[str]:
        page.locator(".answers p", has_text=words).get_by_role("link").click()
        return page.locator("tr.meant").evaluate_all("e => e.map(row => row.cells[0].innerText)")

    # a row that the filter hid
    assert show("collapsed: decoding from") == ["plain"]
    assert list_rows(page) == SECTIONS, "no filter hides it now"
    assert show("remedies keep a code") == ["kl_anneal"]
    found = show("after Holm's adjustment")
    assert set(found) <= {"bn_mu", "bn_tau", "rms_tau", "kl_anneal"}
    inside = page.locator("tr.meant").evaluate_all("e => e.map(row => row.closest('#heads'))")
    assert not any(inside), "those rows are of the table of differences"


@pytest.mark.parametrize("width", [390, 1400])
def test_no_table_is_cut_in_print(report: Path, open_page: Any, width: int) -> None:
    page = open_page(report / "index.html", width=width)
    page.emulate_media(media="print")
    # A4 without its margins
    page.evaluate("document.body.style.width = '718px'")
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    ends = page.locator("table").evaluate_all("e => e.map(t => t.getBoundingClientRect().right)")
    assert len(ends) > 2 and max(ends) <= 719


# ---------------------------------------------------------------- table


def test_columns_sort_and_say_so(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    assert list_rows(page) == SECTIONS
    header = page.locator('#heads th[data-column="mi"]')
    for order, first in (("ascending", "plain"), ("descending", "rms_tau")):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == order and list_rows(page)[0] == first
    assert not page.locator("#heads tr.section:visible").count()
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "none" and list_rows(page) == SECTIONS
    assert page.locator("#heads tr.section:visible").count() == 4


def test_missing_values_are_last_in_both_directions(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    button = page.locator('#heads th[data-column="d_nll"] button')
    for first in ("kl_anneal", "rms_tau"):
        button.click()
        # plain has no difference from plain
        assert list_rows(page)[0] == first and list_rows(page)[-1] == "plain"


def test_filters_hold_for_table_and_plane(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.get_by_role("button", name="posterior").click()
    assert list_rows(page) == ["bn_tau", "bn_mu"]
    assert page.locator("#plane .mark").count() == 2
    assert page.locator("#count").inner_text() == "2 of 5 rows"
    page.locator("#text").fill("TAU")
    assert list_rows(page) == ["bn_tau"] and page.locator("#plane .mark").count() == 1
    page.get_by_role("button", name="posterior").click()
    assert list_rows(page) == ["bn_tau", "rms_tau"]
    page.locator("#text").fill("no such head")
    assert (
        list_rows(page) == [] and "No setting that is shown" in page.locator("#plane").inner_text()
    )


def test_rows_beyond_the_first_come_on_request(
    tmp_path: Path, report: Path, open_page: Any
) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    # the same scripts with a lower limit, so they need no policy
    text = text.replace("MOST_ROWS = 200", "MOST_ROWS = 2").replace("Content-Security-Policy", "x")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = open_page(tmp_path / "page.html")
    assert list_rows(page) == SECTIONS[:2]
    page.get_by_role("button", name="3 more rows").click()
    assert list_rows(page) == SECTIONS
    page.get_by_role("button", name="first 2 rows only").click()
    page.mouse.click(*find_mark(page, "kl_anneal"))
    assert list_rows(page) == [*SECTIONS[:2], "kl_anneal"], "a selected row is shown"


@pytest.mark.parametrize("width", [390, 768, 1400, 2560])
def test_page_and_table_never_overflow(report: Path, open_page: Any, width: int) -> None:
    page = open_page(report / "index.html", width=width)
    room = "e => [e.scrollWidth, e.clientWidth]"
    for element in ("html", ".frame"):
        needed, given = page.locator(element).evaluate(room)
        assert needed <= given, element
    cells = page.locator("#heads thead th:visible").all_inner_texts()
    assert len(cells) >= 4 and cells[0] == "head" and cells[1].startswith("mi")
    more = page.locator("#columns")
    if width < 2000:
        more.click()
        assert page.locator("#heads thead th:visible").count() > len(cells)
        needed, given = page.locator(".frame").evaluate(room)
        # the table scrolls in its frame, the page does not
        assert needed > given
        needed, given = page.locator("html").evaluate(room)
        assert needed <= given
        frame = page.locator(".frame")
        frame.evaluate("e => e.scrollTo(200, 40)")
        box = frame.bounding_box()
        name = page.locator("#heads tr[data-place] th").first.bounding_box()
        assert abs(name["x"] - box["x"]) < 3, "the first column stays"
        header = page.locator('#heads th[data-column="mi"]').bounding_box()
        assert abs(header["y"] - box["y"]) < 3, "and so does the header"


def test_rows_are_copied_as_text(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    field = page.locator("#copied-text")
    copying = page.locator("#copying")
    for how, words in {
        "CSV": ['"name","mi","mi ±","nll − plain"', '"bn_tau","3.01","0.0248'],
        "Markdown": ["| name | mi | nll − plain | gap |", "| bn\\_tau | 3.01 ± 0.02 |"],
        "LaTeX": ["\\begin{tabular}{lrrr", "bn\\_tau & 3.01 $\\pm$ 0.02 &"],
    }.items():
        copying.get_by_role("button", name=how).click()
        text = field.input_value()
        assert all(word in text for word in words), text
        assert "5 rows" in page.locator("#copied").inner_text()


def test_copying_uses_the_clipboard_where_there_is_one(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard',"
        " {value: {writeText: async (text) => { window.written = text; }}})"
    )
    page.locator("#copying").get_by_role("button", name="CSV").click()
    page.get_by_text("5 rows copied as CSV.").wait_for()
    assert page.evaluate("window.written").startswith('"name","mi"')
    assert not page.locator("#copied-text").is_visible()


# ---------------------------------------------------------------- plane


def test_one_selection_runs_through_both_views(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.locator("#heads tr[data-place]", has_text="bn_tau").locator("td").first.click()
    assert list_selected(page) == (["bn_tau"], ["bn_tau"])
    page.mouse.click(*find_mark(page, "bn_mu"))
    assert list_selected(page) == (["bn_mu"], ["bn_mu"])
    seeds = page.locator("#plane .seeds").get_attribute("d")
    assert seeds.count("M") == 2 * 3, "a cross for each seed"
    page.mouse.click(*find_mark(page, "bn_mu"))
    assert list_selected(page) == ([], [])
    page.mouse.click(*find_mark(page, "bn_mu"))
    page.keyboard.press("Escape")
    assert list_selected(page) == ([], [])


def test_tip_has_the_text_of_the_table(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.mouse.move(*find_mark(page, "rms_tau"))
    said = page.locator("#plane .tip").inner_text()
    assert said.splitlines() == ["rms_tau", "mi 4.01 ± 0.02", "nll − plain +0.90 ± 0.00", "n = 3"]
    shown = page.locator("#heads tr[data-place]", has_text="rms_tau").locator("td")
    assert shown.all_inner_texts()[:2] == ["4.01 ± 0.02", "+0.90 ± 0.00"]
    page.mouse.move(2, 2)
    assert not page.locator("#plane .tip").is_visible()


def test_axes_and_scale_change(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    assert page.locator("#plane .mark").count() == 4, "plain has no difference from plain"
    page.locator("#y-axis").select_option(label="gap")
    assert page.locator("#plane .mark").count() == 5
    assert "gap" in page.locator("#plane svg").first.get_attribute("aria-label")
    before = find_mark(page, "bn_mu")
    page.locator("#axes").get_by_role("button", name="log").click()
    assert find_mark(page, "bn_mu") != before
    assert page.evaluate("location.hash.slice(1)") == "x=mi&y=shuffle_gap&log=1"


def test_dragging_enlarges_a_box(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    (x0, y0), (x1, y1) = find_mark(page, "bn_mu"), find_mark(page, "bn_tau")
    page.mouse.move(min(x0, x1) - 15, max(y0, y1) + 15)
    page.mouse.down()
    page.mouse.move(max(x0, x1) + 15, min(y0, y1) - 15, steps=4)
    page.mouse.up()
    names = page.locator("#plane .mark").evaluate_all("e => e.map(m => m.ariaLabel)")
    assert [name.partition(",")[0] for name in names] == ["bn_mu", "bn_tau"]
    assert "2 of 4 are in the box" in page.locator("#plane-caption").inner_text()
    assert list_selected(page) == ([], []), "a drag selects nothing"
    page.locator("#all").click()
    assert page.locator("#plane .mark").count() == 4 and not page.locator("#all").is_visible()


def test_double_click_shows_all_again(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    x, y = find_mark(page, "bn_mu")
    page.mouse.move(x - 15, y - 15)
    page.mouse.down()
    page.mouse.move(x + 15, y + 15, steps=4)
    page.mouse.up()
    assert page.locator("#plane .mark").count() == 1
    page.mouse.dblclick(*find_mark(page, "bn_mu"))
    assert page.locator("#plane .mark").count() == 4 and list_selected(page) == ([], [])


def test_front_are_heads_that_keep_a_code(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    names = page.locator("#plane .mark.front").evaluate_all("e => e.map(m => m.ariaLabel)")
    # kl_anneal has the lowest nll, but has collapsed; bn_tau keeps more than bn_mu for less
    assert [name.partition(",")[0] for name in names] == ["bn_tau", "rms_tau"]
    # figures on paper name the same
    runs = read_study(report.parent).runs
    done = finished(runs.assign(d_nll=against_plain(runs, "nll")))
    front = done[done["order"].isin(find_front(done, "mi", "d_nll"))]
    assert {*front["group"]} == {"bn_tau", "rms_tau"}
    displays = page.locator("#plane .whiskers").evaluate_all(
        "e => e.map(path => getComputedStyle(path).display)"
    )
    assert displays.count("inline") == 2 and displays.count("none") == 2


def test_heads_of_other_data_do_not_beat_each_other(tmp_path: Path, open_page: Any) -> None:
    # bn_mu keeps more for less, but on other data
    for head, mi, vocab in (("bn_tau", 2.0, 112), ("bn_mu", 3.0, 7)):
        for seed in range(2):
            final = {"mi": mi, "shuffle_gap": mi + seed / 100, "mi_saturated": False}
            folder = write_run(tmp_path / "s", head, seed, evaluations=2, final=final)
            facts = json.loads((folder / "data.json").read_text())
            (folder / "data.json").write_text(json.dumps(facts | {"vocab": vocab}))
    page = open_page(write_page(tmp_path / "s") / "index.html")
    assert page.locator("#plane .mark.front").count() == 2
    assert page.locator("#heads tr.section:visible").count() == 2


def test_far_heads_stand_on_the_edge_and_are_counted(tmp_path: Path, open_page: Any) -> None:
    heads = ("plain", "bn_mu", "bn_tau", "rms_tau", "kl_anneal")
    for i in range(9):
        # one of nine is a hundred times as far as the others
        final = {"mi": 800.0 if i == 8 else 1.0 + i, "shuffle_gap": 1.0 + i, "mi_saturated": False}
        write_run(tmp_path / "s", heads[i % 5], i, overrides=f"x={i}", evaluations=2, final=final)
    page = open_page(write_page(tmp_path / "s") / "index.html")
    said = page.locator("#plane-caption").inner_text()
    assert "1 far from all others stands on the edge" in said
    page.locator("#axes").get_by_role("button", name="log").click()
    assert "far from" not in page.locator("#plane-caption").inner_text()


# ---------------------------------------------------------------- address and keyboard


def test_address_keeps_the_state(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.mouse.click(*find_mark(page, "rms_tau"))
    page.locator("#y-axis").select_option("shuffle_gap")
    address = "#" + page.evaluate("location.hash.slice(1)")
    assert address == "#head=rms_tau&x=mi&y=shuffle_gap"
    command = "uncollapse report results/s --figure plane --x mi --y shuffle_gap"
    assert page.locator("#plane-command").inner_text() == command
    other = open_page(report.parent / "single.html", address)
    assert list_selected(other) == (["rms_tau"], ["rms_tau"])
    assert other.locator("#y-axis").input_value() == "shuffle_gap"


def test_address_keeps_filters_order_and_zoom(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.get_by_role("button", name="posterior").click()
    page.locator("#text").fill("TAU")
    page.locator('#heads th[data-column="mi"] button').click()
    page.locator('#heads th[data-column="mi"] button').click()
    page.evaluate("uncollapsePage.set({box: [0, 5, -1, 1.5]})")
    rows, count = list_rows(page), page.locator("#plane .mark").count()
    other = open_page(report.parent / "single.html", "#" + page.evaluate("location.hash.slice(1)"))
    assert list_rows(other) == rows and other.locator("#text").input_value() == "tau"
    assert other.locator("#plane .mark").count() == count
    header = other.locator('#heads th[data-column="mi"]')
    assert header.get_attribute("aria-sort") == "descending"
    assert other.get_by_role("button", name="posterior").get_attribute("aria-pressed") == "true"
    assert other.evaluate("uncollapsePage.state.box.join()") == "0,5,-1,1.5"


def test_links_within_the_page_leave_the_address_alone(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")
    page.mouse.click(*find_mark(page, "rms_tau"))
    address = page.evaluate("location.href")
    page.get_by_role("link", name="data, code, commands").click()
    assert (
        page.evaluate("location.href") == address
        and page.evaluate("document.activeElement.id") == "provenance"
    )
    assert list_selected(page)[0] == ["rms_tau"]


@pytest.mark.parametrize(
    "address",
    [
        "#head=<b>&x=constructor&y=__proto__&log=2&slots=constructor,no&sort=no&box=1,2,x,4",
        "#range=mi:a:b&range=1:2&knobs=99&frontier-box=1,2&x=mi",
        "#x=%",
        "#=",
        "#",
    ],
)
def test_odd_addresses_change_nothing(report: Path, open_page: Any, address: str) -> None:
    page = open_page(report / "index.html", address)
    assert list_rows(page) == SECTIONS and page.locator("#plane .mark").count() == 4
    assert list_selected(page) == ([], []) and page.locator("#x-axis").input_value() == "mi"


def test_keyboard_alone_sorts_selects_and_reads(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html")

    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    def tab_to(selector: str) -> None:
        for _ in range(80):
            press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    tab_to("#plane .mark")
    assert page.locator("#plane .tip").is_visible()
    press("ArrowRight", "Enter")
    # from left to right: kl_anneal, bn_mu
    assert list_selected(page) == (["bn_mu"], ["bn_mu"])
    tab_to('[data-column="mi"] button')
    press("Enter", "Enter")
    assert list_rows(page)[0] == "rms_tau"
    tab_to("#heads tbody button")
    assert page.evaluate("document.activeElement.innerText") == "bn_mu"
    press("ArrowUp", "Space")
    assert list_selected(page) == (["bn_tau"], ["bn_tau"])
    press("Escape")
    assert list_selected(page) == ([], [])


# ---------------------------------------------------------------- without scripts, one file, themes


def test_page_is_readable_without_scripts(report: Path, open_page: Any) -> None:
    page = open_page(report / "index.html", java_script_enabled=False)
    assert page.locator(".answers p").count() >= 4
    rows = page.locator("#heads tr[data-place]")
    assert rows.count() == 5 and all(rows.nth(i).is_visible() for i in range(5))
    assert page.locator("#heads tr.section:visible").count() == 4
    assert "FloatingPointError" in page.locator("table.status").inner_text()
    for selector in ("#tools", "#plane-section", "#theme", "#table-end"):
        assert not page.locator(selector).is_visible(), selector


def test_single_file_works_alone(report: Path, tmp_path: Path, open_page: Any) -> None:
    page = open_page(shutil.copy(report.parent / "single.html", tmp_path / "mail.html"))
    assert list_rows(page) == SECTIONS and page.locator("#plane .mark").count() == 4
    links = page.locator("a").evaluate_all("e => e.map(a => a.getAttribute('href'))")
    assert links and all(link.startswith("#") for link in links)


def test_theme_follows_the_reader_and_the_button(report: Path, open_page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = open_page(report / "index.html", color_scheme="light").evaluate(colour)
    page = open_page(report / "index.html", color_scheme="dark")
    dark = page.evaluate(colour)
    assert light == "rgb(255, 255, 255)" and dark != light
    page.locator("#theme").click()
    assert page.evaluate(colour) == light
    page.locator("#theme").click()
    page.emulate_media(media="print")
    assert page.evaluate(colour) == light


# ---------------------------------------------------------------- hostile text


def test_hostile_text_is_inert(tmp_path: Path, open_page: Any) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2, evaluated=True)
    texts = [*HOSTILE, "<img src=x onerror=alert(1)>", "' onfocus=alert(1) x='", "</script><b>"]
    for i, text in enumerate(texts):
        folder = write_run(study, "bn_mu", i, overrides=f"x={i}", evaluations=2, evaluated=True)
        in_yaml = text.replace("\ud800", "").replace("\ufffe\uffff", "")
        put_config(folder, label=in_yaml, overrides={"x": in_yaml})
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"commit": text}))
    failed = write_run(study, "kl_anneal", 0, status="failed", evaluations=2)
    (failed / "failed").write_text("OSError: <script>alert(1)</script><img src=x onerror=alert(2)>")
    report = write_page(study.rename(study.with_name("a<b>'\"")))
    for width in (390, 1400):
        page = open_page(report.parent / "single.html", width=width)
        names = list_rows(page)
        assert len(names) == len(texts) + 2
        assert any("<img src=x onerror=alert(1)>" in name for name in names)
        assert page.locator("h1").inner_text() == "a<b>'\""
        needed, given = page.locator("html").evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert needed <= given
        page.mouse.move(
            *page.evaluate(
                "(() => { const b = document.querySelector('.mark').getBoundingClientRect();"
                " return [b.x + 3, b.y + 3]; })()"
            )
        )
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.locator("#copying").get_by_role("button", name="CSV").click()
        lines = page.locator("#copied-text").input_value().splitlines()
        assert not [line for line in lines if line.startswith(('"=', '"+', '"-', '"@'))]
