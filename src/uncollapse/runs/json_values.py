"""JSON in the files of a run: finite numbers only, and objects with a digest of what they hold."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from uncollapse.disk import read_bytes

SEAL_KEY = "digest"  # the key of an object's digest
DIGIT_CLASSES = bytes.maketrans(b"123456789E", b"000000000e")  # makes all numbers of one length alike


def replace_nonfinite(value: Any) -> Any:
    """Nested values with every non-finite number as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(content: bytes, suspect: bool | None = None) -> tuple[Any, int]:
    """What a JSON text holds, with null for each number that no float holds, and how many these are; None for no JSON.

    `suspect`: whether there can be any, where that is known.
    """
    try:
        found = json.loads(content)
        return replace_and_count_nonfinite(found) if suspect or (suspect is None and has_suspect_number(content)) else (found, 0)
    except (ValueError, RecursionError):
        return None, 0


def has_suspect_number(content: bytes) -> bool:
    """Whether a number in a JSON text may be none that a float holds. Quick, since reports read thousands of files."""
    shape = content.translate(DIGIT_CLASSES, b"+")
    return b"NaN" in content or b"Infinity" in content or b"e000" in shape or b"0" * 308 in shape


def replace_and_count_nonfinite(value: Any) -> tuple[Any, int]:
    """Nested values with null for each number that no float holds, and how many these are."""
    if isinstance(value, dict):
        pairs = {key: replace_and_count_nonfinite(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, sum(
            odd for _, odd in pairs.values()
        )
    if isinstance(value, list):
        items = [replace_and_count_nonfinite(item) for item in value]
        return [item for item, _ in items], sum(odd for _, odd in items)
    if isinstance(value, float) and not math.isfinite(value):
        return None, 1
    if type(value) is int and value.bit_length() > 1023:  # more than a float can be
        return None, 1
    return value, 0


def is_number_list(value: Any) -> bool:
    """Whether a value is a list of numbers and nulls."""
    return isinstance(value, list) and {*map(type, value)} <= {int, float, type(None)}


def add_digest(value: dict[str, Any]) -> dict[str, Any]:
    """An object with a digest of what it holds, by which a flipped bit is noticed."""
    held = strip_digest(value)
    return {**held, SEAL_KEY: hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]}


def strip_digest(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != SEAL_KEY}


def has_valid_digest(value: dict[str, Any]) -> bool:
    """Whether the digest is right; what an older version wrote has none."""
    return SEAL_KEY not in value or add_digest(value) == value


def read_json_lines(path: Path) -> list[Any]:
    """What a file of JSON lines holds, nothing if it is not there; a line that is cut is passed over."""
    if not os.path.lexists(path):
        return []
    found = (parse_json(line)[0] for line in read_bytes(path).split(b"\n") if line.strip())
    return [value for value in found if value is not None]
