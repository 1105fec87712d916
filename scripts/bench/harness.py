"""A model and its trainer as train.py builds them, and one training step on its own."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from bench.generated import TextShape, generate_text
from bench.table import print_table
from uncollapse.building import Parts, build_trainer, prepare
from uncollapse.config import CONF
from uncollapse.data.text import TextData
from uncollapse.interfaces.data import Data
from uncollapse.interfaces.objective import Loss
from uncollapse.json_types import JsonObject
from uncollapse.runs.layout import ROWS_FILE, Run
from uncollapse.runs.rows import Record
from uncollapse.training.trainer import Trainer

Speed = TypeVar("Speed")  # what is measured of a size
Step = Callable[[np.ndarray], None]  # the indices of a batch's examples -> one training step


class SilentReporter:
    """A `Reporter` that prints warnings only."""

    def stepped(self, step: int, total: int, loss: Loss) -> None:
        pass

    def evaluated(self, row: JsonObject) -> None:
        pass

    def resumed(self, step: int, note: str | None) -> None:
        pass

    def warn(self, message: str) -> None:
        print(message, file=sys.stderr)


@dataclass(frozen=True)
class ModelSize:
    """A model and the text to train it on; without `text`, the sentences of the grammar."""

    overrides: tuple[str, ...]
    steps: int
    quick: int  # steps with --quick
    warm_up: int
    text: TextShape | None = None

    def assemble(self) -> Parts:
        return assemble(self.overrides, data=generate_text(self.text) if self.text else None)


MODEL_SIZES = {
    "grammar": ModelSize(("data=grammar", "model=lstm"), steps=150, quick=30, warm_up=10),
    "ptb": ModelSize(
        ("model=lstm_ptb", "data.batch_size=32"),
        steps=60,
        quick=12,
        warm_up=3,
        text=TextShape(10_000, mean=21, spread=10, shortest=1, longest=82),
    ),
    "published": ModelSize(
        ("model=lstm_published", "data.batch_size=32"),
        steps=6,
        quick=2,
        warm_up=1,
        text=TextShape(20_000, mean=79, spread=42, shortest=10, longest=200),
    ),
}


def measure_sizes(
    sizes: Mapping[str, ModelSize],
    compare: Callable[[ModelSize, int], Speed],
    columns: Mapping[str, Callable[[Speed], str]],
    title: str,
    quick: bool,
) -> dict[str, Speed]:
    """What `compare` finds for each size in its number of steps, printed as a table."""
    torch.set_num_threads(1)
    results = {
        name: compare(size, size.quick if quick else size.steps) for name, size in sizes.items()
    }
    print_table(title, "size", columns, results)
    return results


def assemble(overrides: Sequence[str], head: str = "plain", data: Data | None = None) -> Parts:
    """What train.py builds for these overrides; `data` replaces the configured data."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"head={head}", *overrides])
    if isinstance(data, TextData):
        # generated data have a fixed batch size; overrides of it apply to them as well
        data = replace(data, batch_size=cfg.data.batch_size)
    return prepare(cfg, head, data)


def assemble_trainer(parts: Parts, run: Run) -> Trainer:
    """The trainer of a run; nothing is written before `fit` is called."""
    parts.model.train()
    record = Record(run.path(ROWS_FILE), [])
    return build_trainer(parts, run, record, seed=0, reporter=SilentReporter())


def make_harness_step(parts: Parts, start: int = 0) -> Step:
    """A training step as the trainer makes it, batch making included, after `start` steps."""
    trainer = assemble_trainer(parts, Run(Path()))  # nothing is ever written to this folder
    trainer.training.step = start

    def step(examples: np.ndarray) -> None:
        batch = parts.data.batch("train", examples)
        loss = parts.procedure.step(trainer.training, batch)
        parts.objective.update(loss)
        trainer.training.step += 1

    return step


def iterate_batches(data: Data) -> Iterator[np.ndarray]:
    """Batches of the training split, epoch after epoch."""
    epoch = 0
    while True:
        yield from data.batches("train", 0, epoch)
        epoch += 1
