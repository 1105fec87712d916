"""Which code made a run: the commit of its checkout, later changes, and package versions."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

VERSIONED_PACKAGES = ("uncollapse", "torch", "numpy", "hydra-core", "omegaconf")
LOADED_SUFFIXES = (".py", ".so", ".pyd", ".yaml", ".yml")  # files that a run imports or composes


@cache
def find_provenance() -> dict[str, str | bool | None]:
    """`commit` and `tree_changed` of the checkout that this package runs from; None outside one.

    Cached: what counts is the code that this process has loaded, not later changes of the tree.
    """
    unknown: dict[str, str | bool | None] = {"commit": None, "tree_changed": None}
    package = Path(__file__).resolve().parents[1] / "__init__.py"
    try:
        output = run_git(package.parent, "rev-parse", "--show-toplevel")
        root = Path(os.fsdecode(output).rstrip("\n"))
        if root.resolve() != package.parents[2]:  # installed inside the checkout of another project
            return unknown
        # fails for a package that git does not track, such as a copy inside a checkout
        run_git(root, "ls-files", "--error-unmatch", str(package.relative_to(root.resolve())))
        commit = run_git(root, "rev-parse", "HEAD").decode().strip()
        is_changed = bool(run_git(root, "status", "--porcelain", "--untracked-files=no"))
        # new files count only if a run could import or compose them
        added = run_git(root, "ls-files", "--others", "--exclude-standard", "-z", "src", "conf")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or another user's
        return unknown
    has_new_code = any(name.endswith(LOADED_SUFFIXES) for name in os.fsdecode(added).split("\0"))
    return {"commit": commit, "tree_changed": is_changed or has_new_code}


def run_git(folder: Path, *words: str) -> bytes:
    """The output of a git command in a folder."""
    # a git hook sets variables that name its own repository
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # no locks and no file-system monitor: a run must not change or wait for the checkout
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=True, timeout=10
    )
    return done.stdout


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages that determine results."""
    packages = {name: version(name) for name in VERSIONED_PACKAGES}
    return {"python": platform.python_version(), **packages}
