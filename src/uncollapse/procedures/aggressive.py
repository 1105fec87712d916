"""Aggressive training of the encoder: many encoder steps before each decoder step, as long as the codes still learn about x.

He, Spokoyny, Neubig & Berg-Kirkpatrick, "Lagging Inference Networks and Posterior Collapse in Variational Autoencoders", ICLR 2019
(arXiv 1901.05534), section 4 and algorithm 1. Early in training the encoder lags behind the true posterior p(z|x), the decoder sees
codes that say nothing, and learns to do without. So the encoder is brought up to date first:

    while aggressive:   repeat  encoder step on a further random batch  until its loss no longer falls
                        decoder step on the batch of this step
                        after each epoch: aggressive only while I(x; z) on the validation split still grows
    afterwards:         encoder and decoder together, as always

What the paper leaves open follows its code: "no longer falls" compares the average loss over the last `inner_check` steps with the
average over as many before, and at most `inner_max` steps are made. Deviations from the code: every inner batch is a further random
one, as in algorithm 1 (there the first is the step's own); losses are compared per example (there per word); gradients are clipped
over the part that is stepped (there over the whole model); and I(x; z) is measured with one mixture of up to 1000 examples (there the
mixtures of single batches of 32, whose ceiling of ln 32 = 3.5 nats a working code exceeds).
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.errors import check_integer
from uncollapse.metrics.one_pass import evaluating, evaluation_batches, recompute_population
from uncollapse.metrics.information import code_gains
from uncollapse.objectives.elbo import Loss
from uncollapse.procedures import Training
from uncollapse.procedures.joint import Joint
from uncollapse.training.phases import Phase, Phased

EXAMPLES = 1000  # of the validation split, always the same
LEARNED = 0.1  # nats of I(x; z) below which the phase has done nothing
POPULATION = 2000  # training examples from which batch-norm heads get the statistics that I(x; z) is measured with


class Aggressive(Phased, nn.Module):
    """inner_max: encoder steps before a decoder step, at most (0: the ordinary training); inner_check: over how many losses are averaged.

    Buffers: `aggressive` (whether the phase goes on), `information` (I(x; z) at the last look, nats; 0 at the start, where codes say
    nothing), `inner_steps` (encoder steps made so far beside the ordinary ones).
    """

    aggressive: Tensor
    information: Tensor
    inner_steps: Tensor

    def __init__(self, inner_max: int, inner_check: int):
        super().__init__()
        self.inner_max, self.inner_check = (
            check_integer("inner_max", inner_max, 0),
            check_integer("inner_check", inner_check, 1),
        )
        self.register_buffer("aggressive", torch.tensor(self.inner_max > 0))
        self.register_buffer("information", torch.zeros((), dtype=torch.float64))
        self.register_buffer("inner_steps", torch.tensor(0))

    def step(self, training: Training, batch: Any) -> Loss:
        if self.aggressive and training.step > 0 and training.step % training.per_epoch == 0:
            self.look(training)
        if not self.aggressive:
            return Joint().step(training, batch)
        self.catch_up(training)
        loss = training.loss(batch, training.model.encode(batch))
        training.update(
            loss.total, tuple(part for part in training.optimizers if part != "encoder")
        )
        return loss

    def catch_up(self, training: Training) -> None:
        """Encoder steps until their loss no longer falls, or there were enough."""
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

    def phases(self) -> list[Phase]:
        """The first epoch: only after it the phase can end."""
        if self.inner_max == 0:
            return []
        return [
            Phase(
                {"inner_max": self.inner_max},
                f"procedure.inner_max={self.inner_max}",
                1.0,
                lambda epoch: "before the first look at whether the aggressive phase should end",
                "encoder and decoder are never trained together",
                lambda epochs: "inner_max=0",
            )
        ]

    def unsettled(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """A phase that never ended, or that ended although the codes had not begun to say anything."""
        if self.inner_max == 0:
            return None
        told = f"I(x; z) was {float(self.information):.2f} nats at the last look"
        if self.aggressive:
            return f"the aggressive phase never ended: {told} and still grew"
        if float(self.information) < LEARNED:
            return f"the aggressive phase ended before the codes said anything: {told}"
        return None

    def look(self, training: Training) -> None:
        """Aggressive training is over for good once the codes say no more than at the last look."""
        found = mutual_information(training)
        self.aggressive.fill_(found > float(self.information))
        self.information.fill_(found)


def mutual_information(training: Training) -> float:
    """I(x; z) in nats as evaluations report it, on the first EXAMPLES validation examples; what training draws and learns is untouched."""
    model, data = training.model, training.data
    with evaluating(model, train=False):
        # statistics that batch-norm heads have in evaluation only, and that every evaluation computes anew
        recompute_population(model, data, POPULATION)
        posteriors = [
            model.encode(batch)
            for batch in evaluation_batches(model, data, "valid", "eval", EXAMPLES)
        ]
        z = torch.cat([q.sample() for q in posteriors])
        gain, _ = code_gains(posteriors, z)
    return float(gain.mean())
