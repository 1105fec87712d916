"""One run over several processes, which `torchrun` starts; the first one writes.

    torchrun --nproc-per-node 4 train.py model=transformer

All processes make the same steps on the same batches. Only the work of the encoder and the decoder
is divided, by examples (see training/division.py), so that heads, objectives and batch statistics
see complete batches and need to know nothing of it. Each process but the first trains in a copy of
the run's folder, which is deleted afterwards: it resumes, keeps and tests weights as the first one
does, and nobody else sees its files.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(days=1)  # for the first process, which loads data and tests weights


class EndedElsewhere(Exception):
    """The first process skipped the run or refused it, and says why."""


@dataclass(frozen=True)
class Team:
    """The processes of one run: this one's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


def read_team() -> Team:
    """The processes that `torchrun` started; a single one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2 or "MASTER_ADDR" not in os.environ:
        return Team()
    return Team(int(os.environ["RANK"]), size)


def join_team() -> Team:
    """Connect to the other processes, once; all but the first print nothing on standard output."""
    team = read_team()
    if team.size == 1:
        return team
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        if backend == "gloo":
            # threads that outlive the interpreter now and then abort a process that is done
            atexit.register(distributed.destroy_process_group)
        if not team.writes:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return team


# ---------------------------------------------------------------- what the first process decides


@contextmanager
def announce(team: Team) -> Iterator[Callable[[Path], None]]:
    """In the first process: around what decides whether there is a run; see `follow`.

    Yields the function that lets the others train the run of a folder, once each has its copy.
    Where it is not called, they hear at the end that there is no run.
    """
    has_run = False

    def begin(folder: Path) -> None:
        nonlocal has_run
        if team.size > 1:
            has_run = True
            broadcast(str(folder))
            wait_for_all()

    try:
        yield begin
    finally:
        if team.size > 1 and not has_run:
            broadcast(None)


@contextmanager
def follow() -> Iterator[Path]:
    """In the others: a copy of the folder in which the first process begins the run.

    It is deleted at the end. EndedElsewhere if there is no run.
    """
    place = broadcast(None)
    if place is None:
        raise EndedElsewhere
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as name:
        copy = Path(name) / Path(place).name
        shutil.copytree(place, copy, ignore=shutil.ignore_patterns("*.lock", "lock"))
        wait_for_all()
        yield copy


def broadcast(value: Any) -> Any:
    """What the first process gave, in all of them."""
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def wait_for_all() -> None:
    """Return when all processes are here."""
    from torch import distributed

    distributed.barrier()


def average_gradients(weights: "list[Tensor]") -> None:
    """Replace the gradients of weights by their means over the processes, in one message.

    A weight that has none in this process counts as 0; one that has none anywhere keeps None.
    """
    team = read_team()
    if team.size == 1:
        return
    import torch
    from torch import distributed

    if not weights:
        return
    has_gradient = torch.tensor(
        [float(weight.grad is not None) for weight in weights], device=weights[0].device
    )
    parts = [
        (torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1)
        for weight in weights
    ]
    together = torch.cat([has_gradient.to(parts[0].dtype), *parts])
    distributed.all_reduce(together)
    anywhere, *means = together.split([len(weights), *map(len, parts)])
    for weight, mean, count in zip(weights, means, anywhere.tolist(), strict=True):
        if count:
            weight.grad = (mean / team.size).view_as(weight)


def require_alone(what: str) -> None:
    """InputError for something that several processes of one run cannot do."""
    if (team := read_team()).size > 1:
        raise InputError(f"torchrun with {team.size} processes: {what}")
