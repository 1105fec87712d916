"""The state of a training run: everything that a resumed run needs to be bit-identical."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from uncollapse.errors import InputError, first_line
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.runs.checkpoint import load_state, save_state


@dataclass
class Kept:
    """Weights that a rule has chosen so far."""

    value: float = float("inf")  # the lowest, nats
    step: int = 0
    weight: float = 1.0  # of the KL, at that step


@dataclass
class Progress:
    """How far training is, and what was decided so far."""

    step: int = 0
    best: float = float("inf")  # the lowest validation objective
    best_step: int = 0
    best_weight: float = 1.0  # of the KL, at that step
    bad: int = 0  # evaluations since the best
    to_beat: float = float("inf")  # the nelbo that decay_patience compares with
    bad_lr: int = 0  # evaluations since it was beaten or the lr was lowered
    decays: int = 0
    ends: float = float("inf")  # step at which training ends, once a plateau was found
    kept: dict[str, Kept] = field(default_factory=dict)  # by rule, without the default rule
    stopped: bool = False
    seconds: float = 0.0  # of training steps, without evaluations


def save_checkpoint(
    path: Path, progress: Progress, training: Training, procedure: Procedure, rows: int
) -> None:
    """Write the state after `rows` rows of metrics."""
    is_cuda = training.device.type == "cuda"
    state = {
        **asdict(progress),
        "model": training.model.state_dict(),
        "optimizers": {name: o.state_dict() for name, o in training.optimizers.items()},
        "objective": training.objective.state_module().state_dict(),
        "procedure": procedure.state_module().state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if is_cuda else None,
        "rows": rows,
    }
    # written after the rows, whose number it states: see Record.resume
    save_state(path, state)


def restore_checkpoint(
    path: Path, training: Training, procedure: Procedure
) -> tuple[Progress, int | None]:
    """Load the state; return the progress and the number of rows written so far, if known.

    InputError when the file is damaged or of another model.
    """
    state = load_state(path)
    try:
        training.model.load_state_dict(state["model"])
        for name, optimizer in training.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        training.objective.state_module().load_state_dict(state["objective"])
        procedure.state_module().load_state_dict(state["procedure"])
        progress = read_progress(state)
        restore_random_state(path, state, training.device)
    except InputError:
        raise
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a checkpoint of this model ({first_line(error)})") from error
    return progress, state.get("rows")


def read_progress(state: dict[str, Any]) -> Progress:
    """The progress in a state. ValueError for a value that is not a number."""
    # not in checkpoints of earlier versions
    state = {"to_beat": state["best"], "ends": float("inf"), "kept": {}, **state}
    kept = {str(rule): Kept(**read_fields(found, Kept())) for rule, found in state["kept"].items()}
    return Progress(**read_fields(state, Progress()), kept=kept)


def read_fields(state: Mapping[str, Any], empty: Progress | Kept) -> dict[str, Any]:
    """The numbers of a dataclass in a state. ValueError for a value that is none."""
    names = [name for name, value in vars(empty).items() if isinstance(value, int | float)]
    for name in names:
        if not isinstance(state[name], int | float):
            raise ValueError(f"{name} is a {type(state[name]).__name__}")
    return {name: state[name] for name in names}


def restore_random_state(path: Path, state: dict[str, Any], device: torch.device) -> None:
    """Set the random generators. InputError for a state from a GPU where there is none."""
    if state["cuda_rng"] is not None and device.type != "cuda":
        raise InputError(
            f"{path}: the run was started on a GPU, and this machine has none; "
            "device=cuda resumes it on one that has"
        )
    # last, so that nothing that restoring draws can change the state
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"])
