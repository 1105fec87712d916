"""The page of a report without a browser: vendored files, its policy, heads, data, one file."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from test_report import write_run

from uncollapse.errors import InputError
from uncollapse.report import figures, main
from uncollapse.report.answers import answer_questions
from uncollapse.report.assets import content_policy, list_scripts, list_vendored, read_style
from uncollapse.report.figures import PLOTS, Shown
from uncollapse.report.groups import shorten_names
from uncollapse.report.heads import (
    BASELINES,
    NO_CODE,
    OPEN_CODE,
    UNBANDED,
    make_head_table,
)
from uncollapse.report.page import page_facts, write_report
from uncollapse.report.page_data import encode_page_data, make_page_data, round_number
from uncollapse.report.rendering import (
    fill_page,
    list_pictures,
    render_page,
)
from uncollapse.report.results import Study, read_study
from uncollapse.report.style import SLOT_STYLES
from uncollapse.report.tables import build_tables
from uncollapse.report.text import typeset
from uncollapse.report.tokens import SLOT_TOKENS

# head -> mi, gap and nll, each with a little noise over seeds; heads of test_report.HEADS
VALUES = {
    "plain": (0.0, 0.0, 20.0),
    "bn_mu": (2.0, 5.0, 20.5),
    "bn_tau": (3.0, 6.0, 20.4),
    "rms_tau": (4.0, 7.0, 20.9),
    "kl_anneal": (0.01, 0.02, 19.9),
}


def write_study(folder: Path, seeds: int = 3, **changed: dict) -> Study:
    for head, (mi, gap, nll) in VALUES.items():
        for seed in range(seeds):
            noise = 0.01 * (seed - 1)
            final = {"mi": mi + noise, "shuffle_gap": gap + noise, "nll": nll + noise**2}
            final |= {"mi_saturated": False}
            write_run(
                folder,
                head,
                seed,
                evaluations=2,
                evaluated=True,
                final=final | changed.get(head, {}),
                label=f"{head} <b>&",
            )
    return read_study(folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("parts") / "s")


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})


# ---------------------------------------------------------------- vendored files


def test_vendored_files_are_unchanged_and_licensed() -> None:
    packages = list_vendored()
    assert [package.name for package in packages][-1] == "d3-scale" and len(packages) == 7
    for package in packages:
        assert hashlib.sha256(package.source.encode()).hexdigest() == package.sha256
        assert f"v{package.version} " in package.source.splitlines()[0]
        assert package.licence == "ISC" and "Mike Bostock" in package.licence_text


def test_vendored_files_neither_run_text_nor_fetch() -> None:
    for package in list_vendored():
        # the name of the SVG namespace is not fetched
        text = package.source.replace("http://www.w3.org/2000/svg", "")
        for word in ("eval(", "Function(", "http:", "fetch(", "XMLHttpRequest", "import("):
            assert word not in text, (package.name, word)


def test_own_scripts_never_parse_text_as_markup() -> None:
    own = list_scripts()[-1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http"):
        # the namespace of SVG, once
        assert own.count(word) == (word == "http"), word


# ---------------------------------------------------------------- policy and colours


class Tags(HTMLParser):
    """The attributes of every tag of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_policy_allows_exactly_the_scripts_and_styles_of_the_page(
    study: Study, no_figures: None
) -> None:
    text = write_report(study.folder)[0].read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and "unsafe" not in policy[1] and "default-src 'none'" in policy[1]
    for tag, sources in (("script", "script-src"), ("style", "style-src")):
        found = {
            base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            for inside in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        }
        (directive,) = (part for part in policy[1].split("; ") if part.startswith(sources))
        assert {word[8:-1] for word in directive.split()[1:]} == found and found
    for tag, attributes in Tags(text).found:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not (attributes.get("src") or "").startswith(("http", "//")), tag


def test_policy_by_hand() -> None:
    empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"  # SHA-256 of no bytes
    assert content_policy([""], [""], "data:").endswith(
        f"; script-src {empty}; style-src {empty}; img-src data:"
    )


def test_page_and_figures_share_colours_and_markers() -> None:
    style = read_style()
    for slot, token in SLOT_TOKENS.items():
        assert SLOT_STYLES[slot].color == token.light and SLOT_STYLES[slot].marker == token.marker
        assert f"--{token.css_name}: light-dark({token.light}, {token.dark})" in style
    assert len({token.marker for token in SLOT_TOKENS.values()}) == len(SLOT_TOKENS)


