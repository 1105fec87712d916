"""Whether training has converged: what the last stretch of it gained on the validation split.

The gain of a span of epochs is how far the lowest validation objective fell in it. Only evaluations
after the end of every schedule count, because before it the objective of the end is not trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.training.phases import SLACK

History = Sequence[tuple[float, float]]  # position in epochs, validation objective in nats


@dataclass(frozen=True)
class Convergence:
    """How training ended, for the summary; None where no complete span was measured."""

    converged: bool
    span_gain: float | None  # nats, of the last span
    next_gain: float | None  # nats, of one more span: an extrapolation

    def describe(self, span: float, least: float) -> str:
        """One sentence on a run that has not converged."""
        if self.span_gain is None:
            return (
                f"not converged: training ended less than {span:g} epochs after a schedule ended "
                "or the lr was lowered"
            )
        return (
            f"not converged: the last {span:g} epochs lowered the validation objective by "
            f"{self.span_gain:.3f} nats (trainer.plateau_gain={least:g}), and {span:g} more would "
            f"by about {self.next_gain:.3f}"
        )


def measure_gain(history: History, start: float, span: float) -> float | None:
    """The gain of the last `span` epochs in nats; None unless it began at `start` or later."""
    counted = [(epoch, value) for epoch, value in history if epoch >= start - SLACK]
    earlier = [value for epoch, value in counted if epoch <= counted[-1][0] - span + SLACK]
    return min(earlier) - min(value for _, value in counted) if earlier else None


def predict_gain(history: History, start: float, span: float) -> float | None:
    """The gain of one more span if gains keep shrinking by the factor of the last two spans.

    With a single complete span, or growing gains, it is the last gain itself.
    """
    last = measure_gain(history, start, span)
    if last is None:
        return None
    before = [(epoch, value) for epoch, value in history if epoch <= history[-1][0] - span + SLACK]
    previous = measure_gain(before, start, span)
    return last * min(1.0, last / previous) if previous else last


def assess_convergence(history: History, start: float, span: float, least: float) -> Convergence:
    """Converged means that the last span gained less than `least` nats."""
    gain = measure_gain(history, start, span)
    converged = gain is not None and gain < least
    return Convergence(converged, gain, predict_gain(history, start, span))
