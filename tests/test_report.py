"""Reports of run folders that the tests write themselves, without training."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from uncollapse.metrics import catalogue
from uncollapse.report import main
from uncollapse.report.figures import PLOTS, draw_one
from uncollapse.report.figures.cost import compute_costs, describe_cost
from uncollapse.report.figures.kl_over_steps import draw_kl_over_steps
from uncollapse.report.figures.kl_per_dim import find_colour_limit
from uncollapse.report.figures.learning_curves import (
    describe_learning_curves,
    draw_learning_curves,
    groups_far_above,
)
from uncollapse.report.figures.mi_vs_kl import example_ceilings, mi_limits
from uncollapse.report.figures.placement import lines_cross, place_labels
from uncollapse.report.figures.probe import describe_probe
from uncollapse.report.figures.probe_data import probe_rows
from uncollapse.report.figures.rate_parts import (
    describe_rate_parts,
    mark_saturated,
    mean_rate_parts,
)
from uncollapse.report.figures.usage import describe_usage
from uncollapse.report.page import evaluation_note, write_report
from uncollapse.report.page import format_terminal as terminal
from uncollapse.report.results import read_study
from uncollapse.report.runs import is_one_sided
from uncollapse.report.stats import against_plain, outlying, paired_difference, plain_of, t_interval
from uncollapse.report.style import MOST_GROUPS, figure_style, solve_layout
from uncollapse.report.tables.cells import format_cell as cell
from uncollapse.report.tables.files import escape_latex as escape
from uncollapse.report.tables.files import format_markdown as markdown
from uncollapse.report.tables.files import split_columns as blocks
from uncollapse.report.tables.paired import paired_table as paired
from uncollapse.report.tables.runs import runs_table as every_run
from uncollapse.report.tables.summary import summary_table as summary

D, H, N = 32, 20.5, 2000
FACTORS = {"topic": (0.2, 0.93), "tense": (0.5, 1.0), "mood": (0.4, None)}  # chance, oracle
HEADS = {  # label, final KL, final rec, gap, promised floor
    "plain": ("Plain VAE", 0.01, 21.2, 0.0, None),
    "kl_anneal": ("KL annealing", 0.2, 21.0, 0.05, None),
    "bn_mu": ("BN on mu", 3.1, 18.9, 2.2, 2.9),
    "bn_tau": ("BN on mu and sigma", 9.0, 17.1, 4.1, 8.0),
    "rms_tau": ("BN on mu, RMS on sigma", 7.9, 17.0, 4.0, 7.4),
}


# figures that need a head at three values of its knob, or rows with means of examples:
# test_frontier_report.py, test_posterior_means.py
UNDRAWN = {"posterior_means", *(name for name in PLOTS if name.startswith("frontier"))}
NEW_KEYS = {*catalogue.test_columns(), "mi_per_dim", "collapse"}


def metrics(
    head: str,
    kl: float,
    rec: float,
    gap: float,
    floor: float | None,
    rng: np.random.Generator,
    share: np.ndarray,
) -> dict:
    """One evaluation's metrics; lists [D] sum to their totals.

    `share` [D] distributes the KL over the dimensions.
    """
    share = share * rng.uniform(0.85, 1.15, D)
    share /= share.sum()
    mu_sq = np.clip(0.12 * kl * D * share / max(kl, 1), 0, 0.9)
    sigma_sq = 1 - mu_sq + rng.normal(0, 0.01, D)
    return {
        "rec": rec, "kl": kl, "kl_per_dim": list(kl * share), "nelbo": rec + kl,
        "ppl": math.exp((rec + kl) / 12),
        "au": D if floor else 2 * int(kl > 1), "shuffle_gap": gap, "weight": 1.0, "seconds": 30.0,
        "floor": floor, "kl_minus_floor": None if floor is None else kl - floor,
        "moments": {"mu": list(rng.normal(0, 0.02, D)), "mu_sq": list(mu_sq),
        "sigma_sq": list(sigma_sq)},
        "seconds_per_step": (0.02 if head == "plain" else 0.022) * rng.uniform(0.97, 1.03),
    }  # fmt: skip


def information(kl: float, kl_per_dim: list[float], split: bool, rng: np.random.Generator) -> dict:
    """The components of one test evaluation's KL and its collapse curve.

    With `split=False`, the KL does not split into dimensions.
    """
    ceiling, eps = math.log(N), np.logspace(-3, 1, 17)
    mi = min(0.85 * kl, ceiling - 0.1) + 0.004 * rng.normal()
    parts = {"total_correlation": 0.3 * (kl - mi), "dimension_kl": 0.7 * (kl - mi)}
    return {
        "rec_se": 0.11, "kl_se": 0.02, "nelbo_se": 0.12, "shuffle_gap_se": 0.05, "mi": mi,
        "mi_se": 0.03,
        "mi_n": N, "mi_ceiling": ceiling, "mi_saturated": bool(mi > ceiling - 0.5),
        "mi_per_dim": [mi / D] * D,
        "marginal_kl": kl - mi, "marginal_kl_se": 0.03,
        **(parts if split else dict.fromkeys(parts)),
        "collapse": {
            "delta": 0.01, "eps": list(eps),
            "share": [float(np.mean(np.array(kl_per_dim) < value)) for value in eps],
        },
    }  # fmt: skip


def evaluation(nelbo: float, kl: float, rng: np.random.Generator) -> dict:
    """What scripts/evaluate.py adds to a summary."""
    labels, nll, factors = [100, 500, 1000, 2000, 10000], nelbo - 0.05 * kl, {}
    for name, (chance, oracle) in FACTORS.items():
        top = chance + ((oracle or 0.9) - chance) * (1 - math.exp(-kl / 3))
        accuracy = [top - (top - chance) * 5 / math.sqrt(n) + rng.normal(0, 0.01) for n in labels]
        factors[name] = {
            "accuracy": accuracy,
            "se": [0.01] * len(labels),
            "chance": chance,
            "oracle": oracle,
        }
    return {
        "nll": nll, "nll_se": 0.1, "nll_samples": 500, "nll_examples": N, "nll_mc_se": 0.01,
        "nll_ppl": math.exp(nll / 12), "oracle_gap": nll - H - 0.1, "oracle_gap_se": 0.02,
        "probe": float(np.mean([factor["accuracy"][-1] for factor in factors.values()])),
        "probe_se": 0.01,
        "probe_labels": 10000, "probe_curves": {"labels": labels, "factors": factors},
    }  # fmt: skip


def run_rows(head: str, seed: int, tau: float | None, evaluations: int) -> list[dict]:
    """Rows of a complete run: evaluations of both splits in training, then test in both modes."""
    rng = np.random.default_rng(1000 * sorted(HEADS).index(head) + seed)
    _, kl, rec, gap, floor = HEADS[head]
    if tau is not None:
        bound = -D / 2 * math.log(1 - tau)
        kl, rec, gap, floor = (
            bound * 1.1 + (0.4 if head == "bn_tau" else 0),
            21 - 4 * tau**0.7,
            5 * tau,
            bound,
        )
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
            row = metrics(
                head,
                values[0] * bump,
                values[1] + rng.normal(0, 0.05),
                values[2],
                floor,
                rng,
                share,
            )
            rows.append({"step": step, "epoch": step / 300, "split": name, "mode": mode, **row})
    for row in rows[-2:]:
        row |= information(row["kl"], row["kl_per_dim"], head != "kl_anneal", rng)
    return rows


def write_run(
    study: Path, head: str, seed: int, status: str = "done", overrides: str = "default", **more: Any
) -> Path:
    """A run folder as the trainer leaves it.

    Keywords: evaluations, `torn` (appended to metrics.jsonl), `label`, `evaluated` (by
    scripts/evaluate.py), `old` (a run without mi), `final` (values of the summary), `slots` (of
    the resolved config).
    """
    folder = study / "runs" / head / overrides / f"seed={seed}"
    folder.mkdir(parents=True)
    knobs = dict(text.split("=") for text in overrides.split(",") if "=" in text)
    write_config(folder, study.name, head, seed, knobs, more)
    sizes = {"vocab": 112, "train": 20000, "valid": 1000, "test": 1000}
    (folder / "data.json").write_text(
        json.dumps(sizes | {"entropy": H, "oracle_nll": {"valid": H, "test": H + 0.1}})
    )
    tau = float(knobs["tau"]) if "tau" in knobs else None
    rows = run_rows(head, seed, tau, more.get("evaluations", 20))
    if more.get("old"):
        rows = [{key: value for key, value in row.items() if key not in NEW_KEYS} for row in rows]
    kept = rows if status == "done" else rows[: len(rows) // 2]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in kept) + more.get("torn", "")
    )
    if status == "done":
        write_summary(folder, rows, seed, more)
    if status == "failed":
        (folder / "failed").write_text(
            "Traceback (most recent call last):\n  ...\nFloatingPointError: loss is <nan>\n"
        )
    return folder


def write_config(
    folder: Path, study: str, head: str, seed: int, knobs: dict[str, str], more: dict[str, Any]
) -> None:
    """The resolved config of a run, below the command that started it."""
    typed = " ".join(
        [f"head={head}", *(f"{key}={value}" for key, value in knobs.items()), f"seed={seed}"]
    )
    config = {
        "head": head,
        "label": more.get("label", HEADS[head][0]),
        "seed": seed,
        "study": study,
    }
    config |= (
        {"model": {"latent": D}}
        | more.get("slots", {})
        | ({"tau": float(knobs.get("tau", 0.5))} if "tau" in head else {})
    )
    (folder / "config.yaml").write_text(
        f"# python train.py {typed} study={study}\n{json.dumps(config)}\n"
    )


def write_summary(folder: Path, rows: list[dict], seed: int, more: dict[str, Any]) -> None:
    """The summary of a finished run, and its mark `done`."""
    machine = {
        "versions": {"torch": "2.13", "python": "3.11"},
        "commit": "abc123",
        "threads": 1,
        "device": "cpu",
    }
    summary = rows[-1] | machine | {"status": "done", "train_mode": rows[-2]}
    if more.get("evaluated"):
        summary |= evaluation(summary["nelbo"], summary["kl"], np.random.default_rng(seed))
    summary |= more.get("final", {})
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "done").touch()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An incomplete study with its report: four heads, a tau grid, a failed and an unfinished run.

    Runs of plain, bn_mu and two of bn_tau are evaluated; the finished run of kl_anneal has no KL
    components.
    """
    folder = tmp_path_factory.mktemp("results") / "four"
    for seed in range(3):
        for head in ("plain", "bn_mu"):
            write_run(folder, head, seed, evaluations=6, evaluated=True)
        for tau in (0.3, 0.5):
            write_run(
                folder,
                "bn_tau",
                seed,
                overrides=f"tau={tau}",
                evaluations=6,
                evaluated=tau == 0.3 and seed < 2,
            )
    write_run(folder, "kl_anneal", 0, evaluations=6)
    write_run(folder, "kl_anneal", 1, status="failed", evaluations=6)
    write_run(folder, "kl_anneal", 2, status="unfinished", evaluations=6, torn='{"step": 800, "spl')
    assert main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report" / "index.html").read_text()


