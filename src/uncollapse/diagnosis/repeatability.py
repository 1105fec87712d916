"""Whether encode and nll return the same values twice, and whether examples affect each other."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from uncollapse.diagnosis.answers import check_nll, to_posterior
from uncollapse.diagnosis.batches import batch_tensors, take_examples
from uncollapse.diagnosis.model import CheckedModel, NumberedBatch
from uncollapse.distributions.precision import wide

NOT_REPEATABLE = (
    "returns different values for the same input, so its numbers are noisy: dropout or another "
    "random draw is on; put the model in evaluation mode, and give F.dropout its "
    "training=self.training"
)
BATCH_DEPENDENT = (
    "returns different values for the same examples in a smaller batch: batch statistics (batch "
    "norm in training mode) are in use, or it sums or averages over the batch; put the model in "
    "evaluation mode, and compute each example's number from that example alone"
)
EQUAL_IN_BATCH = (
    "returns exactly the same number for every example of a batch: it sums or averages over the "
    "batch; compute each example's number from that example alone"
)
# Relative to the root mean square. Matrix products of another size are rounded differently, most
# of all in bfloat16; dropout changes the values more than that.
TOLERANCES = {NOT_REPEATABLE: 1e-3, BATCH_DEPENDENT: 0.02}


def check_repeatability(model: CheckedModel, batch: NumberedBatch) -> None:
    """Note in `model.unsteady` if a repeated call of encode or nll returns different values.

    Each is called again with the batch, and with its first half alone.
    """
    # exactly one posterior: `encode` was called once for this batch
    (q,) = batch.posteriors
    z, half = q.sample(), len(batch) // 2
    # an example alone would make batch statistics undefined
    can_split = half > 1 and bool(batch_tensors(batch.x))

    def encode(x: object) -> list[Tensor]:
        again = to_posterior(model.encoder(x), batch.number)
        return [again.mean, again.variance]

    def decode(x: object, z: Tensor) -> list[Tensor]:
        return [wide(check_nll(model.call_decoder(batch, x, z), len(z), batch.number))]

    # same input twice: random draws; half a batch: dependence between examples
    codes = [q.mean, q.variance]
    compare_answers(model, "encode", NOT_REPEATABLE, codes, partial(encode, batch.x))
    if can_split:
        first, again = [x[:half] for x in codes], partial(encode, take_examples(batch.x, half))
        compare_answers(model, "encode", BATCH_DEPENDENT, first, again)

    costs = decode(batch.x, z)
    # different examples hardly ever have exactly the same nll
    if half > 1 and bool((costs[0] == costs[0][0]).all()):
        model.unsteady.append(f"nll: {EQUAL_IN_BATCH}")
    compare_answers(model, "nll", NOT_REPEATABLE, costs, partial(decode, batch.x, z))
    if can_split:
        first = [x[:half] for x in costs]
        again = partial(decode, take_examples(batch.x, half), z[:half])
        compare_answers(model, "nll", BATCH_DEPENDENT, first, again)


def compare_answers(
    model: CheckedModel,
    name: str,
    fault: str,
    first: list[Tensor],
    call_again: Callable[[], list[Tensor]],
) -> None:
    """Note the fault if a second call differs; only the first fault of each callable is noted."""
    # of several faults with one cause, the first is the most specific
    if any(sentence.startswith(f"{name}: ") for sentence in model.unsteady):
        return
    try:
        second = call_again()
    except Exception:  # it takes one batch size only, or can be called once: nothing to compare
        return
    pairs = zip(first, second, strict=True)
    if not all(is_close(a, b, TOLERANCES[fault]) for a, b in pairs):
        model.unsteady.append(f"{name}: {fault}")


def is_close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether the root mean square difference is within `tolerance` of that of `a`."""
    a, b = a.double(), b.double()
    # compared as squares, which needs no division by a value that may be 0
    return a.shape == b.shape and bool((a - b).square().mean() <= tolerance**2 * a.square().mean())
