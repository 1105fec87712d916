"""One run, from the composed config to the finished folder, in numbered steps."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from uncollapse.building import Parts, prepare
from uncollapse.config import check_head
from uncollapse.entry import interrupted
from uncollapse.errors import InputError
from uncollapse.messages import describe_data
from uncollapse.request import (
    Request,
    find_done_copy,
    find_done_folder,
    find_packed_copies,
    understand_request,
)
from uncollapse.runs.layout import CONFIG, DATA, DONE, FAILED, ROWS, VOCABULARY
from uncollapse.runs.provenance import provenance, versions
from uncollapse.runs.results import text, write_summary
from uncollapse.summary import find_unfinished, summarise_circumstances, summarise_outcome

if TYPE_CHECKING:
    from uncollapse.console import Console
    from uncollapse.mirror import WandbMirror
    from uncollapse.training.trainer import Trainer


def run(cfg: DictConfig, head: object, overrides: list[str]) -> str:
    """Carry out one run; "done" or "skipped".

    InputError for bad input, before anything is written.
    """
    # 1. what is asked for
    request = understand_request(cfg, check_head(head), overrides)
    if reason := find_done_folder(request):
        return skip(reason)
    copies = find_packed_copies(request)
    if reason := find_done_copy(request, copies):
        return skip(reason)

    # 2. everything that can be wrong with it is found here
    parts = prepare(cfg, request.head)
    if reason := find_done_copy(request, copies, parts.data.facts()):
        return skip(reason)

    # 3. the run folder; from here on a failure is written into it
    with open_folder(request, parts):
        if reason := find_done_folder(request):  # another process was faster
            return skip(reason)
        # 4. train and test
        summary = train_and_test(request, parts)
        # 5. done
        write_summary(request.run, summary)
        request.run.write(DONE, data=b"")
    return "done"


def skip(reason: str) -> str:
    print(f"skipped: {reason}")
    return "skipped"


# ---------------------------------------------------------------- 3. the folder


@contextmanager
def open_folder(request: Request, parts: Parts) -> Iterator[None]:
    """Create the run folder or continue in it, locked against other processes.

    An exception inside is written to `failed` and raised again. A full disk or an interrupt is no
    failure of the run: the folder stays resumable.
    """
    run = request.run
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.lock():
            if not run.exists:
                if listing := parts.data.listing():
                    run.write(VOCABULARY, data=listing.encode())
                run.write(DATA, data=text(parts.data.facts()))
                config = OmegaConf.to_yaml(OmegaConf.create(request.config))
                run.write(CONFIG, data=f"# {request.command}\n{config}".encode())
            run.set_aside(FAILED)
            yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or run.folder}: cannot write there ({error.strerror}); no file is "
            "half written: make room and give the same command to go on"
        ) from error
    except Exception as error:
        if interrupted():
            raise
        report = "".join(traceback.format_exception(error))
        if isinstance(error, FloatingPointError):
            report += f"{error}\n"
        run.write(FAILED, data=report.encode())
        raise


# ---------------------------------------------------------------- 4. training and test


def train_and_test(request: Request, parts: Parts) -> dict[str, Any]:
    """Train, test, and return the summary."""
    from uncollapse.console import Console

    start, code = time.perf_counter(), provenance()
    mirrors = make_mirrors(request, parts)
    try:
        with Console(request.name) as console:
            trainer = make_trainer(request, parts, mirrors, console)
            try:
                trainer.fit()
            except FloatingPointError as error:
                step = trainer.progress.step + 1
                raise FloatingPointError(f"step {step}, head={request.head}: {error}") from error
            unfinished = find_unfinished(request, trainer)
            for note in unfinished:
                console.say(f"[{request.name}] warning: {note}")
            summary = {
                **summarise_outcome(request, trainer, unfinished),
                "wall_seconds": time.perf_counter() - start,
                **summarise_circumstances(parts, request.config["threads"]),
                **code,
                "versions": versions(),
            }
        for mirror in mirrors:
            mirror.finish(summary)
    except BaseException:
        for mirror in mirrors:
            mirror.abandon()
        raise
    return summary


def make_mirrors(request: Request, parts: Parts) -> "list[WandbMirror]":
    """Where rows go besides the run's own file."""
    if not parts.log.wandb:
        return []
    from uncollapse.mirror import WandbMirror

    return [WandbMirror(parts.log, request.config, request.run, request.name)]


def make_trainer(
    request: Request, parts: Parts, mirrors: "list[WandbMirror]", console: "Console"
) -> "Trainer":
    """The trainer, after the user is informed about the data and about phases that are cut off."""
    from uncollapse.runs.rows import Record
    from uncollapse.training.phases import list_warnings
    from uncollapse.training.trainer import Trainer, TrainerSetup

    for line in describe_data(request, parts):
        console.say(f"[{request.name}] {line}")
    setup = TrainerSetup(
        config=parts.trainer,
        model=parts.model,
        data=parts.data,
        objective=parts.objective,
        procedure=parts.procedure,
        run=request.run,
        record=Record(request.run.path(ROWS), [mirror.row for mirror in mirrors]),
        seed=request.config["seed"],
        reporter=console,
    )
    trainer = Trainer(setup)
    for note in list_warnings(trainer.list_phases(), trainer.length, request.config):
        console.say(f"[{request.name}] warning: {note}")
    return trainer
