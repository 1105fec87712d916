"""JSON in the files of a run: finite numbers only, and objects that carry a digest."""

import hashlib
import json
import math
import os
import re
from pathlib import Path

from uncollapse.disk import read_bytes
from uncollapse.json_types import Json, JsonObject

SEAL_KEY = "digest"  # the key of an object's own digest
# every digit as 0, so that a pattern of zeros matches any number of that length
DIGIT_CLASSES = bytes.maketrans(b"123456789E", b"000000000e")
# an exponent of three digits after a number, not within a word such as a digest
LARGE_EXPONENT = re.compile(rb"(?:^|[-:,\[\s])[0-9][0-9.]*[eE]\+?[0-9]{3}")
MAX_FLOAT_DIGITS = 308  # an integer with more digits is beyond the largest float


def replace_nonfinite(value: Json) -> Json:
    """Nested values with null for every non-finite number: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(content: bytes, suspect: bool | None = None) -> tuple[Json, int]:
    """A parsed JSON text, and how many numbers in it no finite float can hold (null in place).

    None if it is not JSON. `suspect`: the answer of `has_suspect_number`, if already known.
    """
    try:
        value = json.loads(content)
        if suspect is None:
            suspect = has_suspect_number(content)
        return replace_and_count_nonfinite(value) if suspect else (value, 0)
    except (ValueError, RecursionError):
        return None, 0


def has_suspect_number(content: bytes) -> bool:
    """Whether a JSON text may contain a number that no finite float can hold.

    A quick test of the bytes, because reports read thousands of files.
    """
    # plus signs are removed, so that e+400 looks like e400
    shape = content.translate(DIGIT_CLASSES, b"+")
    # an exponent of three digits may exceed 308; NaN and Infinity are Python's own extension
    long_integer = b"0" * MAX_FLOAT_DIGITS in shape
    large = b"e000" in shape and LARGE_EXPONENT.search(content) is not None
    return b"NaN" in content or b"Infinity" in content or large or long_integer


def replace_and_count_nonfinite(value: Json) -> tuple[Json, int]:
    """Nested values with null for each number that no finite float can hold, and their count."""
    if isinstance(value, dict):
        pairs = {key: replace_and_count_nonfinite(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, sum(n for _, n in pairs.values())
    if isinstance(value, list):
        items = [replace_and_count_nonfinite(item) for item in value]
        return [item for item, _ in items], sum(n for _, n in items)
    if isinstance(value, float) and not math.isfinite(value):
        return None, 1
    if type(value) is int and value.bit_length() > 1023:  # above the largest float
        return None, 1
    return value, 0


def is_number_list(value: object) -> bool:
    """Whether a value is a list of numbers and nulls."""
    return isinstance(value, list) and {*map(type, value)} <= {int, float, type(None)}


def add_digest(value: JsonObject) -> JsonObject:
    """An object with a digest of its content, by which a flipped bit is noticed."""
    # of the content alone, so that adding a digest twice changes nothing
    content = strip_digest(value)
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return {**content, SEAL_KEY: digest}


def strip_digest(value: JsonObject) -> JsonObject:
    """The object without its digest."""
    return {key: item for key, item in value.items() if key != SEAL_KEY}


def has_valid_digest(value: JsonObject) -> bool:
    """Whether the digest matches the content; objects of older versions have no digest."""
    return SEAL_KEY not in value or add_digest(value) == value


def read_json_lines(path: Path) -> list[Json]:
    """The values in a file of JSON lines, skipping lines that are cut off; [] without a file."""
    if not os.path.lexists(path):
        return []
    lines = (line for line in read_bytes(path).split(b"\n") if line.strip())
    values = (parse_json(line)[0] for line in lines)
    # a line that a kill cut off is not JSON
    return [value for value in values if value is not None]
