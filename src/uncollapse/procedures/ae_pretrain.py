"""Pretraining as an autoencoder: then the decoder is reset, and the VAE is trained with free bits.

Li, He, Neubig, Berg-Kirkpatrick & Yang, "A Surprisingly Effective Fix for Deep Latent Variable
Modeling of Text", EMNLP 2019 (arXiv 1909.00868), section 3:

    pretrain_epochs     KL weight 0: the encoder learns codes that describe x
    then                the decoder returns to its initial weights, the optimisers are reset, and
                        the KL weight grows to 1

The weight is the objective's schedule (`schedules.Delayed`), and the free bits are the objective's
own (`objectives.free_bits`, per example as in the authors' code). This procedure does the rest.

Deviations: the paper trains its autoencoder to convergence in a separate run and anneals over 10
epochs of up to 100. Here both are counted in epochs of one run, and runs are short, so the final
decoder gets fewer steps than with other heads.
"""

import torch
from torch import Tensor, nn

from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.phases import Phase
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.procedures.joint import step_together


class AEPretrain(Procedure):
    """pretrain_epochs >= 0; with 0 nothing is reset. State: whether the decoder has been reset."""

    def __init__(self, pretrain_epochs: float):
        self.pretrain_epochs = check_number("pretrain_epochs", pretrain_epochs, 0, closed=True)
        # a module of its own, as the procedure is not one
        self.state = nn.Module()
        self.state.register_buffer("settled", torch.tensor(self.pretrain_epochs == 0))
        self.initial: list[Tensor] = []

    def state_module(self) -> nn.Module:
        return self.state

    @property
    def settled(self) -> bool:
        """Whether the decoder has been reset."""
        return bool(self.state.get_buffer("settled"))

    def check(self, model: Model, head: str, epochs: int) -> None:
        """InputError when training would end with the autoencoder."""
        if self.pretrain_epochs >= epochs:
            raise InputError(
                f"pretrain_epochs={self.pretrain_epochs:g}: with trainer.epochs={epochs} nothing "
                f"would follow the autoencoder; allowed is pretrain_epochs < {epochs}"
            )

    def begin(self, training: Training) -> None:
        """Keep the decoder's initial weights.

        They follow from the seed, so a checkpoint, restored later, need not hold them.
        """
        decoder = training.model.parts()["decoder"]
        self.initial = [parameter.detach().clone() for parameter in decoder]

    def phases(self) -> list[Phase]:
        """The epochs of pretraining."""
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

    def step(self, training: Training, batch: Batch) -> Loss:
        # the schedule uses the same position, so the KL weight grows from the reset on
        if not self.settled and training.epoch >= self.pretrain_epochs:
            self.reset_decoder(training)
        return step_together(training, batch)

    def reset_decoder(self, training: Training) -> None:
        """Return the decoder to its initial weights and all optimisers to their initial state."""
        decoder = training.model.parts()["decoder"]
        # copied in place, so that the optimisers keep their parameters
        with torch.no_grad():
            for parameter, initial in zip(decoder, self.initial, strict=True):
                parameter.copy_(initial)
        for optimizer in training.optimizers.values():
            # Adam's moments belong to the autoencoder's decoder
            optimizer.state.clear()
        self.state.get_buffer("settled").fill_(True)
