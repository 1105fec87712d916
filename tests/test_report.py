"""The report, tested on run folders written here: no training, only the files that a run leaves behind."""

import json
import math
from pathlib import Path

import numpy as np

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


def write_run(
    study: Path,
    head: str,
    seed: int,
    status: str = "done",
    overrides: str = "default",
    evaluations: int = 20,
    torn: str = "",
) -> Path:
    """A run folder as the trainer leaves it; `torn` is appended to metrics.jsonl as it is."""
    folder = study / "runs" / head / overrides / f"seed={seed}"
    folder.mkdir(parents=True)
    knobs = [] if overrides == "default" else [text.split("=") for text in overrides.split(",")]
    tau = next((float(value) for key, value in knobs if key == "tau"), None)
    typed = "" if overrides == "default" else " " + overrides.replace(",", " ")
    label = HEADS[head][0]
    config = f"# python train.py head={head}{typed} seed={seed} study={study.name}\nhead: {head}\nlabel: {label}\nseed: {seed}\n"
    config += f"study: {study.name}\nmodel: {{latent: {D}}}\n" + (f"tau: {tau or 0.5}\n" if "tau" in head else "")
    (folder / "config.yaml").write_text(config)
    data = {
        "vocab": 112,
        "train": 20000,
        "valid": 1000,
        "test": 1000,
        "skipped": {},
        "entropy": H,
        "oracle_nll": {"valid": H, "test": H + 0.1},
    }
    (folder / "data.json").write_text(json.dumps(data))
    rows = run_rows(head, seed, tau, evaluations)
    kept = rows if status == "done" else rows[: len(rows) // 2]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept) + torn)
    if status == "done":
        machine = {"versions": {"torch": "2.13", "python": "3.11"}, "commit": "abc123", "threads": 1, "device": "cpu"}
        (folder / "summary.json").write_text(
            json.dumps(rows[-1] | machine | {"status": "done", "train_mode": rows[-2]})
        )
        (folder / "done").touch()
    if status == "failed":
        (folder / "failed").write_text(
            "Traceback (most recent call last):\n  ...\nFloatingPointError: loss is <nan> at step 900\n"
        )
    return folder
