"""A finished run, opened for evaluation: best weights, data, and how its codes are found."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from uncollapse.building import prepare
from uncollapse.config import SECTIONS, SLOTS
from uncollapse.data.batches import near_equal
from uncollapse.data.files import CACHE
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import InputError
from uncollapse.interfaces.model import Model
from uncollapse.metrics.one_pass import EVAL_SEED, evaluating
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import CONFIG, DATA, WEIGHTS, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_object

ENCODED_TOGETHER = 256  # examples


@dataclass(frozen=True)
class OpenedRun:
    """A finished run with its model in evaluation mode.

    `encode(batch, generator)` gives the posterior, in the way of the run's training procedure.
    """

    run: Run
    model: Model
    data: Any  # Data; sentences and images have attributes of their own
    encode: Callable[..., Posterior]
    say: Callable[[str], None]  # prints a line about this run

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def batch(self, split: str, examples: np.ndarray) -> Any:
        """These examples on the model's device."""
        return self.data.batch(split, examples).to(self.device)

    def noise(self, stream: int) -> torch.Generator:
        """Randomness that is the same for every run, and independent between streams."""
        return torch.Generator(self.device).manual_seed(EVAL_SEED + stream)

    def examples(self, split: str, count: int | None) -> np.ndarray:
        """All examples, or `count` of them, in one random order that every run shares, [N]."""
        order = np.random.default_rng((EVAL_SEED, 0)).permutation(self.data.size(split))
        return order[:count]

    def examples_to_show(self, split: str, count: int) -> np.ndarray:
        """At most `count` examples in ascending order, the same for every run, [N]."""
        size = self.data.size(split)
        return np.sort(
            np.random.default_rng(EVAL_SEED).choice(size, min(count, size), replace=False)
        )

    def encoded_means(self, split: str, examples: np.ndarray) -> np.ndarray:
        """Posterior means of examples [N] in evaluation mode, in their order, [N, D]."""
        means, order = [], []
        with evaluating(self.model, train=False):
            for chosen in near_equal(np.sort(examples), ENCODED_TOGETHER):
                batch = self.batch(split, chosen)  # sorts its examples by length
                means.append(self.encode(batch).mean.double().cpu().numpy())
                order.append(batch.examples)
        ascending = np.concatenate(means)[np.argsort(np.concatenate(order))]
        return ascending[np.argsort(np.argsort(examples))]

    def any_posterior(self) -> Posterior:
        """The posterior of two training examples, for what does not depend on them: the prior."""
        return self.encode(self.batch("train", np.arange(2)), self.noise(0))

    def prior_codes(self, count: int) -> Tensor:
        """Codes drawn from the prior, [count, D]."""
        return self.any_posterior().sample_prior(count, self.noise(0))


def open_run(run: Run, loaded: dict[str, Any], say: Callable[[str], None]) -> OpenedRun:
    """Open a run with its best weights; `loaded` keeps data for the next run that has the same.

    InputError when weights or data are gone, or do not fit the run's config.
    """
    weights = run.path(WEIGHTS)
    if not weights.exists():
        raise InputError(
            f"{run.folder}: no {WEIGHTS} in it, so there is nothing to evaluate; "
            "train the run again in another study"
        )
    cfg, recorded = read_stored_config(run), read_object(run, DATA) if run.holds(DATA) else {}
    cfg.threads, cfg.device = 1, "auto"
    if cfg.data.keys() & {"cache", "own_cache"}:
        cfg.data.own_cache = CACHE  # a run from elsewhere could name any folder to write to
    key = OmegaConf.to_yaml(cfg.data)
    parts = prepare(cfg, cfg.head, loaded.get(key))
    loaded[key] = parts.data
    check_same_data(run.folder, recorded, parts.data.facts())
    load_model(weights, parts.model)
    model = parts.model.eval()
    return OpenedRun(run, model, parts.data, partial(parts.procedure.infer, model), say)


def read_stored_config(run: Run) -> DictConfig:
    """The config that a run was made with.

    InputError unless it holds every section that a run is built from, and no other.
    """
    content, path = read_config(run), run.path(CONFIG)
    for key in (*SLOTS, *SECTIONS):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path}: damaged (no section {key})")
    for key, value in content.items():
        if isinstance(value, dict | list) and key not in (*SLOTS, *SECTIONS, "overrides"):
            raise InputError(f"{path}: damaged ({key} is no key of a run)")
    return OmegaConf.create({**content, "overrides": {}})


def check_same_data(folder: Path, recorded: dict[str, Any], facts: dict[str, Any]) -> None:
    """InputError when sizes or fingerprint of the data differ from what the run recorded."""
    for key, fact in facts.items():
        comparable = isinstance(fact, int) or (key == "content" and fact is not None)
        if comparable and recorded.get(key) not in (None, fact):
            raise InputError(
                f"{folder}: its data have changed since training ({key}: {recorded[key]} -> {fact})"
            )
