"""The training loop: batches, steps, evaluations, checkpoints. It knows nothing of heads and remedies."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from uncollapse.errors import InputError, first_line, check_number, check_choice, check_integer
from uncollapse.metrics.evaluation import evaluate, recompute_population
from uncollapse.models import Model
from uncollapse.procedures import Training, inference
from uncollapse.runs.checkpoint import load_model, load_state, load_tensors, save_model, save_state
from uncollapse.runs.layout import STATE, WEIGHTS, Run
from uncollapse.runs.rows import Record
from uncollapse.training.phases import Length, Phase, Phased
from uncollapse.training.schedules import at, weight_phases


@dataclass
class TrainerConfig:
    """How long, how fast, how often looked at. Counts of patience are in evaluations; null switches a thing off."""

    epochs: int = 5
    max_steps: int | None = None
    eval_every: int | None = None  # steps; null: once an epoch
    eval_examples: int | None = 500  # at most this many training examples in the training-mode row
    population: int = 2000  # training examples for the batch-norm heads' evaluation statistics
    optimizer: str = "adam"
    lr: float = 1e-3
    clip: float | None = 5.0
    patience: int | None = None  # early stop
    decay_patience: int | None = None  # lr decay
    decay_factor: float = 0.5
    decay_from_epoch: float = 0
    decay_limit: int | None = None  # stop when the lr is lowered for this many-th time
    decay_reload: bool = False  # a lowered lr starts from the best weights: see `decay`

    def check(self) -> None:
        """InputError for a value that makes no sense, before any work."""
        for name in ("epochs", "population"):
            check_integer(f"trainer.{name}", getattr(self, name), 1)
        for name in (
            "max_steps",
            "eval_every",
            "eval_examples",
            "patience",
            "decay_patience",
            "decay_limit",
        ):
            if getattr(self, name) is not None:
                check_integer(f"trainer.{name}", getattr(self, name), 1)
        check_number("trainer.lr", self.lr, 0, 1000)
        check_number("trainer.decay_from_epoch", self.decay_from_epoch, 0, closed=True)
        check_number("trainer.decay_factor", self.decay_factor, 0, 1)
        if self.clip is not None:
            check_number("trainer.clip", self.clip, 0)
        check_choice("trainer.optimizer", self.optimizer, OPTIMIZERS)

    def phases(self) -> list[Phase]:
        """The time before the lr may be lowered."""
        if self.decay_patience is None or self.decay_from_epoch <= 0:
            return []
        knob = "trainer.decay_from_epoch"
        return [
            Phase(
                {knob: self.decay_from_epoch},
                knob,
                self.decay_from_epoch,
                lambda epoch: "before the learning rate may be lowered",
                "it never is",
                lambda epochs: f"{knob} below {epochs:.3g}",
            )
        ]


# examples that form q(z) in mi and its kin, while training and in the test: the cost grows with the square
MIXTURE, FINAL_MIXTURE = 1000, 10_000

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=True),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
}


@dataclass
class Progress:
    """Where training stands: all of it is in the checkpoint."""

    step: int = 0
    best: float = float("inf")
    best_step: int = 0
    best_weight: float = 1.0  # of the KL, at that step
    bad: int = 0  # evaluations since the best
    to_beat: float = float("inf")  # what the lr's patience compares with: the best, or see `decay`
    bad_lr: int = 0  # evaluations since it was beaten or the lr was lowered
    decays: int = 0
    stopped: bool = False
    seconds: float = 0.0  # spent in training steps


@dataclass(frozen=True)
class Tested:
    """Test rows of the best weights in evaluation and in training mode, and of the last ones: the same row where these are the best."""

    best: dict
    training_mode: dict
    last: dict


@dataclass
class Trainer:
    """Train `model` on `data`; `run` receives the checkpoint and `record` the rows. `watch` is told of every step and row."""

    cfg: TrainerConfig
    model: Model
    data: Any
    objective: Any
    procedure: Any
    run: Run
    record: Record
    seed: int
    watch: Any
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        make = OPTIMIZERS[self.cfg.optimizer]
        parts = {**self.model.parts(), "objective": list(state_of(self.objective).parameters())}
        self.optimizers = {
            part: make(parameters, self.cfg.lr) for part, parameters in parts.items() if parameters
        }
        self.per_epoch = len(self.data.batches("train", self.seed, 0))
        self.device = next(self.model.parameters()).device
        self.total = self.cfg.epochs * self.per_epoch
        if self.cfg.max_steps is not None:
            self.total = min(self.total, self.cfg.max_steps)
        self.length = Length(self.total, self.per_epoch, self.cfg.epochs, self.cfg.max_steps)
        self.every = self.cfg.eval_every or self.per_epoch
        self.evaluated = (0, 0.0)  # step and seconds of the last evaluation
        self.warned = False
        self.training = Training(
            self.model,
            self.objective,
            self.data,
            self.optimizers,
            self.cfg.clip,
            self.seed,
            self.per_epoch,
            self.device,
        )
        self.encode = inference(self.procedure, self.model)
        if hasattr(self.procedure, "begin"):
            self.procedure.begin(self.training)

    @property
    def epoch(self) -> float:
        """Position in epochs."""
        return self.progress.step / self.per_epoch

    def fit(self) -> Progress:
        """Train to the end, from the checkpoint if there is one; a resumed run equals an uninterrupted one bit for bit."""
        if self.run.holds(STATE):
            self.restore()
        else:
            if note := self.record.resume(-1):
                self.watch.warn(note)
            torch.manual_seed(self.seed)
            self.look()
        for batch in self.batches():
            start = time.perf_counter()
            self.training.step = self.progress.step
            loss = self.procedure.step(self.training, batch)
            if hasattr(self.objective, "update"):
                self.objective.update(loss)
            self.progress.step += 1
            self.progress.seconds += time.perf_counter() - start
            self.watch.stepped(self.progress.step, self.total, loss)
            if self.progress.step % self.every == 0 or self.progress.step == self.total:
                self.look()
        return self.progress

    def batches(self) -> Iterator:
        """Batches from the current position until training is over."""
        order: list = []
        order_epoch = -1
        self.model.train()
        while self.progress.step < self.total and not self.progress.stopped:
            epoch, index = divmod(self.progress.step, self.per_epoch)
            if order_epoch != epoch:
                order, order_epoch = self.data.batches("train", self.seed, epoch), epoch
                self.model.posterior.set_epoch(epoch)
            yield self.data.batch("train", order[index], epoch).to(self.device)

    def look(self) -> None:
        """Evaluate, write the rows, decide about the best weights, the lr and the end, and leave a checkpoint."""
        common = {"weight": self.weight(), "lr": self.lr(), **self.speed()}
        row = self.write("train", "train", common, self.cfg.eval_examples)
        self.warned = self.warned or warn_below_floor(row)
        recompute_population(self.model, self.data, self.cfg.population)
        row = self.write("valid", "eval", common)
        self.judge(row["rec"] + getattr(self.objective, "final_weight", 1.0) * row["kl"])
        self.save()

    def write(self, split: str, mode: str, extra: dict, limit: int | None = None) -> dict:
        """Evaluate one split, write its row and return it."""
        mixture = FINAL_MIXTURE if split == "test" else MIXTURE
        metrics = evaluate(
            self.model,
            self.data,
            split,
            mode,
            limit,
            promised_floor(self.model),
            mixture,
            self.encode,
        )
        row = {
            "step": self.progress.step,
            "epoch": self.epoch,
            "split": split,
            "mode": mode,
            **metrics,
            **extra,
        }
        self.record.write(row)
        self.watch.evaluated(row)
        return row

    def test(self) -> Tested:
        """Test rows: of the last weights where these are not the best ones, then of the best ones, so that the model ends with them.

        The last weights are those that training would go on with: after a reload of the best ones, these.
        """
        last, path = None, self.run.path(WEIGHTS)
        ended = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        load_model(path, self.model)
        if not all(
            torch.equal(tensor, ended[name]) for name, tensor in self.model.state_dict().items()
        ):
            self.model.load_state_dict(ended)
            last = self.write("test", "eval", {"weight": self.weight(), "weights": "last"})
            load_model(path, self.model)
        self.progress.step = self.progress.best_step
        extra = {"weight": self.progress.best_weight, "weights": "best"}
        best, training_mode = self.write("test", "eval", extra), self.write("test", "train", extra)
        return Tested(best, training_mode, last or best)

    def parts(self) -> list[tuple[list[Phase], Phased | None]]:
        """What ends in the course of training: the phases of each part, and the part where it can tell more afterwards."""
        parts: list[Phased] = [
            part
            for part in (self.objective, self.procedure, self.model.posterior)
            if isinstance(part, Phased)
        ]
        others = [weight_phases(self.objective.weight), self.cfg.phases()]
        return [*((phases, None) for phases in others), *((part.phases(), part) for part in parts)]

    def weight(self) -> float:
        """The KL weight in force."""
        return at(self.objective.weight, self.epoch)

    def last_weight(self) -> float:
        """The KL weight that the last step was made with."""
        return at(self.objective.weight, self.length.last(self.progress.step))

    def lr(self) -> float:
        return next(iter(self.optimizers.values())).param_groups[0]["lr"]

    def speed(self) -> dict:
        """Seconds per training step since the last evaluation (null at the start), and spent training so far."""
        step, seconds = self.evaluated
        steps = self.progress.step - step
        per_step = (self.progress.seconds - seconds) / steps if steps else None
        self.evaluated = (self.progress.step, self.progress.seconds)
        return {"seconds_per_step": per_step, "seconds": self.progress.seconds}

    def judge(self, nelbo: float) -> None:
        """Keep the weights if their nelbo (KL weighted as at the end of training) is the lowest; else lower the lr, or stop."""
        p, cfg = self.progress, self.cfg
        if not math.isfinite(nelbo):
            raise FloatingPointError(f"the validation nelbo is not finite: {nelbo}")
        if not getattr(
            self.procedure, "settled", True
        ):  # kept for want of better ones: any later evaluation beats them
            p.best_step, p.best_weight = p.step, self.weight()
            save_model(self.run.path(WEIGHTS), self.model)
            return
        if nelbo < p.best:
            p.best, p.best_step, p.bad = nelbo, p.step, 0
            p.best_weight = self.weight()
            save_model(self.run.path(WEIGHTS), self.model)
        else:
            p.bad += 1
            p.stopped = cfg.patience is not None and p.bad >= cfg.patience
        if nelbo < p.to_beat:
            p.to_beat, p.bad_lr = nelbo, 0
            return
        p.bad_lr += 1
        if (
            cfg.decay_patience is not None
            and p.bad_lr >= cfg.decay_patience
            and self.epoch >= cfg.decay_from_epoch
        ):
            self.decay(nelbo)

    def decay(self, nelbo: float) -> None:
        """Lower the lr, and stop at the last time.

        decay_reload, as in the code of He et al. 2019: the best weights come back, optimisers start
        anew, and later evaluations are compared with the bad one of now.
        """
        p, cfg = self.progress, self.cfg
        p.decays, p.bad_lr = p.decays + 1, 0
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= cfg.decay_factor
        if cfg.decay_reload:
            load_model(self.run.path(WEIGHTS), self.model)
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
            p.to_beat = nelbo
        p.stopped = p.stopped or p.decays == cfg.decay_limit

    def save(self) -> None:
        state = {
            **vars(self.progress),
            "model": self.model.state_dict(),
            "optimizers": {part: o.state_dict() for part, o in self.optimizers.items()},
            "objective": state_of(self.objective).state_dict(),
            "procedure": state_of(self.procedure).state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "rows": self.record.count,
        }
        save_state(self.run.path(STATE), state)

    def restore(self) -> None:
        """Take up the checkpoint in the folder. InputError when it is damaged or of another model."""
        path = self.run.path(STATE)
        state = load_state(path)
        try:
            self.model.load_state_dict(state["model"])
            for part, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][part])
            state_of(self.objective).load_state_dict(state["objective"])
            state_of(self.procedure).load_state_dict(state["procedure"])
            state.setdefault("to_beat", state["best"])  # not in checkpoints of version 0.1
            self.progress = Progress(
                **{name: numeric(state[name], name) for name in vars(self.progress)}
            )
            if state["cuda_rng"] is not None and self.device.type != "cuda":
                raise InputError(
                    f"{path}: the run was begun on a GPU, and none is there; device=cuda goes on where there is one"
                )
            torch.set_rng_state(state["rng"])
            if state["cuda_rng"] is not None:
                torch.cuda.set_rng_state(state["cuda_rng"])
        except InputError:
            raise
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a checkpoint of this model ({first_line(error)})"
            ) from error
        self.evaluated = (self.progress.step, self.progress.seconds)
        load_tensors(
            self.run.path(WEIGHTS)
        )  # damaged ones are found now, not when training is over
        self.watch.resumed(
            self.progress.step, self.record.resume(self.progress.step, state.get("rows"))
        )


def numeric(value: Any, name: str) -> Any:
    """A count, a number or a truth value of a checkpoint as it is."""
    if not isinstance(value, int | float):
        raise ValueError(f"{name} is a {type(value).__name__}")
    return value


def state_of(part: Any) -> torch.nn.Module:
    """An objective or procedure with state is a module itself; the others have none."""
    return part if isinstance(part, torch.nn.Module) else torch.nn.Module()


def promised_floor(model: Model) -> float | None:
    """The KL floor that the head declares, nats, or None."""
    return model.posterior.floor()


def warn_below_floor(row: dict) -> bool:
    """Say so when the training-mode KL lies below the head's promise: the promise, or the code, is broken."""
    floor, above = row["floor"], row["kl_minus_floor"]
    broken = floor is not None and above is not None and above < -1e-3 * (1 + floor)
    if broken:
        text = f"step {row['step']}: the training-mode KL of {row['kl']:.4g} nats is below the promised floor of {floor:.4g} (said once)"
        warnings.warn(text, stacklevel=2)
    return broken
