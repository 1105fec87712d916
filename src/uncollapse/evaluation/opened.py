"""A finished run, opened for evaluation: its best weights, data, and inference of codes."""

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
from uncollapse.config.sections import find_default
from uncollapse.data.batches import split_examples
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import InputError
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.model import Model
from uncollapse.json_types import JsonMapping
from uncollapse.metrics.one_pass import EVAL_SEED, evaluating
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import CONFIG, DATA, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_object
from uncollapse.runs.rules import DEFAULT_RULE, weights_file

ENCODED_TOGETHER = 256  # examples
LoadedData = dict[str, Any]  # the YAML of a data config -> its Data


@dataclass(frozen=True)
class OpenedRun:
    """A finished run with its model in evaluation mode.

    `encode(batch, generator)` returns the posterior as the run's training procedure infers it,
    which may differ from `model.encode`.
    """

    run: Run
    weights: Path  # the file that they were loaded from
    model: Model
    data: Any  # Data; those of text and of images have further attributes
    encode: Callable[..., Posterior]
    say: Callable[[str], None]  # prints a line about this run

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        # all parameters are on one device
        return next(self.model.parameters()).device

    def batch(self, split: str, examples: np.ndarray) -> Batch:
        """These examples on the model's device."""
        batch: Batch = self.data.batch(split, examples)
        return batch.to(self.device)

    def noise(self, stream: int) -> torch.Generator:
        """A generator that is seeded alike for every run, and independent between streams."""
        return torch.Generator(self.device).manual_seed(EVAL_SEED + stream)

    def examples(self, split: str, count: int | None) -> np.ndarray:
        """All examples, or the first `count`, in a random order that all runs share, [N]."""
        order = np.random.default_rng((EVAL_SEED, 0)).permutation(self.data.size(split))
        return order[:count]

    def examples_to_show(self, split: str, count: int) -> np.ndarray:
        """At most `count` examples by increasing number, the same for every run, [N]."""
        size = self.data.size(split)
        return np.sort(
            np.random.default_rng(EVAL_SEED).choice(size, min(count, size), replace=False)
        )

    def encoded_means(self, split: str, examples: np.ndarray) -> np.ndarray:
        """Posterior means of examples [N] in evaluation mode, in the order given, [N, D]."""
        return self.encoded(split, examples, lambda q: q.mean)

    def means_and_codes(self, split: str, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `encoded_means`, with one code drawn from each posterior, [N, D] each."""
        noise = self.noise(6)

        def read(q: Posterior) -> Tensor:
            return torch.cat([q.mean.double(), q.sample(generator=noise).double()], 1)

        means, codes = np.split(self.encoded(split, examples, read), 2, axis=1)
        return means, codes

    def encoded(
        self, split: str, examples: np.ndarray, read: Callable[[Posterior], Tensor]
    ) -> np.ndarray:
        """What `read` returns for the posterior of each example [N], in the order given, [N, D]."""
        found, order = [], []
        with evaluating(self.model, train=False):
            # sorted, so that the same set of examples always forms the same batches
            for chosen in split_examples(np.sort(examples), ENCODED_TOGETHER):
                batch = self.batch(split, chosen)  # sorts its examples by length
                found.append(read(self.encode(batch)).double().cpu().numpy())
                order.append(batch.examples)
        # undo both sorts: that by length, and then that by example number
        ascending = np.concatenate(found)[np.argsort(np.concatenate(order))]
        return ascending[np.argsort(np.argsort(examples))]

    def any_posterior(self) -> Posterior:
        """A posterior, for what is the same in all of them: the prior, and the space of codes."""
        return self.encode(self.batch("train", np.arange(2)), self.noise(0))

    def prior_codes(self, count: int) -> Tensor:
        """Codes drawn from the prior, [count, D]."""
        return self.any_posterior().sample_prior(count, self.noise(0))


def open_run(
    run: Run,
    loaded: LoadedData,
    say: Callable[[str], None],
    rule: str = DEFAULT_RULE,
    device: str = "auto",
    threads: int | None = 1,
) -> OpenedRun:
    """Open a run with a rule's weights; `loaded` keeps the data for later runs on the same data.

    By default on whatever device this machine has, and with one thread, as evaluation has workers
    of its own; None leaves the number of threads of this process unchanged. InputError if weights
    or data are missing, or do not fit the run's config.
    """
    weights = run.path(weights_file(rule))
    if not weights.exists():
        raise InputError(
            f"{run.folder}: no {weights.name} in it, so there is nothing to evaluate; "
            "train the run again in another study"
        )
    cfg, recorded = read_stored_config(run), read_object(run, DATA) if run.holds(DATA) else {}
    cfg.threads, cfg.device = threads, device
    if cfg.data.keys() & {"cache", "own_cache"}:
        # a run from elsewhere could name any folder to write to
        cfg.data.own_cache = find_default("data", cfg.data.get("_target_"), "cache")
    key = OmegaConf.to_yaml(cfg.data)
    parts = prepare(cfg, cfg.head, loaded.get(key))
    loaded[key] = parts.data
    # after loading: another version of the data would silently change every number
    check_same_data(run.folder, recorded, parts.data.facts())
    load_model(weights, parts.model)
    model = parts.model.eval()
    return OpenedRun(run, weights, model, parts.data, partial(parts.procedure.infer, model), say)


def read_stored_config(run: Run) -> DictConfig:
    """The config that a run was made with.

    InputError if a section that a run is built from is missing, or an unknown one is present.
    """
    content, path = read_config(run), run.path(CONFIG)
    for key in (*SLOTS, *SECTIONS):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path}: damaged (no section {key})")
    for key, value in content.items():
        if isinstance(value, dict | list) and key not in (*SLOTS, *SECTIONS, "overrides"):
            raise InputError(f"{path}: damaged ({key} is no key of a run)")
    # the words of the original command line must not be applied again
    return OmegaConf.create({**content, "overrides": {}})


def check_same_data(folder: Path, recorded: JsonMapping, facts: JsonMapping) -> None:
    """InputError if sizes or fingerprint of the data differ from those that the run recorded."""
    for key, fact in facts.items():
        # sizes and the fingerprint; other values may depend on the version of this package
        comparable = isinstance(fact, int) or (key == "content" and fact is not None)
        if comparable and recorded.get(key) not in (None, fact):
            raise InputError(
                f"{folder}: its data have changed since training ({key}: {recorded[key]} -> {fact})"
            )
