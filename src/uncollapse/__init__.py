"""uncollapse: compare remedies for KL vanishing in VAEs, or `diagnose` any VAE of your own."""

TYPE_CHECKING = (
    False  # typing itself is not imported: a command's first line should be guarded at once
)
if TYPE_CHECKING:
    from uncollapse.diagnosis import diagnose

__all__ = ["diagnose"]


def __getattr__(name: str) -> object:
    """`diagnose` on first use, so that importing a head or a reader of rows brings no more than it needs."""
    if name == "diagnose":
        from uncollapse.diagnosis import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
