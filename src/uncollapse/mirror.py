"""Copies the rows on disk to Weights & Biases; imported only with log=wandb.

Figures are never made from W&B. A run keeps its W&B id in its folder, so that a resumed run
continues the same W&B run. Each row is one W&B step, so W&B's step count says how many rows it has.
"""

import os
import secrets
from pathlib import Path
from typing import Any

import wandb

from uncollapse.config.sections import LogConfig
from uncollapse.errors import InputError, first_line
from uncollapse.json_types import JsonObject
from uncollapse.runs.layout import WANDB, Run

STEP = "trainer/step"
# environment variable for the jobs of a sweep that found no server; holds the reason
OFFLINE = "UNCOLLAPSE_WANDB_OFFLINE"


class WandbMirror:
    """One W&B run for each run, grouped by study and head, so that W&B groups seeds.

    Offline runs are stored in <folder>/wandb.
    """

    def __init__(self, log: LogConfig, config: JsonObject, run: Run, name: str):
        os.environ.setdefault("WANDB_SILENT", "true")
        mode, reason = choose_mode(log)
        if reason:
            print(f"[{name}] {format_fallback(reason, run.folder)}", flush=True)
        arguments = make_arguments(log, config, run, name)
        # with log.mode=auto a failure falls back to an offline run
        try:
            self.run = start_wandb(mode, arguments)
        # no key, no network or a bad setting, each with an exception type of its own
        except Exception as error:
            if log.mode != "auto":
                raise InputError(format_refusal(error, run.folder)) from error
            print(f"[{name}] {format_fallback(first_line(error), run.folder)}", flush=True)
            self.run = start_wandb("offline", arguments)
        # a resumed run offers all its rows again; W&B already has the first `uploaded` of them
        self.seen, self.uploaded = 0, self.run.starting_step
        # the step is a column of each row: W&B's own must increase, and several rows share one step
        self.run.define_metric("*", step_metric=STEP)

    def row(self, row: JsonObject) -> None:
        """Send a row, unless W&B has it from before the run was resumed."""
        self.seen += 1
        if self.seen <= self.uploaded:
            return
        # the test split is evaluated again for each rule that chose other weights than the best
        rule = row.get("weights", "best")
        kind = row["mode"] if rule == "best" else rule
        prefix = f"{row['split']}/{kind}"
        numbers: dict[str, object] = {
            f"{prefix}/{key}": value
            for key, value in row.items()
            if isinstance(value, int | float) and key not in ("step", "epoch")
        }
        # a histogram of the dimensions, which a list of numbers would not become
        numbers[f"{prefix}/kl_per_dim"] = wandb.Histogram(row["kl_per_dim"])
        self.run.log({STEP: row["step"], "trainer/epoch": row["epoch"], **numbers})

    def finish(self, summary: JsonObject) -> None:
        """Send the summary and end the W&B run."""
        for key, value in summary.items():
            if isinstance(value, int | float | str):
                self.run.summary[key] = value
        self.run.finish()

    def abandon(self) -> None:
        """End the W&B run as failed."""
        self.run.finish(exit_code=1)


def make_arguments(log: LogConfig, config: JsonObject, run: Run, name: str) -> dict[str, Any]:
    """The arguments of wandb.init."""
    group = f"{config['study']} {name.rpartition(' ')[0]}"  # without the seed
    return {
        "id": read_or_make_id(run),
        "project": log.project,
        "entity": log.entity,
        "dir": run.folder,
        "name": name,
        # W&B refuses longer names of groups and tags
        "group": group[:128],
        "job_type": config["head"],
        "tags": [str(config["study"])[:64]],
        "config": config,
        "allow_val_change": True,  # settings such as log.timeout may differ when a run is resumed
        "reinit": "finish_previous",  # otherwise the jobs of a multirun share the first one's run
        "settings": wandb.Settings(init_timeout=log.timeout),
    }


def start_wandb(mode: str, arguments: dict[str, Any]) -> wandb.Run:
    """wandb.init, continuing the run of this id where the server has it."""
    # an offline run is always sent from its first row
    resume = "allow" if mode == "online" else None
    # LogConfig has checked the mode
    return wandb.init(mode=mode, resume=resume, **arguments)  # type: ignore[arg-type]


def read_or_make_id(run: Run) -> str:
    """The run's id at W&B, made once and kept in its folder."""
    kept = run.read(WANDB).decode("utf-8", errors="replace").strip() if run.has(WANDB) else ""
    if not kept:
        # eight random bytes: W&B's ids must be unique within a project
        kept = secrets.token_hex(8)
        run.write(WANDB, data=kept.encode())
    return kept


# ---------------------------------------------------------------- the server


def choose_mode(log: LogConfig) -> tuple[str, str | None]:
    """online or offline, and the reason why log.mode=auto falls back to offline."""
    if log.mode != "auto":
        return log.mode, None
    reason = os.environ.get(OFFLINE) or explain_unreachable_server(log.timeout)
    return ("offline", reason) if reason else ("online", None)


def check_server(log: LogConfig) -> None:
    """Try the server once before a sweep; with log.mode=auto its jobs inherit the result.

    InputError for log.mode=online when the server cannot be used.
    """
    # the result of an earlier sweep in this process does not count
    os.environ.pop(OFFLINE, None)
    if log.mode == "offline" or not (reason := explain_unreachable_server(log.timeout)):
        return
    if log.mode == "online":
        raise InputError(
            f"log=wandb: {reason}; try again, or use log.mode=auto, log.mode=offline or log=local"
        )
    os.environ[OFFLINE] = reason


def explain_unreachable_server(timeout: float) -> str | None:
    """Why the W&B server cannot be used; None when it answers within `timeout` seconds."""
    import requests

    url = wandb.setup().settings.base_url  # also from the environment and settings files
    if not wandb.login(prompt=False, verify=False):
        return "there is no W&B key (`wandb login` stores one)"
    try:
        # any answer will do; redirects would only cost time
        requests.get(url, timeout=timeout, allow_redirects=False)
    except requests.RequestException as error:
        return f"the W&B server {url} does not answer within {timeout:g} s ({type(error).__name__})"
    return None


# ---------------------------------------------------------------- messages


def format_fallback(reason: str, folder: Path) -> str:
    return (
        f"log.mode=auto: {reason}; mirrored offline, "
        f"`wandb sync {folder}/wandb/offline-run-*` uploads it"
    )


def format_refusal(error: Exception, folder: Path) -> str:
    return (
        f"log=wandb: W&B cannot start ({first_line(error)}); log in, or use log.mode=auto, "
        "log.mode=offline or log=local. "
        f"If the W&B run was deleted there, remove {folder / WANDB} to start a new one"
    )
