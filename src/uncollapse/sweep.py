"""The jobs of a multirun: which there are, which have started, and how they ended.

They stand in jobs.jsonl in the folder of the sweep, which others may read while it runs. The path
of the file is in an environment variable, so that it also works for launchers with worker
processes. A failed job must not stop the others; all that went wrong are listed after the last one.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from uncollapse.config.common_keys import check_root
from uncollapse.entry import continue_in_child
from uncollapse.errors import InputError
from uncollapse.extras import require_installed
from uncollapse.json_types import JsonMapping
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import Metric
from uncollapse.plugins import import_plugins
from uncollapse.processes import require_alone
from uncollapse.runs.heartbeat import Heartbeat
from uncollapse.runs.json_values import read_json_lines
from uncollapse.runs.layout import JOBS

VARIABLE = "UNCOLLAPSE_SWEEP"
heartbeats: dict[Path, Heartbeat] = {}  # of the sweep that this process drives
PROCESS_LAUNCHER = "hydra_plugins.uncollapse_launchers.processes.ProcessLauncher"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
TAKEN = "taken"  # a job whose run another process trains
WRONG = ("failed", "refused", "lost")
MOST_LISTED_JOBS = 50  # of those that went wrong


def note_start(words: str) -> None:
    """Append to the sweep's list that a job has started; outside a sweep do nothing."""
    append_entry({"words": words})


def note_end(status: str, words: str, message: str = "") -> None:
    """Append how one job ended to the sweep's list; outside a sweep do nothing."""
    append_entry({"status": status, "words": words, "message": message})


def append_entry(entry: JsonMapping) -> None:
    """Append a line to the sweep's list, if this is a job of a sweep."""
    if VARIABLE not in os.environ:
        return
    try:
        with open(os.environ[VARIABLE], "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        print(
            f"warning: this job is missing from the sweep's list ({error.strerror})",
            file=sys.stderr,
        )


class SweepSummary(Callback):
    """Hydra callback: starts the list before a multirun, prints it after.

    The exit code is 1 if a job went wrong. Launchers send this object to their worker processes;
    it brings along the metrics that a user's script added, as workers do not run that script.
    """

    def __init__(self) -> None:
        self.added_metrics: list[Metric] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        self.added_metrics = catalogue.list_added()
        require_one_process()
        require_writable(config)
        # worker processes cannot handle Ctrl-C themselves
        if config.hydra.launcher._target_ == PROCESS_LAUNCHER:
            continue_in_child()
        check_wandb(config.log)
        # an environment variable reaches worker processes of any launcher
        folder = Path(config.hydra.sweep.dir).absolute()
        os.environ[VARIABLE] = str(folder / JOBS)
        append_entry({"jobs": list_jobs(config)})
        # not an attribute, as launchers send this object to other processes
        heartbeats[folder] = Heartbeat(folder)
        heartbeats[folder].start()

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        # which may add metrics as well
        import_plugins()
        catalogue.restore_added(self.added_metrics)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        path = Path(os.environ.pop(VARIABLE))
        # a torn line of a killed job is left out
        jobs = [entry for entry in read_json_lines(path) if "status" in entry]
        heartbeats.pop(path.parent).stop()
        counts = Counter(job["status"] for job in jobs)
        ends = ", ".join(f"{n} {status}" for status, n in counts.items())
        print(f"sweep: {len(jobs)} jobs: {ends}")
        if counts[TAKEN]:
            print(
                f"  {TAKEN}: other processes train these runs; when they have ended, the same "
                "command completes what is left"
            )
        wrong = [job for job in jobs if job["status"] in WRONG]
        for job in wrong[:MOST_LISTED_JOBS]:
            print(f"  {job['status']}: {job['words']}: {job['message']}")
        if len(wrong) > MOST_LISTED_JOBS:
            print(
                f"  ... and {len(wrong) - MOST_LISTED_JOBS:,} more; the folder of a failed run "
                "has the reason in `failed`"
            )
        if wrong:
            raise SystemExit(1)


def list_jobs(config: DictConfig) -> list[str]:
    """The words of each job of a sweep; [] for sweepers that decide on jobs as they go."""
    sweeper = config.hydra.sweeper
    if sweeper._target_ != BASIC_SWEEPER:
        return []
    # as in the sweeper itself: parameters of the config come first
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    try:
        overrides = OverridesParser.create().parse_overrides([*words, *config.hydra.overrides.task])
        ((*jobs,),) = BasicSweeper.split_arguments(overrides, None)
    except HydraException:  # the sweeper reports it
        return []
    return [" ".join(job) for job in jobs]


def check_wandb(log: DictConfig) -> None:
    """Exit with one sentence when log=wandb cannot work, once for all jobs of a sweep."""
    if not log.wandb:
        return
    from uncollapse.config.sections import LogConfig, load_section

    try:
        require_installed("log=wandb", "wandb")
        from uncollapse.mirror import check_server

        settings = load_section(log, "log", LogConfig)
        settings.check()
        check_server(settings)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def require_one_process() -> None:
    """Exit with one sentence when `torchrun` starts a sweep, whose jobs it cannot divide."""
    try:
        require_alone("they train one run; start each run of a sweep by a torchrun of its own")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def require_writable(config: DictConfig) -> None:
    """Exit with one sentence when the folder of a sweep cannot be created.

    Hydra would create it elsewhere, or print a traceback.
    """
    try:
        for key in ("study", "results"):
            check_root(key, config[key])
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f"results={config.results}: cannot write there ({error.strerror})"
    except OmegaConfBaseException as error:
        message = f"{error.full_key}: {str(error).splitlines()[0]}"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
