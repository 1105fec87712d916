"""The folder of a finished run; nothing heavy is imported, so a wrong one is refused at once."""

from pathlib import Path

from uncollapse.disk import resolve_path
from uncollapse.errors import InputError
from uncollapse.runs.layout import DONE, Run, is_pack, is_run, require_runs


def find_run(path: Path) -> Run:
    """The finished run in a folder. InputError, with a hint, for anything else."""
    folder = path if is_pack(path) else resolve_path(path)
    runs = require_runs(folder)
    if not is_run(folder):
        raise InputError(
            f"{path}: a study of {len(runs):,} runs; load one of them, such as {runs[0].folder}, "
            "or read their numbers with uncollapse.load_study"
        )
    (run,) = runs
    if run.status != DONE:
        raise InputError(f"{path}: the run is {run.status}, not finished; its command continues it")
    return run
