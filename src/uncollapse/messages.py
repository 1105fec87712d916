"""Lines about the data, printed before training."""

from uncollapse.building import Parts, normalises_over_batch
from uncollapse.request import Request

LENGTH_WARNING = (
    "data.batching=by_length with head={head}: all sentences of a batch share one length, so batch "
    "norm removes it from mu in training and restores it at evaluation; the evaluation KL can be "
    "several times the floor by length alone (data.batching=mixed avoids it)"
)


def describe_data(request: Request, parts: Parts) -> list[str]:
    """Facts about the data, then warnings."""
    from uncollapse.data.profile import lines, warnings

    model = request.config["model"]
    facts, width = parts.data.facts(), model.get("hidden", model.get("width"))
    notes = [*lines(facts), *(f"warning: {hint}" for hint in warnings(facts, width))]
    by_length = parts.data.batching == "by_length"
    if by_length and normalises_over_batch(parts.model):
        notes.append("warning: " + LENGTH_WARNING.format(head=request.head))
    return notes
