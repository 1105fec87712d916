"""The output layer of the published decoders: W h + b, which does not read z again."""

from uncollapse.interfaces.decoder import OutputLayer


class Plain(OutputLayer):
    """Logits or means W h + b."""
