"""Digests of the user's own modules that a run builds from.

A run is identified by its config, which names classes but not their code. So the run records the
code: one that is asked for again after its code changed is neither skipped nor resumed without a
word.
"""

import importlib.util
from pathlib import Path

from uncollapse.data.digests import file_digest
from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping
from uncollapse.runs.layout import OWN_CODE_FILE, STATE, Run
from uncollapse.runs.results import dump_json, read_object

OWN_CODE = "own_code"  # key of a summary
OURS = "uncollapse"
DIGITS = 12  # of a digest
THEN = " then "  # between the digests of a module that changed while its run was interrupted


def digest_own_code(config: JsonMapping) -> dict[str, str]:
    """Module -> digest of its file, for each class of a config that is not of this package.

    Modules that a module imports do not count.
    """
    own = sorted({target.rpartition(".")[0] for target in list_own_targets(config)})
    return {name: digest for name in own if (digest := digest_module(name))}


def list_own_targets(config: JsonMapping) -> list[str]:
    """The classes of a config that are not of this package."""
    # imports OmegaConf, which reports do not need
    from uncollapse.config.knobs import find_targets

    targets = [str(node["_target_"]) for _, node in find_targets(config, "")]
    return [target for target in targets if target.partition(".")[0] != OURS]


def digest_module(name: str) -> str:
    """The digest of a module's file; '' for one that cannot be found or read."""
    try:
        found = importlib.util.find_spec(name)
        return file_digest(Path(found.origin))[:DIGITS] if found and found.origin else ""
    except (ImportError, ValueError, InputError):
        return ""


def record_own_code(run: Run, config: JsonMapping) -> tuple[dict[str, str], list[str]]:
    """What `digest_own_code` finds, with earlier digests of a resumed run, and what has changed.

    The record is written to the run's folder, from which the run may be resumed again.
    """
    now = digest_own_code(config)
    if not now:
        return {}, []
    before = read_digests(run) if run.holds(STATE) else {}
    changed = list_differing(before, now)
    # one that did not change now may have changed at an earlier interruption
    record = now | before | {name: before[name] + THEN + now[name] for name in changed}
    run.write(OWN_CODE_FILE, data=dump_json(record))
    return record, changed


def read_digests(run: Run) -> dict[str, str]:
    """Module -> digests of the earlier parts of a run; {} without a readable record."""
    try:
        return {name: str(digest) for name, digest in read_object(run, OWN_CODE_FILE).items()}
    except InputError:  # no reason to stop: without the record the run is as good as before
        return {}


def list_changed_modules(summary: JsonMapping, config: JsonMapping) -> list[str]:
    """The modules whose code differs from the one that a finished run recorded."""
    recorded = summary.get(OWN_CODE)
    if not isinstance(recorded, dict):
        return []
    return list_differing(recorded, digest_own_code(config))


def list_differing(recorded: JsonMapping, now: dict[str, str]) -> list[str]:
    """The modules of `now` whose digest is not the last one recorded."""
    last = {name: str(digest).rpartition(THEN)[2] for name, digest in recorded.items()}
    return [name for name, digest in now.items() if last.get(name, digest) != digest]
