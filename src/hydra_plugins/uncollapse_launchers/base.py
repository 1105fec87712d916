"""What the launchers share: Hydra's set-up, and the list of jobs."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.uncollapse_launchers.jobs import Job, make_jobs

KEY = "hydra.launcher"  # of the settings of a launcher


class SweepLauncher(Launcher):
    """A launcher whose jobs travel to other processes."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

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
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        shared = (self.hydra_context, self.config, self.task_function)
        return self.run_all(make_jobs(job_overrides, initial_job_idx, *shared))

    @abstractmethod
    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """How each job ended, in their order."""
