"""Models: text, dialogue, images and vectors."""

from uncollapse.interfaces.model import Model, ModelConfig

__all__ = ["Model", "ModelConfig"]
