"""How long does a command take until its first training step, and until its help text?"""

import json
import subprocess
import time

from bench.processes import CHECKOUT, REPORT_COMMAND, TRAIN_COMMAND, run_module, scratch_folder
from bench.table import print_table
from bench.timing import time_command

FIRST_STEP = "train.py to first step"
REMAINING_STAGE = "rest: interpreter, model, first evaluation"


def measure_startup(quick: bool) -> dict[str, object]:
    """Wall seconds, the fastest of a few starts."""
    repeats = 2 if quick else 4
    commands = {"train.py --help": TRAIN_COMMAND, "report.py --help": REPORT_COMMAND}
    results = {
        name: min(time_command([*words, "--help"]) for _ in range(repeats))
        for name, words in commands.items()
    }
    results[FIRST_STEP] = min(time_first_step() for _ in range(repeats))
    # each stage from the start in which it was fastest
    runs = [json.loads(run_module("stages")) for _ in range(repeats)]
    stages: dict[str, float] = {name: min(run[name] for run in runs) for name in runs[0]}
    stages[REMAINING_STAGE] = results[FIRST_STEP] - sum(stages.values())
    indented = {f"    {name}": seconds for name, seconds in stages.items()}
    print_table("start-up", "command", {"seconds": "{:.2f}".format}, {**results, **indented})
    return {**results, "stages": stages}


def time_first_step() -> float:
    """Wall seconds until the line of the evaluation at step 0, the last thing before training."""
    with scratch_folder() as folder:
        words = [*TRAIN_COMMAND, "trainer.max_steps=1", f"results={folder}"]
        return time_to_line(words, "step 0 valid")


def time_to_line(words: list[str], text: str) -> float:
    """Wall seconds until a command prints a line with this text. SystemExit if it never does."""
    seconds = None
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:  # read to the end, or the command would block on a full pipe
            if text in line:
                seconds = time.perf_counter() - start
    if process.returncode or seconds is None:
        raise SystemExit(f"{' '.join(words)} failed")
    return seconds
