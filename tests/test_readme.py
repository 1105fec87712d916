"""README and docs: the worked example runs as printed, and everything they name exists."""

import csv
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL
from hydra import compose, initialize_config_dir

from uncollapse import config
from uncollapse.report.stats import t_interval

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("docs/*.md")),
        *sorted(ROOT.glob("results/**/README.md")),
    ]
}
COMMAND = re.compile(r"^python ((?:train|scripts/\w+)(?:\.py)?)\b", re.MULTILINE)
FILE = re.compile(
    r"`((?:scripts|tests|src|conf|objectives|procedures|models|posteriors|decoders)/"
    r"[\w/]+\.(?:py|yaml))`"
)
EXAMPLES = (
    "my_idea",
    "fixed_sigma",
    "first",
    "gru",
    "reviews",
    "small",
    "test_heads",
)  # files that a page asks its reader to create


def list_blocks(page: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def find_block(page: str, language: str, text: str) -> str:
    """The only fenced block of a language that contains a text."""
    (block,) = [block for name, block in list_blocks(page) if name == language and text in block]
    return block


def test_worked_remedy_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uncollapse.run import run

    page = "docs/add_a_remedy.md"
    shutil.copytree(config.CONF, tmp_path / "conf")
    head_file = tmp_path / "conf/head/fixed_sigma.yaml"
    head_file.write_text(find_block(page, "yaml", "conf/head/fixed_sigma.yaml"))
    # as tests/test_config.py demands of every head
    for word in ("Source:", "python train.py head=fixed_sigma", "Minutes:", "Expect"):
        assert word in head_file.read_text()
    module = tmp_path / "fixed_sigma.py"
    module.write_text(find_block(page, "python", "class FixedSigma"))
    spec = importlib.util.spec_from_file_location("uncollapse.posteriors.fixed_sigma", module)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, loaded)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(config, "CONF", tmp_path / "conf")

    words = ["head=fixed_sigma", "sigma=0.4", f"results={tmp_path / 'results'}", *SMALL]
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        cfg = compose("train", words)
    assert run(cfg, "fixed_sigma", ["sigma=0.4", *SMALL]) == "done"
    head = loaded.FixedSigma(12, 4, sigma=0.4)
    kl = head(torch.randn(50, 12)).kl.sum(-1)
    assert (kl >= head.floor() - 1e-5).all() and head.floor() == pytest.approx(
        4 * 0.5 * (0.16 - 2 * torch.tensor(0.4).log().item() - 1)
    )


@pytest.mark.parametrize("head", ["scale", "mdr", "capacity"])
def test_repeated_verdicts_match_their_runs(head: str) -> None:
    runs = list(csv.DictReader((ROOT / "results/compare/corrected.csv").read_text().splitlines()))
    nll, plain = (
        [float(run["nll"]) for run in runs if run["head"] == name] for name in (head, "plain")
    )
    cost, half = t_interval(a - b for a, b in zip(nll, plain, strict=True))
    assert f"| {cost:+.2f} ± {half:.2f} |" in (ROOT / "results/compare/corrected.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_names_in_pages_exist(page: str) -> None:
    text, folder = PAGES[page], (ROOT / page).parent
    code = "\n".join(block for _, block in list_blocks(page))
    for name in FILE.findall(text):
        exists = (ROOT / name).exists() or (ROOT / "src/uncollapse" / name).exists()
        assert exists or any(example in name for example in EXAMPLES), name
    for command in COMMAND.findall(code):
        assert (ROOT / command).exists(), command
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    inline, typed = re.findall(r"`make (\w+)", text), re.findall(r"^make (\w+)", code, re.MULTILINE)
    assert {*inline, *typed} <= targets
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (folder / link).exists(), link


# slow: options of one's own pass `make test` without documentation
@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "page"), [("experiment", "docs/studies.md"), ("model", "docs/models.md")]
)
def test_every_option_of_a_group_is_on_its_page(group: str, page: str) -> None:
    missing = [name for name in config.package_options(group) if f"`{name}`" not in PAGES[page]]
    assert not missing


def test_readme_explains_setup_tests_and_demo() -> None:
    for command in ("make setup", "make demo", "make test"):
        assert re.search(rf"^{command}\b", PAGES["README.md"], re.MULTILINE)


def test_folders_in_the_layout_exist() -> None:
    layout = find_block("CONTRIBUTING.md", "text", "src/uncollapse/\n")
    inside = layout[layout.index("src/uncollapse/") : layout.index("scripts/ ")]
    below = layout[layout.index("scripts/ ") : layout.index("docs/ ")]
    for text, parent in ((inside, "src/uncollapse"), (below, "scripts")):
        for name in re.findall(r"(?:^  |(?<=/  ))(\w+(?:/|\.py))(?= )", text, re.MULTILINE):
            assert (ROOT / parent / name).exists(), name
