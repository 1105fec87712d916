"""Which code made a run: the commit of its checkout, changes since then, and versions."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

VERSIONED_PACKAGES = ("uncollapse", "torch", "numpy", "hydra-core", "omegaconf")
LOADED_SUFFIXES = (".py", ".so", ".pyd", ".yaml", ".yml")  # files that a run can import or compose


@cache
def find_provenance() -> dict[str, str | bool | None]:
    """`commit` and `tree_changed` of the checkout that this package runs from; None outside one.

    Cached: what counts is the code that this process loaded, not what the tree is like later.
    """
    unknown: dict[str, str | bool | None] = {"commit": None, "tree_changed": None}
    home = Path(__file__).resolve().parents[1] / "__init__.py"
    try:
        root = Path(os.fsdecode(run_git(home.parent, "rev-parse", "--show-toplevel")).rstrip("\n"))
        if root.resolve() != home.parents[2]:  # installed inside a checkout of something else
            return unknown
        run_git(root, "ls-files", "--error-unmatch", str(home.relative_to(root.resolve())))
        commit = run_git(root, "rev-parse", "HEAD").decode().strip()
        changed = bool(run_git(root, "status", "--porcelain", "--untracked-files=no"))
        added = run_git(root, "ls-files", "--others", "--exclude-standard", "-z", "src", "conf")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or another user's
        return unknown
    loaded = any(name.endswith(LOADED_SUFFIXES) for name in os.fsdecode(added).split("\0"))
    return {"commit": commit, "tree_changed": changed or loaded}


def run_git(folder: Path, *words: str) -> bytes:
    """What a git command prints in a folder; a repository that a hook named is not asked."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=True, timeout=10
    )
    return done.stdout


def package_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONED_PACKAGES}}
