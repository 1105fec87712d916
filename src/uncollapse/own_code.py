"""Digests of the user's own modules that a run builds from.

A run is identified by its config, which names classes but not their code. So the summary records
the code, and a finished run whose code has changed since is not skipped without a word.
"""

import importlib.util
from pathlib import Path

from uncollapse.data.digests import file_digest
from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping

OWN_CODE = "own_code"  # key of a summary
OURS = "uncollapse"
DIGITS = 12  # of a digest


def digest_own_code(config: JsonMapping) -> dict[str, str]:
    """Module -> digest of its file, for each class of a config that is not of this package.

    Modules that a module imports do not count.
    """
    # imports OmegaConf, which reports do not need
    from uncollapse.config.knobs import find_targets

    targets = [str(node["_target_"]) for _, node in find_targets(config, "")]
    modules = {target.rpartition(".")[0] for target in targets}
    own = {name for name in modules if name.partition(".")[0] != OURS}
    return {name: digest for name in sorted(own) if (digest := digest_module(name))}


def digest_module(name: str) -> str:
    """The digest of a module's file; '' for one that cannot be found or read."""
    try:
        found = importlib.util.find_spec(name)
        return file_digest(Path(found.origin))[:DIGITS] if found and found.origin else ""
    except (ImportError, ValueError, InputError):
        return ""


def list_changed_modules(summary: JsonMapping, config: JsonMapping) -> list[str]:
    """The modules whose code differs from the one that a finished run recorded."""
    recorded = summary.get(OWN_CODE)
    if not isinstance(recorded, dict):
        return []
    now = digest_own_code(config)
    return [name for name, digest in now.items() if recorded.get(name, digest) != digest]