def read_report_bytes(report: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(report)): path.read_bytes()
        for path in sorted(report.rglob("*"))
        if path.is_file()
    }


# ---------------- statistics


def test_t_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653, half-width 4.302653 / sqrt(3) =
    # 2.484138
    assert t_interval([1, 2, 3]) == pytest.approx((2, 2.484138), abs=1e-6)
    values = [3.1, 2.9, 3.4, 3.3, 3.0]
    low, high = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert t_interval(values) == pytest.approx(((low + high) / 2, (high - low) / 2))


def test_t_interval_of_one_value_none_and_missing_values() -> None:
    assert t_interval([5.0])[0] == 5 and math.isnan(t_interval([5.0])[1])
    assert all(math.isnan(value) for value in t_interval([]))
    assert t_interval([1, float("nan"), 2, 3])[0] == 2


def test_paired_difference_uses_shared_seeds_only() -> None:
    # seeds 0, 1, 2 shared: differences 1, 2, 3; seeds 7 and 9 have no partner
    ours = pd.Series({0: 11.0, 1: 22.0, 2: 33.0, 7: 1e6})
    plain = pd.Series({2: 30.0, 0: 10.0, 1: 20.0, 9: -1e6})
    assert paired_difference(ours, plain) == pytest.approx((3, 2, 2.484138), abs=1e-6)


