"""Decisions after each evaluation: which model is kept, a lower learning rate, an early stop."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from uncollapse.interfaces.model import Model
from uncollapse.runs.checkpoint import load_model, save_model
from uncollapse.training.config import TrainerConfig
from uncollapse.training.state import Progress


@dataclass(frozen=True)
class Selection:
    """Keeps the model weights with the lowest validation nelbo in the file `weights`."""

    config: TrainerConfig
    model: Model
    optimizers: dict[str, Optimizer]
    weights: Path

    def judge(
        self, progress: Progress, nelbo: float, epoch: float, weight: float, settled: bool
    ) -> None:
        """Keep the model if its nelbo is the lowest; lower the lr or stop when patience runs out.

        weight: the current KL weight, which is recorded. In `nelbo` the KL has the weight with
        which training ends, so that evaluations during a ramp can be compared.
        """
        if not math.isfinite(nelbo):
            raise FloatingPointError(f"the validation nelbo is not finite: {nelbo}")
        # during pretraining the newest model is kept, and none counts as the best
        if not settled:
            self.keep(progress, weight)
            return
        if nelbo < progress.best:
            progress.best, progress.bad = nelbo, 0
            self.keep(progress, weight)
        else:
            progress.bad += 1
            patience = self.config.patience
            progress.stopped = patience is not None and progress.bad >= patience
        # `to_beat` differs from `best` once the best weights have been reloaded
        if nelbo < progress.to_beat:
            progress.to_beat, progress.bad_lr = nelbo, 0
            return
        progress.bad_lr += 1
        if self.is_decay_due(progress, epoch):
            self.decay(progress, nelbo)

    def keep(self, progress: Progress, weight: float) -> None:
        """Save the current model as the best."""
        progress.best_step, progress.best_weight = progress.step, weight
        save_model(self.weights, self.model)

    def is_decay_due(self, progress: Progress, epoch: float) -> bool:
        patience = self.config.decay_patience
        late_enough = epoch >= self.config.decay_from_epoch
        return patience is not None and progress.bad_lr >= patience and late_enough

    def decay(self, progress: Progress, nelbo: float) -> None:
        """Lower the lr, and stop if this was the last reduction.

        With decay_reload, as in the code of He et al. 2019, the best weights are loaded, the
        optimisers are reset, and later evaluations are compared with the current, worse nelbo.
        """
        progress.decays, progress.bad_lr = progress.decays + 1, 0
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= self.config.decay_factor
        if self.config.decay_reload:
            load_model(self.weights, self.model)
            for optimizer in self.optimizers.values():
                # Adam's moments belong to the weights that were replaced
                optimizer.state.clear()
            # as He et al. do; comparing with the best would soon lower the lr again
            progress.to_beat = nelbo
        progress.stopped = progress.stopped or progress.decays == self.config.decay_limit
