"""Config sections with the values of their YAML files, and changes: `LSTMConfig(hidden=5)`."""

from collections.abc import Callable
from typing import Any

from uncollapse.config import parents_of, read_option
from uncollapse.config.targets import locate_class


def stated(group: str, option: str) -> dict[str, Any]:
    """The values of conf/<group>/<option>.yaml and of the options in its defaults list."""
    values: dict[str, Any] = {}
    for parent in parents_of(option, group):
        values |= stated(group, parent)
    return {**values, **read_option(group, option)}


def schema(group: str, option: str, **usual: object) -> Callable[..., Any]:
    """The class of a section, with `usual` or its YAML values as defaults."""

    values = {**stated(group, option), **usual}
    target = values.pop("_target_")
    values.pop("defaults", None)

    def make(**changes: Any) -> Any:
        return locate_class(target, group)(**{**values, **changes})

    return make


TextConfig = schema("data", "text", label=None)
DialogueConfig = schema("data", "dailydialog")
GrammarConfig = schema("data", "grammar")
GaussianConfig = schema("data", "gaussian")
ArraysConfig = schema("data", "arrays")
ImageFolderConfig = schema("data", "image_folder")
DigitsConfig = schema("data", "digits")
MnistConfig = schema("data", "mnist")
OmniglotConfig = schema("data", "omniglot")
LSTMConfig = schema("model", "lstm")
TransformerConfig = schema("model", "transformer")
LinearConfig = schema("model", "linear")
ImageMLPConfig = schema("model", "image_mlp")
ImagePixelCNNConfig = schema("model", "image_pixelcnn")
