"""The trainer section of a config; its default values are in conf/trainer/default.yaml."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from uncollapse.errors import InputError, check_choice, check_integer, check_number
from uncollapse.interfaces.phases import Phase
from uncollapse.runs.rules import OTHER_RULES

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor], float], Optimizer]] = {
    # fused: one kernel for all parameters, which matters for small models
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=True),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
}

MOST_MEANS = 1000  # examples whose means a report shows
UNTIL = ("epochs", "plateau")


@dataclass
class TrainerConfig:
    """Length, optimiser and evaluations of training. Patience counts evaluations; null: never."""

    until: str  # epochs, or plateau: stop once converged, after at most `epochs`
    plateau_span: float  # epochs after the schedules in which a converged run gains too little
    plateau_gain: float  # nats of the validation objective: less than this is too little
    cooldown: float  # epochs at the end in which the lr falls to 0, see `Trainer.set_lr`
    epochs: int
    max_steps: int | None
    eval_every: int | None  # steps; null: once an epoch
    eval_examples: int | None  # training examples in a training-mode row; null: all
    population: int  # training examples for the evaluation statistics of batch-norm heads
    optimizer: str
    lr: float
    clip: float | None
    patience: int | None  # stop after this many evaluations without a new best
    decay_patience: int | None  # lower the lr after this many
    decay_factor: float
    decay_from_epoch: float
    decay_limit: int | None  # stop after lowering the lr this many times
    keep: list[str]  # further weights to keep, by the rule that chooses them: see `selection`
    nll_samples: int | None  # codes per validation example of the nll in each evaluation
    nll_examples: int  # validation examples of that nll
    posterior_means: int | None  # examples whose mean under q and p(z|x) each evaluation records
    decay_reload: bool  # go back to the best weights then: see `Selection.decay`

    def check(self) -> None:
        """InputError for a value out of range."""
        counts = {
            "epochs": self.epochs,
            "population": self.population,
            "nll_examples": self.nll_examples,
        }
        limits = {
            "max_steps": self.max_steps,
            "eval_every": self.eval_every,
            "eval_examples": self.eval_examples,
            "patience": self.patience,
            "decay_patience": self.decay_patience,
            "decay_limit": self.decay_limit,
            "nll_samples": self.nll_samples,
        }
        if self.posterior_means is not None:
            check_integer("trainer.posterior_means", self.posterior_means, 2, MOST_MEANS)
        # null means no limit, and needs no check
        given = {name: value for name, value in limits.items() if value is not None}
        for name, value in (counts | given).items():
            check_integer(f"trainer.{name}", value, 1)
        self.check_end()
        check_number("trainer.lr", self.lr, 0, 1000)
        check_number("trainer.decay_from_epoch", self.decay_from_epoch, 0, closed=True)
        check_number("trainer.decay_factor", self.decay_factor, 0, 1)
        if self.clip is not None:
            check_number("trainer.clip", self.clip, 0)
        check_choice("trainer.optimizer", self.optimizer, OPTIMIZERS)
        for rule in self.keep:
            check_choice("trainer.keep", rule, OTHER_RULES)
        if "best_nll" in self.keep and self.nll_samples is None:
            raise InputError(
                "trainer.keep=best_nll: it needs an nll in every evaluation; "
                "give trainer.nll_samples, such as 16"
            )

    def check_end(self) -> None:
        """InputError for a bad setting of the plateau or the cooldown."""
        check_choice("trainer.until", self.until, UNTIL)
        check_number("trainer.plateau_span", self.plateau_span, 0)
        check_number("trainer.plateau_gain", self.plateau_gain, 0)
        check_number("trainer.cooldown", self.cooldown, 0, self.epochs, closed=True)
        if self.cooldown and self.decay_patience is not None:
            raise InputError(
                f"trainer.cooldown={self.cooldown} and trainer.decay_patience={self.decay_patience}"
                " both lower the lr; give one of them"
            )

    def phases(self) -> list[Phase]:
        """The time before the lr may be lowered."""
        if self.decay_patience is None or self.decay_from_epoch <= 0:
            return []
        knob = "trainer.decay_from_epoch"
        return [
            Phase(
                {knob: self.decay_from_epoch},
                knob,
                self.decay_from_epoch,
                lambda epoch: "before the learning rate may be lowered",
                "it never is",
                lambda epochs: f"{knob} below {epochs:.3g}",
            )
        ]
