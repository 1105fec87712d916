"""An encoder that has learned to inform comes first: train an autoencoder, start the decoder anew, then train the VAE with free bits.

Li, He, Neubig, Berg-Kirkpatrick & Yang, "A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text", EMNLP 2019
(arXiv 1909.00868), section 3:

    pretrain_epochs     KL weight 0: the encoder learns codes that say what x is
    then                the decoder goes back to its initial weights, the optimisers forget, and the KL weight rises to 1

The weight is the objective's schedule (`schedules.Delayed`) and the free bits are the objective's own (`objectives.free_bits`, in the
form that the authors' code has, for each example); this procedure does what remains. Deviations: the paper trains its autoencoder
to convergence in a run of its own and anneals over 10 epochs of up to 100; here both are counted in epochs of one run, and short as
runs are, so fewer steps are left for the final decoder than other heads have.
"""

from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.errors import check_number
from uncollapse.objectives.elbo import Loss
from uncollapse.procedures import Training
from uncollapse.procedures.joint import Joint
from uncollapse.training.phases import Phase, Phased


class AEPretrain(Phased, nn.Module):
    """pretrain_epochs >= 0; with 0 nothing is reset. Buffer `settled`: the decoder has started anew and the VAE is being trained."""

    settled: Tensor

    def __init__(self, pretrain_epochs: float):
        super().__init__()
        self.pretrain_epochs = check_number("pretrain_epochs", pretrain_epochs, 0, closed=True)
        self.register_buffer("settled", torch.tensor(self.pretrain_epochs == 0))
        self.initial: list[Tensor] = []

    def begin(self, training: Training) -> None:
        """Remember the decoder's initial weights. Runs before a checkpoint is restored, so they need not be in it."""
        self.initial = [
            parameter.detach().clone() for parameter in training.model.parts()["decoder"]
        ]

    def phases(self) -> list[Phase]:
        """The autoencoder."""
        if self.pretrain_epochs == 0:
            return []
        return [
            Phase(
                {"pretrain_epochs": self.pretrain_epochs},
                f"procedure.pretrain_epochs={self.pretrain_epochs:g}",
                self.pretrain_epochs,
                lambda epoch: "while the model is still an autoencoder",
                "the VAE is never trained",
                lambda epochs: f"pretrain_epochs below {epochs:.3g}",
            )
        ]

    def step(self, training: Training, batch: Any) -> Loss:
        # the same position that the schedule reads, so the KL counts from the very step at which the decoder is new
        if not self.settled and training.epoch >= self.pretrain_epochs:
            self.start_anew(training)
        return Joint().step(training, batch)

    def start_anew(self, training: Training) -> None:
        with torch.no_grad():
            for parameter, initial in zip(
                training.model.parts()["decoder"], self.initial, strict=True
            ):
                parameter.copy_(initial)
        for optimizer in training.optimizers.values():
            optimizer.state.clear()
        self.settled.fill_(True)
