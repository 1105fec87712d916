"""The report, tested on run folders written here: no training, only the files that a run leaves behind."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from uncollapse.report import captions, main
from uncollapse.report.figures import PLOTS, draw_one
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.stats import paired_difference, plain_of, t_interval
from uncollapse.report.tables import cell, escape, markdown, paired, summary

D, H = 32, 20.5
HEADS = {  # label, final KL, final rec, gap, promised floor
    "plain": ("Plain VAE", 0.01, 21.2, 0.0, None),
    "kl_anneal": ("KL annealing", 0.2, 21.0, 0.05, None),
    "bn_mu": ("BN on mu", 3.1, 18.9, 2.2, 2.9),
    "bn_tau": ("BN on mu and sigma", 9.0, 17.1, 4.1, 8.0),
    "rms_tau": ("BN on mu, RMS on sigma", 7.9, 17.0, 4.0, 7.4),
}


def metrics(
    head: str, kl: float, rec: float, gap: float, floor: float | None, rng: np.random.Generator, share: np.ndarray
) -> dict:
    """One evaluation's metrics, [D] lists consistent with their totals; share [D] says how the KL is spread."""
    share = share * rng.uniform(0.85, 1.15, D)
    share /= share.sum()
    mu_sq = np.clip(0.12 * kl * D * share / max(kl, 1), 0, 0.9)
    sigma_sq = 1 - mu_sq + rng.normal(0, 0.01, D)
    return {
        "rec": rec, "kl": kl, "kl_per_dim": list(kl * share), "nelbo": rec + kl, "ppl": math.exp((rec + kl) / 12),
        "au": D if floor else 2 * int(kl > 1), "shuffle_gap": gap, "weight": 1.0, "seconds": 30.0,
        "floor": floor, "kl_minus_floor": None if floor is None else kl - floor,
        "moments": {"mu": list(rng.normal(0, 0.02, D)), "mu_sq": list(mu_sq), "sigma_sq": list(sigma_sq)},
        "seconds_per_step": (0.02 if head == "plain" else 0.022) * rng.uniform(0.97, 1.03),
    }  # fmt: skip


def run_rows(head: str, seed: int, tau: float | None, evaluations: int) -> list[dict]:
    """Rows of a whole run: training evaluations of both splits, then test in both modes."""
    rng = np.random.default_rng(1000 * sorted(HEADS).index(head) + seed)
    _, kl, rec, gap, floor = HEADS[head]
    if tau is not None:
        bound = -D / 2 * math.log(1 - tau)
        kl, rec, gap, floor = bound * 1.1 + (0.4 if head == "bn_tau" else 0), 21 - 4 * tau**0.7, 5 * tau, bound
    wobble, rows = rng.normal(0, 0.06, 3), []
    share = rng.dirichlet(np.full(D, 0.3 if floor is None else 6.0))
    steps = [200 * (i + 1) for i in range(evaluations)]
    for step in [*steps, steps[-1]]:
        fade = math.exp(-step / 500)
        values = (
            kl * (1 + wobble[0]) + (2 if floor is None else 4) * fade,
            rec + wobble[1] + 40 * fade**2,
            gap + abs(wobble[2]) * (gap > 0),
        )
        split = ("test", "test") if len(rows) == 2 * len(steps) else ("train", "valid")
        for mode, name in zip(("train", "eval"), split, strict=True):
            bump = 1.06 if mode == "train" and floor else 1.0
            row = metrics(head, values[0] * bump, values[1] + rng.normal(0, 0.05), values[2], floor, rng, share)
            rows.append({"step": step, "epoch": step / 300, "split": name, "mode": mode, **row})
    return rows