def test_baseline_has_the_same_overrides_where_possible() -> None:
    lists = [[], ["lr=1"], ["tau=0.3"], ["lr=1", "tau=0.3"]]
    runs = pd.DataFrame(
        {
            "order": range(4),
            "head": ["plain", "plain", "bn_tau", "bn_tau"],
            "override_list": lists,
            "data_name": "",
        }
    )
    assert plain_of(runs) == {0: 0, 1: 1, 2: 0, 3: 1}
    runs["data_name"] = ["a", "b", "b", "a"]
    assert plain_of(runs) == {0: 0, 1: 1, 3: 0}, "only plain of the same data is a reference"


# ---------------- reading


def test_groups_are_ordered_plain_first_and_named_by_config(study: Path) -> None:
    runs = read_study(study).runs
    tau = "BN on μ and σ"
    assert list(runs["group"].unique()) == [
        "Plain VAE",
        "BN on μ",
        f"{tau} (τ=0.3)",
        f"{tau} (τ=0.5)",
        "KL annealing",
    ]
    assert runs["status"].value_counts().to_dict() == {"done": 13, "failed": 1, "unfinished": 1}


def test_runs_at_different_text_levels_are_compared_per_character(tmp_path: Path) -> None:
    for seed, level in enumerate(("word", "char")):
        per_char = {"nll": 20.0, "nll_per_char": 0.41 + seed, "nelbo_per_char": 0.42 + seed}
        folder = write_run(
            tmp_path / "s",
            "plain",
            0,
            overrides=f"data.level={level}",
            slots={"data": {"level": level}},
            final=per_char,
        )
        data = json.loads((folder / "data.json").read_text())
        (folder / "data.json").write_text(json.dumps(data | {"level": level}))
    runs = read_study(tmp_path / "s").runs
    table = summary(runs)
    assert (
        sorted(table.text["nll / char"]) == ["0.4100", "1.4100"] and "per character" in table.title
    )
    assert "nll / char" not in summary(runs[runs["level"] == "char"]).text


def test_nll_of_different_samples_is_not_paired(tmp_path: Path) -> None:
    for seed, (own, plain) in enumerate([(100, 100), (500, 100), (100, 100)]):
        for head, samples in (("bn_mu", own), ("plain", plain)):
            nll = {
                "nll": 20.0 + seed + (head == "bn_mu"),
                "nll_samples": samples,
                "nll_examples": 50,
            }
            write_run(tmp_path / "s", head, seed, final=nll)
    study = read_study(tmp_path / "s")
    assert paired(study.runs).numbers["d_nll_n"].tolist() == [2]
    table = summary(study.runs)
    row = table.numbers[table.numbers["head"] == "bn_mu"].iloc[0]
    assert row["d_nll_n"] == 2 and row["d_nll_mean"] == 1
    assert (row["nll_samples_min"], row["nll_samples_max"]) == (100, 500)
    assert "do not compare these" in table.title and "do not compare these" in terminal(
        study, table
    )


def test_label_comes_from_config(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "bn_mu", 0, label="Quite another name", evaluations=3)
    write_run(tmp_path / "s", "plain", 0, label="Quite another name", evaluations=3)
    groups = read_study(tmp_path / "s").runs["group"].tolist()
    assert groups == ["Quite another name [plain]", "Quite another name [bn_mu]"]


def test_shared_overrides_are_listed_once(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, overrides="trainer.epochs=2", evaluations=3)
    for tau in (0.5, 0.25, 0.1):
        write_run(
            tmp_path / "s", "bn_tau", 0, overrides=f"tau={tau},trainer.epochs=2", evaluations=3
        )
    study = read_study(tmp_path / "s")
    tau = "BN on μ and σ"
    assert study.runs["group"].tolist() == [
        "Plain VAE",
        f"{tau} (τ=0.1)",
        f"{tau} (τ=0.25)",
        f"{tau} (τ=0.5)",
    ]
    assert study.common == "trainer.epochs=2"


def test_default_knob_is_shown_when_other_runs_set_it(tmp_path: Path) -> None:
    for overrides in ("default", "tau=0.1"):
        write_run(tmp_path / "s", "bn_tau", 0, overrides=overrides, evaluations=3)
    tau = "BN on μ and σ"
    assert read_study(tmp_path / "s").runs["group"].tolist() == [
        f"{tau} (τ=0.1)",
        f"{tau} (τ=0.5)",
    ]
    # an explicit default: the same run, so neither a second seed nor a separate group
    write_run(tmp_path / "s", "bn_tau", 0, overrides="tau=0.5", evaluations=3)
    study = read_study(tmp_path / "s")
    assert study.runs["group"].tolist() == [f"{tau} (τ=0.1)", f"{tau} (τ=0.5)"]
    (note,) = study.notes
    assert (
        "tau=0.5/seed=0: the same run as runs/bn_tau/default/seed=0" in note
        and "counted once" in note
    )


def test_finished_folder_wins_over_unfinished_duplicate(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "bn_tau", 0, status="unfinished", evaluations=3)
    write_run(tmp_path / "s", "bn_tau", 0, overrides="tau=0.5", evaluations=3)
    (run,) = read_study(tmp_path / "s").runs.to_dict("records")
    assert run["status"] == "done" and run["folder"] == "runs/bn_tau/tau=0.5/seed=0"


def test_truncated_overrides_are_read_from_config(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "s", "plain", 0, overrides="data.path=-tmp-x-0a1b2c3d", evaluations=3
    )
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        text.replace('"seed"', '"overrides": {"data.path": "/tmp/x", "lr": 1}, "seed"')
    )
    assert read_study(tmp_path / "s").runs["group"].tolist() == ["Plain VAE (data.path=…/x, lr=1)"]


def test_truncated_lines_are_skipped_with_a_note(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "s", "plain", 0, status="unfinished", evaluations=4, torn='{"step": 9, "sp\xe9'
    )
    lines = (folder / "metrics.jsonl").read_text().split("\n")
    lines[1] = lines[1][:40]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    study = read_study(tmp_path / "s")
    assert len(study.rows) == 4
    assert any("line 2" in note for note in study.notes) and any(
        "last line" in note for note in study.notes
    )


