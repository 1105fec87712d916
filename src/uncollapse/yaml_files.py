"""The only reader of YAML, for files that anyone may have written.

Files are bounded in size and hold plain values only; a refusal is one sentence. Values are those
that OmegaConf would read (1e-3 is a number, a date is text), about ten times faster.
"""

import re
from pathlib import Path

import yaml

from uncollapse.disk import require_plain_file
from uncollapse.errors import InputError, escape_unsafe
from uncollapse.json_types import Json

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without its C library
    from yaml import SafeLoader  # type: ignore[assignment]

MAX_YAML_BYTES, MAX_NODES, MAX_NESTING = 1_000_000, 20_000, 40
MAX_CHARACTERS = 10_000  # of one scalar
MAX_BITS = 256  # of an integer
FLOAT_PATTERN = r"""[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"""
# PyYAML and the checks below raise all of these for malformed files
MALFORMED = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class Loader(SafeLoader):
    """A safe loader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, Json]:
        # PyYAML would silently keep the last of two equal keys
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        mapping: dict[object, Json] = super().construct_mapping(node, deep)
        return mapping


# YAML 1.1 takes 1e-3 for text and 2026-01-01 for a date
Loader.yaml_implicit_resolvers = {
    # the resolvers of the base class must not change, so this is a new dictionary
    character: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))
    ]
    for character, resolvers in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT_PATTERN})$", re.X), [*"-+0123456789."]
)


def read_yaml(path: Path) -> Json:
    """The content of a file as plain values. InputError if it is damaged or exceeds a limit."""
    require_plain_file(path)
    with path.open("rb") as file:
        # one byte more shows that the file is too large
        content = file.read(MAX_YAML_BYTES + 1)
    if len(content) > MAX_YAML_BYTES:
        raise InputError(f"{path}: larger than {MAX_YAML_BYTES:,} bytes, the most that is read")
    try:
        text = content.decode("utf-8")
        # before building values, as aliases can make a small file huge
        check_bounds(text)
        value = yaml.load(text, Loader=Loader)
        check_plain_values(value)
    except MALFORMED as error:
        raise InputError(f"{path}: damaged ({describe_yaml_error(error)})") from error
    return value


def describe_yaml_error(error: Exception) -> str:
    """The first line of an error and, for an error of YAML, the line of the file."""
    problem, line = str(error), ""
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or problem
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
    first = problem.splitlines()[0] if problem else type(error).__name__
    return escape_unsafe(first) + line


def check_bounds(text: str) -> None:
    """ValueError for more, deeper or longer nodes than a config has.

    The nodes that an alias repeats count each time, so that few bytes cannot fill the memory.
    """
    sizes: dict[str | None, int | None] = {}  # nodes under each anchor; None while it is open
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the count at its start
    count = 0
    # the parser's events are counted before any value is built
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
            if size is None:
                raise ValueError(f"*{event.anchor} contains itself")
            count += size
        elif isinstance(event, yaml.ScalarEvent):
            check_length(event.value)
            count += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
            # open: an alias to it would be endless
            sizes[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = open_nodes.pop()
            sizes[anchor] = count - start
        if count > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES:,} nodes once its aliases are written out")
        if len(open_nodes) > MAX_NESTING:
            raise ValueError(f"nested deeper than {MAX_NESTING} levels")


def check_length(scalar: str) -> None:
    if len(scalar) > MAX_CHARACTERS:
        raise ValueError(
            f"a value of {len(scalar):,} characters; at most {MAX_CHARACTERS:,} are read"
        )


def check_plain_values(value: Json) -> None:
    """ValueError for anything but text, bounded numbers, booleans, null, and lists and dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | float | None):
                raise ValueError(f"a key that is a {type(key).__name__}")
            check_plain_values(item)
    elif isinstance(value, list):
        for item in value:
            check_plain_values(item)
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"an integer of {value.bit_length():,} bits")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"a value of the type {type(value).__name__}")


def find_interpolation(value: Json, where: str) -> str | None:
    """The dotted key of the first text, or key, that OmegaConf would resolve: it contains `${`."""
    if isinstance(value, str):
        return where if "${" in value else None
    items: list[tuple[str, Json]]
    if isinstance(value, dict):
        places = [(f"{where}.{key}" if where else str(key), key) for key in value]
        # each key is checked as well as its value
        items = [pair for place, key in places for pair in ((place, key), (place, value[key]))]
    elif isinstance(value, list):
        items = [(f"{where}[{i}]", item) for i, item in enumerate(value)]
    else:
        return None
    found = (find_interpolation(item, place) for place, item in items)
    return next((place for place in found if place), None)
