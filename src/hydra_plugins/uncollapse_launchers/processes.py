"""`hydra/launcher=joblib`: the jobs of a sweep on the cores of this machine, in several processes.

The name and `n_jobs` are those of Hydra's own plugin. There a process that is killed, as the
out-of-memory killer does, ends the other runs as well; here it loses its own job only, which is
started once more.
"""

from collections.abc import Mapping, Sequence

from hydra.core.utils import JobReturn

from hydra_plugins.uncollapse_launchers.base import KEY, SweepLauncher
from hydra_plugins.uncollapse_launchers.jobs import Job, finish
from uncollapse.gpus import share_gpus
from uncollapse.workers import count_workers, run_in_workers


class ProcessLauncher(SweepLauncher):
    """See conf/hydra/launcher/joblib.yaml for the settings."""

    def __init__(self, n_jobs: int, gpus: object = None, per_gpu: object = 1) -> None:
        self.n_jobs, self.gpus, self.per_gpu = n_jobs, gpus, per_gpu

    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        results = run_in_workers(jobs, *self.plan())
        return [finish(job, result) for job, result in zip(jobs, results, strict=True)]

    def plan(self) -> tuple[int, Sequence[Mapping[str, str]]]:
        """The number of processes, and their environments in turn."""
        count = count_workers(f"{KEY}.n_jobs", self.n_jobs)
        if self.gpus is None:
            return count, [{}]
        places = share_gpus(KEY, self.gpus, self.per_gpu)
        return (len(places) if self.n_jobs == -1 else min(count, len(places))), places