# ---------------------------------------------------------------- heads


def list_keys(study: Study) -> dict[str, list[str]]:
    sections = make_head_table(study.runs).sections
    return {title: [head.key for head in heads] for title, heads in sections}


def test_heads_stand_in_sections_by_information_and_then_price(study: Study) -> None:
    assert list_keys(study) == {
        # of similar mi, the lowest nll first
        "Keeps 2.00 to 3.00 nats (mi)": ["bn_tau", "bn_mu"],
        UNBANDED: ["rms_tau"],
        NO_CODE: ["kl_anneal"],
        BASELINES: ["plain"],
    }


def test_sections_and_sentences_name_the_same_bands(study: Study) -> None:
    said = " ".join(answer.text for answer in answer_questions(study.runs))
    kept = [title for title in list_keys(study) if title.startswith("Keeps ") and title != UNBANDED]
    assert kept and all(title.removeprefix("Keeps ") in said for title in kept)


def test_one_seed_leaves_heads_open(tmp_path: Path) -> None:
    sections = list_keys(write_study(tmp_path / "s", seeds=1))
    # by mi: never by nll alone, which would put a collapsed head first
    assert sections == {
        OPEN_CODE: ["rms_tau", "bn_tau", "bn_mu", "kl_anneal"],
        BASELINES: ["plain"],
    }


def test_saturated_head_is_in_no_band(tmp_path: Path) -> None:
    sections = list_keys(write_study(tmp_path / "s", rms_tau={"mi_saturated": True}))
    assert sections["Keeps 2.00 to 3.00 nats (mi)"] == ["bn_tau", "bn_mu"]
    assert sections[UNBANDED] == ["rms_tau"]


def test_deciding_columns_come_first(study: Study) -> None:
    layout = list(make_head_table(study.runs).layout)
    assert layout[:4] == ["mi", "d_nll", "shuffle_gap", "n"] and layout[-1] == "changes"
    assert len(layout) == len(set(layout))


def test_names_in_a_figure_are_short_and_distinct() -> None:
    facts = [("BN", "BN (tau=0.3)", ["tau=0.3"]), ("BN", "BN (mu=0.3)", ["mu=0.3"])]
    facts += [("x" * 40, "x" * 40, []), ("vMF", "vMF (kappa=5)", ["kappa=5"])]
    columns = ("label", "group", "override_list")
    groups = [pd.Series(dict(zip(columns, each, strict=True))) for each in facts]
    assert shorten_names(groups) == ["BN (tau=0.3)", "BN (mu=0.3)", "x" * 29 + "…", "vMF 5"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0.01 ± 0.02", "−0.01 ± 0.02"),
        ("nll - plain", "nll − plain"),
        ("3e-05", "3e-05"),
        ("oracle-gap", "oracle-gap"),
        ("≥ -1", "≥ −1"),
        ("–", "–"),
    ],
)
def test_minus_signs(text: str, expected: str) -> None:
    assert typeset(text) == expected


# ---------------------------------------------------------------- data of scripts


def test_data_have_the_text_of_the_table(study: Study) -> None:
    table = make_head_table(study.runs)
    data = json.loads(encode_page_data(make_page_data(study, table))[0])
    assert data["axes"] == ["mi", "d_nll"]
    for head, group in zip(table.heads, data["groups"], strict=True):
        assert group["key"] == head.key
        for name, (mean, half, text) in group["m"].items():
            cell = head.cells[name]
            assert text == cell.text and mean == pytest.approx(cell.mean, rel=1e-6)
            assert half is None or half == pytest.approx(cell.half, rel=1e-6)
    runs = data["runs"]
    assert len(runs["seed"]) == len(study.runs) == len(runs["m"]["d_nll"])
    keys = [data["groups"][place]["key"] for place in runs["group"]]
    assert keys == study.runs["head"].tolist()
    # plain is compared with nothing
    assert runs["m"]["d_nll"][keys.index("plain")] is None
    assert runs["m"]["d_nll"][keys.index("bn_mu")] == pytest.approx(0.5, abs=1e-6)


