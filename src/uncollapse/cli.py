"""The command `train`: checks the command line, runs Hydra, explains a refusal in a sentence."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from uncollapse import config
from uncollapse.command_words import check_command_words
from uncollapse.config import HYDRA_KEYS
from uncollapse.config.sections import describe_unknown_key
from uncollapse.errors import InputError, did_you_mean, first_line, shorten
from uncollapse.plugins import read_project

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

FULL_ERROR = "HYDRA_FULL_ERROR"  # set to 1, Hydra raises errors instead of printing them


def train(cfg: "DictConfig") -> float | None:
    """Carry out one job of Hydra's; its validation objective."""
    from uncollapse.job import main as run

    return run(cfg)


def main() -> int:
    """Train with the config that the command line describes; the exit code."""
    import hydra

    from uncollapse.search_path import add_user_folders

    # the words as typed: check_command_words may rewrite them, but messages should not
    words = sys.argv[1:]
    try:
        read_project()
        sys.argv[1:] = check_command_words(words)
    except InputError as error:
        return print_error(error)
    add_user_folders()
    show_traceback = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # the errors are caught and explained below
    try:
        hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="train")(train)()
    except Exception as error:
        if show_traceback:
            raise
        return print_error(InputError(describe_refusal(error, words)))
    return 0


def print_error(error: InputError) -> int:
    """Print the sentence; the exit code for bad input."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def describe_refusal(error: BaseException, words: list[str]) -> str:
    """One sentence for an error of Hydra or OmegaConf, in terms of the words as typed."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    # from the outermost error inwards; the first that can be explained wins
    for cause in iterate_causes(error):
        if isinstance(cause, InputError):  # Hydra wraps errors of the task in its own
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.options and cause.missing_cfg_file:
            group, _, option = cause.missing_cfg_file.removesuffix(".yaml").rpartition("/")
            allowed = sorted(cause.options)
            hint = did_you_mean(option, allowed)
            return f"{group}={option}: no such option; {hint}allowed are {', '.join(allowed)}"
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return describe_refused_key(cause, words)
    return f"{first_line(error)} ({FULL_ERROR}=1 shows the full traceback)"


def iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def describe_refused_key(error: "OmegaConfBaseException", words: list[str]) -> str:
    """For an unknown key, the nearest known one; otherwise the fault of its value."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    key, section = str(error.full_key), error.parent_node
    # the word that set this key may begin with + or ++
    typed = re.compile(rf"[+]*{re.escape(key)}[.=]")
    value = next((word.partition("=")[2] for word in words if typed.match(word)), "")
    is_unknown = isinstance(error, ConfigAttributeError | ConfigKeyError)
    if is_unknown and isinstance(section, Mapping):
        return describe_unknown_key(
            key, value, [str(name) for name in section if name not in HYDRA_KEYS]
        )
    return f"{key}={shorten(value)}: {first_line(error)}"
