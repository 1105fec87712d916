"""Types of values read from JSON and YAML, where a value can be anything these formats hold."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Any  # None, bool, int, float, str, or lists and dicts of these
JsonObject: TypeAlias = dict[str, Any]
JsonMapping: TypeAlias = Mapping[str, Any]  # one that is only read