def test_repeated_evaluations_count_once_and_nan_gets_a_note(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    row = {"step": 200, "split": "valid", "mode": "eval", "kl": 77.0, "nelbo": float("nan")}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    study = read_study(tmp_path / "s")
    valid = study.rows[(study.rows["split"] == "valid") & (study.rows["step"] == 200)]
    assert valid["kl"].tolist() == [77.0] and valid["nelbo"].isna().all()
    assert any("not finite" in note for note in study.notes)


def test_damaged_files_do_not_stop_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    (folder / "summary.json").write_text('{"kl": 0.0')
    (write_run(tmp_path / "s", "bn_mu", 0, evaluations=3) / "config.yaml").write_text("head: [")
    study = read_study(tmp_path / "s")
    assert study.runs["kl"].notna().all(), (
        "final metrics come from the test rows where the summary is damaged"
    )
    assert len(study.runs) == 1 and len(study.notes) == 2


# ---------------- contents of a report


def test_every_figure_exists_as_pdf_only(study: Path) -> None:
    folder = study / "report" / "figures"
    for name in PLOTS.keys() - UNDRAWN:
        content = (folder / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in content and b"/Subtype /Type3" not in content
    assert (folder / "usage_column.pdf").is_file()
    assert {path.suffix for path in folder.iterdir()} == {".pdf", ".json"}


@pytest.mark.slow
def test_repeated_report_is_byte_identical(study: Path) -> None:
    before = read_report_bytes(study / "report")
    assert main([str(study)]) == 0
    after = read_report_bytes(study / "report")
    assert [
        name for name in before if before[name] != after[name]
    ] == [] and before.keys() == after.keys()


@pytest.mark.parametrize("name", sorted(PLOTS.keys() - UNDRAWN))
def test_captions_state_n(study: Path, name: str) -> None:
    frames = read_study(study)
    caption = PLOTS[name].describe(getattr(frames, PLOTS[name].frame))
    assert "n = " in caption and "interval" in caption
    if PLOTS[name].frame == "runs":
        assert "1 unfinished, 1 failed" in caption


def test_page_lists_unfinished_runs_and_resume_command(page: str) -> None:
    assert "FloatingPointError: loss is &lt;nan&gt;" in page
    assert "15 runs in 5 groups: 13 done, 1 failed, 1 unfinished" in page
    text, data = page.split('<script type="application/json"')
    command = "python train.py head=kl_anneal seed=2 study=four"
    # to resume it, and among all commands, where scripts find it too
    assert text.count(command) == 2 and command not in data
    assert "the last line of metrics.jsonl is cut off" in page
    assert "vocab 112" in page and "abc123" in page


def test_page_links_resolve(study: Path, page: str) -> None:
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside and all(f'id="{name}"' in page for name in inside)
    files = [link for link in links if not link.startswith("#")]
    files = [link for link in files if not link.startswith("data:image/png;base64,")]
    assert len(files) > 30 and all((study / "report" / link).is_file() for link in files)


def test_summary_and_paired_tables(study: Path) -> None:
    runs = read_study(study).runs
    numbers = summary(runs).numbers.set_index("group")
    kl = runs[runs["head"] == "bn_mu"]["kl"]
    assert numbers.loc["BN on μ", ["kl_mean", "kl_half"]].tolist() == pytest.approx(t_interval(kl))
    assert numbers.loc["KL annealing", ["n", "failed", "unfinished"]].tolist() == [1, 1, 1]
    assert math.isnan(numbers.loc["KL annealing", "kl_half"]) and math.isnan(
        numbers.loc["Plain VAE", "floor_mean"]
    )
    assert numbers.loc["Plain VAE", "relative_time_mean"] == pytest.approx(1)
    text = summary(runs).text.set_index("group")
    assert (
        text.loc["KL annealing", "n"] == "1 (+ 1 failed, 1 unfinished)"
        and "±" not in text.loc["KL annealing", "kl"]
    )
    pairs = paired(runs).numbers.set_index("group")
    plain = runs[runs["head"] == "plain"].set_index("seed")["rec"]
    difference = runs[runs["head"] == "bn_mu"].set_index("seed")["rec"] - plain
    assert pairs.loc["BN on μ", ["d_rec_mean", "d_rec_half"]].tolist() == pytest.approx(
        t_interval(difference)
    )
    assert pairs.loc["KL annealing", "n"] == 1 and "Plain VAE" not in pairs.index


def test_csv_has_mean_and_half_width_as_columns(study: Path) -> None:
    table = pd.read_csv(study / "report" / "tables" / "summary.csv")
    assert {"kl_mean", "kl_half", "n", "failed", "unfinished"} <= set(table.columns) and len(
        table
    ) == 5
    runs = pd.read_csv(study / "report" / "tables" / "runs.csv")
    assert len(runs) == 15 and {
        "nll_se",
        "mi_se",
        "rec_se",
        "marginal_kl",
        "nll_samples",
        "mi_n",
    } <= set(runs.columns)
    assert runs.groupby("head")["nll_se"].count().to_dict() == {
        "bn_mu": 3,
        "bn_tau": 2,
        "kl_anneal": 0,
        "plain": 3,
    }


def test_cells_markdown_and_latex() -> None:
    assert cell(9.123, 0.3, 3, 3) == "9.12 ± 0.30" and cell(0.0123, float("nan"), 1, 1) == "0.012"
    assert (
        cell(-0.001, 0.5, 2, 3) == "-0.001 ± 0.500 (n=2)"
        and cell(float("nan"), float("nan"), 0, 3) == "–"
    )
    assert cell(0.0109, 0.0003, 3, 3) == "0.0109 ± 0.0003"
    assert escape("50% of a_b & τ ± 1") == r"50\% of a\_b \& $\tau$ $\pm$ 1"
    assert markdown(pd.DataFrame({"a|b": ["x"]})) == "| a\\|b |\n| --- |\n| x |\n"


def test_latex_is_booktabs(study: Path) -> None:
    text = (study / "report" / "tables" / "summary.tex").read_text()
    assert (
        all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
        and r"$\pm$" in text
    )


# ---------------- information, nll and probe in tables


def write_evaluated_pairs(study: Path) -> None:
    """Three seeds of plain and bn_mu with an nll, mi and a probe that are easy to average."""
    # 10, 11, 12: mean 11 ± 4.302653 / sqrt(3) = 2.48; 0.2, 0.3, 0.4: 0.3 ± 0.248; paired to plain:
    # +1 each, so ± 0
    for seed in range(3):
        plain = {
            "nll": 10 + seed,
            "nll_ppl": 5 + seed,
            "mi": 0.5,
            "mi_saturated": False,
            "probe": 0.2 + 0.1 * seed,
        }
        better = plain | {"nll": 9 + seed, "mi": 7.0 + 0.1 * seed, "mi_saturated": seed == 2}
        finals = {"plain": plain | {"oracle_gap": -0.02}, "bn_mu": better}
        for head, final in finals.items():
            write_run(study, head, seed, evaluations=3, evaluated=True, final=final)


def test_nll_mi_and_probe_cells_by_hand(tmp_path: Path) -> None:
    write_evaluated_pairs(tmp_path / "s")
    runs = read_study(tmp_path / "s").runs
    table = summary(runs)
    text = table.text.set_index("group")
    plain_cells = text.loc[
        "Plain VAE", ["nll", "ppl", "mi (ceiling 7.60)", "probe (chance 0.367)", "oracle_gap"]
    ].tolist()
    assert plain_cells == [
        "11.00 ± 2.48",
        "6.00 ± 2.48",
        "0.50 ± 0.00",
        "0.300 ± 0.248",
        "-0.020 ± 0.000",
    ]
    assert text.loc["BN on μ", "mi (ceiling 7.60)"] == "≥ 7.10 ± 0.25"
    assert "≥: mi" in table.title and "≤" not in table.title
    assert "500 samples" in table.title and "10,000 labels" in table.title
    pairs = paired(runs)
    assert pairs.text.loc[0, ["nll", "mi"]].tolist() == ["-1.00 ± 0.00", "+6.60 ± 0.25"]
    assert pairs.text.loc[0, "probe"] == "0.000 ± 0.000" and "lower bound" in pairs.title
    assert every_run(runs).text["mi"].tolist()[-2:] == ["7.10", "≥ 7.20"]


def test_ceilings_appear_in_cells_when_they_differ(tmp_path: Path) -> None:
    for seed, n in enumerate((1000, 2000)):
        write_run(
            tmp_path / "s",
            "plain",
            seed,
            evaluations=3,
            final={"mi": 0.5, "mi_ceiling": math.log(n), "mi_n": n},
        )
    write_run(tmp_path / "s", "bn_mu", 0, evaluations=3, final={"mi": 3.02})
    write_run(tmp_path / "s", "bn_tau", 0, evaluations=3, old=True)
    cells = summary(read_study(tmp_path / "s").runs).text["mi"].tolist()
    assert cells == ["0.50 ± 0.00 (6.91–7.60)", "3.02 (7.60)", "–"]


def test_ppl_from_nelbo_is_marked_as_bound(tmp_path: Path) -> None:
    for seed in range(2):
        ppl = {"ppl": 8.0, "nll_ppl": 7.0}
        write_run(tmp_path / "s", "plain", seed, evaluations=3, final=ppl)
        write_run(tmp_path / "s", "bn_mu", seed, evaluations=3, final=ppl if seed else {"ppl": 8.0})
        write_run(
            tmp_path / "s", "bn_tau", seed, evaluations=3, final={"ppl": 8.0, "nll_ppl": None}
        )
    runs = read_study(tmp_path / "s").runs
    assert summary(runs).text["ppl"].tolist() == ["7.00 ± 0.00", "7.00 (n=1)", "≤ 8.00 ± 0.00"]
    assert "≤: from nelbo" in summary(runs).title
    assert every_run(runs).text["ppl"].tolist() == [
        "7.00",
        "7.00",
        "≤ 8.00",
        "7.00",
        "≤ 8.00",
        "≤ 8.00",
    ]


def test_empty_columns_are_omitted_from_text_tables_only(tmp_path: Path) -> None:
    for head in ("plain", "kl_anneal"):
        write_run(tmp_path / "s", head, 0, evaluations=3, old=True)
    runs = read_study(tmp_path / "s").runs
    columns = ["group", "n", "ppl", "kl", "au", "gap", "nelbo", "rec", "time"]
    assert list(summary(runs).text.columns) == columns
    assert list(paired(runs).text.columns) == ["group", "against", "n", "kl", "gap", "nelbo", "rec"]
    assert {"nll_mean", "mi_mean", "floor_mean"} <= set(summary(runs).numbers.columns)
    study = read_study(tmp_path / "s")
    assert "nll" not in terminal(study, summary(runs)) and "kl" in terminal(study, summary(runs))
    assert evaluation_note(study) == (
        "nll, probe and oracle_gap are computed by `uncollapse evaluate results/s`."
    )


def test_note_counts_unevaluated_runs(page: str, tmp_path: Path) -> None:
    assert (
        "5 of 13 finished runs lack nll" in page
        and "uncollapse evaluate results/four</code>" in page
    )
    write_run(tmp_path / "s", "plain", 0, evaluations=3, evaluated=True)
    assert evaluation_note(read_study(tmp_path / "s")) == ""


def test_wide_latex_tables_are_split() -> None:
    wide = pd.DataFrame(
        [["a" * 20, *["1.00 ± 0.10"] * 12]], columns=["group", *(f"column {i}" for i in range(12))]
    )
    parts = blocks(wide)
    assert [len(part.columns) for part in parts] == [7, 7] and all(
        part.columns[0] == "group" for part in parts
    )
    assert [name for part in parts for name in part.columns[1:]] == list(wide.columns[1:])
    assert len(blocks(wide.iloc[:, :1])) == 1
    assert escape("≤ 3, ≥ 4") == r"$\leq$ 3, $\geq$ 4"


# ---------------- figures of information and probe


NEW_FIGURES = ("mi_vs_kl", "collapse_curves", "probe", "probe_final", "rate_parts")


@pytest.mark.parametrize("name", NEW_FIGURES)
def test_information_figures_without_their_keys(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=3, old=True)
    runs = read_study(tmp_path / "s").runs
    shown = draw_one(PLOTS[name], runs)
    assert shown.missing.startswith("no finished run has ") and shown.missing.endswith(".")
    assert not shown.files


@pytest.mark.parametrize("name", NEW_FIGURES)
def test_information_figures_with_missing_values(tmp_path: Path, name: str) -> None:
    gaps = {
        "mi_se": None, "mi_n": None, "mi_ceiling": None, "mi_saturated": None,
        "total_correlation": None,
        "collapse": {"eps": [0.01, 0.1], "share": [None, 0.5]},
        "probe_curves": {
            "labels": [300, 700],
            "factors": {"a": {"accuracy": [0.3, None]}, "b": {"accuracy": None},
            "c": {"accuracy": [0.1]}, "d": None},
        },
    }  # fmt: skip
    write_run(tmp_path / "s", "plain", 0, evaluations=3, evaluated=True, final=gaps)
    write_run(
        tmp_path / "s",
        "bn_mu",
        0,
        evaluations=3,
        old=True,
        final={"collapse": None, "probe_curves": {}},
    )
    shown = draw_one(PLOTS[name], read_study(tmp_path / "s").runs)
    assert (
        not shown.missing
        and "n = 1 seed per group" in shown.caption
        and "1 finished run without" in shown.caption
    )


@pytest.mark.slow
def test_information_figures_of_many_groups(tmp_path: Path) -> None:
    for i in range(MOST_GROUPS + 2):
        write_run(
            tmp_path / "s",
            "bn_tau",
            0,
            overrides=f"tau={0.1 + i / 80:.4f}",
            evaluations=1,
            evaluated=True,
        )
    runs = read_study(tmp_path / "s").runs
    for name in NEW_FIGURES:
        limit = f"Of {MOST_GROUPS + 2} groups" if name == "mi_vs_kl" else f"first {MOST_GROUPS}"
        assert PLOTS[name].draw(runs).axes and limit in PLOTS[name].describe(runs)


@pytest.mark.parametrize(
    "curves", [{"collapse": {"eps": [1.0], "share": [None]}}, {"collapse": []}]
)
def test_curve_without_values_is_none(tmp_path: Path, curves: dict) -> None:
    accuracies = {"probe_curves": {"labels": [100], "factors": {"a": {"accuracy": [None]}}}}
    write_run(tmp_path / "s", "plain", 0, evaluations=3, final=curves | accuracies)
    for name in ("collapse_curves", "probe", "probe_final"):
        assert draw_one(PLOTS[name], read_study(tmp_path / "s").runs).missing


def test_rate_components_by_hand() -> None:
    full = {
        "mi": [1.0, 2.0],
        "marginal_kl": [0.3, 0.5],
        "total_correlation": [-0.2, 0.1],
        "dimension_kl": [0.5, 0.4],
    }
    assert mean_rate_parts(pd.DataFrame(full)) == pytest.approx(
        {"mi": 1.5, "total_correlation": 0, "dimension_kl": 0.45}
    )
    one_not_split = pd.DataFrame(full | {"total_correlation": [0.1, np.nan]})
    assert mean_rate_parts(one_not_split) == pytest.approx({"mi": 1.5, "marginal_kl": 0.4})


def test_rate_components_mark_saturated_and_undecomposable_values(study: Path) -> None:
    runs = read_study(study).runs
    caption = describe_rate_parts(runs)
    assert "does not split" in caption and "total correlation is too high" in caption
    starred = mark_saturated(runs).drop_duplicates("order")["group"].tolist()
    assert [name for name in starred if name.endswith(" *")] == ["BN on μ and σ (τ=0.5) *"]


def test_probe_rows_match_the_summaries(study: Path) -> None:
    rows = probe_rows(read_study(study).runs)
    assert len(rows) == 8 * len(FACTORS) * 5 and rows.groupby("factor")[
        "chance"
    ].first().to_dict() == {name: chance for name, (chance, _) in FACTORS.items()}
    assert rows.loc[rows["factor"] == "mood", "oracle"].isna().all() and rows["step"].max() == 10000
    assert "5 finished runs without probe curves" in describe_probe(read_study(study).runs)


def test_distant_ceiling_does_not_compress_the_axis() -> None:
    low = pd.DataFrame({"mi": [0.01, 2.0], "mi_se": [np.nan, 0.1], "mi_n": [2000.0] * 2})
    assert mi_limits(low)[1] == pytest.approx(1.1 * 2.196) and example_ceilings(low) == [
        (2000, math.log(2000))
    ]
    assert mi_limits(low.assign(mi=5.0))[1] == pytest.approx(1.1 * math.log(2000))


# ---------------- many heads

SLOTS = {
    "posterior": {"_target_": "Gaussian"},
    "objective": {"_target_": "ELBO", "weight": 1.0},
    "procedure": {"_target_": "Joint"},
    "decoder": {"word_dropout": 0.0},
}
OTHER = {
    "posterior": {"_target_": "Tau"},
    "objective": {"_target_": "ELBO", "weight": 0.4},
    "procedure": {"_target_": "Aggressive"},
    "decoder": {"word_dropout": 0.3},
}


@pytest.fixture(scope="module")
def many_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """37 groups: plain, an autoencoder far off, and 35 of which each changes one slot.

    Two seeds each.
    """
    folder = tmp_path_factory.mktemp("results") / "crowd"
    for seed in range(2):
        write_run(folder, "plain", seed, evaluations=3, evaluated=True, slots=SLOTS)
        far = {
            "kl": 300.0 + seed,
            "rec": 2.0,
            "nelbo": 302.0 + seed,
            "nll": 90.0,
            "shuffle_gap": 95.0,
        }
        free = SLOTS | {"objective": {"_target_": "ELBO", "weight": 0.0}}
        write_run(
            folder,
            "kl_anneal",
            seed,
            label="autoencoder",
            evaluations=3,
            evaluated=True,
            final=far,
            slots=free,
        )
        for i in range(35):
            changed = list(OTHER)[i % 4]
            write_run(
                folder, "bn_tau", seed, overrides=f"tau={0.1 + i / 50:.2f}",
                label=f"remedy number {i}", evaluations=3,
                evaluated=True, slots=SLOTS | {changed: OTHER[changed]},
            )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", sorted(PLOTS.keys() - {"tau_grid", *UNDRAWN}))
@pytest.mark.slow
def test_figures_of_many_groups_fit_a_page(many_groups: Path, name: str) -> None:
    study = read_study(many_groups)
    with figure_style():
        fig = PLOTS[name].draw(getattr(study, PLOTS[name].frame))
        solve_layout(fig)
        assert fig.get_figwidth() <= 7.5 and fig.get_figheight() <= 10.5
        page = fig.bbox.padded(1)
        for box in [part.get_tightbbox() for part in (*fig.axes, *fig.legends)]:
            assert (
                page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
            )


@pytest.mark.parametrize("name", ["rate_distortion", "mi_vs_kl", "cost_benefit"])
def test_labels_in_scatter_plot_do_not_overlap(many_groups: Path, name: str) -> None:
    runs = read_study(many_groups).runs
    with figure_style():
        fig = PLOTS[name].draw(runs)
        solve_layout(fig)
        boxes = [
            text.get_window_extent()
            for text in fig.axes[0].texts
            if re.match("remedy|autoen|Plain", text.get_text())
        ]
    groups = runs["order"].nunique() - (name == "cost_benefit")
    overlaps = [
        a for i, a in enumerate(boxes) for b in boxes[:i] if a.padded(-0.5).overlaps(b.padded(-0.5))
    ]
    assert len(boxes) == groups and not overlaps


@pytest.mark.parametrize(
    "name", ["usage", "cost", "rate_parts", "rate_distortion", "mi_vs_kl", "cost_benefit"]
)
@pytest.mark.slow
def test_outlier_is_drawn_as_arrow_with_its_value(many_groups: Path, name: str) -> None:
    runs = read_study(many_groups).runs
    with figure_style():
        fig = PLOTS[name].draw(runs)
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    value = {"usage": "95", "cost": "6", "cost_benefit": "95", "rate_parts": "300.5"}.get(
        name, "(300"
    )
    assert any(value in text and ("→" in text or "autoencoder" in text) for text in texts)
    assert max(max(ax.get_xlim()) for ax in fig.axes) < 150
    assert "Arrows at an edge" in PLOTS[name].describe(runs)


def test_slots_come_from_config(many_groups: Path, tmp_path: Path) -> None:
    runs = read_study(many_groups).runs.drop_duplicates("order")
    assert runs["slot"].tolist()[:2] == ["baseline", "baseline"] and runs["changes"].tolist()[
        :2
    ] == ["", "objective"]
    assert runs["slot"].value_counts().to_dict() == {
        "baseline": 2, "posterior": 9, "objective": 9, "procedure": 9, "decoder": 8,
    }  # fmt: skip
    assert runs["slot"].drop_duplicates().tolist() == [
        "baseline",
        "posterior",
        "objective",
        "procedure",
        "decoder",
    ]
    write_run(tmp_path / "s", "bn_tau", 0, evaluations=3, slots=SLOTS | OTHER)
    assert read_study(tmp_path / "s").runs[["changes", "slot"]].values.tolist() == [["", ""]]
    write_run(tmp_path / "s", "plain", 0, evaluations=3, slots=SLOTS)
    both = read_study(tmp_path / "s").runs
    assert both["slot"].tolist() == ["baseline", "several"] and not both["crowded"].any()
    assert both["changes"].tolist()[1] == "posterior + objective + procedure + decoder"


def test_slots_are_compared_with_plain_under_same_overrides(tmp_path: Path) -> None:
    dropped = SLOTS | {"decoder": OTHER["decoder"]}
    write_run(tmp_path / "s", "plain", 0, evaluations=3, slots=SLOTS)
    for head, slots in (("plain", dropped), ("bn_mu", dropped | {"posterior": OTHER["posterior"]})):
        write_run(
            tmp_path / "s",
            head,
            0,
            evaluations=3,
            overrides="decoder.word_dropout=0.3",
            slots=slots,
        )
    assert read_study(tmp_path / "s").runs["slot"].tolist() == ["baseline", "baseline", "posterior"]


@pytest.mark.parametrize(
    ("objective", "kls", "expected"),
    [({"weight": 0.0}, [5.0], True), ({"weight": 1.0}, [0.0, 0.0], True), ({"weight": 1.0}, [0.0,
    1e-9], False),
     ({"weight": {"epochs": 2}}, [], False), (None, [1.0], False)],
)  # fmt: skip
def test_group_without_trade_off(objective: dict | None, kls: list[float], expected: bool) -> None:
    assert is_one_sided({"objective": objective}, [{"kl": kl} for kl in kls]) is expected


def test_outliers_by_hand() -> None:
    # medians of groups 0, 1, 2, 3, 300: their median 2, distances 2, 1, 0, 1, 298; nine in ten keep
    # 2, and 10 nats are near
    frame = pd.DataFrame({"order": [0, 1, 2, 3, 4, 4, 4], "kl": [0.0, 1, 2, 3, 300, 310, 5]})
    assert outlying(frame, "kl").tolist() == [False] * 4 + [True, True, False]
    assert not outlying(frame[frame["order"] != 1], "kl").any(), (
        "four groups are too few to call one far"
    )
    assert not outlying(frame.assign(kl=[0, 0, 0, 0, 9, 9, 9]), "kl").any(), "9 nats are never far"
    assert not outlying(frame.assign(kl=np.nan), "kl").any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 48), st.floats(0, 60), st.integers(0, 10_000))