def write_run(study: Path, head: str, seed: int, status: str = "done", overrides: str = "default", **more: Any) -> Path:
    """A run folder as the trainer leaves it. more: evaluations, `torn` (appended to metrics.jsonl), `label`."""
    folder = study / "runs" / head / overrides / f"seed={seed}"
    folder.mkdir(parents=True)
    knobs = dict(text.split("=") for text in overrides.split(",") if "=" in text)
    typed = " ".join([f"head={head}", *(f"{key}={value}" for key, value in knobs.items()), f"seed={seed}"])
    config = {"head": head, "label": more.get("label", HEADS[head][0]), "seed": seed, "study": study.name}
    config |= {"model": {"latent": D}} | ({"tau": float(knobs.get("tau", 0.5))} if "tau" in head else {})
    (folder / "config.yaml").write_text(f"# python train.py {typed} study={study.name}\n{json.dumps(config)}\n")
    sizes = {"vocab": 112, "train": 20000, "valid": 1000, "test": 1000}
    (folder / "data.json").write_text(json.dumps(sizes | {"entropy": H, "oracle_nll": {"valid": H, "test": H + 0.1}}))
    rows = run_rows(head, seed, float(knobs["tau"]) if "tau" in knobs else None, more.get("evaluations", 20))
    kept = rows if status == "done" else rows[: len(rows) // 2]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept) + more.get("torn", ""))
    if status == "done":
        machine = {"versions": {"torch": "2.13", "python": "3.11"}, "commit": "abc123", "threads": 1, "device": "cpu"}
        summary = rows[-1] | machine | {"status": "done", "train_mode": rows[-2]}
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "done").touch()
    if status == "failed":
        (folder / "failed").write_text("Traceback (most recent call last):\n  ...\nFloatingPointError: loss is <nan>\n")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-finished study with its report: four heads, a tau grid, one failed and one unfinished run."""
    folder = tmp_path_factory.mktemp("results") / "four"
    for seed in range(3):
        for head in ("plain", "bn_mu"):
            write_run(folder, head, seed, evaluations=6)
        for tau in (0.3, 0.5):
            write_run(folder, "bn_tau", seed, overrides=f"tau={tau}", evaluations=6)
    write_run(folder, "kl_anneal", 0, evaluations=6)
    write_run(folder, "kl_anneal", 1, status="failed", evaluations=6)
    write_run(folder, "kl_anneal", 2, status="unfinished", evaluations=6, torn='{"step": 800, "spl')
    assert main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report" / "index.html").read_text()


def bytes_of(report: Path) -> dict[str, bytes]:
    return {str(path.relative_to(report)): path.read_bytes() for path in sorted(report.rglob("*")) if path.is_file()}


# ---- statistics -----------------------------------------------------------------------------------------------------


def test_t_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653, half-width 4.302653 / sqrt(3) = 2.484138
    assert t_interval([1, 2, 3]) == pytest.approx((2, 2.484138), abs=1e-6)
    values = [3.1, 2.9, 3.4, 3.3, 3.0]
    low, high = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert t_interval(values) == pytest.approx(((low + high) / 2, (high - low) / 2))


def test_t_interval_of_one_none_and_missing() -> None:
    assert t_interval([5.0])[0] == 5 and math.isnan(t_interval([5.0])[1])
    assert all(math.isnan(value) for value in t_interval([]))
    assert t_interval([1, float("nan"), 2, 3])[0] == 2


def test_paired_difference_uses_shared_seeds_only() -> None:
    # seeds 0, 1, 2 shared: differences 1, 2, 3; seeds 7 and 9 have no partner
    ours = pd.Series({0: 11.0, 1: 22.0, 2: 33.0, 7: 1e6})
    plain = pd.Series({2: 30.0, 0: 10.0, 1: 20.0, 9: -1e6})
    assert paired_difference(ours, plain) == pytest.approx((3, 2, 2.484138), abs=1e-6)


def test_plain_of_prefers_the_plain_with_the_same_overrides() -> None:
    lists = [[], ["lr=1"], ["tau=0.3"], ["lr=1", "tau=0.3"]]
    runs = pd.DataFrame({"order": range(4), "head": ["plain", "plain", "bn_tau", "bn_tau"], "override_list": lists})
    assert plain_of(runs) == {0: 0, 1: 1, 2: 0, 3: 1}


# ---- reading --------------------------------------------------------------------------------------------------------


def test_groups_are_ordered_plain_first_and_named_by_config(study: Path) -> None:
    runs = read_study(study).runs
    tau = "BN on mu and sigma"
    assert list(runs["group"].unique()) == [
        "Plain VAE",
        "BN on mu",
        f"{tau} (tau=0.3)",
        f"{tau} (tau=0.5)",
        "KL annealing",
    ]
    assert runs["status"].value_counts().to_dict() == {"done": 13, "failed": 1, "unfinished": 1}


def test_label_comes_from_the_config(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "bn_mu", 0, label="Quite another name", evaluations=3)
    write_run(tmp_path / "s", "plain", 0, label="Quite another name", evaluations=3)
    groups = read_study(tmp_path / "s").runs["group"].tolist()
    assert groups == ["Quite another name [plain]", "Quite another name [bn_mu]"]


def test_overrides_that_all_runs_share_are_said_once(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, overrides="trainer.epochs=2", evaluations=3)
    for tau in (0.5, 0.25, 0.1):
        write_run(tmp_path / "s", "bn_tau", 0, overrides=f"tau={tau},trainer.epochs=2", evaluations=3)
    study = read_study(tmp_path / "s")
    tau = "BN on mu and sigma"
    assert study.runs["group"].tolist() == ["Plain VAE", f"{tau} (tau=0.1)", f"{tau} (tau=0.25)", f"{tau} (tau=0.5)"]
    assert study.common == "trainer.epochs=2"


def test_a_knob_left_alone_is_said_where_other_runs_of_the_head_set_it(tmp_path: Path) -> None:
    for overrides in ("default", "tau=0.1"):
        write_run(tmp_path / "s", "bn_tau", 0, overrides=overrides, evaluations=3)
    tau = "BN on mu and sigma"
    assert read_study(tmp_path / "s").runs["group"].tolist() == [f"{tau} (tau=0.1)", f"{tau} (tau=0.5)"]
    write_run(
        tmp_path / "s", "bn_tau", 0, overrides="tau=0.5", evaluations=3
    )  # the default, asked for: not a second seed
    assert read_study(tmp_path / "s").runs["group"].tolist() == [tau, f"{tau} (tau=0.1)", f"{tau} (tau=0.5)"]


def test_overrides_are_read_from_the_config_where_the_folder_cut_them_short(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, overrides="data.path=-tmp-x-0a1b2c3d", evaluations=3)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace('"seed"', '"overrides": {"data.path": "/tmp/x", "lr": 1}, "seed"'))
    assert read_study(tmp_path / "s").runs["group"].tolist() == ["Plain VAE (data.path=/tmp/x, lr=1)"]


def test_torn_lines_are_skipped_and_noted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, status="unfinished", evaluations=4, torn='{"step": 9, "sp\xe9')
    lines = (folder / "metrics.jsonl").read_text().split("\n")
    lines[1] = lines[1][:40]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    study = read_study(tmp_path / "s")
    assert len(study.rows) == 4
    assert any("line 2" in note for note in study.notes) and any("last line" in note for note in study.notes)


def test_repeated_evaluations_count_once_and_nan_is_noted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    row = {"step": 200, "split": "valid", "mode": "eval", "kl": 77.0, "nelbo": float("nan")}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    study = read_study(tmp_path / "s")
    valid = study.rows[(study.rows["split"] == "valid") & (study.rows["step"] == 200)]
    assert valid["kl"].tolist() == [77.0] and valid["nelbo"].isna().all()
    assert any("not finite (NaN)" in note for note in study.notes)


def test_damaged_files_do_not_stop_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    (folder / "summary.json").write_text('{"kl": 0.0')
    (folder / "data.json").unlink()
    (write_run(tmp_path / "s", "bn_mu", 0, evaluations=3) / "config.yaml").write_text("head: [")
    study = read_study(tmp_path / "s")
    assert study.runs["kl"].notna().all(), "final metrics come from the test rows where the summary is damaged"
    assert len(study.runs) == 1 and len(study.notes) == 2


# ---- what a report holds --------------------------------------------------------------------------------------------


def test_every_figure_is_there_in_three_formats(study: Path) -> None:
    for name in PLOTS:
        for suffix in ("pdf", "svg", "png"):
            assert (study / "report" / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    assert b"/Type /Font /Subtype /Type3" not in (study / "report" / "figures" / "usage.pdf").read_bytes()


def test_two_reports_are_the_same_byte_for_byte(study: Path) -> None:
    before = bytes_of(study / "report")
    assert main([str(study)]) == 0
    after = bytes_of(study / "report")
    assert [name for name in before if before[name] != after[name]] == [] and before.keys() == after.keys()


@pytest.mark.parametrize("name", PLOTS)
def test_captions_state_n(study: Path, name: str) -> None:
    frames = read_study(study)
    caption = PLOTS[name].caption(getattr(frames, PLOTS[name].frame))
    assert "n = " in caption and "interval" in caption
    if PLOTS[name].frame == "runs":
        assert "1 unfinished, 1 failed" in caption


def test_page_shows_runs_without_an_end_and_how_to_go_on(page: str) -> None:
    assert "FloatingPointError: loss is &lt;nan&gt;" in page
    assert "15 runs in 5 groups: 13 done, 1 failed, 1 unfinished" in page
    assert page.count("python train.py head=kl_anneal seed=2 study=four") == 2  # to resume it, and among all commands
    assert "last line of metrics.jsonl is torn" in page
    assert "vocab 112" in page and "abc123" in page


def test_page_links_exist(study: Path, page: str) -> None:
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(links) > 30 and all((study / "report" / link).is_file() for link in links)


def test_summary_and_paired_tables(study: Path) -> None:
    runs = read_study(study).runs
    numbers = summary(runs).numbers.set_index("group")
    kl = runs[runs["head"] == "bn_mu"]["kl"]
    assert numbers.loc["BN on mu", ["kl_mean", "kl_half"]].tolist() == pytest.approx(t_interval(kl))
    assert numbers.loc["KL annealing", ["n", "failed", "unfinished"]].tolist() == [1, 1, 1]
    assert math.isnan(numbers.loc["KL annealing", "kl_half"]) and math.isnan(numbers.loc["Plain VAE", "floor_mean"])
    assert numbers.loc["Plain VAE", "relative_time_mean"] == pytest.approx(1)
    text = summary(runs).text.set_index("group")
    assert text.loc["KL annealing", "n"] == "1 (+ 1 failed, 1 unfinished)" and "±" not in text.loc["KL annealing", "kl"]
    pairs = paired(runs).numbers.set_index("group")
    plain = runs[runs["head"] == "plain"].set_index("seed")["rec"]
    difference = runs[runs["head"] == "bn_mu"].set_index("seed")["rec"] - plain
    assert pairs.loc["BN on mu", ["d_rec_mean", "d_rec_half"]].tolist() == pytest.approx(t_interval(difference))
    assert pairs.loc["KL annealing", "n"] == 1 and "Plain VAE" not in pairs.index


def test_csv_has_mean_and_half_width_as_columns(study: Path) -> None:
    table = pd.read_csv(study / "report" / "tables" / "summary.csv")
    assert {"kl_mean", "kl_half", "n", "failed", "unfinished"} <= set(table.columns) and len(table) == 5
    assert len(pd.read_csv(study / "report" / "tables" / "runs.csv")) == 15


def test_cells_markdown_and_latex() -> None:
    assert cell(9.123, 0.3, 3, 3) == "9.12 ± 0.30" and cell(0.0123, float("nan"), 1, 1) == "0.012"
    assert cell(-0.001, 0.5, 2, 3) == "-0.001 ± 0.500 (n=2)" and cell(float("nan"), float("nan"), 0, 3) == "–"
    assert cell(0.0109, 0.0003, 3, 3) == "0.0109 ± 0.0003"
    assert escape("50% of a_b & τ ± 1") == r"50\% of a\_b \& $\tau$ $\pm$ 1"
    assert markdown(pd.DataFrame({"a|b": ["x"]})) == "| a\\|b |\n| --- |\n| x |\n"


def test_latex_is_booktabs(study: Path) -> None:
    text = (study / "report" / "tables" / "summary.tex").read_text()
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule")) and r"$\pm$" in text


# ---- other studies --------------------------------------------------------------------------------------------------


def test_single_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "bn_tau", 4, evaluations=3)
    path, text = write_report(folder)
    assert path == folder / "report" / "index.html" and "seed 4" in path.read_text()
    assert "BN on mu and sigma" in text
    assert "n = 1 seed per group" in captions.usage(read_study(folder).runs)


def test_study_with_nothing_finished_and_no_floor(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, status="unfinished", evaluations=6)
    write_run(tmp_path / "s", "kl_anneal", 0, status="failed", evaluations=6)
    page = write_report(tmp_path / "s")[0].read_text()
    assert page.count("is not shown: no run is finished yet.") == 5
    assert (tmp_path / "s" / "report" / "figures" / "kl_over_steps.svg").is_file()
    assert "needs finished runs of" in page


def test_head_whose_kl_does_not_split_and_without_moments(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    rows = [row | {"kl_per_dim": [row["kl"]], "moments": None} for row in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps(rows[-1] | {"train_mode": rows[-2]}))
    page = write_report(tmp_path / "s")[0].read_text()
    assert "no run has a KL that splits over dimensions" in page and "no finished run has moments" in page


def test_figure_that_can_no_longer_be_drawn_is_taken_away(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=3)
    stale = tmp_path / "tau_grid.svg"
    stale.write_text("of an earlier study")
    shown = draw_one("tau_grid", PLOTS["tau_grid"], read_study(tmp_path / "s").runs, tmp_path / "tau_grid")
    assert "two or more values of tau" in shown.missing and not stale.exists()


# ---- errors ---------------------------------------------------------------------------------------------------------


def fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_missing_and_wrong_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no folder" in fails(tmp_path / "nowhere", capsys)
    write_run(tmp_path / "compare", "plain", 0, evaluations=3)
    message = fails(tmp_path, capsys)
    assert "not a study" in message and "seed=<n>/config.yaml" in message and str(tmp_path / "compare") in message


def test_no_rows_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, status="failed", evaluations=3)
    (folder / "metrics.jsonl").write_text("")
    message = fails(tmp_path / "s", capsys)
    assert "no evaluation yet" in message and "loss is <nan>" in message


def test_a_report_folder_of_others_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=3)
    thesis = tmp_path / "s" / "report" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    assert "not a report of ours" in fails(tmp_path / "s", capsys)
    assert thesis.read_text() == "years of work" and len(list(thesis.parent.iterdir())) == 1


def test_script_as_typed_and_help_without_heavy_imports(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "scripts" / "report.py"
    run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith("report: ")
    heavy = "import sys, uncollapse.report as r\ntry: r.main(['--help'])\nexcept SystemExit: pass\n"
    heavy += "assert not {'pandas', 'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True)


def test_report_package_needs_no_torch_or_hydra() -> None:
    code = "import sys, uncollapse.report.page\nassert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
