"""The user's own parts: config folders and packages beside those of this package.

Their user names them: in `uncollapse.yaml` of the current folder (`plugins: [mine]`, and its
conf/ is searched), with `plugins=[mine]` or `--config-dir FOLDER` for `train`, with
`--plugins mine` for other commands, or in Python with `use_plugins("mine")`. Run folders and packs
never can: nothing here reads them, and a folder that may have been sent is no project.

What is named is kept in environment variables, which reach the workers of every launcher.
"""

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from uncollapse.errors import InputError, shorten
from uncollapse.raised import describe_raised

PROJECT = "uncollapse.yaml"
PLUGINS = "UNCOLLAPSE_PLUGINS"  # names of packages, with commas
FOLDERS = "UNCOLLAPSE_CONF"  # config folders, separated as in PATH
PACKAGE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def plugin_names() -> tuple[str, ...]:
    """The packages whose classes may be built beside those of this package."""
    return split_variable(PLUGINS, ",")


def user_folders() -> tuple[Path, ...]:
    """The user's config folders, in the order in which they are searched."""
    return tuple(map(Path, split_variable(FOLDERS, os.pathsep)))


def split_variable(name: str, separator: str) -> tuple[str, ...]:
    return tuple(part for part in os.environ.get(name, "").split(separator) if part)


def use_plugins(*names: str) -> None:
    """Import packages of your own: their classes, config files and metrics then take part.

    A package is found as by Python, or in the current folder; its config files are those of its
    folder `conf`. InputError for a package that cannot be imported, and for a config file whose
    name is taken.
    """
    for name in as_names(names):
        import_plugin(name)
    remember(PLUGINS, names, ",")
    use_folders(*(folder for name in names for folder in find_package_conf(name)))


def use_folders(*folders: Path) -> None:
    """Search these folders for config files, after those of this package."""
    for folder in folders:
        check_folder(folder)
        if os.pathsep in str(folder.resolve()):
            raise InputError(f"{folder}: {os.pathsep} in the path of a config folder; move it")
    remember(FOLDERS, [str(folder.resolve()) for folder in folders], os.pathsep)


def remember(name: str, parts: Iterable[str], separator: str) -> None:
    """Add parts to a variable, each once."""
    known = dict.fromkeys([*split_variable(name, separator), *parts])
    if known:
        os.environ[name] = separator.join(known)


def import_plugins() -> None:
    """Import every named package in this process, such as a worker of a launcher."""
    for name in plugin_names():
        import_plugin(name)


def import_plugin(name: str) -> None:
    """Import a package. InputError if that fails."""
    # last, so that nothing in the current folder replaces an installed package
    if os.getcwd() not in sys.path and not may_be_sent(Path.cwd()):
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(name)
    # whatever the user's own code raises
    except Exception as error:
        reason = describe_raised(error)
        raise InputError(f"plugins={name}: cannot be imported ({reason})") from error


def find_package_conf(name: str) -> list[Path]:
    """The folder of a package's config files, if it has one."""
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "conf" for place in places or () if (Path(place) / "conf").is_dir()]


def check_folder(folder: Path) -> None:
    """InputError for a folder that does not exist, or has a file that Hydra would not use."""
    from uncollapse.config import config_folders

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of config files")
    others = [other for other in config_folders() if other != folder.resolve()]
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder)
        # the first file of a name wins, so this one would silently do nothing
        if taken := next((other for other in others if (other / name).exists()), None):
            raise InputError(f"{path}: {taken / name} has this name already; choose another")


def read_project() -> None:
    """Use what `uncollapse.yaml` in the current folder names: its plugins, and its conf/.

    It counts in a project of the user's only, not where someone else's study or run may have
    brought it. InputError if it is damaged.
    """
    here = Path.cwd()
    # set by hand, or by a process that started this one
    use_plugins(*plugin_names())
    if not os.path.lexists(here / PROJECT):
        return
    if may_be_sent(here):
        sentence = "a study or a run is here, above or directly below, and may have come with it"
        print(f"warning: {here / PROJECT} is not read: {sentence}", file=sys.stderr)
        return
    use_plugins(*read_project_plugins(here))
    if (here / "conf").is_dir():
        use_folders(here / "conf")


def read_project_plugins(folder: Path) -> list[str]:
    """The packages that a project names; none without a project. InputError if it is damaged."""
    from uncollapse.yaml_files import read_yaml

    file = folder / PROJECT
    content = (read_yaml(file) if os.path.lexists(file) else None) or {}
    if not isinstance(content, dict) or content.keys() - {"plugins"}:
        raise InputError(f"{PROJECT}: allowed is one key, `plugins: [PACKAGE, ...]`")
    return as_names(content.get("plugins"))


def may_be_sent(folder: Path) -> bool:
    """Whether a study or a run is this folder, above it, or directly below it.

    Studies of a project are in its results/, one level further down.
    """
    from uncollapse.runs.layout import find_runs, has_pack, is_run

    below = [path for path in folder.iterdir() if path.is_dir()]
    return any(
        is_run(place) or has_pack(place) or bool(find_runs(place))
        for place in (folder, *folder.parents, *below)
    )


def as_names(value: object) -> list[str]:
    """The value of `plugins`: a name, a list of names, or nothing. InputError for any other."""
    names: Sequence[object] = [value]
    if value is None:
        names = []
    elif isinstance(value, Sequence) and not isinstance(value, str):
        names = value
    for name in names:
        if not isinstance(name, str) or not PACKAGE_NAME.fullmatch(name):
            raise InputError(f"plugins={shorten(name)}: allowed is the name of a Python package")
    return [str(name) for name in names]
