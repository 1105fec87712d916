"""uncollapse: compare remedies for KL vanishing in VAEs, or `diagnose` any VAE of your own."""

TYPE_CHECKING = False  # importing typing would delay the handling of Ctrl-C in every command
if TYPE_CHECKING:
    from uncollapse.diagnosis import diagnose
    from uncollapse.finished.run import load
    from uncollapse.finished.study import load_study
    from uncollapse.plugins import use_plugins
    from uncollapse.recorder import Recorder

__all__ = ["Recorder", "diagnose", "load", "load_study", "use_plugins"]

HOMES = {  # the module of each name
    "diagnose": "uncollapse.diagnosis",
    "load": "uncollapse.finished.run",
    "load_study": "uncollapse.finished.study",
    "use_plugins": "uncollapse.plugins",
    "Recorder": "uncollapse.recorder",
}


def __getattr__(name: str) -> object:
    """Import a name on first use: other imports of the package then stay fast."""
    if name in HOMES:
        from importlib import import_module

        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
