"""The command train.py: the user's words, Hydra, and one sentence for whatever Hydra refuses."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from uncollapse.config import HYDRA_KEYS, no_such_key
from uncollapse.errors import InputError, did_you_mean, first_line, shorten
from uncollapse.words import understand_words

FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra then raises what it would print


def compose_and_run(task: Callable[[Any], None], conf: str) -> int:
    """Carry out `task` with the config that the command line makes; the exit code."""
    import hydra

    words = sys.argv[1:]
    try:
        sys.argv[1:] = understand_words(words)
    except InputError as error:
        return print_error(error)
    full = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(version_base="1.3", config_path=conf, config_name="train")(task)()
    except Exception as error:
        if full:
            raise
        return print_error(InputError(describe_refusal(error, words)))
    return 0


def print_error(error: InputError) -> int:
    """Print the one sentence; the exit code for bad input."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def describe_refusal(error: BaseException, words: list[str]) -> str:
    """What Hydra or OmegaConf refused, in the user's word."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    for cause in iterate_causes(error):
        if isinstance(cause, InputError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.options and cause.missing_cfg_file:
            group, _, option = cause.missing_cfg_file.removesuffix(".yaml").rpartition("/")
            allowed = sorted(cause.options)
            return f"{group}={option}: no such option; {did_you_mean(option, allowed)}allowed are {', '.join(allowed)}"
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return describe_refused_key(cause, words)
    return f"{first_line(error)} ({FULL_ERROR}=1 shows all)"


def iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def describe_refused_key(error: Any, words: list[str]) -> str:
    """A key that is not there, with its neighbours; else what is wrong with its value."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    key, parent = error.full_key, error.parent_node
    value = next(
        (word.partition("=")[2] for word in words if re.match(rf"[+]*{re.escape(key)}[.=]", word)),
        "",
    )
    if (
        isinstance(error, ConfigAttributeError | ConfigKeyError)
        and parent is not None
        and hasattr(parent, "keys")
    ):
        return no_such_key(key, value, [str(name) for name in parent if name not in HYDRA_KEYS])
    return f"{key}={shorten(value)}: {first_line(error)}"
