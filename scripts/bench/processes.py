"""Commands of this checkout run as processes, and the temporary folders they write to."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
CHECKOUT = SCRIPTS.parent
TRAIN_COMMAND = (sys.executable, str(CHECKOUT / "train.py"))
REPORT_COMMAND = (sys.executable, str(SCRIPTS / "report.py"))
MAX_OUTPUT = 2000  # characters of a failed command's output that are shown


def run_quietly(words: Sequence[str], folder: Path = CHECKOUT) -> str:
    """Run a command in a folder; its output. SystemExit with the output if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        output = f"{done.stdout[-MAX_OUTPUT:]}{done.stderr[-MAX_OUTPUT:]}"
        raise SystemExit(f"{' '.join(words)} failed:\n{output}")
    return done.stdout


def run_module(name: str, *args: str) -> str:
    """The output of a module of `bench` that needs a fresh process."""
    return run_quietly([sys.executable, "-m", f"bench.{name}", *args], SCRIPTS)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="uncollapse-bench-") as folder:
        yield Path(folder)
