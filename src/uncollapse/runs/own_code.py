"""Digests of the user's own modules that a run builds from.

A run is identified by its config, which names classes but not their code. So the summary records
the code, and a finished run whose code has changed since is not skipped without a word.
"""

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from uncollapse.json_types import Json, JsonMapping

OWN_CODE = "own_code"  # key of a summary
OURS = "uncollapse"
DIGITS = 12  # of a digest


def digest_own_code(config: JsonMapping) -> dict[str, str]:
    """Module -> digest of its file, for each class of a config that is not of this package.

    Modules that a module imports do not count.
    """
    targets = {target.rpartition(".")[0] for target in find_target_names(config)}
    own = {name for name in targets if name.partition(".")[0] != OURS}
    return {name: digest for name in sorted(own) if (digest := digest_module(name))}


def find_target_names(value: Json | JsonMapping) -> Iterator[str]:
    """Every `_target_` in a config."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "_target_" and isinstance(inner, str):
                yield inner
            yield from find_target_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from find_target_names(inner)


def digest_module(name: str) -> str:
    """The digest of a module's file; '' for one that cannot be found or read."""
    try:
        found = importlib.util.find_spec(name)
        return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()[:DIGITS]  # type: ignore[union-attr, arg-type]
    except (ImportError, AttributeError, TypeError, ValueError, OSError):
        return ""


def list_changed_modules(summary: JsonMapping, config: JsonMapping) -> list[str]:
    """The modules whose code differs from the one that a finished run recorded."""
    recorded = summary.get(OWN_CODE)
    if not isinstance(recorded, dict):
        return []
    now = digest_own_code(config)
    return [name for name, digest in now.items() if recorded.get(name, digest) != digest]
