"""Weights & Biases as a mirror of the rows on disk. Imported only with log=wandb; never the source of a figure.

A run keeps its W&B id in its folder, so that a resumed run goes on in the same W&B run. Rows are logged one
per W&B step: the number of steps that W&B has says how many rows it need not be sent again.
"""

import os
import secrets
from pathlib import Path
from typing import Any

import wandb

from uncollapse.errors import InputError, first_line
from uncollapse.runs.layout import WANDB, Run
from uncollapse.sections import LogConfig

STEP = "trainer/step"
OFFLINE = (
    "UNCOLLAPSE_WANDB_OFFLINE"  # set for the jobs of a sweep that found no server; holds the reason
)


class WandbMirror:
    """One W&B run per run of ours; grouped by study and head so that seeds fall together. Offline runs lie in <folder>/wandb."""

    def __init__(self, log: LogConfig, config: dict, run: Run, name: str):
        os.environ.setdefault("WANDB_SILENT", "true")
        mode, reason = choose_mode(log)
        if reason:
            print(f"[{name}] {falls_back(reason, run.folder)}", flush=True)
        group = f"{config['study']} {name.rpartition(' ')[0]}"  # without the seed
        words: dict[str, Any] = {
            "id": stable_id(run),
            "project": log.project,
            "entity": log.entity,
            "dir": run.folder,
            "name": name,
            "group": group[:128],
            "job_type": config["head"],
            "tags": [str(config["study"])[:64]],
            "config": config,
            "allow_val_change": True,  # log.timeout and its kin may differ when a run goes on
            "reinit": "finish_previous",  # else the jobs of a multirun share the first one's run
            "settings": wandb.Settings(init_timeout=log.timeout),
        }
        try:
            self.run = begin(mode, words)
        except Exception as error:  # no key, no network, a bad setting: each has a type of its own
            if log.mode != "auto":
                raise InputError(cannot_start(error, run.folder)) from error
            print(f"[{name}] {falls_back(first_line(error), run.folder)}", flush=True)
            self.run = begin("offline", words)
        self.seen = 0
        self.there = self.run.starting_step
        # rows carry their own step: steps that W&B counts itself must grow, and two splits share one
        self.run.define_metric("*", step_metric=STEP)

    def row(self, row: dict) -> None:
        """Send a row, unless W&B has it from before the run was resumed."""
        self.seen += 1
        if self.seen <= self.there:
            return
        # the test split is looked at twice where the last weights are not the best
        prefix = f"{row['split']}/{'last' if row.get('weights') == 'last' else row['mode']}"
        numbers: dict[str, Any] = {
            f"{prefix}/{k}": v
            for k, v in row.items()
            if isinstance(v, int | float) and k not in ("step", "epoch")
        }
        numbers[f"{prefix}/kl_per_dim"] = wandb.Histogram(row["kl_per_dim"])
        self.run.log({STEP: row["step"], "trainer/epoch": row["epoch"], **numbers})

    def finish(self, summary: dict) -> None:
        for key, value in summary.items():
            if isinstance(value, int | float | str):
                self.run.summary[key] = value
        self.run.finish()

    def abandon(self) -> None:
        self.run.finish(exit_code=1)


def begin(mode: str, words: dict[str, Any]) -> Any:
    """wandb.init, going on with the run of this id where the server knows it."""
    resume = (
        "allow" if mode == "online" else None
    )  # offline runs cannot be resumed: they begin with the first row
    return wandb.init(mode=mode, resume=resume, **words)  # type: ignore[arg-type]  # checked in LogConfig


def stable_id(run: Run) -> str:
    """The run's id at W&B, made once and kept in its folder."""
    found = run.read(WANDB).decode("utf-8", errors="replace").strip() if run.has(WANDB) else ""
    if not found:
        found = secrets.token_hex(8)
        run.write(WANDB, data=found.encode())
    return found


# ---------------------------------------------------------------- is a server there?


def choose_mode(log: LogConfig) -> tuple[str, str | None]:
    """online or offline, and why log.mode=auto falls back to offline."""
    if log.mode != "auto":
        return log.mode, None
    reason = os.environ.get(OFFLINE) or unreachable(log.timeout)
    return ("offline", reason) if reason else ("online", None)


def check_once(log: LogConfig) -> None:
    """Before a sweep: one look for the server. Its jobs inherit what log.mode=auto found; InputError for log.mode=online."""
    os.environ.pop(OFFLINE, None)
    if log.mode == "offline" or not (reason := unreachable(log.timeout)):
        return
    if log.mode == "online":
        raise InputError(
            f"log=wandb: {reason}; try again, or use log.mode=auto, log.mode=offline or log=local"
        )
    os.environ[OFFLINE] = reason


def unreachable(timeout: float) -> str | None:
    """Why the W&B server cannot be used within `timeout` seconds; None when it answers and there is a key."""
    import requests

    url = wandb.setup().settings.base_url  # also from the environment and settings files
    if not wandb.login(prompt=False, verify=False):
        return "there is no W&B key (`wandb login` stores one)"
    try:
        requests.get(url, timeout=timeout, allow_redirects=False)
    except requests.RequestException as error:
        return f"the W&B server {url} does not answer within {timeout:g} s ({type(error).__name__})"
    return None


# ---------------------------------------------------------------- messages


def falls_back(reason: str, folder: Path) -> str:
    return f"log.mode=auto: {reason}; mirrored offline, `wandb sync {folder}/wandb/offline-run-*` uploads it"


def cannot_start(error: Exception, folder: Path) -> str:
    return (
        f"log=wandb: W&B cannot start ({first_line(error)}); log in, or use log.mode=auto, log.mode=offline or log=local. "
        f"If the W&B run was deleted there, remove {folder / WANDB} to begin a new one"
    )
