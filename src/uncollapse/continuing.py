"""A run whose only difference from a finished one is that it is longer goes on where that ended.

With the same code the result is that of the longer run trained without a break, bit for bit.
"""

from typing import TYPE_CHECKING

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.request import Request
from uncollapse.runs.checkpoint import load_state
from uncollapse.runs.identity import list_changes
from uncollapse.runs.layout import DATA, DONE, OWN_CODE_FILE, ROWS_FILE, STATE, Run, find_runs
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import dump_json, read_summary
from uncollapse.runs.rules import RULES, weights_file

if TYPE_CHECKING:
    from uncollapse.building import Parts

EPOCHS = "trainer.epochs"
CONTINUED_FROM = "continued_from"  # the file, and the key of the summary


def find_shorter_run(request: Request, parts: "Parts") -> Run | None:
    """The longest finished run of the study that ended where this one could go on."""
    found = [
        (epochs, run)
        for run in find_runs(request.run.study, request.head, request.config["seed"])
        if run.status == DONE and (epochs := count_epochs(run, request))
    ]
    longest_first = [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]
    # states are large, so they are read only until one fits
    return next((run for run in longest_first if can_be_restored(run, parts)), None)


def can_be_restored(run: Run, parts: "Parts") -> bool:
    """Whether a run has the same data, and a state that this machine can continue."""
    try:
        same_data = run.read(DATA) == dump_json(parts.data.facts())
        state = load_state(run.path(STATE)) if same_data and run.holds(STATE) else None
    except (InputError, OSError):
        return False
    return state is not None and (parts.device.type == "cuda" or state["cuda_rng"] is None)


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
    run.write(CONTINUED_FROM, data=shorter.folder.relative_to(run.study).as_posix().encode())
    with shorter.lock(shared=True):
        names = [ROWS_FILE, OWN_CODE_FILE, *map(weights_file, RULES)]
        for name in names:
            if shorter.holds(name):
                run.write(name, data=shorter.read(name))
        # last: without it, what was copied before does not count
        run.write(STATE, data=shorter.read(STATE))
    return f"goes on from {shorter.folder}"


def read_origin(run: Run) -> JsonObject:
    """{"continued_from": the name of the shorter run}; {} for a run without one."""
    if not run.holds(CONTINUED_FROM):
        return {}
    return {CONTINUED_FROM: run.read(CONTINUED_FROM).decode(errors="replace")}
