"""Is a training step of the harness as fast as a plain loop for the same model?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bench.harness import (
    MODEL_SIZES,
    ModelSize,
    Step,
    iterate_batches,
    make_harness_step,
    measure_sizes,
)
from bench.textbook import Layers, list_sentences, make_textbook_step, pad_batch, textbook_loss
from bench.timing import product_flops, time_cpu, time_matrix_product
from uncollapse.building import Parts
from uncollapse.distributions.normal import DiagonalGaussian


@dataclass(frozen=True)
class StepSpeed:
    """Medians over steps; a ratio above 1 means that the harness is faster."""

    ratio: float
    ratio_quartiles: tuple[float, float]
    harness_tokens_per_second: float
    textbook_tokens_per_second: float
    harness_share_of_peak: float  # of the speed of a matrix product at the same moment
    textbook_share_of_peak: float
    peak_gflops: float
    loss_difference: float  # relative, at the same weights and noise
    steps: int


STEP_SPEED_COLUMNS: dict[str, Callable[[StepSpeed], str]] = {
    "times faster": lambda r: f"{r.ratio:.2f}",
    "quartiles": lambda r: f"{r.ratio_quartiles[0]:.2f} to {r.ratio_quartiles[1]:.2f}",
    "tokens/s": lambda r: f"{r.harness_tokens_per_second:,.0f}",
    "textbook": lambda r: f"{r.textbook_tokens_per_second:,.0f}",
    "of SGEMM": lambda r: f"{r.harness_share_of_peak:.0%}",
    "textbook of SGEMM": lambda r: f"{r.textbook_share_of_peak:.0%}",
    "SGEMM GFLOP/s": lambda r: f"{r.peak_gflops:.0f}",
    "loss diff.": lambda r: f"{r.loss_difference:.0e}",
    "steps": lambda r: str(r.steps),
}


def measure_training(quick: bool) -> dict[str, StepSpeed]:
    title = "training step against a textbook loop (real tokens, medians)"
    return measure_sizes(MODEL_SIZES, compare_steps, STEP_SPEED_COLUMNS, title, quick)


def compare_steps(size: ModelSize, steps: int) -> StepSpeed:
    """Both loops take turns on the same batches, with a matrix product after each pair."""
    parts = size.assemble()
    difference = check_same_loss(parts)
    sides = {"harness": make_harness_step(parts), "textbook": make_textbook_step(parts)}
    seconds, tokens = time_in_turns(sides, parts, size.warm_up + steps)
    harness, textbook, peak = (
        np.array(seconds[name][size.warm_up :]) for name in ("harness", "textbook", "peak")
    )
    counts = np.array(tokens[size.warm_up :])
    rate = product_flops() / peak
    flops = count_flops_per_token(parts.model) * counts
    low, high = np.quantile(textbook / harness, [0.25, 0.75]).tolist()
    return StepSpeed(
        ratio=float(np.median(textbook / harness)),
        ratio_quartiles=(low, high),
        harness_tokens_per_second=float(np.median(counts / harness)),
        textbook_tokens_per_second=float(np.median(counts / textbook)),
        harness_share_of_peak=float(np.median(flops / harness / rate)),
        textbook_share_of_peak=float(np.median(flops / textbook / rate)),
        peak_gflops=float(np.median(rate)) / 1e9,
        loss_difference=difference,
        steps=steps,
    )


def time_in_turns(
    sides: dict[str, Step], parts: Parts, steps: int
) -> tuple[dict[str, list[float]], list[int]]:
    """Seconds per step of each side and of the matrix product ("peak"); tokens in each batch."""
    seconds: dict[str, list[float]] = {name: [] for name in (*sides, "peak")}
    tokens = []
    lengths = parts.data.corpora["train"].lengths
    for number, examples in zip(range(steps), iterate_batches(parts.data), strict=False):
        # which side goes first alternates, since the second one finds warm caches
        for name in sorted(sides, reverse=number % 2 == 1):
            seconds[name].append(time_cpu(sides[name], examples))
        # right after the two steps, so that it measures the machine's speed at that moment
        seconds["peak"].append(min(time_matrix_product(2)))
        # real tokens, with the end of each sentence; padding does not count
        tokens.append(int((lengths[examples] + 1).sum()))
    return seconds, tokens


def check_same_loss(parts: Parts) -> float:
    """Relative difference of the two losses on one batch, with the same weights and noise.

    AssertionError if it, or the difference between the gradients, is more than rounding.
    """
    examples = parts.data.batches("train", 0, 0)[0]
    model = parts.model.eval()
    layers = Layers.of(model)
    noise = torch.randn(len(examples), layers.decoder.cell.in_features)
    padded = pad_batch(list_sentences(parts.data.corpora["train"]), examples)
    theirs = textbook_loss(layers, *padded, noise)
    their_gradients = torch.autograd.grad(theirs, list(model.parameters()))

    batch = parts.data.batch("train", examples)
    q = model.encode(batch)
    assert isinstance(q, DiagonalGaussian)
    # the harness sorts a batch by length, so the noise must follow its examples
    place = {example: i for i, example in enumerate(examples)}
    z = q.mean + q.std * noise[[place[example] for example in batch.examples]]
    ours = parts.objective(model.nll(batch, z), q, z, 0.0).total
    # the sums run over differently padded batches, so they agree up to rounding only
    gradients = torch.autograd.grad(ours, list(model.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients, their_gradients, rtol=1e-3, atol=1e-5)
    return abs(ours.item() / theirs.item() - 1)


def count_flops_per_token(model: nn.Module) -> int:
    """Operations of the matrix products that a training step cannot do without.

    Two for each weight and token in the forward pass, and twice as many in the backward pass.
    """
    layers = Layers.of(model)
    recurrent = sum(
        4 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size)
        for lstm in (layers.encoder.lstm, layers.decoder.lstm)
    )
    return 3 * 2 * (recurrent + layers.decoder.words.weight.numel())
