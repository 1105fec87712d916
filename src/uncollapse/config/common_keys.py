"""Checks the keys that every config has (study, seed, results ...), and all text in a config."""

import re
from pathlib import Path

from uncollapse.errors import MAX_SEED, InputError, check_integer, is_unsafe, shorten
from uncollapse.plugins import as_names

MAX_THREADS, MAX_LABEL = 256, 200


def check_root(key: str, value: object) -> None:
    """InputError for a common key outside its range. The device is checked where it is used."""
    if key == "seed":
        check_integer("seed", value, 0, MAX_SEED)
    elif key == "threads":
        check_integer("threads", value, 1, MAX_THREADS)
    elif key == "again":
        if not isinstance(value, bool):
            raise InputError(f"again={shorten(value)}: allowed are true, false")
    elif key == "plugins":
        as_names(value)
    elif isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{key}={shorten(value)}: allowed is a text")
    elif key == "study" and not re.fullmatch(r"[^\W_][\w.+-]{0,99}", str(value)):
        raise InputError(
            f"study={shorten(value)}: allowed are letters, digits and . _ + -, "
            "a letter or digit first, 100 in all"
        )
    elif key == "results":
        check_results(str(value))
    elif key == "label" and not 0 < len(str(value).strip()) <= MAX_LABEL:
        raise InputError(
            f"label={shorten(value)}: allowed is a text of at most {MAX_LABEL} characters"
        )


def check_results(results: str) -> None:
    """InputError for a text that cannot be the path of the results folder."""
    if not results.strip():
        raise InputError(f"results={results}: allowed is the path of a folder")
    if results.startswith("~"):
        raise InputError(
            f"results={results}: the shell has not replaced ~; write results=$HOME{results[1:]}"
        )
    check_results_folder(Path(results), results)


def check_results_folder(folder: Path, results: str) -> None:
    """InputError if the folder cannot be made: a name is too long, or a parent is a file."""
    try:
        # the nearest ancestor that exists; everything below it would be created
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        raise InputError(
            f"results={shorten(results)}: no folder can be made there ({error.strerror})"
        ) from error
    if not existing.is_dir():
        raise InputError(f"results={shorten(results)}: cannot write there ({existing} is a file)")


def check_text(value: object, where: str) -> None:
    """InputError for control characters, which would break the lines that the text is part of."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"a key of {where}" if where else "a key")
            check_text(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_text(item, f"{where}[{i}]")
    elif isinstance(value, str) and any(map(is_unsafe, value)):
        raise InputError(
            f"{where}={shorten(value)}: control characters, such as a line break, "
            "are not allowed in it"
        )