def test_labels_do_not_overlap_and_stay_inside(count: int, scatter: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = np.array([[0.0, 0.0], [480.0, 400.0]])
    anchors = np.clip(200 + rng.normal(0, scatter, (count, 2)), *frame)
    sizes = np.stack([rng.uniform(15, 85, count), rng.choice([9.0, 17.0], count)], axis=1)
    obstacles = anchors + rng.normal(0, 3, (count, 2))
    centres = place_labels(anchors, sizes, obstacles, frame)
    apart = np.abs(centres[:, None] - centres)
    overlap = (apart < (sizes[:, None] + sizes) / 2).all(-1) & ~np.eye(count, dtype=bool)
    assert not overlap.any()
    assert (centres - sizes / 2 >= frame[0]).all() and (centres + sizes / 2 <= frame[1]).all()
    assert (centres == place_labels(anchors, sizes, obstacles, frame)).all()


def test_crossings_by_hand() -> None:
    ends, others, other_ends = (
        np.array([[4.0, 4], [1, 0]]),
        np.array([[0.0, 4], [5, 5]]),
        np.array([[4.0, 0], [6, 6]]),
    )
    assert lines_cross(np.zeros(2), ends[:, None], others, other_ends).tolist() == [
        [True, False],
        [False, False],
    ]


def test_difference_to_plain_and_cost(tmp_path: Path, study: Path) -> None:
    # seeds 0 and 1 shared: differences 2 and 4, mean 3 ± 12.706205 * 1.414214 / sqrt(2) = 12.706
    for seed, (plain, other) in enumerate([(10.0, 12.0), (11.0, 15.0)]):
        write_run(
            tmp_path / "s", "plain", seed, evaluations=3, evaluated=True, final={"nll": plain}
        )
        write_run(
            tmp_path / "s", "bn_mu", seed, evaluations=3, evaluated=True, final={"nll": other}
        )
    write_run(tmp_path / "s", "bn_mu", 7, evaluations=3, evaluated=True, final={"nll": 99.0})
    runs = read_study(tmp_path / "s").runs
    assert (
        against_plain(runs, "nll").tolist()[:4] == [0, 0, 2, 4]
        and against_plain(runs, "nll").isna().sum() == 1
    )
    table = summary(runs)
    assert (
        table.text["nll - plain"].tolist() == ["–", "+3.00 ± 12.71 (n=2)"]
        and "paired by seed" in table.title
    )
    assert table.numbers.loc[1, "d_nll_half"] == pytest.approx(12.706205, abs=1e-5)
    assert compute_costs(runs)["d_nll"].tolist() == [2, 4]
    assert "1 finished run without a plain run" in describe_cost(runs)
    assert all(name in summary(read_study(study).runs).text for name in ("nll - plain", "time"))


@pytest.mark.parametrize("name", ["cost", "cost_benefit"])
def test_cost_requires_a_plain_run(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "s", "bn_mu", 0, evaluations=3, evaluated=True)
    assert (
        "to compare with that of plain"
        in draw_one(PLOTS[name], read_study(tmp_path / "s").runs).missing
    )


def test_outlying_curves_do_not_compress_the_axis(many_groups: Path) -> None:
    rows = read_study(many_groups).rows
    high = rows.assign(nelbo=rows["nelbo"].where(rows["order"] != 1, rows["nelbo"] + 280))
    assert groups_far_above(rows) == {} and list(groups_far_above(high)) == [1]
    with figure_style():
        (sheet,) = draw_learning_curves(high).axes
    texts = [text.get_text() for text in sheet.texts]
    at_ticks = [text.get_text() for text in sheet.texts if text.get_ha() == "right"]
    numbers = [float(text) for text in at_ticks if not text.startswith("↑")]
    assert max(numbers) < 100 and any(text.startswith("↑ 3") for text in texts)
    assert "↑: runs far above" in describe_learning_curves(
        high
    ) and "↑" not in describe_learning_curves(rows)
    assert find_colour_limit([(0, 1.0), (1, 2.0), (2, 0.5), (3, 1.0), (4, 60.0)]) == (2.0, True)


def test_every_group_has_a_panel_with_its_name(many_groups: Path) -> None:
    rows = read_study(many_groups).rows
    with figure_style():
        (sheet,) = draw_kl_over_steps(rows).axes
    texts = [text.get_text().replace("\n", " ") for text in sheet.texts]
    names = [name for name in rows["short"].unique() if name in texts]
    assert len(names) == rows["order"].nunique() == 37


# ---------------- other studies


def test_report_of_a_single_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "bn_tau", 4, evaluations=3)
    path, text = write_report(folder)
    assert path == folder / "report" / "index.html" and "seed 4" in path.read_text()
    assert "BN on μ and σ" in text
    assert "n = 1 seed per group" in describe_usage(read_study(folder).runs)


