"""A procedure: which weights each step updates, and how the code of an example is inferred."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from uncollapse.interfaces.data import Batch, Data
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.objective import Loss, Objective
from uncollapse.interfaces.phases import Phased
from uncollapse.interfaces.posterior import Posterior
from uncollapse.interfaces.state import Stateful
from uncollapse.processes import average_gradients


@dataclass
class Training:
    """One training run as a procedure sees it; `step` counts the steps made so far.

    `optimizers` holds one optimiser per component: "encoder", "decoder", and "objective" where the
    objective has parameters of its own.
    """

    model: Model
    objective: Objective
    data: Data
    optimizers: dict[str, Optimizer]
    clip: float | None
    seed: int
    per_epoch: int
    device: torch.device
    step: int = 0

    @property
    def epoch(self) -> float:
        """Position in epochs."""
        return self.step / self.per_epoch

    def loss(self, batch: Batch, q: Posterior) -> Loss:
        """The objective at one code of q for each example.

        FloatingPointError, naming the term, when it is not finite.
        """
        z = q.sample()
        loss = self.objective(self.model.nll(batch, z), q, z, self.epoch, batch)
        require_finite_loss(loss)
        return loss

    def update(self, loss: Tensor, components: tuple[str, ...] | None = None) -> None:
        """One optimiser step of the named components (default: all), clipped over them together."""
        optimizers = [self.optimizers[name] for name in components or self.optimizers]
        weights = [w for o in optimizers for group in o.param_groups for w in group["params"]]
        # those of components that make no step now would otherwise be added to later ones
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        # no gradients for components that make no step
        loss.backward(inputs=weights if components else None)
        average_gradients(weights)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(weights, self.clip)
        for optimizer in optimizers:
            optimizer.step()

    def more_batches(self) -> Iterator[Batch]:
        """Endless random training batches for further steps; (seed, step) seeds the choice."""
        # (seed, step), so that a resumed run gets the same further batches without any state
        rng = np.random.default_rng((self.seed, self.step))
        for epoch in count():
            order = self.data.batches("train", int(rng.integers(2**31)), epoch)
            for examples in order:
                # images are binarised again in every epoch; further batches take those of the
                # current epoch
                yield self.data.batch("train", examples, int(self.epoch)).to(self.device)


def require_finite_loss(loss: Loss) -> None:
    """FloatingPointError that names the terms which are not finite."""
    if loss.total.isfinite():  # the only synchronisation with the device in a good step
        return
    # only now read back the single terms
    bad = {name: float(term.detach()) for name, term in loss.terms.items() if not term.isfinite()}
    terms = ", ".join(f"{name} = {value}" for name, value in bad.items())
    total = f"their weighted sum = {float(loss.total.detach())}"
    raise FloatingPointError(f"the loss is not finite: {terms or total}")


class Procedure(Phased, Stateful, interface=True):
    """Base of procedures without state; see also `ProcedureModule`."""

    # whether all its gradients are those of `Training.update`, which processes average
    can_be_divided: ClassVar[bool] = True

    def begin(self, training: Training) -> None:
        """Prepare: called before the first step, and before a checkpoint is restored."""

    @abstractmethod
    def step(self, training: Training, batch: Batch) -> Loss:
        """One training step, by `training.loss` and `training.update`."""

    def infer(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> Posterior:
        """The posterior of a batch, used in evaluation; any noise comes from the generator."""
        return model.encode(batch)

    @property
    def settled(self) -> bool:
        """Whether the final model is being trained. Until then no weights count as the best."""
        return True

    def check(self, model: Model, head: str, epochs: int) -> None:
        """InputError, before any work, for a model or a number of epochs that it cannot train."""


class ProcedureModule(nn.Module, Procedure, interface=True):
    """Base of procedures with buffers, such as counts, which checkpoints keep."""
