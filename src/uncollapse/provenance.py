"""Which code made a run: the commit of its checkout, whether the tree differs from it, and the versions of what it uses."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

NAMES = ("uncollapse", "torch", "numpy", "hydra-core", "omegaconf")
LOADED = (".py", ".so", ".pyd", ".yaml", ".yml")  # endings of files that a run can import or compose


@cache
def provenance() -> dict[str, str | bool | None]:
    """`commit` and `tree_changed` of the checkout that this package runs from; both None outside one.

    Cached: what counts is the code that this process has loaded, not what the tree looks like when a later run of it ends.
    """
    unknown: dict[str, str | bool | None] = {"commit": None, "tree_changed": None}
    home = Path(__file__).resolve().with_name("__init__.py")
    try:
        root = Path(os.fsdecode(git(home.parent, "rev-parse", "--show-toplevel")).rstrip("\n"))
        if root.resolve() != home.parents[2]:  # installed inside a checkout of something else
            return unknown
        git(root, "ls-files", "--error-unmatch", str(home.relative_to(root.resolve())))
        commit = git(root, "rev-parse", "HEAD").decode().strip()
        changed = bool(git(root, "status", "--porcelain", "--untracked-files=no"))
        added = git(root, "ls-files", "--others", "--exclude-standard", "-z", "src", "conf").split(b"\0")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or one that belongs to another user
        return unknown
    return {"commit": commit, "tree_changed": changed or any(os.fsdecode(path).endswith(LOADED) for path in added)}


def git(folder: Path, *words: str) -> bytes:
    """What a git command prints in a folder, whatever repository the environment names (as hooks do)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, timeout=10).stdout


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in NAMES}}
