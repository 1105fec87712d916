"""Decisions after each evaluation: which model is kept, a lower learning rate, an early stop."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from uncollapse.interfaces.model import Model
from uncollapse.json_types import JsonMapping
from uncollapse.runs.checkpoint import load_model, save_model
from uncollapse.runs.layout import WEIGHTS, Run
from uncollapse.runs.rules import weights_file
from uncollapse.training.config import TrainerConfig
from uncollapse.training.state import Kept, Progress


@dataclass(frozen=True)
class Selection:
    """Keeps the weights with the lowest validation objective, and those of the rules in `keep`.

    best_nelbo and best_nll choose among all evaluations, as most published code does, also among
    those in which a schedule was still running.
    """

    config: TrainerConfig
    model: Model
    optimizers: dict[str, Optimizer]
    run: Run

    @property
    def weights(self) -> Path:
        """The file of the default rule."""
        return self.run.path(WEIGHTS)

    def weights_of(self, rule: str) -> Path:
        """The file of another rule."""
        return self.run.path(weights_file(rule))

    def keep_others(self, progress: Progress, row: JsonMapping, weight: float) -> None:
        """Keep the weights if they are the best so far under another rule than the default."""
        for rule, metric in (("best_nelbo", "nelbo"), ("best_nll", "valid_nll")):
            kept = progress.kept.setdefault(rule, Kept())
            if rule in self.config.keep and row[metric] < kept.value:
                progress.kept[rule] = Kept(row[metric], progress.step, weight)
                save_model(self.weights_of(rule), self.model)

    def judge(
        self, progress: Progress, objective: float, epoch: float, weight: float, settled: bool
    ) -> None:
        """Keep weights whose objective is the lowest; lower the lr or stop if patience is over.

        The objective has the weights of the end of training; `weight` is the current one.
        """
        if not math.isfinite(objective):
            raise FloatingPointError(f"the validation objective is not finite: {objective}")
        # What training ends with is not being trained yet: keep these weights, but let any later
        # ones win. While a KL weight grows, the lowest objective would favour collapsed weights.
        if not settled:
            self.keep(progress, weight)
            return
        if objective < progress.best:
            progress.best, progress.bad = objective, 0
            self.keep(progress, weight)
        else:
            progress.bad += 1
            patience = self.config.patience
            progress.stopped = patience is not None and progress.bad >= patience
        # `to_beat` differs from `best` once the best weights have been reloaded
        if objective < progress.to_beat:
            progress.to_beat, progress.bad_lr = objective, 0
            return
        progress.bad_lr += 1
        if self.is_decay_due(progress, epoch):
            self.decay(progress, objective)

    def keep(self, progress: Progress, weight: float) -> None:
        """Save the current model as the best."""
        progress.best_step, progress.best_weight = progress.step, weight
        save_model(self.weights, self.model)

    def is_decay_due(self, progress: Progress, epoch: float) -> bool:
        patience = self.config.decay_patience
        late_enough = epoch >= self.config.decay_from_epoch
        return patience is not None and progress.bad_lr >= patience and late_enough

    def decay(self, progress: Progress, objective: float) -> None:
        """Lower the lr, and stop if this was the last reduction.

        With decay_reload, as in the code of He et al. 2019, the best weights are loaded, the
        optimisers are reset, and later evaluations are compared with the current, worse objective.
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
            progress.to_beat = objective
        progress.stopped = progress.stopped or progress.decays == self.config.decay_limit
