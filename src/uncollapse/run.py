"""One run, from the composed config to the finished folder, in numbered steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from uncollapse.building import Parts, build_trainer, prepare
from uncollapse.config.knobs import check_head
from uncollapse.config.shorthands import NoSuchLevel, replace_shorthands
from uncollapse.continuing import find_shorter_run, read_origin, take_over
from uncollapse.extras import require_installed
from uncollapse.json_types import JsonObject
from uncollapse.messages import describe_data
from uncollapse.own_code import OWN_CODE, record_own_code
from uncollapse.processes import Team, announce, follow, join_team, read_team, require_alone
from uncollapse.request import (
    Request,
    find_done_copy,
    find_done_folder,
    find_packed_copies,
    understand_request,
)
from uncollapse.run_folder import open_folder
from uncollapse.runs.heartbeat import Heartbeat, remove_signs
from uncollapse.runs.layout import DONE, ROWS_FILE, STATE, Run
from uncollapse.runs.provenance import find_provenance, package_versions
from uncollapse.runs.results import write_summary
from uncollapse.start import load_start, replace_start
from uncollapse.summary import find_unfinished, summarise_circumstances, summarise_outcome

if TYPE_CHECKING:
    from uncollapse.console import Console
    from uncollapse.mirror import WandbMirror
    from uncollapse.training.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """How a request ended: "done" or "skipped", and the run's folder, if it has one here."""

    status: str
    run: Run | None = None


def run(cfg: DictConfig, head: object, overrides: list[str]) -> str:
    """Carry out one run; "done" or "skipped".

    InputError for bad input, before anything is written.
    """
    return carry_out(cfg, head, overrides).status


def carry_out(cfg: DictConfig, head: object, overrides: list[str]) -> Outcome:
    """As `run`, with the run's folder."""
    team = join_team()
    if not team.writes:
        return train_in_copy(cfg, head, overrides)
    with announce(team) as begin:
        return lead(cfg, head, overrides, begin)


def lead(
    cfg: DictConfig, head: object, overrides: list[str], begin: Callable[[Path], None]
) -> Outcome:
    """Carry out a run as the only process, or as the first of several; see `announce`."""
    # 1. which run is requested, and whether it is done
    head = check_head(head)
    try:
        cfg, overrides = replace_shorthands(cfg, overrides, head)
    except NoSuchLevel as error:
        return skip(str(error))
    cfg, start = replace_start(cfg)
    request = understand_request(cfg, head, overrides)
    if reason := find_done_folder(request):
        remove_signs(request.run.folder)  # of a process that was killed after `done`
        return skip(reason, request.run)
    copies = find_packed_copies(request)
    if reason := find_done_copy(request, copies):
        return skip(reason)

    # 2. check and build everything: bad input is refused here
    require_mirrors(request)
    parts = prepare(cfg, request.head)
    require_divisible(parts)
    if start:
        print(f"[{request.name}] {load_start(start, parts)}")
    if reason := find_done_copy(request, copies, parts.data.facts()):
        return skip(reason)

    # 3. open the run folder; a failure from here on is written into it
    with open_folder(request, parts) as heartbeat:
        if reason := find_done_folder(request):  # another process has done it meanwhile
            return skip(reason, request.run)
        # 4. train and test, perhaps from where a shorter run ended
        shorter = None if request.run.holds(STATE) else find_shorter_run(request, parts)
        if shorter:
            print(f"[{request.name}] {take_over(shorter, request.run)}")
        begin(request.run.folder)
        summary = {**train_and_test(request, parts, heartbeat), **read_origin(request.run)}
        # 5. write the summary, and `done` last: a run without it is not finished
        write_summary(request.run, summary)
        request.run.write(DONE, data=b"")
    return Outcome("done", request.run)


def train_in_copy(cfg: DictConfig, head: object, overrides: list[str]) -> Outcome:
    """Take part in the run that the first process begins, in a copy of its folder."""
    with follow() as copy:
        head = check_head(head)
        cfg, overrides = replace_shorthands(cfg, overrides, head)
        cfg, start = replace_start(cfg)
        request = replace(understand_request(cfg, head, overrides), run=Run(copy))
        parts = prepare(cfg, request.head)
        if start:
            load_start(start, parts)
        silent = replace(parts, log=replace(parts.log, wandb=False))
        with Heartbeat(copy) as heartbeat:
            train_and_test(request, silent, heartbeat)
    return Outcome("done")


