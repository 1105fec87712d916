"""One finished run, opened to be looked at: its best weights, its data, and how its codes are found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from uncollapse.building import prepare
from uncollapse.config import SECTIONS, SLOTS
from uncollapse.data.batches import near_equal
from uncollapse.data.files import CACHE
from uncollapse.errors import InputError
from uncollapse.metrics.evaluation import evaluating
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import CONFIG, DATA, WEIGHTS, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_object


@dataclass(frozen=True)
class Subject:
    """One finished run, ready to be looked at."""

    run: Run
    model: Any
    data: Any
    encode: Callable[..., Any]  # (batch, generator) -> Posterior
    say: Callable[[str], None]
    limits: Mapping[str, Any] = field(
        default_factory=dict
    )  # of what a text model writes, see models.text_vae.write

    def batch(self, split: str, examples: np.ndarray) -> Any:
        """These examples on the model's device."""
        return self.data.batch(split, examples).to(next(self.model.parameters()).device)


def opened(run: Run, loaded: dict[str, Any], say: Callable[[str], None]) -> Subject:
    """The best weights of a run and its data. InputError when either is gone or does not fit the run's config."""
    weights = run.path(WEIGHTS)
    if not weights.exists():
        raise InputError(
            f"{run.folder}: no {WEIGHTS} in it, so there is nothing to evaluate; train the run again in another study"
        )
    cfg, then = stored(run), read_object(run, DATA) if run.holds(DATA) else {}
    cfg.threads, cfg.device = 1, "auto"
    if cfg.data.keys() & {
        "cache",
        "own_cache",
    }:  # a run may come from anybody, and name any folder to write to
        cfg.data.own_cache = CACHE
    key = OmegaConf.to_yaml(cfg.data)
    parts = prepare(cfg, cfg.head, loaded.get(key))
    loaded[key] = parts.data
    check_same_data(run.folder, then, parts.data.facts())
    load_model(weights, parts.model)
    model = parts.model.eval()
    return Subject(run, model, parts.data, partial(parts.procedure.infer, model), say)


def stored(run: Run) -> DictConfig:
    """The config that a run was made with. InputError unless it holds all that a run is built from, and text for a head."""
    content, path = read_config(run), run.path(CONFIG)
    for key in (*SLOTS, *SECTIONS):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path}: damaged (no section {key})")
    for key, value in content.items():
        if isinstance(value, dict | list) and key not in (*SLOTS, *SECTIONS, "overrides"):
            raise InputError(f"{path}: damaged ({key} is no key of a run)")
    return OmegaConf.create({**content, "overrides": {}})


def check_same_data(folder: Path, then: dict, facts: dict) -> None:
    """InputError when sizes or the fingerprint that a run wrote down are no longer those of its data."""
    for key, fact in facts.items():
        known = isinstance(fact, int) or (key == "content" and fact is not None)
        if known and then.get(key) not in (None, fact):
            raise InputError(
                f"{folder}: its data have changed since training ({key}: {then[key]} -> {fact})"
            )


def encoded_means(subject: Subject, split: str, examples: np.ndarray) -> np.ndarray:
    """Posterior means of chosen examples [N] in evaluation mode, [N, D]."""
    found, order = [], []
    with evaluating(subject.model, train=False):
        for chosen in near_equal(np.sort(examples), 256):
            batch = subject.batch(split, chosen)
            found.append(subject.encode(batch).mean.double().cpu().numpy())
            order.append(batch.examples)
    means, places = np.concatenate(found), np.argsort(np.concatenate(order))
    return means[places][np.argsort(np.argsort(examples))]
