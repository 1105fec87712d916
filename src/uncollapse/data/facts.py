"""Facts about the sets: licence, sizes, checksums, and how the files of text sets are made.

The facts of data=<name> are in conf/data/<name>.facts.yml, beside the set's configuration:

    made: hub           # or hand (by_hand says how), or recipe (a function of this package)
    licence: ...
    form: lines         # or dialogues, or images
    rows: {train: ...}  # of the splits of the hub set
    lines: {...}        # of the files
    checksums: {...}    # SHA-256 of their lines, without white space at the ends
    valid: 10000        # images: how many of the training split make the validation split
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from uncollapse import config
from uncollapse.data import SPLITS
from uncollapse.errors import InputError, check_choice, check_integer, shorten
from uncollapse.yaml_files import read_yaml

ENDING = ".facts.yml"
MADE = ("hub", "hand", "recipe")
FORMS = ("lines", "dialogues", "images")
NEEDED = {"hand": "by_hand", "recipe": "recipe", "images": "valid"}  # by `made` and `form`


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """The content of a facts file. `rows`, `lines` and `checksums` may leave splits out."""

    made: str
    licence: str
    form: str = "lines"
    licence_first: bool = False  # fetched from the hub only with --licensed
    rows: Mapping[str, int] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    by_hand: str | None = None  # how to get the files; {out} stands for the folder
    recipe: Mapping[str, object] = field(default_factory=dict)  # function, source, seed
    valid: int = 0  # of images
    model: str | None = None  # the model for this set, where model=lstm does not fit


def list_sets() -> list[str]:
    """Names of the sets whose facts are known."""
    files = (config.CONF / "data").glob(f"*{ENDING}")
    return sorted(path.name.removesuffix(ENDING) for path in files)


def read_facts(name: str) -> SetFacts:
    """The facts of data=<name>. InputError for an unknown set, and for facts missing or wrong."""
    path = config.CONF / "data" / f"{name}{ENDING}"
    if name not in list_sets():
        allowed = ", ".join(list_sets())
        if name in config.package_options("data"):
            raise InputError(f"{name}: its facts are missing, a file {path}; allowed are {allowed}")
        raise InputError(f"{name}: no such set; allowed are {allowed}")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged (not a mapping of keys)")
    known = {field.name: field for field in fields(SetFacts)}
    for key, value in content.items():
        if key not in known:
            raise InputError(f"{path}: {key}: no such fact; allowed are {', '.join(known)}")
        # these four hold a mapping, and all other facts a single value
        if isinstance(value, dict) != (key in ("rows", "lines", "checksums", "recipe")):
            raise InputError(f"{path}: {key}={shorten(value)}: wrong kind of value")
    for key in ("made", "licence"):
        if not isinstance(content.get(key), str):
            raise InputError(f"{path}: {key} is missing, a text")
    facts = SetFacts(**content)
    check_choice(f"{path}: made", facts.made, MADE)
    check_choice(f"{path}: form", facts.form, FORMS)
    for key in ("made", "form"):
        value = getattr(facts, key)
        if value in NEEDED and not content.get(NEEDED[value]):
            raise InputError(f"{path}: {key}={value} needs {NEEDED[value]}")
    check_integer(f"{path}: valid", facts.valid, 0)
    check_facts_of_splits(path, facts)
    if facts.made == "recipe":
        check_recipe(path, facts)
    return facts


def check_facts_of_splits(path: Path, facts: SetFacts) -> None:
    """InputError for a fact about an unknown split, or a number of lines that is no integer."""
    for key in ("rows", "lines", "checksums"):
        for split, value in getattr(facts, key).items():
            check_choice(f"{path}: {key}", split, SPLITS)
            if key != "checksums":
                check_integer(f"{path}: {key}: {split}", value, 0)


def check_recipe(path: Path, facts: SetFacts) -> None:
    """InputError for a recipe that `prepare_data.py` could not follow."""
    for key in ("function", "seed"):
        if key not in facts.recipe:
            raise InputError(f"{path}: recipe needs {key}")
    check_integer(f"{path}: recipe: seed", facts.recipe["seed"], 0)
    if lacking := [split for split in SPLITS if split not in facts.lines]:
        raise InputError(f"{path}: made=recipe needs lines of {lacking[0]}")


def require_facts(name: str | None) -> None:
    """InputError for a set in conf/data without its facts.

    The user's own files (None), and a set that only another checkout has, need none.
    """
    if name in config.package_options("data"):
        read_facts(str(name))