def skip(reason: str, found: Run | None = None) -> Outcome:
    """Print why the run is skipped."""
    print(f"skipped: {reason}")
    return Outcome("skipped", found)


# ---------------------------------------------------------------- 4. training and test


def train_and_test(request: Request, parts: Parts, heartbeat: Heartbeat) -> JsonObject:
    """Train, test, and return the summary."""
    from uncollapse.console import Console

    # the code is identified at the start: the checkout may change during training
    start, code = time.perf_counter(), find_provenance()
    own, changed = record_own_code(request.run, request.config)
    own_code: JsonObject = {OWN_CODE: own} if own else {}
    mirrors = make_mirrors(request, parts)
    try:
        with Console(request.name, heartbeat) as console:
            if changed:
                console.say(f"[{request.name}] warning: {explain_changed_code(request, changed)}")
            trainer = make_trainer(request, parts, mirrors, console)
            try:
                trainer.fit()
            except FloatingPointError as error:
                step = trainer.progress.step + 1
                raise FloatingPointError(f"step {step}, head={request.head}: {error}") from error
            unfinished = find_unfinished(request, trainer)
            for note in [*unfinished, *trainer.list_missed_plateau()]:
                console.say(f"[{request.name}] warning: {note}")
            summary = {
                **summarise_outcome(request, trainer, unfinished),
                "wall_seconds": time.perf_counter() - start,
                **summarise_circumstances(parts, request.config["threads"]),
                **code,
                **own_code,
                "versions": package_versions(),
            }
        # after the console is closed, as W&B prints lines of its own
        for mirror in mirrors:
            mirror.finish(summary)
    except BaseException:  # also an interrupt: W&B would show the run as still running
        for mirror in mirrors:
            mirror.abandon()
        raise
    return summary


def explain_changed_code(request: Request, modules: list[str]) -> str:
    """What a resumed run says about own modules that have changed since it was interrupted."""
    return (
        f"{', '.join(modules)} has changed since this run was interrupted; it goes on with the new "
        f"code. Move {request.run.folder} away, or choose another study=NAME, to train from scratch"
    )


def require_mirrors(request: Request) -> None:
    """InputError if what mirrors the rows is not installed."""
    log = request.config["log"]
    if isinstance(log, dict) and log.get("wandb"):
        require_installed("log=wandb", "wandb")


def make_mirrors(request: Request, parts: Parts) -> "list[WandbMirror]":
    """The services that receive copies of the rows, such as W&B."""
    if not parts.log.wandb:
        return []
    from uncollapse.mirror import WandbMirror

    return [WandbMirror(parts.log, request.config, request.run, request.name)]


def make_trainer(
    request: Request, parts: Parts, mirrors: "list[WandbMirror]", console: "Console"
) -> "Trainer":
    """Make the trainer, and print facts on the data and warnings on phases that are cut off."""
    from uncollapse.runs.rows import Record
    from uncollapse.training.phases import list_phase_warnings

    for line in describe_data(request, parts):
        console.say(f"[{request.name}] {line}")
    record = Record(request.run.path(ROWS_FILE), [mirror.row for mirror in mirrors])
    trainer = build_trainer(parts, request.run, record, request.config["seed"], console)
    divide_trainer(trainer, read_team())
    for note in list_phase_warnings(trainer.list_phases(), trainer.length, request.config):
        console.say(f"[{request.name}] warning: {note}")
    return trainer


def require_divisible(parts: Parts) -> None:
    """InputError for a model or procedure whose work several processes cannot divide."""
    if read_team().size == 1:
        return
    from uncollapse.data.dialogue import DialogueData

    name = ""
    if isinstance(parts.data, DialogueData):
        name = "a model of dialogues"
    elif not parts.procedure.can_be_divided:
        name = type(parts.procedure).__name__
    if name:
        require_alone(f"{name} cannot be divided among processes")


def divide_trainer(trainer: "Trainer", team: Team) -> None:
    """Divide the work of training among processes."""
    if team.size == 1:
        return
    from uncollapse.training.division import divide_work

    divide_work(trainer.model, team)
