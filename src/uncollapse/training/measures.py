"""Metrics that training itself gives: of the stages "training" and "end" of the catalogue."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import estimate_nll
from uncollapse.metrics.posterior_means import collect_means, describe_lag

if TYPE_CHECKING:
    from uncollapse.training.trainer import Trainer


def measure_progress(trainer: "Trainer") -> JsonObject:
    """The KL weight, the learning rate, and the time of steps at an evaluation.

    seconds_per_step counts from the last evaluation, and is None at the start.
    """
    step, seconds = trainer.measured
    progress = trainer.progress
    steps = progress.step - step
    optimizer = next(iter(trainer.optimizers.values()))  # all have the same learning rate
    return {
        "weight": trainer.weight(),
        "lr": optimizer.param_groups[0]["lr"],
        "seconds_per_step": (progress.seconds - seconds) / steps if steps else None,
        "seconds": progress.seconds,
    }


def measure_losses(trainer: "Trainer") -> JsonObject:
    """The training loss and its terms, means over the steps since the last evaluation."""
    means = trainer.losses.read()
    return {} if means is None else {"loss": means[0], "loss_terms": means[1]}


def measure_validation_nll(trainer: "Trainer") -> JsonObject:
    """The nll of some validation examples in nats, if every evaluation is to have it."""
    config = trainer.config
    if config.nll_samples is None:
        return {}
    encode = partial(trainer.procedure.infer, trainer.model)
    nll = estimate_nll(trainer.model, trainer.data, encode, config.nll_examples, config.nll_samples)
    return {"valid_nll": nll}


def measure_lag(trainer: "Trainer", split: str = "valid") -> JsonObject:
    """How far q lags behind p(z|x) on some examples of a split, if every evaluation is to say."""
    count = trainer.config.posterior_means
    if count is None:
        return {}
    encode = partial(trainer.procedure.infer, trainer.model)
    return describe_lag(collect_means(trainer.model, trainer.data, split, encode, count))


def keep_numbers(values: JsonObject) -> JsonObject:
    """The values that are not nested: the means of each example are stored once per evaluation."""
    return {key: value for key, value in values.items() if not isinstance(value, dict | list)}


def measure_end(trainer: "Trainer", unfinished: Sequence[str]) -> JsonObject:
    """How training ended. `unfinished`: a sentence for each phase that has not ended or settled."""
    step, planned = trainer.progress.step, trainer.length.total
    return {
        "best_step": trainer.progress.best_step,
        "steps_planned": planned,
        "stopped_early": step < planned,
        **asdict(trainer.convergence()),
        "final_weight": trainer.last_weight(),
        "schedule_complete": not unfinished,
    }
