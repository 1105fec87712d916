"""The words typed after train.py, checked one by one and completed before Hydra reads them.

Hydra refuses most mistakes too, but its messages suggest `+tau=0.3` for a head that has no tau,
and in a sweep over heads it first applies a single `tau=0.3` to the default head.

flags    flags, and the form KEY=VALUE
keys     keys and the options of config groups
grammar  values as Hydra's grammar reads them, and how to quote them
values   values, and which heads have the knobs that are set
"""

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from uncollapse.command_words.flags import check_form, split_flags
from uncollapse.command_words.grammar import QUOTES, enclose, list_values, parse_word
from uncollapse.command_words.keys import GROUPS, check_key
from uncollapse.command_words.values import (
    check_chosen_files,
    check_given_once,
    check_knob_owners,
    check_values,
    is_single_knob,
    is_sweep_experiment,
    make_sweep,
)
from uncollapse.config import SLOTS, TYPED, heads, knobs_of
from uncollapse.errors import InputError
from uncollapse.plugins import as_names, use_folders, use_plugins


def check_command_words(argv: list[str]) -> list[str]:
    """The words for Hydra, flags first. InputError for the first word that is wrong.

    An experiment that is a sweep gets `--multirun`, so that `experiment=compare seed=0,1` works.
    """
    args, flags, words = split_flags(argv)
    if args.shell_completion or args.hydra_help:
        return argv  # nothing is trained
    # first, because they bring heads and other options of the user's own
    use_named_parts(args.config_dir, words)
    words = [quote_run(word) for word in words]
    knobs_by_head = {head: knobs_of(head) for head in heads()}
    knobs = set().union(*knobs_by_head.values())
    check_form(words, {*GROUPS, *SLOTS, *TYPED, *knobs})
    for word in words:
        check_key(word, knobs_by_head)

    overrides = [parse_word(word) for word in words]
    check_given_once(overrides)
    experiments = [
        name for o in overrides if o.key_or_group == "experiment" for name in list_values(o)
    ]
    is_sweep = args.multirun or any(map(is_sweep_experiment, experiments))
    sets_mode = any(o.key_or_group == "hydra.mode" for o in overrides)
    check_values(overrides, allow_sweep=is_sweep or sets_mode)
    check_knob_owners(overrides, knobs_by_head)
    check_chosen_files(overrides)

    if not args.multirun and (not is_sweep or only_shows(args)):
        return [*flags, *words]
    # Hydra first composes the default head with the words that are not swept; one without this
    # knob would be refused
    words = [
        make_sweep(word) if is_single_knob(override, knobs) else word
        for word, override in zip(words, overrides, strict=True)
    ]
    return [*flags, *([] if args.multirun else ["--multirun"]), *words]


def use_named_parts(folder: str | None, words: Iterable[str]) -> None:
    """Use the packages of `plugins=` and the folder of `--config-dir`."""
    for word in words:
        if word.lstrip("+").startswith("plugins="):
            override = parse_word(word)
            if override.is_sweep_override():
                names = word.partition("=")[2]
                raise InputError(
                    f"{word}: plugins cannot be swept; did you mean plugins=[{names}]?"
                )
            use_plugins(*as_names(override.value()))
    if folder is not None:
        use_folders(Path(folder))


def quote_run(word: str) -> str:
    """`from=FOLDER` with the folder in quotes, as names of runs contain = and commas."""
    key, _, value = word.partition("=")
    if key.lstrip("+") != "from" or not os.path.isdir(value):
        return word
    return f"{key}={enclose(value, QUOTES[0])}"


def only_shows(args: Namespace) -> bool:
    """Whether the flags ask Hydra to print something instead of training, or to run one job."""
    return bool(args.cfg or args.info or args.run or args.help)
