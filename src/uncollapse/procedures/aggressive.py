"""Aggressive training of the encoder: at first many encoder steps before each decoder step.

He, Spokoyny, Neubig & Berg-Kirkpatrick, "Lagging Inference Networks and Posterior Collapse in
Variational Autoencoders", ICLR 2019 (arXiv 1901.05534), section 4 and algorithm 1. Early in
training the encoder lags behind the true posterior p(z|x), so the decoder sees codes that carry
nothing and learns to ignore them. Therefore the encoder catches up first:

    while aggressive:   encoder steps on further random batches, until the loss stops falling
                        one decoder step on the batch of this step
                        after each epoch: go on only if I(x; z) on validation data has grown
    afterwards:         encoder and decoder together, as in ordinary training

As in the paper's code, the loss stops falling when its average over the last `inner_check` steps is
not lower than over the `inner_check` steps before, and at most `inner_max` steps are made.

Deviations from the code: every encoder batch is a further random one, as in algorithm 1 (there the
first is the batch of the step); losses are compared per example (there per word); gradients are
clipped over the component that is updated (there over the model); and I(x; z) is measured with one
mixture of up to 1000 examples (there with single batches of 32, which cannot show more than
ln 32 = 3.5 nats, less than a useful code has).
"""

from itertools import islice

import torch
from torch import Tensor

from uncollapse.errors import check_integer
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.phases import Phase, TrainingRows
from uncollapse.interfaces.procedure import ProcedureModule, Training
from uncollapse.metrics.information import code_information
from uncollapse.metrics.one_pass import evaluating, evaluation_batches, recompute_population
from uncollapse.procedures.joint import step_together

VALIDATION_EXAMPLES = 1000  # the same ones at every measurement
USEFUL_INFORMATION = 0.1  # nats of I(x; z) below which the aggressive phase has achieved nothing
# training examples for the statistics with which batch-norm heads are evaluated
POPULATION_EXAMPLES = 2000


class Aggressive(ProcedureModule):
    """At most `inner_max` encoder steps (0: ordinary training), tested every `inner_check`."""

    aggressive: Tensor  # whether the aggressive phase is still going on
    information: Tensor  # I(x; z) when last measured, nats; 0 at the start
    inner_steps: Tensor  # encoder steps made by `catch_up` so far

    def __init__(self, inner_max: int, inner_check: int):
        super().__init__()
        self.inner_max = check_integer("inner_max", inner_max, 0)
        self.inner_check = check_integer("inner_check", inner_check, 1)
        self.register_buffer("aggressive", torch.tensor(self.inner_max > 0))
        self.register_buffer("information", torch.zeros((), dtype=torch.float64))
        self.register_buffer("inner_steps", torch.tensor(0))

    def step(self, training: Training, batch: Batch) -> Loss:
        # at the first step of each epoch but the very first
        if self.aggressive and training.step > 0 and training.step % training.per_epoch == 0:
            self.end_phase_if_stalled(training)
        if not self.aggressive:
            return step_together(training, batch)
        self.catch_up(training)
        loss = training.loss(batch, training.model.encode(batch))
        # the decoder and, if the objective has any, its networks
        others = tuple(name for name in training.optimizers if name != "encoder")
        training.update(loss.total, others)
        return loss

    def catch_up(self, training: Training) -> None:
        """Make encoder steps until their loss stops falling, at most `inner_max`."""
        # sums over inner_check steps each; comparing sums is comparing averages
        before, total = float("inf"), 0.0
        for count, batch in enumerate(islice(training.more_batches(), self.inner_max), 1):
            loss = training.loss(batch, training.model.encode(batch))
            training.update(loss.total, ("encoder",))
            self.inner_steps += 1
            total += float(loss.total.detach())
            if count % self.inner_check == 0:
                if total >= before:
                    return
                before, total = total, 0.0

    def end_phase_if_stalled(self, training: Training) -> None:
        """End the phase, for good, if I(x; z) is not larger than an epoch ago."""
        information = estimate_information(training)
        # starts at 0, so the first test passes with any information at all
        self.aggressive.fill_(information > float(self.information))
        self.information.fill_(information)

    def phases(self) -> list[Phase]:
        """The first epoch: the aggressive phase can end only after it."""
        if self.inner_max == 0:
            return []
        return [
            Phase(
                {"inner_max": self.inner_max},
                f"procedure.inner_max={self.inner_max}",
                1.0,
                lambda epoch: "before the first test of whether the aggressive phase should end",
                "encoder and decoder are never trained together",
                lambda epochs: "inner_max=0",
            )
        ]

    def unsettled(self, rows: TrainingRows) -> str | None:
        """An aggressive phase that never ended, or whose codes carry no information at its end."""
        if self.inner_max == 0:
            return None
        measured = f"I(x; z) was {float(self.information):.2f} nats when last measured"
        if self.aggressive:
            return f"the aggressive phase never ended: {measured} and still grew"
        if float(self.information) < USEFUL_INFORMATION:
            return f"the aggressive phase ended before the codes carried information: {measured}"
        return None


def estimate_information(training: Training) -> float:
    """I(x; z) in nats on validation examples, as evaluations report it.

    Weights, statistics and random numbers of training are left as they are.
    """
    model, data = training.model, training.data
    with evaluating(model, train=False):
        # evaluation statistics of batch-norm heads, which every evaluation recomputes
        recompute_population(model, data, POPULATION_EXAMPLES)
        batches = evaluation_batches(model, data, "valid", "eval", VALIDATION_EXAMPLES)
        posteriors = [model.encode(batch) for batch in batches]
        z = torch.cat([q.sample() for q in posteriors])
        gain, _ = code_information(posteriors, z)
    return float(gain.mean())
