"""`hydra/launcher=slurm_cpu` and `slurm_gpu`: the jobs of a sweep as one array of a Slurm cluster.

Submitit writes and submits the scripts. A job that reaches its time limit or is preempted is queued
again and goes on from its checkpoint; one that is killed is submitted once more.
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.uncollapse_launchers.base import KEY, SweepLauncher
from hydra_plugins.uncollapse_launchers.jobs import Job, finish
from uncollapse.errors import InputError, check_integer
from uncollapse.extras import require_installed
from uncollapse.workers import TRIES, Lost, report_loss

MAX_MINUTES = 10**6
FIRST_PAUSE, LAST_PAUSE = 0.5, 15.0  # seconds between two looks at a job
GRACE = 5.0  # seconds for a result to appear after its job has ended
MOST_RESTARTS = 1000  # of a job that reaches its time limit: each makes progress


class SlurmLauncher(SweepLauncher):
    """See conf/hydra/launcher/slurm_cpu.yaml for the settings."""

    def __init__(
        self,
        partition: str | None,
        account: str | None,
        minutes: int,
        cpus: int,
        gpus: int,
        memory: int | None,
        parallel: int,
        setup: list[str] | None,
        options: dict[str, Any] | None,
    ) -> None:
        self.partition, self.account = partition, account
        self.minutes, self.cpus, self.gpus, self.memory = minutes, cpus, gpus, memory
        self.parallel = parallel
        self.commands = [str(command) for command in setup or []]
        self.options = {str(key): value for key, value in (options or {}).items()}

    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        require_installed("hydra/launcher=slurm_cpu", "submitit")
        self.check()
        results: list[Any] = [None] * len(jobs)
        open_places = list(range(len(jobs)))
        for tried in range(1, TRIES + 1):
            submitted = self.submit([jobs[place] for place in open_places])
            ends = zip(open_places, submitted, strict=True)
            for place, slurm_job in ends:
                results[place] = result = wait_for(slurm_job)
                if isinstance(result, Lost):
                    report_loss(jobs[place], result, "submitted" if tried < TRIES else "")
            open_places = [place for place in open_places if isinstance(results[place], Lost)]
            if not open_places:
                break
        return [finish(job, result) for job, result in zip(jobs, results, strict=True)]

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Submit jobs as one array. InputError with Slurm's own words if it refuses them."""
        import submitit
        from submitit.core.utils import FailedJobError

        # it warns every few seconds where a cluster keeps no accounts
        logging.getLogger("submitit").setLevel(logging.ERROR)
        folder = Path(str(self.config.hydra.sweep.dir)) / "slurm"
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=MOST_RESTARTS)
        wanted = {
            "job_name": "uncollapse",
            "time": self.minutes,
            "cpus_per_task": self.cpus,
            "array_parallelism": self.parallel,
            "partition": self.partition,
            "account": self.account,
            "mem": f"{self.memory}GB" if self.memory else None,
            "gpus_per_node": self.gpus or None,
            "setup": self.commands or None,
            "signal_delay_s": 60,
            "additional_parameters": self.options or None,
        }
        executor.update_parameters(
            **{name: value for name, value in wanted.items() if value is not None}
        )
        try:
            submitted = executor.map_array(RestartedJob(), jobs)
        except FailedJobError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{KEY}: Slurm refuses the jobs: {reason}") from error
        ids = submitted[0].job_id.partition("_")[0]
        print(f"Slurm array {ids} of {len(jobs)} jobs; logs in {folder}", flush=True)
        return list(submitted)

    def check(self) -> None:
        """InputError for a setting out of range, without Slurm, and for an unknown partition."""
        check_integer(f"{KEY}.minutes", self.minutes, 1, MAX_MINUTES)
        check_integer(f"{KEY}.cpus", self.cpus, 1)
        check_integer(f"{KEY}.gpus", self.gpus, 0)
        check_integer(f"{KEY}.parallel", self.parallel, 1)
        if self.memory is not None:
            check_integer(f"{KEY}.memory", self.memory, 1)
        if shutil.which("sbatch") is None:
            raise InputError("hydra/launcher: this machine has no Slurm (there is no `sbatch`)")
        names = list_partitions()
        if self.partition is not None and self.partition not in names:
            raise InputError(
                f"{KEY}.partition={self.partition}: no such partition; there are {', '.join(names)}"
            )


class RestartedJob:
    """Runs a job; Submitit queues it again with the same job when its time is over."""

    def __call__(self, job: Job) -> JobReturn:
        return job.run()

    def checkpoint(self, job: Job) -> Any:
        """What to submit instead: runs write their own checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def wait_for(slurm_job: Any) -> JobReturn | Lost:
    """The result of a submitted job, or where to read why there is none.

    A job that has left the queue without a result is lost. Submitit asks Slurm's accounting, and
    waits for ever where a cluster keeps none.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    seconds = FIRST_PAUSE
    while not slurm_job.paths.result_pickle.exists():
        if not is_queued(slurm_job.job_id):
            time.sleep(GRACE)  # the file may come late on a network disk
            break
        time.sleep(seconds)
        seconds = min(2 * seconds, LAST_PAUSE)
    log = slurm_job.paths.stderr
    lost = Lost(f"Slurm job {slurm_job.job_id} ended without a result; see {log}")
    if not slurm_job.paths.result_pickle.exists():
        return lost
    try:
        result: JobReturn = slurm_job.result()
    except (FailedJobError, UncompletedJobError):
        return lost
    return result


def is_queued(job_id: str) -> bool:
    """Whether a job waits or runs; True while Slurm does not answer."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", f"--jobs={job_id}", "--format=%i"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    if done.returncode:
        # it has forgotten the job, or does not answer
        return "Invalid job id" not in done.stderr
    return bool(done.stdout.strip())


def list_partitions() -> list[str]:
    """The partitions of the cluster. InputError if it does not answer."""
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%R"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError("hydra/launcher: Slurm does not answer within 20 s") from error
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", "") or str(error)
        reason = words.strip().splitlines()[-1]
        raise InputError(f"hydra/launcher: Slurm does not answer ({reason})") from error
    return sorted(set(done.stdout.split()))
