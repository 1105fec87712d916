"""Figures for papers: widths, fonts, tokens shared with the page, one command, and no redrawing."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from test_report import OTHER, SLOTS, write_run

from uncollapse.report import figures, main
from uncollapse.report.figures import PLOTS, draw_all
from uncollapse.report.figures.drawn import DRAWN_FILE, Drawn, digest_input
from uncollapse.report.figures.plane import add_axis, make_plane
from uncollapse.report.figures.sheet import Sheet, kl_scale, linear_scale, log_scale
from uncollapse.report.heads import make_head_table
from uncollapse.report.page_data import make_page_data
from uncollapse.report.results import Study, read_study
from uncollapse.report.style import (
    COLUMN_WIDTH,
    TEXT_SIZE,
    WIDTH,
    NoFigure,
    figure_style,
    fit_text,
    measure_text,
    render_figure,
    shorten_to,
    style_of,
)
from uncollapse.report.text import write_symbols

HEADS = ("plain", "bn_mu", "kl_anneal")
CHANGED = {"bn_mu": "posterior", "kl_anneal": "objective"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("paper") / "s"
    for head in HEADS:
        slots = {name: OTHER[name] if CHANGED.get(head) == name else SLOTS[name] for name in SLOTS}
        for seed in range(2):
            write_run(folder, head, seed, evaluations=3, evaluated=True, slots=slots)
    return read_study(folder)


@pytest.fixture
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", {name: PLOTS[name] for name in ("usage", "tau_grid")})


# ---------------------------------------------------------------- tokens, widths and text


def test_every_head_has_the_colour_and_marker_of_the_page(study: Study) -> None:
    data = make_page_data(study, make_head_table(study.runs))
    tokens = {group["name"]: data["slots"][group["slot"]] for group in data["groups"]}
    for order, group in study.runs.groupby("order"):
        token, style = tokens[group["group"].iloc[0]], style_of(group)
        assert (style.color, style.marker) == (token["light"], token["marker"]), order
    assert len({token["marker"] for token in tokens.values()}) == len(HEADS)


def test_plane_draws_the_tokens_of_its_heads(study: Study) -> None:
    with figure_style():
        (ax,) = PLOTS["mi_vs_kl"].draw(study.runs).axes
    drawn = {(line.get_marker(), to_hex(line.get_color()).upper()) for line in ax.lines}
    for slot in study.runs["slot"].unique():
        style = style_of(study.runs[study.runs["slot"] == slot])
        assert (style.marker, style.color.upper()) in drawn


def test_many_groups_are_drawn_and_only_those_on_the_front_named(tmp_path: Path) -> None:
    """One group is far above the others, and two of 50 are beaten by no other."""
    for seed in range(2):
        final = {"mi": 0.0, "shuffle_gap": 0.0, "nll": 20.0, "mi_saturated": False}
        options = {"evaluations": 2, "evaluated": True}
        write_run(tmp_path / "s", "plain", seed, final=final, slots=SLOTS, **options)
        for i in range(50):
            cost = {10: 0.01, 49: 0.1, 3: 30.0}.get(i, 0.4 + i / 1000)
            final |= {"mi": 1 + i / 10 + seed / 100, "shuffle_gap": 2.0, "nll": 20 + cost}
            options |= {"overrides": f"tau={(i + 1) / 100}", "final": final}
            slots = {**SLOTS, "posterior": OTHER["posterior"]}
            write_run(tmp_path / "s", "bn_tau", seed, slots=slots, **options)
    runs = read_study(tmp_path / "s").runs
    plot = make_plane("mi", "d_nll")
    with figure_style():
        (ax,) = plot.draw(runs).axes
    named = {text.get_text().replace("\n", " ") for text in ax.texts} - {""}
    assert {name.partition(" (")[0] for name in named} == {
        f"BN on μ and σ {tau}" for tau in ("0.11", "0.5", "0.04")
    }
    assert ax.get_ylim()[1] < 1, "the far group is an arrow at the edge"
    drawn = [x for line in ax.lines if line.get_marker() == "s" for x in line.get_xdata()]
    assert len(drawn) == 2 * 49, "all groups but the far one"
    said = plot.describe(runs)
    assert "Of 50 groups, only those that keep a code" in said and "Arrows" in said


@pytest.mark.parametrize("name", ["kl_over_steps", "usage", "cost_benefit", "moments"])
@pytest.mark.parametrize("width", [WIDTH, COLUMN_WIDTH])
def test_text_has_eight_points_and_fits_the_width(study: Study, name: str, width: float) -> None:
    frame = study.rows if PLOTS[name].frame == "rows" else study.runs
    with figure_style():
        figure = PLOTS[name].draw(frame, width)
        figure.draw_without_rendering()
    assert figure.get_figwidth() == width
    texts = [text for ax in figure.axes for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    shown = [text for text in texts if text.get_text().strip()]
    assert {text.get_fontsize() for text in shown} == {TEXT_SIZE}
    boxes = [text.get_window_extent().padded(-0.5) for text in shown]
    right = width * figure.dpi
    assert all(box.x0 >= -1 and box.x1 <= right + 1 and box.y0 >= -1 for box in boxes)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_pdf_embeds_truetype_and_has_no_date(study: Study) -> None:
    with figure_style():
        contents = [render_figure(PLOTS["usage"].draw(study.runs), "pdf") for _ in range(2)]
    assert contents[0] == contents[1]
    assert b"/FontFile2" in contents[0] and b"CreationDate" not in contents[0]
    assert b"/Subtype /Type3" not in contents[0]


def test_crowded_figures_have_no_file_for_one_column() -> None:
    names = [f"head {i}" for i in range(39)]
    scales = linear_scale(0, 1), linear_scale(0, 1)
    with pytest.raises(NoFigure, match="39 panels are not legible in one column"):
        Sheet(names, scales, ("x", "y"), COLUMN_WIDTH)
    sheet = Sheet(names, scales, ("x", "y"), WIDTH)
    assert sheet.columns == 6 and len(sheet.corners) == 39
    assert sheet.figure.get_figheight() <= 9.5


# ---------------------------------------------------------------- small multiples


def test_scales_place_values() -> None:
    assert linear_scale(2, 6).locate([2, 3, 6]).tolist() == [0, 0.25, 1]
    assert log_scale(1, 100, ()).locate([1, 10, 100]) == pytest.approx([0, 0.5, 1])
    places = kl_scale(10.0).locate([0.05, 0.1, 1, 10])
    # proportional below 0.1 nats, one decade each above
    assert places[3] - places[2] == pytest.approx(places[2] - places[1])
    zero = kl_scale(10.0).locate([0.0])[0]
    assert places[1] - zero == pytest.approx(2 * (places[0] - zero))


def test_curves_are_cut_at_their_panel() -> None:
    sheet = Sheet(["a", "b"], (linear_scale(0, 1), linear_scale(0, 1)), ("x", "y"), WIDTH)
    sheet.add_lines(1, [(np.array([0, 1]), np.array([0, 5]))], colors="red")
    line = sheet.axes.collections[-1]
    assert line.get_clip_box().bounds == pytest.approx(sheet.boxes[1].bounds)
    assert line.get_segments()[0][1][1] > sheet.corners[1][1] + sheet.height


def test_text_is_fitted_by_its_measured_width() -> None:
    text = fit_text("delta-VAE, AR(1) prior 0.125", 0.9, 2)
    assert measure_text([text]) <= 0.9 and text.endswith("0.125") and text.count("\n") == 1
    assert shorten_to("cyclical KL annealing 4", 1.2).endswith("… 4")
    assert shorten_to("short", 1.2) == "short"
    assert write_symbols("BN on mu (gamma=0.6), bn_mu, mutual") == "BN on μ (γ=0.6), bn_mu, mutual"
    assert write_symbols("E[mu^2] + sigma ** 2") == "E[μ^2] + σ ** 2"
    assert write_symbols("max(lambda, gamma_mu + beta_j)/epsilon") == "max(λ, γ_μ + β_j)/ε"
    # nothing that is typed or stands for a file
    for text in ("head=beta", "posterior.tau=0.2", "--beta 1", "conf/head/beta.yaml", "head/beta",
                 "`beta` and `mu ** 2`", "mu_forcing", "beta_1st", "mutual", "Mu"):  # fmt: skip
        assert write_symbols(text) == text


# ---------------------------------------------------------------- not drawn again


def count_drawings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    made = figures.draw_named

    def draw(name: str) -> figures.Shown:
        names.append(name)
        return made(name)

    monkeypatch.setattr(figures, "draw_named", draw)
    return names


@pytest.mark.usefixtures("two_figures")
def test_figures_of_the_same_input_are_not_drawn_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = count_drawings(monkeypatch)
    folder = study.folder / "report" / "figures"
    assert main([str(study.folder)]) == 0 and names == ["usage", "tau_grid"]
    page = (study.folder / "report/index.html").read_bytes()
    assert main([str(study.folder)]) == 0 and len(names) == 2
    assert (study.folder / "report/index.html").read_bytes() == page
    # a file that was changed, or a damaged entry, is drawn again
    (folder / "usage.pdf").write_bytes(b"%PDF, cut off")
    assert main([str(study.folder)]) == 0 and names[2:] == ["usage"]
    assert len((folder / "usage.pdf").read_bytes()) > 1000
    (folder / DRAWN_FILE).write_text('{"usage": {"input": 3}, "tau_grid": []}')
    assert main([str(study.folder)]) == 0 and len(names) == 5


@pytest.mark.usefixtures("two_figures")
def test_changed_numbers_are_drawn(study: Study) -> None:
    drawn = Drawn()
    draw_all(study, drawn)
    changed = study.runs.assign(shuffle_gap=study.runs["shuffle_gap"] + 0.5)
    assert digest_input(changed) != digest_input(study.runs)
    assert digest_input(study.runs.copy()) == digest_input(study.runs)
    renamed = study.runs.assign(group=study.runs["group"] + "!")
    assert digest_input(renamed) != digest_input(study.runs)
    assert drawn.current["usage"][0] == digest_input(study.runs)


# ---------------------------------------------------------------- one command


def draw(study: Study, *words: str) -> int:
    return main([str(study.folder), *words])


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_one_command_draws_a_plane(
    study: Study, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / f"plane.{suffix}"
    words = ["--figure", "plane", "--x", "mi", "--y", "nll_minus_plain", "--to", str(path)]
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    for width in ("page", "column"):
        assert draw(study, *words, "--width", width) == 0
        assert path.read_bytes().startswith(starts[suffix])
    output = capsys.readouterr().out
    assert f"Figure: {path}" in output and "n = 2 seeds per group" in output
    assert not (study.folder / "report" / "figures" / "plane-mi-d_nll.pdf").exists()


def test_figure_is_written_to_the_report_by_default(study: Study) -> None:
    assert draw(study, "--figure", "usage", "--width", "column") == 0
    path = study.folder / "report/figures/usage_column.pdf"
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", path.read_bytes())
    assert box is not None and float(box[1]) == pytest.approx(72 * COLUMN_WIDTH, abs=0.1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--figure", "uses"], "--figure=uses: did you mean usage? allowed are plane, kl_over"),
        (["--figure", "plane", "--x", "mi"], "--figure plane needs two metrics"),
        (
            ["--figure", "plane", "--x", "mi", "--y", "nlll"],
            "--y=nlll: did you mean nll? allowed are ",
        ),
        (["--figure", "usage", "--x", "mi"], "--x belongs to --figure plane, not to usage"),
        (["--figure", "usage", "--width", "4"], "--width=4: allowed are page, column"),
        (["--figure", "usage", "--to", "a.gif"], "ending=gif: allowed are pdf, svg, png"),
        (["--figure", "usage", "--to", "no/where.pdf"], "no is not a folder"),
        (["--figure", "usage", "--single"], "--figure and --single do not go together"),
        (["--to", "a.pdf"], "--to belongs to --figure"),
        (["--figure", "tau_grid"], "two or more values of tau"),
    ],
)
def test_wrong_words_give_one_sentence(
    study: Study, words: list[str], reason: str, capsys: pytest.CaptureFixture
) -> None:
    assert draw(study, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: ") and error.count("\n") == 1 and reason in error


def test_wrong_words_are_refused_before_the_study_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(tmp_path / "nothing"), "--figure", "plane", "--x", "a", "--y", "b"]) == 2
    assert "--x=a" in capsys.readouterr().err


def test_metric_that_no_run_has_is_named(study: Study, capsys: pytest.CaptureFixture) -> None:
    assert draw(study, "--figure", "plane", "--x", "mi", "--y", "mig_minus_plain") == 2
    assert "mig_minus_plain: no finished run has it" in capsys.readouterr().err


def test_only_figures_of_ours_are_replaced(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "mine.pdf"
    path.write_bytes(b"%PDF my own")
    assert draw(study, "--figure", "usage", "--to", str(path)) == 2
    assert "is not a figure of ours" in capsys.readouterr().err
    assert path.read_bytes() == b"%PDF my own"


def test_difference_from_plain_is_paired_by_seed(study: Study) -> None:
    runs = add_axis(study.runs, "kl_minus_plain").set_index(["head", "seed"])
    for head in HEADS:
        for seed in range(2):
            own, plain = runs.loc[(head, seed), "kl"], runs.loc[("plain", seed), "kl"]
            assert runs.loc[(head, seed), "kl_minus_plain"] == pytest.approx(own - plain)


def test_plane_names_every_head_and_draws_zero(study: Study) -> None:
    plot = make_plane("mi", "kl_minus_plain")
    with figure_style():
        (ax,) = plot.draw(study.runs).axes
    texts = {text.get_text().replace("\n", " ") for text in ax.texts}
    assert {write_symbols(name) for name in study.runs["short"]} <= texts
    assert any(list(line.get_ydata()) == [0, 0] for line in ax.lines)
    assert "Minus that of plain with the same seed" in plot.describe(study.runs)
    assert isinstance(study.runs, pd.DataFrame)