def test_report_of_unfinished_runs_without_floor(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, status="unfinished", evaluations=6)
    write_run(tmp_path / "s", "kl_anneal", 0, status="failed", evaluations=6)
    page = write_report(tmp_path / "s")[0].read_text()
    assert page.count("is not shown: no run is finished yet.") == 12
    assert (tmp_path / "s" / "report" / "figures" / "kl_over_steps.pdf").is_file()
    assert "needs finished runs of" in page


def test_report_of_undecomposable_kl_without_moments(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    rows = [row | {"kl_per_dim": [row["kl"]], "moments": None} for row in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps(rows[-1] | {"train_mode": rows[-2]}))
    page = write_report(tmp_path / "s")[0].read_text()
    assert (
        "no run has a KL that splits over dimensions" in page
        and "no finished run has moments" in page
    )


@pytest.mark.slow
@pytest.mark.slow
def test_stale_figure_is_removed(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=3)
    page, _ = write_report(tmp_path / "s")
    stale = [page.parent / "figures" / name for name in ("tau_grid.pdf", "usage.svg", "cost.png")]
    for path in stale:
        path.write_text("of an earlier study")
    write_report(tmp_path / "s")
    assert "two or more values of tau" in page.read_text()
    assert not any(path.exists() for path in stale)


# ---------------- errors


def get_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_missing_or_wrong_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no folder" in get_error(tmp_path / "nowhere", capsys)
    write_run(tmp_path / "compare", "plain", 0, evaluations=3)
    message = get_error(tmp_path, capsys)
    assert (
        "not a study" in message
        and "seed=<n>/config.yaml" in message
        and str(tmp_path / "compare") in message
    )


def test_study_without_rows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, status="failed", evaluations=3)
    (folder / "metrics.jsonl").write_text("")
    message = get_error(tmp_path / "s", capsys)
    assert "no evaluation yet" in message and "loss is <nan>" in message


def test_foreign_report_folder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=3)
    thesis = tmp_path / "s" / "report" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    assert "not a report of ours" in get_error(tmp_path / "s", capsys)
    assert thesis.read_text() == "years of work" and len(list(thesis.parent.iterdir())) == 1


def test_script_runs_and_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "scripts" / "report.py"
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 2 and run.stderr.startswith("report: ")
    heavy = "import sys, uncollapse.report as r\ntry: r.main(['--help'])\nexcept SystemExit: pass\n"
    heavy += "assert not {'pandas', 'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True)


def test_report_package_does_not_import_torch_or_hydra() -> None:
    code = (
        "import sys, uncollapse.report.page\nassert not {'torch', 'hydra', "
        "'omegaconf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
