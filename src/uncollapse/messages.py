"""Lines about the data, printed before training."""

from uncollapse.building import Parts, normalises_over_batch
from uncollapse.request import Request

LENGTH_WARNING = (
    "data.batching=by_length with head={head}: batch norm takes the length out of mu in training, "
    "where all sentences of a batch have the same length, but not in evaluation; the evaluation KL "
    "can be several times the floor because of length alone (data.batching=mixed avoids this)"
)


def describe_data(request: Request, parts: Parts) -> list[str]:
    """Facts about the data, then warnings."""
    from uncollapse.data.profile import describe_splits, list_text_warnings

    model = request.config["model"]
    # the output layer reads `hidden` numbers in text models, `width` in others
    facts, width = parts.data.facts(), model.get("hidden", model.get("width"))
    notes = [
        *describe_splits(facts),
        *(f"warning: {hint}" for hint in list_text_warnings(facts, width)),
    ]
    by_length = parts.data.batching == "by_length"
    if by_length and normalises_over_batch(parts.model):
        notes.append("warning: " + LENGTH_WARNING.format(head=request.head))
    return notes