def test_data_cannot_end_their_element() -> None:
    text, kind = encode_page_data({"a": "</script><!-- \u2028"})
    assert kind == "application/json"
    assert "<" not in text and json.loads(text) == {"a": "</script><!-- \u2028"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_null(value: float) -> None:
    assert round_number(value) is None and round_number(1.23456789) == 1.234568


def test_study_without_nll_shows_information_only(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=2)
    write_run(tmp_path / "s", "bn_mu", 0, evaluations=2)
    study = read_study(tmp_path / "s")
    assert make_page_data(study, make_head_table(study.runs))["axes"] == ["mi", "shuffle_gap"]


def test_study_without_finished_run_has_no_plane(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, status="failed", evaluations=2)
    study = read_study(tmp_path / "s")
    table = make_head_table(study.runs)
    assert make_page_data(study, table)["axes"] == [] and len(table.heads) == 1


# ---------------------------------------------------------------- one file


def fake_figure(name: str, size: int) -> Shown:
    return Shown(
        name, f"Title of {name}", "caption", files={f"{name}.pdf": b"y"}, picture=b"x" * size
    )


def test_page_holds_what_fits_and_names_the_rest(study: Study) -> None:
    drawn = [fake_figure("one", 3000), fake_figure("two", 900_000), fake_figure("three", 6000)]
    facts = page_facts(study, build_tables(study.runs), drawn, [])
    page, left_out = fill_page(facts, list_pictures(drawn, []), linked=False, most=700_000)
    text = page.decode()
    assert len(page) <= 700_000 and left_out == ["Title of two"]
    assert "for its size: Title of two" in text and text.count("data:image/png;base64,") == 2
    assert 'href="tables/' not in text and 'href="figures/' not in text
    assert "img-src data:;" not in text and "img-src data:" in text
    assert text.count("Its picture is not in this file") == 1


def test_page_with_all_pictures_is_what_rendering_it_with_them_gives(study: Study) -> None:
    drawn = [fake_figure("one", 3000), fake_figure("two", 40)]
    facts = page_facts(study, build_tables(study.runs), drawn, [])
    page, left_out = fill_page(facts, list_pictures(drawn, []))
    sources = {name: source for name, (_, source) in list_pictures(drawn, []).items()}
    assert page.decode() == render_page(facts, sources) and not left_out
    assert 'href="figures/one.pdf"' in page.decode()


def test_figures_that_the_page_draws_are_listed_without_a_picture(study: Study) -> None:
    drawn = [fake_figure("one", 30)._replace(picture=b"", on_page=True, narrow="too wide.")]
    facts = page_facts(study, build_tables(study.runs), drawn, [])
    text = fill_page(facts, list_pictures(drawn, []))[0].decode()
    assert "<img" not in text and "Scripts draw it above" in text
    assert f"uncollapse report results/{study.name} --figure one<" in text
    assert "None for one column: too wide." in text and "one_column.pdf" not in text


def test_single_file_is_written_to_a_path(
    tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2)
    assert main([str(study), "--single"]) == 0
    assert f"One file: {study / 'report/index.html'} (" in capsys.readouterr().out
    # of an earlier version, with old numbers
    (study / "report/single.html").write_text("old")
    assert main([str(study)]) == 0 and not (study / "report/single.html").exists()
    mail = tmp_path / "mail.html"
    for _ in range(2):
        assert main([str(study), f"--single={mail}"]) == 0
    assert "<h1>s</h1>" in mail.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["notes.html", "folder", "nowhere/x.html"])
def test_single_file_replaces_only_pages_of_ours(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=2)
    (tmp_path / "notes.html").write_text("<p>mine</p>")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="--single"):
        write_report(tmp_path / "s", single=tmp_path / name)
    assert (tmp_path / "notes.html").read_text() == "<p>mine</p>"
    assert not (tmp_path / "s/report").exists()


def test_rows_of_the_page_are_in_the_html(study: Study, no_figures: None) -> None:
    text = write_report(study.folder)[0].read_text(encoding="utf-8")
    table = make_head_table(study.runs)
    assert text.count("<tr data-place=") == len(table.heads) == len(VALUES)
    (frame,) = pd.read_html(StringIO(text), attrs={"id": "heads"})
    # section rows repeat their title in every column
    names = [name for name in frame.iloc[:, 0] if name not in list_keys(study)]
    assert names == [head.name for head in table.heads]


def test_every_id_of_the_page_is_unique(study: Study) -> None:
    drawn = [fake_figure(name, 10) for name in PLOTS]
    facts = page_facts(study, build_tables(study.runs), drawn, [])
    page = render_page(facts, {})
    ids = [found["id"] for _, found in Tags(page).found if "id" in found]
    assert "figure-usage" in ids and sorted({*ids}) == sorted(ids)
