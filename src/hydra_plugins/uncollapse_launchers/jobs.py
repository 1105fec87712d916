"""The jobs of a sweep, as launchers send them to other processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from uncollapse.sweep import note_end
from uncollapse.workers import Lost


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


def make_jobs(
    job_overrides: Sequence[Sequence[str]],
    first: int,
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
) -> list[Job]:
    """The jobs of a sweep, numbered from `first`."""
    state = Singleton.get_state()
    return [
        Job(number, [*words], hydra_context, config, task_function, state)
        for number, words in enumerate(job_overrides, first)
    ]


def finish(job: Job, result: JobReturn | Lost) -> JobReturn:
    """What Hydra gets of a job. One without a result is noted for the list after the sweep."""
    if not isinstance(result, Lost):
        return result
    note_end("lost", job.name, result.reason)
    # completed, as the sweeper would raise its error before that list
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
