"""Who updates when. What all procedures work with, and the one place where gradients become steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from uncollapse.distributions.normal import Posterior
from uncollapse.models import Model
from uncollapse.objectives.elbo import Loss


@dataclass
class Training:
    """One training run as a procedure sees it; `step` counts the steps made so far.

    `optimizers` holds one optimiser per part: "encoder" and "decoder", and "objective" where the objective has weights of its own.
    """

    model: Model
    objective: Any
    data: Any
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

    def loss(self, batch: Any, q: Posterior) -> Loss:
        """The objective at one code of q for each example. FloatingPointError, naming the term, when it is not finite."""
        z = q.sample()
        loss = self.objective(self.model.nll(batch, z), q, z, self.epoch, batch)
        require_finite(loss)
        return loss

    def update(self, loss: Tensor, parts: tuple[str, ...] | None = None) -> None:
        """One optimiser step of the named parts (all of them by default), gradients clipped over these parts together."""
        optimizers = [self.optimizers[part] for part in parts or self.optimizers]
        stepped = [
            p
            for optimizer in optimizers
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward(
            inputs=stepped if parts else None
        )  # gradients that nobody steps along are not computed
        if self.clip is not None:
            nn.utils.clip_grad_norm_(stepped, self.clip)
        for optimizer in optimizers:
            optimizer.step()

    def more_batches(self) -> Iterator[Any]:
        """Random training batches beside the one of this step, without end; the choice depends on seed and step alone."""
        rng = np.random.default_rng((self.seed, self.step))
        for epoch in count():
            order = self.data.batches("train", int(rng.integers(2**31)), epoch)
            for examples in order:
                yield self.data.batch("train", examples, int(self.epoch)).to(self.device)


def require_finite(loss: Loss) -> None:
    """FloatingPointError that names the first term which is not finite; one synchronisation when all is well."""
    if loss.total.isfinite():
        return
    bad = {name: float(term.detach()) for name, term in loss.terms.items() if not term.isfinite()}
    named = (
        ", ".join(f"{name} = {value}" for name, value in bad.items())
        or f"their weighted sum = {float(loss.total.detach())}"
    )
    raise FloatingPointError(f"the loss is not finite: {named}")


def inference(procedure: Any, model: Model) -> Callable[..., Posterior]:
    """(batch, generator) -> Posterior: how this procedure finds codes. It may offer infer(model, batch, generator); else the encoder."""
    infer = getattr(procedure, "infer", None)
    if infer is None:
        return lambda batch, generator=None: model.encode(batch)
    return lambda batch, generator=None: infer(model, batch, generator)
