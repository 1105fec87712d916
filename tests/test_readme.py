"""The README is true: its worked example works as printed, and what it names exists."""

import csv
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL, composed
from hydra import compose, initialize_config_dir

from uncollapse import config
from uncollapse.config import heads
from uncollapse.report.stats import t_interval

README = (ROOT / "README.md").read_text()


def block(language: str, first: str) -> str:
    """The fenced block of a language that contains `first`."""
    (found,) = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.S) if first in b]
    return found


def test_worked_example_of_a_remedy_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.run import run

    shutil.copytree(config.CONF, tmp_path / "conf")
    (tmp_path / "conf/head/fixed_sigma.yaml").write_text(
        block("yaml", "conf/head/fixed_sigma.yaml")
    )
    module = tmp_path / "fixed_sigma.py"
    module.write_text(block("python", "class FixedSigma"))
    spec = importlib.util.spec_from_file_location("uncollapse.posteriors.fixed_sigma", module)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, loaded)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(config, "CONF", tmp_path / "conf")

    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        cfg = compose(
            "train", ["head=fixed_sigma", "sigma=0.4", f"results={tmp_path / 'results'}", *SMALL]
        )
    assert run(cfg, "fixed_sigma", ["sigma=0.4", *SMALL]) == "done"
    head = loaded.FixedSigma(12, 4, sigma=0.4)
    kl = head(torch.randn(50, 12)).kl.sum(-1)
    assert (kl >= head.floor() - 1e-5).all() and head.floor() == pytest.approx(
        4 * 0.5 * (0.16 - 2 * torch.tensor(0.4).log().item() - 1)
    )


def test_every_head_stands_in_the_table_with_its_knobs_and_defaults() -> None:
    for head in heads():
        (row,) = re.findall(rf"^\| `{head}` \|.*$", README, re.M)
        values = composed(f"head={head}")
        for knob in config.knobs_of(head):
            assert f"`{knob}` ({values[knob]:g})" in row


@pytest.mark.parametrize("head", ["scale", "mdr", "capacity"])
def test_verdicts_measured_again_are_those_of_their_runs(head: str) -> None:
    runs = list(csv.DictReader((ROOT / "results/compare/corrected.csv").read_text().splitlines()))
    gap, nll, plain = (
        [float(run[column]) for run in runs if run["head"] == name]
        for column, name in (("shuffle_gap", head), ("nll", head), ("nll", "plain"))
    )
    cost, half = t_interval(a - b for a, b in zip(nll, plain, strict=True))
    verdict = f"gap {sum(gap) / 3:.1f}, nll {cost:+.2f} ± {half:.2f} |"
    (row,) = re.findall(rf"^\| `{head}` \|.*$", README, re.M)
    assert row.endswith(f"avoids it: {verdict}")
    assert f"| {cost:+.2f} ± {half:.2f} |" in (ROOT / "results/compare/corrected.md").read_text()


def test_every_file_and_target_it_names_exists() -> None:
    for name in re.findall(
        r"`((?:scripts|tests|src|conf|objectives|procedures|models)/[\w/]+\.(?:py|yaml))`", README
    ):
        assert (ROOT / name).exists() or (ROOT / "src/uncollapse" / name).exists(), name
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets | {"is"}
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).exists(), picture
