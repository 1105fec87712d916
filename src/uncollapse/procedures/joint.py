"""Encoder and decoder updated together, one step each per batch: the ordinary way to train a VAE."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from uncollapse.models import Model
from uncollapse.objectives.elbo import Loss


class Joint:
    """step(model, objective, batch, epoch, optimizers, clip) -> Loss; `epoch` is the position in epochs.

    `optimizers` holds one optimiser per part of the model ("encoder", "decoder"), so that other procedures may step them apart.
    Raises FloatingPointError, naming the term, before a non-finite loss touches the weights.
    """

    def step(
        self,
        model: Model,
        objective: Any,
        batch: Any,
        epoch: float,
        optimizers: dict[str, Optimizer],
        clip: float | None,
    ) -> Loss:
        q = model.encode(batch)
        z = q.sample()
        loss = objective(model.nll(batch, z), q, z, epoch)
        require_finite(loss)
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers.values():
            optimizer.step()
        return loss


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
