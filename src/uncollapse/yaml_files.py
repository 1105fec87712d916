"""The one reader of YAML, for files that anybody may have written: bounded in size, plain values only, one sentence when it refuses.

Values come out as OmegaConf reads them (1e-3 is a number, a date is text), some ten times faster.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from uncollapse.disk import require_file
from uncollapse.errors import InputError, escape_unsafe

MAX_YAML_BYTES, MAX_NODES, MAX_NESTING = 1_000_000, 20_000, 40
MAX_CHARACTERS = 10_000  # of one scalar
MAX_BITS = 256  # of a whole number
FLOAT_PATTERN = r"""[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e-3 for text and 2026-01-01 for a date
Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))
    ]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT_PATTERN})$", re.X), [*"-+0123456789."]
)


def read_yaml(path: Path) -> Any:
    """What a file holds, as plain values. InputError when it is damaged, out of bounds or holds anything else."""
    require_file(path)
    with path.open("rb") as file:
        content = file.read(MAX_YAML_BYTES + 1)
    if len(content) > MAX_YAML_BYTES:
        raise InputError(f"{path}: larger than {MAX_YAML_BYTES:,} bytes, which no config is")
    try:
        text = content.decode("utf-8")
        check_bounds(text)
        found = yaml.load(text, Loader=Loader)
        check_plain_values(found)
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise InputError(f"{path}: damaged ({describe_yaml_error(error)})") from error
    return found


def describe_yaml_error(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    return (
        escape_unsafe(str(problem).splitlines()[0] if str(problem) else type(error).__name__) + line
    )


def check_bounds(text: str) -> None:
    """ValueError for more nodes, deeper or longer ones than a config has; what aliases repeat counts each time."""
    sizes: dict[Any, int | None] = {}  # of what each anchor names; None while it is still open
    open_nodes: list[tuple[str | None, int]] = []  # anchor and count at the beginning
    count = 0
    for event in yaml.parse(text, Loader=Loader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(anchor, 1)
            if size is None:
                raise ValueError(f"*{anchor} lies within itself")
            count += size
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            sizes[anchor] = 1
            if len(event.value) > MAX_CHARACTERS:
                raise ValueError(
                    f"a value of {len(event.value):,} characters; at most {MAX_CHARACTERS:,} are read"
                )
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, count))
            count += 1
            sizes[anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = open_nodes.pop()
            sizes[anchor] = count - start
        if count > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES:,} nodes once its aliases are written out")
        if len(open_nodes) > MAX_NESTING:
            raise ValueError(f"nested deeper than {MAX_NESTING} levels")


def check_plain_values(found: Any) -> None:
    """ValueError for anything but text, numbers of a usual size, truth values, null, and lists and dicts of these."""
    if isinstance(found, dict):
        for key, value in found.items():
            if not isinstance(key, str | int | float | None):
                raise ValueError(f"a key that is a {type(key).__name__}")
            check_plain_values(value)
    elif isinstance(found, list):
        for value in found:
            check_plain_values(value)
    elif isinstance(found, int) and found.bit_length() > MAX_BITS:
        raise ValueError(f"a whole number of {found.bit_length():,} bits")
    elif not isinstance(found, str | int | float | None):
        raise ValueError(f"a value of the type {type(found).__name__}")


def find_interpolation(found: Any, where: str) -> str | None:
    """The place of the first text, or key, that OmegaConf would resolve."""
    if isinstance(found, str):
        return where if "${" in found else None
    if isinstance(found, dict):
        inside: list[tuple[str, tuple[Any, ...]]]
        inside = [
            (f"{where}.{key}" if where else str(key), (key, value)) for key, value in found.items()
        ]
    else:
        inside = (
            [(f"{where}[{i}]", (item,)) for i, item in enumerate(found)]
            if isinstance(found, list)
            else []
        )
    return next(
        (
            there
            for place, items in inside
            for item in items
            if (there := find_interpolation(item, place))
        ),
        None,
    )
