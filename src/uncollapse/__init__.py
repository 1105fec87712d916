"""uncollapse: compare remedies for KL vanishing in VAEs, or `diagnose` any VAE of your own."""

TYPE_CHECKING = False  # importing typing would delay the handling of Ctrl-C in every command
if TYPE_CHECKING:
    from uncollapse.diagnosis import diagnose

__all__ = ["diagnose"]


def __getattr__(name: str) -> object:
    """Import `diagnose` on first use: other imports of the package then stay fast."""
    if name == "diagnose":
        from uncollapse.diagnosis import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
