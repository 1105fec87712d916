"""Weights & Biases as a mirror of the rows on disk. Imported only with log=wandb; never the source of a figure."""

import os
from pathlib import Path
from typing import Any

import wandb

from uncollapse.config import LogConfig
from uncollapse.errors import InputError

STEP = "trainer/step"


class WandbMirror:
    """One W&B run per run of ours; grouped by study and head so that seeds fall together. Offline runs lie in <folder>/wandb."""

    def __init__(self, log: LogConfig, config: dict, folder: Path, name: str):
        os.environ.setdefault("WANDB_SILENT", "true")
        group = f"{config['study']} {name.rsplit(' seed=', 1)[0]}"
        try:
            self.run = wandb.init(
                project=log.project,
                entity=log.entity,
                mode=log.mode,  # type: ignore[arg-type]  # checked in LogConfig
                dir=folder,
                name=name,
                group=group[:128],
                job_type=config["head"],
                tags=[str(config["study"])[:64]],
                config=config,
                reinit="finish_previous",  # else the jobs of a multirun share the first one's run
            )
        except Exception as error:  # no key, no network, a bad setting in the environment: each has a type of its own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"log=wandb: W&B cannot start ({reason}); log in, or use log.mode=offline or log=local"
            ) from error
        # rows carry their own step: steps that W&B counts itself must grow, and two splits share one
        self.run.define_metric("*", step_metric=STEP)

    def row(self, row: dict) -> None:
        prefix = f"{row['split']}/{row['mode']}"
        numbers: dict[str, Any] = {
            f"{prefix}/{k}": v for k, v in row.items() if isinstance(v, int | float) and k not in ("step", "epoch")
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
