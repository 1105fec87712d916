"""Is a training step as fast as the loop of published code, whose batches have one length?

The loop that papers on text VAEs share (He et al. 2019, arXiv 1901.05534): batches of sentences of
one length, so nothing is padded; one LSTM call each for encoder and decoder, dropout of the
decoder's inputs and outputs, logits of all words; one clip of the gradients and two SGD optimisers.
The harness makes its default batches of mixed lengths.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bench.generated import TextShape
from bench.harness import (
    MODEL_SIZES,
    ModelSize,
    Step,
    iterate_batches,
    make_harness_step,
    measure_sizes,
)
from bench.textbook import Layers, list_sentences, pad_batch, textbook_loss
from bench.timing import time_cpu
from uncollapse.building import Parts
from uncollapse.data.batches import epoch_batches

DROPOUT = ("model.dropout_in=0.5", "model.dropout_out=0.5", "trainer=published")
BLOCKS = 10  # whose medians and quartiles are reported
PTB = MODEL_SIZES["ptb"]
PUBLISHED_SIZES = {
    "synthetic 50/50": ModelSize(
        (
            *("model=lstm", "model.embedding=50", "model.hidden=50", "model.latent=2"),
            *("data.batch_size=16", *DROPOUT),
        ),
        steps=1000,
        quick=100,
        warm_up=20,
        # the synthetic data of the paper: 10 words and the end, of 1,000 kinds
        text=TextShape(1004, mean=10, spread=0.01, shortest=10, longest=10),
    ),
    "grammar 64/128": replace(
        MODEL_SIZES["grammar"], overrides=("data=grammar", "model=lstm", *DROPOUT), steps=300
    ),
    "PTB 256/256": replace(PTB, overrides=(*PTB.overrides, *DROPOUT), steps=100),
    "PTB 512/512": replace(
        PTB,
        overrides=(*PTB.overrides, "model.embedding=512", "model.hidden=512", *DROPOUT),
        steps=60,
    ),
    "published 512/1024": replace(
        MODEL_SIZES["published"],
        overrides=(*MODEL_SIZES["published"].overrides, *DROPOUT),
        steps=20,
    ),
}


@dataclass(frozen=True)
class LoopSpeed:
    """Tokens per second of processor time; a ratio above 1 means that the harness is faster."""

    ratio: float
    ratio_quartiles: tuple[float, float]
    harness: float
    published: float
    steps: int


COLUMNS: dict[str, Callable[[LoopSpeed], str]] = {
    "times faster": lambda r: f"{r.ratio:.2f}",
    "quartiles": lambda r: f"{r.ratio_quartiles[0]:.2f} to {r.ratio_quartiles[1]:.2f}",
    "tokens/s": lambda r: f"{r.harness:,.0f}",
    "published": lambda r: f"{r.published:,.0f}",
    "steps": lambda r: str(r.steps),
}


def measure_published(quick: bool) -> dict[str, LoopSpeed]:
    title = "training step against the published loop (tokens per second, medians of blocks)"
    return measure_sizes(PUBLISHED_SIZES, compare_loops, COLUMNS, title, quick)


def compare_loops(size: ModelSize, steps: int) -> LoopSpeed:
    """Both loops take turns, each on its own batches of the same sentences."""
    parts = size.assemble()
    lengths = parts.data.corpora["train"].lengths
    sides = {
        "harness": (make_harness_step(parts), iterate_batches(parts.data)),
        "published": (make_published_step(parts), iterate_equal_lengths(parts)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens: dict[str, list[int]] = {name: [] for name in sides}
    for number in range(size.warm_up + steps):
        # which side goes first alternates, since the second one finds warm caches
        for name in sorted(sides, reverse=number % 2 == 1):
            step, batches = sides[name]
            examples = next(batches)
            seconds[name].append(time_cpu(step, examples))
            tokens[name].append(int((lengths[examples] + 1).sum()))
    # batches of one length have different sizes, so only blocks of steps can be compared
    rates = {
        name: np.array(
            [
                sum(counts) / sum(times)
                for counts, times in zip(
                    np.array_split(tokens[name][size.warm_up :], min(BLOCKS, steps)),
                    np.array_split(seconds[name][size.warm_up :], min(BLOCKS, steps)),
                    strict=True,
                )
            ]
        )
        for name in sides
    }
    ratio = rates["harness"] / rates["published"]
    low, high = np.quantile(ratio, [0.25, 0.75]).tolist()
    return LoopSpeed(
        ratio=float(np.median(ratio)),
        ratio_quartiles=(low, high),
        harness=float(np.median(rates["harness"])),
        published=float(np.median(rates["published"])),
        steps=steps,
    )


def make_published_step(parts: Parts) -> Step:
    """A training step of a copy of the model by the published loop."""
    model = copy.deepcopy(parts.model).train()
    layers = Layers.of(model)
    sentences = list_sentences(parts.data.corpora["train"])
    clip = parts.trainer.clip or float("inf")
    optimizers = [
        torch.optim.SGD(weights, lr=parts.trainer.lr) for weights in model.parts().values()
    ]

    def step(examples: np.ndarray) -> None:
        tokens, lengths = pad_batch(sentences, examples)
        noise = torch.randn(len(tokens), layers.decoder.cell.in_features)
        for optimizer in optimizers:
            optimizer.zero_grad()
        textbook_loss(layers, tokens, lengths, noise).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()

    return step


def iterate_equal_lengths(parts: Parts) -> Iterator[np.ndarray]:
    """Batches of one length, epoch after epoch."""
    lengths, epoch = parts.data.corpora["train"].lengths, 0
    while True:
        yield from epoch_batches(lengths, parts.data.batch_size, "by_length", 0, epoch)
        epoch += 1
