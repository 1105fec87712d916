"""How the jobs of a multirun ended, listed at its end: a job that fails must not stop the others, nor pass unseen.

Jobs note their ends in a file whose name travels in the environment, so that it works for launchers with worker processes.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf.errors import OmegaConfBaseException

from uncollapse.config import check_root
from uncollapse.entry import continue_in_child
from uncollapse.errors import InputError
from uncollapse.runs.json_values import read_json_lines

VARIABLE = "UNCOLLAPSE_SWEEP"
BAD = ("failed", "refused")
MOST_LISTED = 50  # jobs that went wrong


def note(status: str, words: str, message: str = "") -> None:
    """Add one job's end to the sweep's list; outside a sweep nothing happens."""
    if VARIABLE in os.environ:
        line = json.dumps({"status": status, "words": words, "message": message}) + "\n"
        try:
            with open(os.environ[VARIABLE], "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            print(
                f"warning: the end of this job is not in the sweep's list ({error.strerror})",
                file=sys.stderr,
            )


class SweepSummary(Callback):
    """Hydra callback: open the list at the start of a multirun, print it at the end, and exit with 1 if a job went wrong."""

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        require_writable(config)
        if "joblib" in str(config.hydra.launcher._target_):
            continue_in_child()
        check_wandb(config.log)
        handle, os.environ[VARIABLE] = tempfile.mkstemp(prefix="uncollapse-sweep-")
        os.close(handle)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        path = Path(os.environ.pop(VARIABLE))
        jobs = read_json_lines(path)
        path.unlink()
        counts = Counter(job["status"] for job in jobs)
        print(
            f"sweep: {len(jobs)} jobs: "
            + ", ".join(f"{n} {status}" for status, n in counts.items())
        )
        bad = [job for job in jobs if job["status"] in BAD]
        for job in bad[:MOST_LISTED]:
            print(f"  {job['status']}: {job['words']}: {job['message']}")
        if len(bad) > MOST_LISTED:
            print(
                f"  ... and {len(bad) - MOST_LISTED:,} more; a run that failed says why in its folder, in `failed`"
            )
        if bad:
            raise SystemExit(1)


def check_wandb(log: Any) -> None:
    """Exit with one sentence when a sweep is to be mirrored and no server answers: once, not once a job."""
    if not log.wandb:
        return
    from uncollapse.config import LogConfig, typed
    from uncollapse.mirror import check_once

    try:
        settings = typed(log, "log", LogConfig)
        settings.check()
        check_once(settings)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def require_writable(config: Any) -> None:
    """Exit with one sentence when a sweep's folder cannot be made; Hydra would make it elsewhere, or print a traceback."""
    try:
        for key in ("study", "results"):
            check_root(key, config[key])
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(
            f"error: results={config.results}: cannot write there ({error.strerror})",
            file=sys.stderr,
        )
    except OmegaConfBaseException as error:
        print(f"error: {error.full_key}: {str(error).splitlines()[0]}", file=sys.stderr)
    else:
        return
    raise SystemExit(2)
