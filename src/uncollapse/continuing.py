"""A run whose only difference from a finished one is that it is longer goes on where that ended.

The result is that of the longer run trained without a break, bit for bit.
"""

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping
from uncollapse.request import Request
from uncollapse.runs.identity import list_changes
from uncollapse.runs.layout import DONE, ROWS_FILE, STATE, Run, find_runs
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_summary
from uncollapse.runs.rules import RULES, weights_file

EPOCHS = "trainer.epochs"


def find_shorter_run(request: Request) -> Run | None:
    """The longest finished run of the study that ended where this one could go on."""
    found = [
        (epochs, run)
        for run in find_runs(request.run.study, request.head, request.config["seed"])
        if run.status == DONE and run.holds(STATE) and (epochs := count_epochs(run, request))
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def count_epochs(run: Run, request: Request) -> float:
    """The epochs of a run that this one could continue; 0 if it could not."""
    try:
        saved, summary = read_config(run), read_summary(run)
    except InputError:  # a damaged neighbour is no reason to stop
        return 0
    lines = list_changes(saved, request.config, request.base)
    only_longer = len(lines) == 1 and lines[0].startswith(f"{EPOCHS}: ")
    if not only_longer or not ended_as_if_it_went_on(saved["trainer"], summary):
        return 0
    epochs = float(saved["trainer"]["epochs"])
    return epochs if epochs < request.config["trainer"]["epochs"] else 0


def ended_as_if_it_went_on(trainer: JsonMapping, summary: JsonMapping) -> bool:
    """Whether the end of a run left no trace: no cooldown, no early stop, no evaluation of its own
    between two regular ones."""
    every, steps = trainer.get("eval_every"), summary.get("steps_planned")
    return (
        trainer.get("until") == "epochs"
        and not trainer.get("cooldown")
        and trainer.get("max_steps") is None
        and summary.get("stopped_early") is False
        and isinstance(steps, int)
        and (every is None or steps % int(every) == 0)
    )


def take_over(shorter: Run, run: Run) -> str:
    """Copy rows, weights and state of a shorter run; a sentence that says so."""
    with shorter.lock(shared=True):
        names = [ROWS_FILE, *map(weights_file, RULES)]
        for name in names:
            if shorter.holds(name):
                run.write(name, data=shorter.read(name))
        # last: without it, what was copied before does not count
        run.write(STATE, data=shorter.read(STATE))
    return f"goes on from {shorter.folder}"
