"""How much time does a sweep save when two runs are trained at a time?"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.processes import TRAIN_COMMAND, scratch_folder
from bench.table import print_table
from bench.timing import time_command_and_children

SMALL_DATA = ("data.train=2000", "data.valid=500", "data.test=500")
TWO_AT_A_TIME = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@dataclass(frozen=True)
class SweepCost:
    """One way to start eight runs; the ratios are None for the way to compare with."""

    seconds: float
    cpu_seconds: float
    ratio: float | None = None
    idle_ratio: float | None = None


SWEEP_COLUMNS: dict[str, Callable[[SweepCost], str]] = {
    "seconds": lambda r: f"{r.seconds:.1f}",
    "processor seconds": lambda r: f"{r.cpu_seconds:.1f}",
    "ratio": lambda r: f"{r.ratio:.2f}" if r.ratio else "",
    "on idle cores": lambda r: f"{r.idle_ratio:.2f}" if r.idle_ratio else "",
}


def measure_sweep(quick: bool) -> dict[str, float]:
    """Eight runs, two at a time, against the same runs one after another."""
    # eight runs: two heads with four seeds each
    words = [*TRAIN_COMMAND, "-m", "head=plain,bn_mu", "seed=0,1,2,3", *SMALL_DATA]
    words.append(f"trainer.epochs={1 if quick else 6}")
    with scratch_folder() as folder:
        words.append(f"results={folder}")
        two, two_cpu = time_command_and_children([*words, "study=two", *TWO_AT_A_TIME])
        one, one_cpu = time_command_and_children([*words, "study=one"])
        # a run that failed early would look fast
        finished = len(list(folder.glob("*/runs/*/*/*/done")))
    if finished != 16:
        raise SystemExit(f"{finished} of 16 runs were finished")
    # On a busy machine no second core is free. On an idle one, both cores would share the
    # processor time equally.
    idle = two_cpu / one_cpu / 2
    rows = {
        "one after another": SweepCost(one, one_cpu),
        "two at a time (joblib)": SweepCost(two, two_cpu, two / one, idle),
    }
    print_table("sweep of eight runs", "launcher", SWEEP_COLUMNS, rows)
    return {
        "one_after_another": one,
        "two_at_a_time": two,
        "ratio": two / one,
        "idle_ratio": idle,
    }
