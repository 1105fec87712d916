"""`hydra/launcher=joblib`: the jobs of a sweep on the cores of this machine, in several processes.

The name and `n_jobs` are those of Hydra's own plugin. There a process that is killed, as the
out-of-memory killer does, ends the other runs as well; here it loses its own job only, which is
started once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from uncollapse.sweep import note_end
from uncollapse.workers import Lost, count_workers, run_in_workers


class ProcessLauncher(Launcher):
    """Runs jobs in `n_jobs` processes at a time; -1: one for each core."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task_function = hydra_context, task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs; how each of them ended, in their order."""
        setup_globals()
        assert self.config is not None and self.hydra_context and self.task_function
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        state = Singleton.get_state()
        jobs = [
            Job(number, [*words], self.hydra_context, self.config, self.task_function, state)
            for number, words in enumerate(job_overrides, initial_job_idx)
        ]
        results = run_in_workers(jobs, count_workers("hydra.launcher.n_jobs", self.n_jobs))
        return [
            note_lost(job, result) if isinstance(result, Lost) else result
            for job, result in zip(jobs, results, strict=True)
        ]


@dataclass(frozen=True)
class Job:
    """A job of a sweep, with all that a process of its own needs to run it."""

    number: int
    overrides: list[str]
    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    state: dict[Any, Any]  # of Hydra's singletons

    @property
    def name(self) -> str:
        """The words of the job."""
        return " ".join(filter_overrides(self.overrides))

    def run(self) -> JobReturn:
        """Run the job in this process."""
        setup_globals()
        Singleton.set_state(self.state)
        config = self.hydra_context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.hydra_context,
            config=config,
            task_function=self.task_function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def note_lost(job: Job, lost: Lost) -> JobReturn:
    """The end of a job without a result, which is noted for the list after the sweep."""
    note_end("lost", job.name, lost.reason)
    # completed, as the sweeper would raise its error before that list
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
