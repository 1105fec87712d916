"""`hydra/launcher=ray`: the jobs of a sweep on a Ray cluster, or on one started on this machine.

Ray's own plugin for Hydra cannot be installed with current versions of cloudpickle. This one asks
for cores, GPUs (or shares of one) and memory for each job. A job whose process or machine is lost
is started again, and goes on from its checkpoint where the results are on a shared disk.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn

from hydra_plugins.uncollapse_launchers.base import KEY, SweepLauncher
from hydra_plugins.uncollapse_launchers.jobs import Job, finish
from uncollapse.errors import InputError, first_line
from uncollapse.extras import require_installed
from uncollapse.sweep import VARIABLE
from uncollapse.workers import Lost, python_path, report_loss

CONNECT_SECONDS = 20.0  # within which a cluster must answer
# what Ray calls an amount -> the setting
AMOUNTS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


class RayLauncher(SweepLauncher):
    """See conf/hydra/launcher/ray.yaml for the settings."""

    def __init__(
        self,
        address: str | None,
        num_cpus: float,
        num_gpus: float,
        memory: float | None,
        retries: int,
    ) -> None:
        self.address, self.retries = address, retries
        self.wanted = {"CPU": num_cpus, "GPU": num_gpus, "memory": (memory or 0) * 1e9}

    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        require_installed("hydra/launcher=ray", "ray")
        import ray

        check_amounts(self.wanted, self.retries)
        if self.address not in (None, "auto"):
            require_answer(str(self.address))
        context = start_ray(self.address)
        if context.dashboard_url:
            print(f"Ray dashboard: http://{context.dashboard_url}", flush=True)
        try:
            require_resources(self.wanted, ray.cluster_resources())
            results = run_on_ray(jobs, self.wanted, self.retries)
        finally:
            ray.shutdown()
        return [finish(job, results[place]) for place, job in enumerate(jobs)]


def start_ray(address: str | None) -> Any:
    """Connect to a cluster, or start one on this machine."""
    import ray

    kept = {name: os.environ[name] for name in (VARIABLE,) if name in os.environ}
    environment = {"env_vars": {**kept, "PYTHONPATH": python_path()}}
    try:
        return ray.init(
            address=address or "local", runtime_env=environment, log_to_driver=True,
            configure_logging=False,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"{KEY}.address={address}: no Ray cluster there ({reason})") from error


def run_on_ray(
    jobs: Sequence[Job], wanted: dict[str, float], retries: int
) -> dict[int, JobReturn | Lost]:
    """The result of each job by its place, taken as they finish."""
    import ray
    from ray.exceptions import RayError

    options = {"num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"], "max_retries": retries}
    if wanted["memory"]:
        options["memory"] = wanted["memory"]
    remote = ray.remote(run_pickled).options(**options)
    places = {remote.remote(cloudpickle.dumps(job)): place for place, job in enumerate(jobs)}
    results: dict[int, JobReturn | Lost] = {}
    waiting = list(places)
    while waiting:
        (ready, *_), waiting = ray.wait(waiting, num_returns=1)
        place = places[ready]
        try:
            results[place] = cloudpickle.loads(ray.get(ready))
        except RayError as error:
            lost = Lost(f"Ray lost it ({first_line(error)})")
            report_loss(jobs[place], lost)
            results[place] = lost
    return results


def run_pickled(content: bytes) -> bytes:
    """Run a pickled job; its pickled result."""
    return cloudpickle.dumps(cloudpickle.loads(content).run())


# ---------------------------------------------------------------- bad input


def check_amounts(wanted: dict[str, float], retries: int) -> None:
    """InputError for an amount that no job can have."""
    for name, setting in AMOUNTS.items():
        if not isinstance(wanted[name], int | float) or not wanted[name] >= 0:
            raise InputError(f"{KEY}.{setting}={wanted[name]}: allowed is a number of at least 0")
    if type(retries) is not int or retries < 0:
        raise InputError(f"{KEY}.retries={retries}: allowed is an integer of at least 0")


def require_answer(address: str) -> None:
    """InputError for an address that is none, or where nothing answers in time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"{KEY}.address={address}: allowed are HOST:PORT, ray://HOST:PORT, auto (a cluster "
            "that runs on this machine), or null for a new one"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{KEY}.address={address}: does not answer ({error})") from error


def require_resources(wanted: dict[str, float], total: dict[str, float]) -> None:
    """InputError for a job that would wait for ever: it wants more than the cluster has."""
    for name, setting in AMOUNTS.items():
        if wanted[name] > total.get(name, 0):
            scale = 1e9 if name == "memory" else 1
            raise InputError(
                f"{KEY}.{setting}={wanted[name] / scale:g}: the cluster has "
                f"{total.get(name, 0) / scale:g}"
            )
