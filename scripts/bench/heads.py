"""How much does a training step of each head cost, relative to the plain VAE's?"""

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bench.harness import Step, assemble, iterate_batches, make_harness_step
from bench.table import print_table
from bench.timing import time_cpu
from uncollapse.building import Parts
from uncollapse.procedures.ae_pretrain import AEPretrain
from uncollapse.procedures.aggressive import Aggressive

SLOW = 5  # times plain's step; a slower head takes part in every tenth round only


@dataclass
class Entrant:
    """A head in one phase of its training, and the time of its step in each round."""

    parts: Parts
    step: Step
    seconds: dict[int, float] = field(default_factory=dict)  # by round


@dataclass(frozen=True)
class StepCost:
    """Medians over rounds; ratios are to plain's step in the same round."""

    seconds: float
    ratio: float
    quartiles: tuple[float, float]
    rounds: int
    inner_steps: float | None  # additional encoder steps within one step


STEP_COST_COLUMNS: dict[str, Callable[[StepCost], str]] = {
    "ms/step": lambda r: f"{1e3 * r.seconds:.1f}",
    "relative to plain": lambda r: f"{r.ratio:.3f}",
    "quartiles": lambda r: f"{r.quartiles[0]:.2f} to {r.quartiles[1]:.2f}",
    "additional encoder steps in one step": lambda r: (
        "" if r.inner_steps is None else f"{r.inner_steps:.0f}"
    ),
}


def measure_heads(quick: bool, names: Sequence[str]) -> dict[str, StepCost]:
    torch.set_num_threads(1)
    results = measure_step_costs(names, rounds=20 if quick else 120, warm_up=5)
    print_table("training step of each head (grammar)", "head", STEP_COST_COLUMNS, results)
    return results


def measure_step_costs(
    names: Sequence[str], rounds: int, warm_up: int, overrides: Sequence[str] = ()
) -> dict[str, StepCost]:
    """All heads take turns on the same batches; plain always takes part."""
    parts = assemble(overrides)
    plain = Entrant(parts, make_harness_step(parts))
    entrants = {"plain": plain}
    for name in names:
        if name != "plain":
            entrants.update(list_phases(name, assemble(overrides, name, parts.data)))
    order = list(entrants)
    # the first `warm_up` rounds are run and timed, but left out of the summary
    for number, examples in zip(range(warm_up + rounds), iterate_batches(parts.data), strict=False):
        turn = number % len(order)  # the order rotates, so no head always follows the same one
        for name in order[turn:] + order[:turn]:
            entrant = entrants[name]
            if number < 2 or number % 10 == 0 or not is_slow(entrant, plain):
                entrant.seconds[number] = time_cpu(entrant.step, examples)
    return {name: summarise_rounds(entrant, plain, warm_up) for name, entrant in entrants.items()}


def is_slow(entrant: Entrant, plain: Entrant) -> bool:
    """Whether its step took more than SLOW times plain's in the second round, after a warm-up."""
    return entrant.seconds[1] > SLOW * plain.seconds[1]


def list_phases(name: str, parts: Parts) -> dict[str, Entrant]:
    """The head in its first phase and, if it has another one, in its later phase."""
    first = {name: Entrant(parts, make_harness_step(parts))}
    # a deep copy of everything except the data, which are large and never change
    later = copy.deepcopy(parts, {id(parts.data): parts.data})
    procedure, start = later.procedure, 0
    if isinstance(procedure, Aggressive):
        # skip to the phase after the aggressive one
        procedure.aggressive.fill_(False)
    elif isinstance(procedure, AEPretrain) and not procedure.settled:
        # skip to the first step after pretraining
        start = math.ceil(procedure.pretrain_epochs * len(parts.data.batches("train", 0, 0)))
    else:
        return first
    return {**first, f"{name}, afterwards": Entrant(later, make_harness_step(later, start))}


def summarise_rounds(entrant: Entrant, plain: Entrant, warm_up: int) -> StepCost:
    rounds = [number for number in entrant.seconds if number >= warm_up]
    # paired within a round: what slows the machine down for a moment slows both
    ratios = [entrant.seconds[number] / plain.seconds[number] for number in rounds]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    procedure = entrant.parts.procedure
    inner = float(procedure.inner_steps) if isinstance(procedure, Aggressive) else 0
    return StepCost(
        seconds=statistics.median(entrant.seconds[number] for number in rounds),
        ratio=middle,
        quartiles=(low, high),
        rounds=len(rounds),
        inner_steps=inner / len(entrant.seconds) if inner else None,
    )
