"""`hydra/launcher=joblib`: the jobs of a sweep on the cores of this machine, in several processes.

The name and `n_jobs` are those of Hydra's own plugin. There a process that is killed, as the
out-of-memory killer does, ends the other runs as well; here it loses its own job only, which is
started once more.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn

from hydra_plugins.uncollapse_launchers.base import KEY, SweepLauncher
from hydra_plugins.uncollapse_launchers.jobs import Job, finish
from uncollapse.workers import count_workers, run_in_workers


class ProcessLauncher(SweepLauncher):
    """Runs jobs in `n_jobs` processes at a time; -1: one for each core."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        results = run_in_workers(jobs, count_workers(f"{KEY}.n_jobs", self.n_jobs))
        return [finish(job, result) for job, result in zip(jobs, results, strict=True)]
