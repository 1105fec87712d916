"""Untrusted text in a report: displayed, inert, and without disk paths."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_report import UNDRAWN, write_run

from uncollapse.report import figures, main
from uncollapse.report.assets import list_scripts
from uncollapse.report.figures import PLOTS, draw_all
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.runs import describe_code
from uncollapse.report.style import NoFigure, figure_style, render_figure, truncate, wrap_text
from uncollapse.report.tables.files import encode_table as written
from uncollapse.report.tables.files import escape_latex as escape
from uncollapse.report.tables.files import format_csv as comma_separated
from uncollapse.report.tables.files import format_latex as latex
from uncollapse.report.tables.files import format_markdown as markdown
from uncollapse.report.tables.files import quote_formula as inert
from uncollapse.report.tables.runs import runs_table as every_run
from uncollapse.report.tables.summary import summary_table as summary
from uncollapse.report.text import clean_command as shown_command
from uncollapse.report.text import clean_folder as shown_folder
from uncollapse.report.text import clean_override as shown_override
from uncollapse.report.text import clean_text as shown
from uncollapse.report.text import escape_invisible as visible
from uncollapse.report.text import number_repeats as distinct

HOSTILE = (
    "<script>alert(1)</script>",
    "a | b & c",
    "two\nlines\r\nand\0more",
    "line\u2028par\u2029",
    "\u202eright to left\u202c \u2066x\u2069 \u200f",
    '=HYPERLINK("http://x.org","y")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "$\\frac{a$ $",
    "100% of a_b #1 {x} ~ ^ \\input{x}",
    "`code` *bold* [link](javascript:alert(1)) _x_",
    "\U0001f600\U0001f9d1\u200d\U0001f680",
    "_hidden",
    "\ud800 lone",
    "\ufffe\uffff",
    "x" * 1000,
    "word " * 200,
    "   ",
    "]]> -- --> {{ 7*7 }} {% raw %}",
    "\x1b[31mred\x1b[0m \x07",
    "[1] first * second",
)
ODD = {"Cc", "Zl", "Zp", "Cs"}
TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def is_inert(text: str, newlines: bool = True) -> bool:
    """Whether no character of a text has an effect in a terminal, an editor or a browser."""
    return not any(
        (unicodedata.category(c) in ODD and not (newlines and c == "\n"))
        or c in TURNS
        or ord(c) & 0xFFFE == 0xFFFE
        for c in text
    )


# ---------------------------------------------------------------- paths


PATHS = [
    ("data.dir=/home/me/ptb", "data.dir=…/ptb"),
    ("data.dir=/home/me/ptb/", "data.dir=…/ptb"),
    ("data.dir=/home/Jane Doe/my data/ptb", "data.dir=…/ptb"),
    ("results=/home/me", "results=…"),
    ("results=/", "results=…"),
    ("data.dir=/root", "data.dir=…"),
    ("data.dir=~", "data.dir=…"),
    ("data.dir=~me", "data.dir=…"),
    ("data.dir=~/corpora/ptb", "data.dir=…/ptb"),
    ("data.dir=C:\\Users\\me\\ptb", "data.dir=…/ptb"),
    ("data.dir=C:/Users/me", "data.dir=…"),
    ("data.dir=\\\\server\\share\\ptb", "data.dir=…/ptb"),
    ("data.dir=//server/share/ptb", "data.dir=…/ptb"),
    ("data.dir=\\\\?\\C:\\Users\\me\\ptb", "data.dir=…/ptb"),
    ("data.dir=file:///home/me/ptb", "data.dir=…/ptb"),
    ("data.files=[/a/b/c.txt,/home/me/e.txt]", "data.files=[…/c.txt,…/e.txt]"),
    ("data.files={train:/a/b/c.txt}", "data.files={train:…/c.txt}"),
    ("data.dir='/home/Jane Doe/x y'", "data.dir='…/x y'"),
    ("data.dir=../ptb", "data.dir=../ptb"),
    ("data.dir=corpora/ptb", "data.dir=corpora/ptb"),
    (
        "data.hub=community-datasets/yahoo_answers_topics",
        "data.hub=community-datasets/yahoo_answers_topics",
    ),
    ("data.hub=https://me:secret@x.org/home/ptb", "data.hub=https://x.org/home/ptb"),
    ("tau=0.5", "tau=0.5"),
]
MESSAGES = [
    (
        "FileNotFoundError: [Errno 2] No such file or directory: '/home/Jane Doe/x y/data.txt'",
        "FileNotFoundError: [Errno 2] No such file or directory: '…/data.txt'",
    ),
    ('  File "/home/me/lib/x.py", line 3, in f', '  File "…/x.py", line 3, in f'),
    ("InputError: /tmp/me/y.txt: cannot be read", "InputError: …/y.txt: cannot be read"),
    ("gone: 'C:\\\\Users\\\\me\\\\x.txt'", "gone: '…/x.txt'"),
    ("see /home/Jane Doe/x/y.txt: gone", "see …/y.txt: gone"),
    ("PosixPath('/home/me/x')", "PosixPath('…/x')"),
    ("PATH=/usr/bin:/home/me/bin", "PATH=…/bin:…/bin"),
    ("line\n/home/me/x", "line\\n…/x"),
    ("\x1b[31m/home/me/x\x1b[0m", "…/x"),
    ("cannot read/home/me/x", "cannot read…/x"),
    ("<b>/home/me/x</b>, </home/me/y>", "<b>…/x</b>, <…/y>"),
    ("sftp://me@host/home/me/x failed", "…/x failed"),
    (("rec / kl, 1/2, nats/step, (nats)/step, a/b, ~5 "
     "nats, 5 // 3"), "rec / kl, 1/2, nats/step, (nats)/step, a/b, ~5 nats, 5 // 3"),
    ("see https://x.org/home/me?y=/z, and /tmp/q", "see https://x.org/home/me?y=/z, and …/q"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PATHS)
def test_overrides_hide_disk_paths(text: str, expected: str) -> None:
    assert shown_override(text) == expected and shown_override(expected) == expected


@pytest.mark.parametrize(("text", "expected"), MESSAGES)
def test_messages_hide_disk_paths(text: str, expected: str) -> None:
    assert shown(text) == expected and shown(expected) == expected


def test_command_paths_are_shortened_word_by_word() -> None:
    words = ["python", "train.py", "head=x", "data.dir=/home/Jane Doe/my data", "label=a b"]
    assert (
        shown_command(shlex.join(words))
        == "python train.py head=x 'data.dir=…/my data' 'label=a b'"
    )
    assert (
        shown_command("python train.py data.dir=/home/me/ptb seed=0")
        == "python train.py data.dir=…/ptb seed=0"
    )
    assert shown_command("python train.py 'label=a b'") == "python train.py 'label=a b'"
    assert shown_command("python train.py 'data.dir=/home/me/x") == "python train.py 'data.dir=…/x"


def test_folder_named_after_a_path_is_shortened() -> None:
    name = "runs/plain/data.dir=-home-me-ptb,trainer.epochs=2-0a1b2c3d/seed=0"
    assert shown_folder(name) == "runs/plain/data.dir=…,trainer.epochs=2-0a1b2c3d/seed=0"
    assert (
        shown_folder("runs/plain/data.dir=-home-me-ptb-0a1b2c3d/seed=0")
        == "runs/plain/data.dir=…-0a1b2c3d/seed=0"
    )
    assert shown_folder("runs/plain/x=-1.5,y=1e-5/seed=0") == "runs/plain/x=-1.5,y=1e-5/seed=0"


@given(st.text(max_size=60))
@example("/home/me/x\n\ud800")
@settings(max_examples=300, deadline=None)
def test_displayed_text_is_inert_and_short(text: str) -> None:
    once = shown(text)
    once.encode()
    assert is_inert(once, newlines=False) and len(once) <= 300
    assert "/home/" not in shown(f"x /home/me/{text}")


# ---------------------------------------------------------------- a study of hostile text


class Page(HTMLParser):
    """Tags and the text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def put_config(folder: Path, **changed: object) -> None:
    """Change values of a run's config."""
    line, _, rest = (folder / "config.yaml").read_text().partition("\n")
    config = yaml.safe_load(rest) | changed
    command = str(changed.get("command", line.lstrip("# ")))
    text = yaml.safe_dump(config, allow_unicode=False)
    (folder / "config.yaml").write_text(f"# {command}\n{text}", encoding="utf-8")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose names, labels, overrides and error messages are odd text of every kind."""
    study = tmp_path_factory.mktemp("results") / "s"
    write_run(study, "plain", 0, evaluations=2, evaluated=True)
    for i, text in enumerate(HOSTILE):
        folder = write_run(study, "bn_mu", i, overrides=f"x={i}", evaluations=2, evaluated=True)
        curve = {"accuracy": [0.1, 0.5], "se": [0.1, 0.1], "chance": 0.1, "oracle": None}
        factors = dict.fromkeys(HOSTILE[i // 8 :: 8], curve)
        summary = json.loads((folder / "summary.json").read_text())
        summary |= {
            "probe_curves": {"labels": [100, 500], "factors": factors},
            "versions": {text: text},
        }
        (folder / "summary.json").write_text(json.dumps(summary | {"commit": text}))
        (folder / "data.json").write_text(json.dumps({"vocab": 1, text: text}))
        # not allowed in a YAML file
        in_yaml = text.replace("\ud800", "").replace("\ufffe\uffff", "")
        put_config(folder, label=in_yaml, overrides={"data.dir": in_yaml, "x": f"/home/me/{i}"})
        (folder / "samples").mkdir()
        (folder / "samples/prior.txt").write_text(
            f"\tdrawn\n1\t{text}\n".replace("\ud800", ""), encoding="utf-8", errors="replace"
        )
    failed = write_run(study, "kl_anneal", 0, status="failed", evaluations=2)
    (failed / "failed").write_text("OSError: '/home/me/secret/x.txt' <b>\u202e| gone\n")
    return study.rename(study.with_name("a<b>|\u202e\U0001f600`"))


@pytest.fixture(scope="module")
def report(hostile: Path) -> Path:
    """Its report with three figures; a separate test draws the others."""
    some = {name: PLOTS[name] for name in ("kl_over_steps", "probe_final", "usage")}
    full, figures.PLOTS = figures.PLOTS, some
    try:
        return write_report(hostile)[0].parent
    finally:
        figures.PLOTS = full


def test_page_of_hostile_text_is_inert(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert is_inert(text) and "b" in page.tags
    assert page.tags.count("script") == 1 + len(list_scripts()), "our scripts and their data"
    assert page.tags.index("script") > page.tags.index("table")
    said = "".join(page.text)
    assert "<script>alert(1)</script>" in said and "\\u202eright" in said and "{{ 7*7 }}" in said
    assert "\U0001f600" in said and "two\\nlines" in said
    assert (
        "/home/" not in text and str(Path.home()) + "/" not in text and "OSError: '…/x.txt'" in said
    )


def test_tables_of_hostile_text_are_inert(report: Path, hostile: Path) -> None:
    for path in (report / "tables").iterdir():
        text = path.read_text(encoding="utf-8")
        assert is_inert(text) and "/home/" not in text, path.name
    runs = pd.read_csv(report / "tables/runs.csv")
    assert len(runs) == len(HOSTILE) + 2
    with (report / "tables/summary.csv").open(encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    numbers = [cell for cell in cells if cell[:1] in "=+-@" and cell]
    assert all(float(cell) <= 0 for cell in numbers), "only negative numbers begin so"
    lines = (report / "tables/summary.md").read_text(encoding="utf-8").splitlines()
    bars = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines}
    assert len(bars) == 1, "each line has as many cells"
    assert not any("<script" in line or re.search(r"[^\\]\]\(", line) for line in lines)


@pytest.mark.parametrize(
    "name", sorted(PLOTS.keys() - UNDRAWN)[::3]
)  # all share one way to write text
@pytest.mark.slow
def test_figures_of_hostile_text_are_valid_xml(hostile: Path, name: str) -> None:
    study = read_study(hostile)
    with figure_style():
        if name == "tau_grid":
            with pytest.raises(NoFigure):
                PLOTS[name].draw(study.runs)
            return
        figure = PLOTS[name].draw(getattr(study, PLOTS[name].frame))
        svg = render_figure(figure, "svg").decode()
    ElementTree.fromstring(svg)
    assert is_inert(svg) and "/home/" not in svg


def test_tau_grid_of_long_hostile_labels_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("_" + "x" * 1000, "$\\frac{a$"):
        for seed, tau in enumerate((0.3, 0.5)):
            folder = write_run(
                tmp_path / "s", "bn_tau", seed, overrides=f"tau={tau},x={len(label)}", evaluations=2
            )
            put_config(folder, label=label)
    monkeypatch.setattr(figures, "PLOTS", {"tau_grid": PLOTS["tau_grid"]})
    (drawn,) = draw_all(read_study(tmp_path / "s"))
    assert not drawn.missing and drawn.files["tau_grid.pdf"]


def test_names_shortened_to_same_text_stay_distinct(tmp_path: Path) -> None:
    for seed, place in enumerate(("/home/me/ptb", "/mnt/ptb", "/home/me/ptb")):
        folder = write_run(tmp_path / "s", "plain", seed, overrides=f"x={seed}", evaluations=2)
        put_config(folder, overrides={"data.dir": place})
    runs = read_study(tmp_path / "s").runs
    assert runs.groupby("group")["seed"].apply(list).to_dict() == {
        "Plain VAE (data.dir=…/ptb)": [0, 2],
        "Plain VAE (data.dir=…/ptb (2))": [1],
    }
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_labels_with_common_prefix_stay_two_groups(tmp_path: Path) -> None:
    for seed, end in enumerate("ab"):
        write_run(
            tmp_path / "s",
            "bn_mu",
            seed,
            overrides=f"x={end}",
            label="long " * 100 + end,
            evaluations=2,
        )
        put_config(tmp_path / f"s/runs/bn_mu/x={end}/seed={seed}", overrides={"x": end * 400})
    assert read_study(tmp_path / "s").runs["group"].nunique() == 2


def test_full_command_stays_in_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=2)
    command = "python train.py head=plain data.dir=/home/me/ptb seed=0"
    put_config(folder, overrides={"data.dir": "/home/me/ptb"}, command=command)
    before = (folder / "config.yaml").read_bytes()
    runs = read_study(tmp_path / "s").runs
    assert runs["command"].tolist() == ["python train.py head=plain data.dir=…/ptb seed=0"]
    assert (folder / "config.yaml").read_bytes() == before and command.encode() in before
    monkeypatch.setattr(figures, "PLOTS", {})
    assert "Paths are shortened to … here" in write_report(tmp_path / "s")[0].read_text(
        encoding="utf-8"
    )


def test_folder_with_undecodable_name_is_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, overrides="x=1", evaluations=2)
    folder.parent.rename(folder.parent.with_name("x=\udcff\n"))
    table = written(every_run(read_study(tmp_path / "s").runs))
    assert b"x=\\udcff\\n" in table["csv"]


def test_samples_are_displayed_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=2)
    (folder / "samples").mkdir()
    (folder / "samples/prior.txt").write_bytes(
        b"\tdrawn\n1\t<img src=x onerror=alert(1)>\x0c\xe2\x80\xa8\xff\n2\t"
        + b"y" * 100_000
        + b"\n"
    )
    (folder / "samples/neighbours.txt").write_bytes(b"")
    page = write_report(tmp_path / "s")[0].read_text(encoding="utf-8")
    assert (
        "&lt;img src=x onerror=alert(1)&gt;\\x0c\\u2028\ufffd" in page
        and "img" not in Page(page).tags
    )
    assert page.count("y" * 2000) == 1 and "y" * 2001 not in page


def test_terminal_gets_no_control_characters(
    hostile: Path, report: Path, capsys: pytest.CaptureFixture
) -> None:
    assert report.is_dir()
    code = (
        "import sys; from uncollapse.report import figures, main; figures.PLOTS "
        "= {}; sys.exit(main(sys.argv[1:]))"
    )
    for encoding in ("utf-8", "ascii"):
        command = [sys.executable, "-c", code, str(hostile)]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert is_inert(done.stdout.decode(encoding).split("\n\nReport: ")[0])


# ---------------------------------------------------------------- cells by hand


def test_spreadsheet_cells_are_escaped() -> None:
    assert [inert(text) for text in ("=1", " +1", "-x", "@a", "＝1", "a=1", "", "-")] == [
        "'=1", "' +1", "'-x", "'@a", "'＝1", "a=1", "", "'-"
    ]  # fmt: skip
    frame = pd.DataFrame({"a": ["=1", "b"], "n": [-1.5, 2]})
    assert comma_separated(frame) == "a,n\n'=1,-1.5\nb,2.0\n"
    assert pd.read_csv(StringIO(comma_separated(frame)))["n"].tolist() == [-1.5, 2]


def test_markdown_and_latex_cells_are_escaped() -> None:
    frame = pd.DataFrame({"a": ["x|y", "\\|", "`a` *b* [c](d) <e> &lt; ~f~ $g$", "_h_ i_j"]})
    assert markdown(frame).splitlines()[2:] == [
        r"| x\|y |",
        r"| \\\| |",
        r"| \`a\` \*b\* \[c\](d) &lt;e> &amp;lt; \~f\~ \$g\$ |",
        r"| \_h\_ i_j |",
    ]
    assert (
        escape("[a] *b 😀 中 é … → \\x")
        == r"{[}a{]} {*}b {[}U+1F600{]} 中 é \ldots{} $\rightarrow$ \textbackslash{}x"
    )


def test_latex_rows_do_not_begin_with_option(report: Path) -> None:
    text = (report / "tables/summary.tex").read_text(encoding="utf-8")
    assert not any(line.startswith(("[", "*")) for line in text.splitlines())


def test_long_name_without_spaces_is_truncated() -> None:
    assert truncate("x" * 60, 48) == "x" * 47 + "…" and truncate("x" * 48, 48) == "x" * 48


def test_long_names_leave_room_in_figure() -> None:
    assert wrap_text("word " * 200).count("\n") == 5 and wrap_text("x" * 1000).endswith("…")
    assert (
        wrap_text("_a") == " _a" and wrap_text("  ") == " " and wrap_text("BN on mu") == "BN on mu"
    )
    assert visible("a\tb") == "a\\tb" and visible("\U0001f600é\xa0") == "\U0001f600é\xa0"


# ---------------- provenance, and thousands of notes


def test_provenance_is_described() -> None:
    held, changed = "commit abc", "commit abc, with uncommitted changes"
    assert describe_code({"commit": "abc", "tree_changed": False})["code"] == held
    assert describe_code({"commit": "abc", "tree_changed": True})["code"] == changed
    assert describe_code({"commit": "abc+"}) == {
        "commit": "abc",
        "tree_changed": True,
        "code": changed,
    }
    assert describe_code({"commit": "abc"}) == {
        "commit": "abc",
        "tree_changed": False,
        "code": held,
    }
    outside = describe_code({"commit": None, "tree_changed": None})
    assert outside["tree_changed"] is None and "no commit known" in outside["code"]
    assert describe_code({}) == {"commit": "", "tree_changed": None, "code": ""}


def test_page_warns_about_unavailable_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    made = [
        {"commit": "abc"},
        {"commit": "abc+"},
        {"commit": "abc", "tree_changed": True},
        {"commit": None},
    ]
    for seed, final in enumerate(made):
        write_run(tmp_path / "s", "plain", seed, evaluations=2, final=final)
    page = write_report(tmp_path / "s")[0].read_text()
    assert "Commit abc, with uncommitted changes (2 runs)" in page and "Commit abc (1 run)" in page
    assert "2 of 4 runs were made with uncommitted changes" in page
    assert "No commit known" in page
    runs = pd.read_csv(tmp_path / "s/report/tables/runs.csv")
    assert (
        runs["tree_changed"].tolist()[:3] == [False, True, True]
        and runs["commit"].tolist()[:3] == ["abc"] * 3
    )


def test_clean_study_has_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    write_run(tmp_path / "s", "plain", 0, evaluations=2)
    page = write_report(tmp_path / "s")[0].read_text()
    assert (
        "Commit abc123 (1 run)" in page
        and "Caution" not in page
        and "the runs differ in their" not in page
    )


def test_many_notes_and_unfinished_runs_are_truncated_with_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    write_run(tmp_path / "s", "plain", 0, evaluations=1)
    for seed in range(1, 1200):
        folder = tmp_path / "s/runs/plain/default" / f"seed={seed}"
        folder.mkdir()
        (folder / "config.yaml").write_text(json.dumps({"head": "plain", "seed": seed}))
        (folder / "metrics.jsonl").write_text('{"step": 1, "spl')
    assert main([str(tmp_path / "s")]) == 0
    assert "Notes on files: 1,199, on the page." in capsys.readouterr().out
    page = (tmp_path / "s/report/index.html").read_text()
    assert page.count("metrics.jsonl is cut off") == 50 and "And 1,149 more." in page
    assert page.count('class="unfinished"') == 100 and "And 1,099 more;" in page


def test_odd_columns_do_not_break_summary_or_latex(hostile: Path) -> None:
    runs = read_study(hostile).runs
    assert latex(summary(runs)) and len(written(summary(runs))) == 3


def test_diagnosis_page_escapes_factor_names(tmp_path: Path) -> None:
    import torch
    from test_diagnosis import cost, good

    from uncollapse import diagnose

    labels = {text: [0, 1] * 20 for text in HOSTILE}
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    diagnose(good, cost, x, samples=2, labels=labels, page=tmp_path / "page")
    text = (tmp_path / "page/index.html").read_text(encoding="utf-8")
    assert is_inert(text) and "script" not in Page(text).tags and "&lt;script&gt;" in text
    svg = (tmp_path / "page/diagnosis.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    assert is_inert(svg)
