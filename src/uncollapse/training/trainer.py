"""The training loop: batches, steps, evaluations, checkpoints. It is the same for all heads."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from uncollapse.interfaces.data import Batch, Data
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.objective import Objective
from uncollapse.interfaces.phases import Phase, Phased
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.json_types import JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.information import FINAL_MIXTURE, MIXTURE
from uncollapse.metrics.metric import TRAINING
from uncollapse.metrics.one_pass import evaluate, recompute_population
from uncollapse.runs.checkpoint import load_tensors
from uncollapse.runs.layout import STATE, WEIGHTS, Run
from uncollapse.runs.rows import Record, read_run_rows
from uncollapse.training.config import OPTIMIZERS, TrainerConfig
from uncollapse.training.convergence import Convergence, assess_convergence
from uncollapse.training.floor import warn_below_floor
from uncollapse.training.losses import LossMeans
from uncollapse.training.measures import keep_numbers
from uncollapse.training.phases import SLACK, Length
from uncollapse.training.reporter import Reporter
from uncollapse.training.schedules import weight_at, weight_phases
from uncollapse.training.selection import Selection
from uncollapse.training.state import Progress, restore_checkpoint, save_checkpoint
from uncollapse.training.testing import Tested, test_weights


@dataclass(frozen=True, kw_only=True)
class TrainerSetup:
    """The components and settings of a training run."""

    config: TrainerConfig
    model: Model
    data: Data
    objective: Objective
    procedure: Procedure
    run: Run  # receives weights and checkpoints
    record: Record  # receives the rows of metrics
    seed: int
    reporter: Reporter


class Trainer:
    """Trains the model of a setup, then tests it."""

    def __init__(self, setup: TrainerSetup):
        self.setup, self.config, self.data = setup, setup.config, setup.data
        self.model, self.objective = setup.model, setup.objective
        self.procedure = setup.procedure
        self.optimizers = make_optimizers(setup)
        per_epoch = len(self.data.batches("train", setup.seed, 0))
        self.length = plan_length(self.config, per_epoch)
        self.training = Training(
            self.model,
            self.objective,
            self.data,
            self.optimizers,
            self.config.clip,
            setup.seed,
            per_epoch,
            next(self.model.parameters()).device,
        )
        self.selection = Selection(self.config, self.model, self.optimizers, setup.run)
        self.progress = Progress()
        self.losses = LossMeans()
        self.history: list[tuple[float, float]] = []  # of validation rows, see `convergence`
        self.measured = (0, 0.0)  # step and training seconds at the last evaluation
        self.has_warned = False  # of a KL below the floor
        # before a checkpoint is restored, as procedures keep initial values here
        self.procedure.begin(self.training)

    @property
    def epoch(self) -> float:
        """Position in epochs."""
        return self.progress.step / self.length.per_epoch

    # ---------------------------------------------------------------- training

    def fit(self) -> Progress:
        """Train to the end, from the checkpoint if there is one.

        A resumed run equals an uninterrupted one bit for bit.
        """
        if self.setup.run.holds(STATE):
            self.restore()
        else:
            # rows of an earlier start that was killed before its first checkpoint
            if note := self.setup.record.resume(-1):
                self.setup.reporter.warn(note)
            # the noise of training does not depend on how many numbers initialisation drew
            torch.manual_seed(self.setup.seed)
            self.evaluate()
        every = self.config.eval_every or self.length.per_epoch
        for batch in self.iterate_batches():
            self.make_step(batch)
            # at the end too, so that the last weights are evaluated
            if self.progress.step % every == 0 or self.progress.step == self.last_step():
                self.evaluate()
        return self.progress

    def make_step(self, batch: Batch) -> None:
        """One step of the procedure, timed."""
        start = time.perf_counter()
        # procedures and schedules see the number of steps made before this one
        self.training.step = self.progress.step
        self.set_lr()
        loss = self.procedure.step(self.training, batch)
        self.objective.update(loss)
        self.losses.add(loss)
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - start
        self.setup.reporter.stepped(self.progress.step, self.last_step(), loss)

    def last_step(self) -> int:
        """The number of steps after which training ends, as far as it is known."""
        return int(min(self.length.total, self.progress.ends))

    def cooldown_steps(self) -> int:
        """The number of steps at the end in which the lr falls."""
        return min(round(self.config.cooldown * self.length.per_epoch), self.length.total)

    def cooldown_start(self) -> int:
        """The step from which it falls."""
        return self.last_step() - self.cooldown_steps()

    def set_lr(self) -> None:
        """In the cooldown, a straight line from the lr to 0 after the last step.

        A constant lr, then such a line, as in Hägele et al. 2024 (arXiv 2405.18392, section 3):
        training at the constant lr can go on for as long as it needs.
        """
        start, end = self.cooldown_start(), self.last_step()
        if self.progress.step < start or start == end:
            return
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr * (end - self.progress.step) / (end - start)

    def iterate_batches(self) -> Iterator[Batch]:
        """Batches from the current position until training is over."""
        order: Sequence[np.ndarray] = []
        order_epoch = -1
        self.model.train()
        while self.progress.step < self.last_step() and not self.progress.stopped:
            epoch, index = divmod(self.progress.step, self.length.per_epoch)
            # the order of batches depends only on (seed, epoch), so a resumed run repeats it
            if order_epoch != epoch:
                order, order_epoch = self.data.batches("train", self.setup.seed, epoch), epoch
                # before the first batch of the epoch, and again when a run is resumed within it
                self.model.posterior.set_epoch(epoch)
            yield self.data.batch("train", order[index], epoch).to(self.training.device)

    # ---------------------------------------------------------------- evaluation

    def evaluate(self) -> None:
        """Write the rows of this position, decide on the best weights and the lr, and save."""
        # evaluations in evaluation mode need them
        recompute_population(self.model, self.data, self.config.population)
        common = catalogue.compute(TRAINING, self)
        self.measured = (self.progress.step, self.progress.seconds)
        shared = keep_numbers(common)
        row = self.write_row("train", "train", shared, self.config.eval_examples)
        self.has_warned = self.has_warned or warn_below_floor(row)
        row = self.write_row("valid", "eval", common)
        self.history.append((self.epoch, row["objective"]))
        end = self.schedules_end()
        settled = self.procedure.settled and self.epoch >= end
        self.selection.judge(self.progress, row["objective"], self.epoch, self.weight(), settled)
        if self.procedure.settled:
            self.selection.keep_others(self.progress, row, self.weight())
        self.end_at_plateau()
        # after the decisions, so that a resumed run starts with them
        self.save()

    def write_row(
        self, split: str, mode: str, extra: JsonObject, limit: int | None = None
    ) -> JsonObject:
        """Evaluate one split, write its row and return it."""
        mixture = FINAL_MIXTURE if split == "test" else MIXTURE
        # procedures may infer codes in another way than the encoder
        encode = partial(self.procedure.infer, self.model)
        floor, loss = self.model.posterior.floor(), self.objective.final_loss
        metrics = evaluate(self.model, self.data, split, mode, limit, floor, mixture, encode, loss)
        place = {"step": self.progress.step, "epoch": self.epoch, "split": split, "mode": mode}
        row = {**place, **metrics, **extra}
        # on disk before anything else may fail
        self.setup.record.write(row)
        self.setup.reporter.evaluated(row)
        return row

    def test(self) -> Tested:
        """Write the test rows of the best weights and of those that other rules chose."""
        return test_weights(self)

    # ---------------------------------------------------------------- what rows and reports hold

    def list_phases(self) -> list[tuple[list[Phase], Phased | None]]:
        """The phases of each component, with the component if it can report on its final state."""
        return [(self.config.phases(), None), *self.list_objective_phases()]

    def list_objective_phases(self) -> list[tuple[list[Phase], Phased | None]]:
        """As `list_phases`, without the phases of the trainer's own settings."""
        components: list[Phased] = [self.objective, self.procedure, self.model.posterior]
        weight: list[tuple[list[Phase], Phased | None]] = [
            (weight_phases(self.objective.weight), None)
        ]
        return weight + [(component.phases(), component) for component in components]

    def schedules_end(self) -> float:
        """The position in epochs from which the objective trained is that of the end."""
        phases = [phase for phases, _ in self.list_objective_phases() for phase in phases]
        return max((phase.ends for phase in phases), default=0.0)

    def convergence(self) -> Convergence:
        """What the last span of training gained, before the cooldown, in which any run gains."""
        config, end = self.config, self.cooldown_start() / self.length.per_epoch
        history = [(epoch, value) for epoch, value in self.history if epoch <= end + SLACK]
        return assess_convergence(
            history, self.schedules_end(), config.plateau_span, config.plateau_gain
        )

    def end_at_plateau(self) -> None:
        """After a span with too little gain, end training with the cooldown, within the cap."""
        if (
            self.config.until == "plateau"
            and self.progress.step <= self.cooldown_start()
            and self.convergence().converged
        ):
            self.progress.ends = self.progress.step + self.cooldown_steps()

    def list_missed_plateau(self) -> list[str]:
        """One sentence if training was to end at a plateau, but reached its cap first."""
        config, convergence = self.config, self.convergence()
        if config.until != "plateau" or convergence.converged:
            return []
        cap = self.length.describe(self.progress.step)
        state = convergence.describe(config.plateau_span, config.plateau_gain)
        return [f"trainer.until=plateau: no plateau within {cap}, the most allowed; {state}"]

    def weight(self) -> float:
        """The current KL weight."""
        return self.weight_at_step(self.progress.step)

    def weight_at_step(self, step: int) -> float:
        """The KL weight at a step."""
        return weight_at(self.objective.weight, step / self.length.per_epoch)

    def last_weight(self) -> float:
        """The KL weight that the last step was made with."""
        return weight_at(self.objective.weight, self.length.last_position(self.progress.step))

    # ---------------------------------------------------------------- checkpoints

    def save(self) -> None:
        path, rows = self.setup.run.path(STATE), self.setup.record.count
        save_checkpoint(path, self.progress, self.training, self.procedure, rows)

    def restore(self) -> None:
        """Continue from the checkpoint. InputError when it is damaged or of another model."""
        path = self.setup.run.path(STATE)
        self.progress, rows = restore_checkpoint(path, self.training, self.procedure)
        # the time before the checkpoint is in the total, not in the next row's speed
        self.measured = (self.progress.step, self.progress.seconds)
        # damaged weights are reported now, not after training
        load_tensors(self.setup.run.path(WEIGHTS))
        note = self.setup.record.resume(self.progress.step, rows)
        self.history = [
            (row["epoch"], row["objective"])
            for row in read_run_rows(self.setup.run).rows
            # rows of versions before this metric have no objective
            if row["split"] == "valid" and row.get("objective") is not None
        ]
        self.setup.reporter.resumed(self.progress.step, note)


def make_optimizers(setup: TrainerSetup) -> dict[str, torch.optim.Optimizer]:
    """One optimiser for each component that has parameters."""
    make = OPTIMIZERS[setup.config.optimizer]
    own = list(setup.objective.state_module().parameters())
    components = {**setup.model.parts(), "objective": own}
    return {name: make(weights, setup.config.lr) for name, weights in components.items() if weights}


def plan_length(config: TrainerConfig, per_epoch: int) -> Length:
    """The number of steps that epochs and max_steps allow."""
    total = config.epochs * per_epoch
    if config.max_steps is not None:
        total = min(total, config.max_steps)
    return Length(total, per_epoch, config.epochs, config.max_steps)
