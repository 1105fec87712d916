"""Whether encode and nll give the same answer twice, and whether examples affect each other."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from uncollapse.diagnosis.answers import check_nll, to_posterior
from uncollapse.diagnosis.batches import batch_tensors, take_examples
from uncollapse.diagnosis.model import CheckedModel, NumberedBatch
from uncollapse.distributions.precision import wide

NOT_REPEATABLE = (
    "answers differently when asked the same again, so its numbers are noisy: dropout or another "
    "random draw is on; put the model in evaluation mode, and give F.dropout its "
    "training=self.training"
)
BATCH_DEPENDENT = (
    "answers differently for the same examples in a smaller batch: batch statistics (batch norm in "
    "training mode) are in use, or it sums or averages over the batch; put the model in evaluation "
    "mode, and keep examples apart"
)
EQUAL_IN_BATCH = (
    "gives every example of a batch the very same number: it sums or averages over the batch; keep "
    "examples apart"
)
# relative to the root mean square. Products of other sizes are rounded differently, most of all in
# bfloat16; dropout changes more than that.
TOLERANCES = {NOT_REPEATABLE: 1e-3, BATCH_DEPENDENT: 0.02}


def check_repeatability(model: CheckedModel, batch: NumberedBatch) -> None:
    """Note in `model.unsteady` if encode or nll answers differently to a repeated question.

    Each is asked again for the batch, and for its first half alone.
    """
    (q,) = batch.posteriors
    z, half = q.sample(), len(batch) // 2
    can_split = half > 1 and bool(batch_tensors(batch.x))

    def encode(x: Any) -> list[Tensor]:
        again = to_posterior(model.encoder(x), batch.number)
        return [again.mean, again.variance]

    def decode(x: Any, z: Tensor) -> list[Tensor]:
        return [wide(check_nll(model.call_decoder(batch, x, z), len(z), batch.number))]

    codes = [q.mean, q.variance]
    compare_answers(model, "encode", NOT_REPEATABLE, codes, partial(encode, batch.x))
    if can_split:
        first, again = [x[:half] for x in codes], partial(encode, take_examples(batch.x, half))
        compare_answers(model, "encode", BATCH_DEPENDENT, first, again)

    costs = decode(batch.x, z)
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
    ask_again: Callable[[], list[Tensor]],
) -> None:
    """Note the fault if a second answer differs; only the first fault of each callable is noted."""
    if any(sentence.startswith(f"{name}: ") for sentence in model.unsteady):
        return
    try:
        second = ask_again()
    except Exception:  # it accepts one batch size only, or can be called once: not known then
        return
    pairs = zip(first, second, strict=True)
    if not all(is_close(a, b, TOLERANCES[fault]) for a, b in pairs):
        model.unsteady.append(f"{name}: {fault}")


def is_close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether the root mean square difference is within `tolerance` of that of `a`."""
    a, b = a.double(), b.double()
    return a.shape == b.shape and bool((a - b).square().mean() <= tolerance**2 * a.square().mean())
