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
from uncollapse.runs.checkpoint import load_model, load_tensors
from uncollapse.runs.layout import STATE, WEIGHTS, Run
from uncollapse.runs.rows import Record
from uncollapse.training.config import OPTIMIZERS, TrainerConfig
from uncollapse.training.floor import warn_below_floor
from uncollapse.training.phases import Length
from uncollapse.training.reporter import Reporter
from uncollapse.training.schedules import weight_at, weight_phases
from uncollapse.training.selection import Selection
from uncollapse.training.state import Progress, restore_checkpoint, save_checkpoint


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


@dataclass(frozen=True)
class Tested:
    """Test rows of the best weights in evaluation and in training mode, and of the last weights."""

    best: JsonObject
    training_mode: JsonObject
    last: JsonObject  # `best` where the last weights are the best


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
        weights = setup.run.path(WEIGHTS)
        self.selection = Selection(self.config, self.model, self.optimizers, weights)
        self.progress = Progress()
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
        every, total = self.config.eval_every or self.length.per_epoch, self.length.total
        for batch in self.iterate_batches():
            self.make_step(batch)
            # at the end too, so that the last weights are evaluated
            if self.progress.step % every == 0 or self.progress.step == total:
                self.evaluate()
        return self.progress

    def make_step(self, batch: Batch) -> None:
        """One step of the procedure, timed."""
        start = time.perf_counter()
        # procedures and schedules see the number of steps made before this one
        self.training.step = self.progress.step
        loss = self.procedure.step(self.training, batch)
        self.objective.update(loss)
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - start
        self.setup.reporter.stepped(self.progress.step, self.length.total, loss)

    def iterate_batches(self) -> Iterator[Batch]:
        """Batches from the current position until training is over."""
        order: Sequence[np.ndarray] = []
        order_epoch = -1
        self.model.train()
        while self.progress.step < self.length.total and not self.progress.stopped:
            epoch, index = divmod(self.progress.step, self.length.per_epoch)
            # the order of batches depends only on (seed, epoch), so a resumed run repeats it
            if order_epoch != epoch:
                order, order_epoch = self.data.batches("train", self.setup.seed, epoch), epoch
                # before the first batch of the epoch, and again when a run is resumed within it
                self.model.posterior.set_epoch(epoch)
            yield self.data.batch("train", order[index], epoch).to(self.training.device)

    # ---------------------------------------------------------------- evaluation

    def evaluate(self) -> None:
        """Write the rows of this position, decide on the best weights and the lr, and save.

        The training-mode row comes first: the population statistics, which the validation row
        needs, are recomputed after it.
        """
        common = catalogue.compute(TRAINING, self)
        self.measured = (self.progress.step, self.progress.seconds)
        row = self.write_row("train", "train", common, self.config.eval_examples)
        self.has_warned = self.has_warned or warn_below_floor(row)
        recompute_population(self.model, self.data, self.config.population)
        row = self.write_row("valid", "eval", common)
        # weighted as at the end of training, so that evaluations during a ramp can be compared
        nelbo = row["rec"] + self.objective.final_weight * row["kl"]
        settled = self.procedure.settled
        self.selection.judge(self.progress, nelbo, self.epoch, self.weight(), settled)
        # after the decision, so that a resumed run starts with it
        self.save()

    def write_row(
        self, split: str, mode: str, extra: JsonObject, limit: int | None = None
    ) -> JsonObject:
        """Evaluate one split, write its row and return it."""
        mixture = FINAL_MIXTURE if split == "test" else MIXTURE
        # procedures may infer codes in another way than the encoder
        encode = partial(self.procedure.infer, self.model)
        floor = self.model.posterior.floor()
        metrics = evaluate(self.model, self.data, split, mode, limit, floor, mixture, encode)
        place = {"step": self.progress.step, "epoch": self.epoch, "split": split, "mode": mode}
        row = {**place, **metrics, **extra}
        # on disk before anything else may fail
        self.setup.record.write(row)
        self.setup.reporter.evaluated(row)
        return row

    def test(self) -> Tested:
        """Write the test rows: of the last weights if they are not the best, then of the best ones.

        The last weights are those with which training would continue; after `decay_reload` these
        are the best. The model holds the best weights afterwards.
        """
        last, path = None, self.setup.run.path(WEIGHTS)
        # copies, as loading the best weights overwrites the model's tensors
        ended = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        load_model(path, self.model)
        best = self.model.state_dict()
        # equal weights need no second test: the last are the best
        if not all(torch.equal(tensor, ended[name]) for name, tensor in best.items()):
            self.model.load_state_dict(ended)
            last = self.write_row("test", "eval", {"weight": self.weight(), "weights": "last"})
            load_model(path, self.model)
        # rows state the step that the tested weights are from
        self.progress.step = self.progress.best_step
        extra = {"weight": self.progress.best_weight, "weights": "best"}
        row = self.write_row("test", "eval", extra)
        return Tested(row, self.write_row("test", "train", extra), last or row)

    # ---------------------------------------------------------------- what rows and reports hold

    def list_phases(self) -> list[tuple[list[Phase], Phased | None]]:
        """The phases of each component, with the component if it can report on its final state."""
        components: list[Phased] = [self.objective, self.procedure, self.model.posterior]
        others = [weight_phases(self.objective.weight), self.config.phases()]
        return [*((phases, None) for phases in others), *((c.phases(), c) for c in components)]

    def weight(self) -> float:
        """The current KL weight."""
        return weight_at(self.objective.weight, self.epoch)

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
